package transform

import (
	"slices"

	"github.com/secure60/s60-m365-connector/engine/expression"
)

// This file plans how records of one kind are mapped. What conditions ask for
// most, event_RecordType and event_Operation for example, tells
// kinds of records, of which a tenant's log has a few hundred. For a kind, most
// conditions always hold or never do, and many fields are always the same or
// always absent: they are computed once, when the first record of the kind is
// met. What depends on more than the kind is left to each record.

// leastTelling is how many steps must compare a field with constants to make it
// one that tells kinds of records.
const leastTelling = 4

// telling are the fields that tell kinds of records: those that conditions ask for, and if none of these has few
// values, those of which the mapping knows all.
func (c *compiler) telling(steps []step) (slots []int) {
	counts := make(map[int]int)
	for _, s := range steps {
		for _, when := range s.all {
			for _, slot := range when.program.Compared() {
				if counts[slot]++; counts[slot] == leastTelling {
					slots = append(slots, slot)
				}
			}
		}
	}
	var known []int
	for _, v := range c.m.values {
		if slot, ok := c.m.unit.Slot(v.name); ok && slot >= len(c.m.fields) {
			known = append(known, slot)
		}
	}
	if slices.ContainsFunc(known, func(slot int) bool { return slices.Contains(slots, slot) }) {
		return slots
	}
	return append(slots, known...)
}

// kind is what a mapper keeps of a kind of record.
type kind struct {
	plan    *plan
	last    *plan // the special one that fitted last
	recalls map[*plan]*recall
	special *specialKind
	misses  int    // records that no special plan fitted
	counted int    // of planner.records, when as many as it takes for the next were begun to be counted
	steady  []bool // by field of few values: it has the same in all records
	judged  bool   // those that are steady were judged
}

// plan is how records of a kind are mapped.
type plan struct {
	winner []int32 // by field: the rule that applies unless a step says otherwise, or -1
	steps  []step  // what has to be asked of each record, with the rules that may win
	parts  []part  // of the event, behind the fields of the record
	known  []int16 // by field: where its value stands in values, from 1; 0 if it is not known
	values []expression.Value

	// Of a special plan (special.go), which is for the records of the kind that have some fields and lack others:
	programs []*expression.Program // by field: that of the rule that applies
	asked    expression.Presence   // the fields that matter
	present  expression.Presence   // those that the records have
	alone    []int                 // fields of the record on which alone some parts depend
	asking   int                   // of them: that on which all the steps depend, -1: none
}

// part is a part of an event: fields that are the same in all events of the
// kind, then one that is computed.
type part struct {
	text   string
	need   expression.Word // without these the field is absent
	slot   int32           // of the field of the record that it is, or -1
	field  int16           // or -1
	of     int16           // of plan.alone: the field on which alone it depends, -1: none
	read   bool            // another expression reads it
	steady bool            // no step may give it another rule
	firm   bool            // nor any field that it reads
}

const (
	maxPlans  = 512
	maxKind   = 256 // bytes of what tells a kind
	leastUses = 32  // of a plan, in the mean: else there are none
)

// planner holds the plans of a mapper.
type planner struct {
	kinds    map[string]*kind
	before   *kind
	lastKey  []byte
	key      []byte // scratch; of the record in hand
	records  int    // since the plans were begun
	off      bool
	specials *specials
}

// kindOf is the kind of the record in hand; nil if kinds are not worth a plan.
func (m *Mapper) kindOf() *kind {
	p := &m.planner
	if p.off {
		return nil
	}
	p.records++
	p.key = p.key[:0]
	for _, slot := range m.m.telling {
		if p.key = m.machine.AppendKey(p.key, slot); len(p.key) > maxKind {
			return nil
		}
	}
	if p.before != nil && string(p.key) == string(p.lastKey) {
		return p.before
	}
	found := p.kinds[string(p.key)]
	if found == nil {
		if len(p.kinds) >= maxPlans {
			if p.records < maxPlans*leastUses {
				p.off, p.kinds, p.before = true, nil, nil
				return nil
			}
			p.kinds, p.records = nil, 0
		}
		if p.kinds == nil {
			p.kinds = make(map[string]*kind)
		}
		found = m.newKind()
		p.kinds[string(p.key)] = found
	}
	p.before, p.lastKey = found, append(p.lastKey[:0], p.key...)
	return found
}

// follow finds the rules that apply by a plan.
func (m *Mapper) follow(p *plan) {
	m.winner = p.winner
	if m.recall != nil && m.recall.begin(m, p) {
		return
	}
	touched := false
	for i := 0; i < len(p.steps); i++ {
		if s := &p.steps[i]; !m.apply(s) {
			i += s.skip
		} else if len(s.rules) > 0 {
			touched = true
		}
	}
	if m.recall != nil {
		m.recall.end(p, touched || len(m.failed) > 0)
	}
}

// apply applies the rules of a step if its conditions hold.
func (m *Mapper) apply(s *step) bool {
	for _, when := range s.when {
		if holds, err := when.program.Holds(m.machine); !holds {
			m.failedCondition(when, err)
			return false
		}
	}
	m.win(s.rules)
	return true
}

// win makes rules apply, each unless a later one does. Until one does, winner is the plan's: many plans in turn are
// slow for each byte of them that is read.
func (m *Mapper) win(rules []int32) {
	for _, r := range rules {
		if field := m.m.targets[r]; r > m.winner[field] {
			if &m.winner[0] != &m.own[0] {
				m.winner = m.own[:copy(m.own, m.winner)]
			}
			m.winner[field] = r
		}
	}
}

// appendParts appends the computed fields of an event.
func (m *Mapper) appendParts(dst []byte, p *plan) []byte {
	for i := range p.parts {
		part := &p.parts[i]
		if part.text != "" {
			dst = append(dst, part.text...)
		}
		if part.field >= 0 && !m.machine.Lacks(part.need) {
			switch {
			case m.recall != nil && part.of >= 0 && (part.firm || m.recall.untouched):
				dst = m.appendRecalled(dst, part, i)
			case part.slot >= 0:
				dst = m.machine.AppendField(dst, m.keys[part.field], int(part.slot))
			case part.steady && p.programs != nil && p.programs[part.field] != nil && int(part.field) != m.m.timestamp:
				dst = m.appendPart(dst, part)
			default:
				dst = m.appendField(dst, int(part.field), part.read)
			}
		}
	}
	return dst
}

// appendPart is appendField for a part of which the rule is known.
func (m *Mapper) appendPart(dst []byte, part *part) []byte {
	return m.appendValue(dst, int(part.field), m.keys[part.field], m.partValue(part))
}

func (m *Mapper) partValue(part *part) expression.Value {
	field := int(part.field)
	if part.read {
		if v, ok := m.machine.Ready(field); ok {
			return v
		}
	}
	v, err := m.plan.programs[field].Value(m.machine)
	if err != nil || v.Nothing() {
		v = m.instead(field, err)
	}
	if part.read {
		m.machine.SetComputed(field, v)
	}
	return v
}
