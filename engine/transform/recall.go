package transform

import (
	"slices"

	"github.com/secure60/s60-m365-connector/engine/expression"
)

// This file keeps what was computed of a single field of the record until that field is another. Much of what a special
// plan leaves to compute depends on one field: on the user, the address, the device's state, the type of the item.
// Records that come one after the other often have the same there.

// alone finds the parts of a special plan, and the steps, that depend on one field alone.
func (d *drafting) alone() {
	p := d.plan
	programs := make(map[int]*expression.Program)
	for i := range p.parts {
		// The default of message_text reads fields that its rule does not.
		if field := int(p.parts[i].field); field != d.m.timestamp && field != d.m.message && p.programs[field] != nil {
			programs[field] = p.programs[field]
		}
	}
	firm := true
	var on func(slot int, reads []int, busy []int) int
	on = func(slot int, reads, busy []int) int { // the one field that all of them come to; none if there are more
		for _, read := range reads {
			if read < len(d.m.fields) {
				program := programs[read]
				firm = firm && !d.open[read]
				if program == nil || program.Reads() == nil || slices.Contains(busy, read) {
					return several
				}
				slot = on(slot, program.Reads(), append(busy, read))
			} else if slot == nothing || slot == read {
				slot = read
			} else {
				slot = several
			}
			if slot == several {
				break
			}
		}
		return slot
	}
	steps := nothing
	for _, s := range d.left {
		for _, when := range s.when {
			if reads := when.program.Reads(); reads == nil || slices.ContainsFunc(reads, func(read int) bool { return read < len(d.m.fields) }) {
				steps = several
			} else if steps != several {
				steps = on(steps, reads, nil)
			}
		}
	}
	index := func(slot int) int {
		i := slices.Index(p.alone, slot)
		if i < 0 {
			i = len(p.alone)
			p.alone = append(p.alone, slot)
		}
		return i
	}
	if steps >= 0 {
		p.asking = index(steps)
	}
	for i := range p.parts {
		part := &p.parts[i]
		program := programs[int(part.field)]
		if program == nil || part.slot >= 0 || program.Reads() == nil {
			continue
		}
		firm = part.steady
		if slot := on(nothing, program.Reads(), nil); slot >= 0 {
			part.of, part.firm = int16(index(slot)), firm
		}
	}
}

const (
	nothing = -1
	several = -2
)

// recall is what a mapper remembers for a special plan.
type recall struct {
	fields    []remembered // by plan.alone
	answers   []answer     // by part
	untouched bool         // no step gives a field another rule in the record in hand
}

// remembered is a field on which something depends.
type remembered struct {
	value expression.Value // of the field, its text in text
	text  []byte
	turn  uint64 // counts values
	now   int8   // what is to be done for the record in hand
	steps bool   // it is known that no step applies

	asked, met, rest int
}

const (
	compute = iota // and do not remember: the field differs too often
	learn
	repeat
)

// answer is a part as it was for the value that a field has.
type answer struct {
	turn  uint64
	event []byte // the part
	value expression.Value
	text  []byte // of the value
}

// recalled is what is remembered for a plan of the kind; nil for one that is not special.
func (k *kind) recalled(p *plan) *recall {
	if len(p.alone) == 0 {
		return nil
	}
	r := k.recalls[p]
	if r == nil {
		r = &recall{fields: make([]remembered, len(p.alone)), answers: make([]answer, len(p.parts))}
		if k.recalls == nil {
			k.recalls = make(map[*plan]*recall)
		}
		k.recalls[p] = r
	}
	return r
}

// A field is asked for watched records; if fewer than one in four had the value of the record before, nothing is
// remembered for the next resting.
const (
	watched        = 256
	resting        = 16 * watched
	mostRemembered = 1024 // bytes of its value, and of what was computed of it
)

// begin compares the fields of the record in hand with those that are remembered, and says whether it is
// known that no step applies.
func (r *recall) begin(m *Mapper, p *plan) bool {
	for i, slot := range p.alone {
		f := &r.fields[i]
		if f.rest > 0 {
			f.rest--
			f.now = compute
			continue
		}
		v := m.machine.Field(slot)
		if f.asked++; f.turn > 0 && v.Same(f.value) {
			f.met++
			f.now = repeat
			continue
		}
		if f.asked >= watched {
			if f.met*4 < f.asked {
				f.rest = resting
			}
			f.asked, f.met = 0, 0
		}
		text, ok := v.Raw()
		if f.now = compute; ok && len(text) <= mostRemembered {
			f.text = append(f.text[:0], text...)
			f.value, f.now, f.steps = v.On(f.text), learn, false
			f.turn++
		}
	}
	r.untouched = p.asking >= 0 && r.fields[p.asking].now == repeat && r.fields[p.asking].steps
	return r.untouched
}

// end notes whether a step applied to the record in hand.
func (r *recall) end(p *plan, touched bool) {
	if r.untouched = !touched; p.asking >= 0 {
		if f := &r.fields[p.asking]; f.now != compute { // else it remembers another value
			f.steps = r.untouched
		}
	}
}

// appendRecalled is appendPart for a part that depends on one field alone.
func (m *Mapper) appendRecalled(dst []byte, part *part, at int) []byte {
	f := &m.recall.fields[part.of]
	if f.now == compute {
		return m.appendPart(dst, part)
	}
	a := &m.recall.answers[at]
	if f.now == repeat && a.turn == f.turn {
		if part.read {
			m.machine.SetComputed(int(part.field), a.value)
		}
		return append(dst, a.event...)
	}
	start, failures := len(dst), len(m.failed)
	v := m.partValue(part)
	dst = m.appendValue(dst, int(part.field), m.keys[part.field], v)
	if text, ok := v.Raw(); ok && len(m.failed) == failures && max(len(text), len(dst)-start) <= mostRemembered {
		a.text = append(a.text[:0], text...)
		a.event = append(a.event[:0], dst[start:]...)
		a.value, a.turn = v.On(a.text), f.turn
	}
	return dst
}
