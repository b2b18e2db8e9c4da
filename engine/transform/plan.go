package transform

import (
	"github.com/secure60/s60-m365-connector/engine/expression"
)

// This file plans how records of one kind are mapped. What conditions ask for
// most (choose.go), event_RecordType and event_Operation for example, tells
// kinds of records, of which a tenant's log has a few hundred. For a kind, most
// conditions always hold or never do, and many fields are always the same or
// always absent: they are computed once, when the first record of the kind is
// met. What depends on more than the kind is left to each record.

// leastTelling is how many steps must compare a field with constants to make it
// one that tells kinds of records.
const leastTelling = 4

// telling are the fields that tell kinds of records.
func telling(steps []step) (slots []int) {
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
	return slots
}

// plan is what is known of a kind of record.
type plan struct {
	winner []int32 // by field: the rule that applies unless a step says otherwise, or -1
	steps  []step  // what has to be asked of each record, with the rules that may win
	parts  []part  // of the event, behind the fields of the record
	known  []int16 // by field: where its value stands in values, from 1; 0 if it is not known
	values []expression.Value
	steady []bool // by field of few values: it has the same in all records
	judged bool   // those that are steady were judged
}

// part is a part of an event: fields that are the same in all events of the
// kind, then one that is computed.
type part struct {
	text  string
	need  expression.Word // without these the field is absent
	field int16           // or -1
	slot  int32           // of the field of the record that it is, or -1
}

const (
	maxPlans  = 512
	maxKind   = 256 // bytes of what tells a kind
	leastUses = 32  // of a plan, in the mean: else there are none
)

// planner holds the plans of a mapper.
type planner struct {
	plans   map[string]*plan
	before  *plan
	lastKey []byte
	key     []byte // scratch
	records int    // since the plans were begun
	off     bool
}

// planned is the plan for the record in hand; nil if kinds are not worth one.
func (m *Mapper) planned() *plan {
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
	found := p.plans[string(p.key)]
	if found == nil {
		if len(p.plans) >= maxPlans {
			if p.records < maxPlans*leastUses {
				p.off, p.plans, p.before = true, nil, nil
				return nil
			}
			p.plans, p.records = nil, 0
		}
		if p.plans == nil {
			p.plans = make(map[string]*plan)
		}
		found = m.newPlan()
		p.plans[string(p.key)] = found
	}
	p.before, p.lastKey = found, append(p.lastKey[:0], p.key...)
	return found
}

// follow finds the rules that apply by a plan.
func (m *Mapper) follow(p *plan) {
	copy(m.winner, p.winner)
	for i := 0; i < len(p.steps); i++ {
		if s := &p.steps[i]; !m.apply(s) {
			i += s.skip
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
			if part.slot >= 0 {
				dst = m.machine.AppendField(dst, m.keys[part.field], int(part.slot))
			} else {
				dst = m.appendField(dst, int(part.field))
			}
		}
	}
	return dst
}
