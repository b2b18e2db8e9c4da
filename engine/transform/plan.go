package transform

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/secure60/s60-m365-connector/engine/expression"
)

// This file plans how records of one kind are mapped. What conditions ask for
// most, event_RecordType and event_Operation for example, tells
// kinds of records, of which a tenant's log has a few hundred. For a kind, most
// conditions always hold or never do, and many fields are always the same or
// always absent: they are computed once, when the first record of the kind is
// met. What depends on more than the kind is left to each record. A plan is as
// short as can be: with hundreds of kinds in turn, which no cache holds, mapping
// is as slow as there are bytes to be read of it.

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
	*planned
	last    *plan // the special one that fitted last
	recalls map[*plan]*recall
	misses  int  // records that no special plan fitted
	counted int  // of planner.records, when as many as it takes for the next were begun to be counted
	judged  bool // the fields of few values that are steady were judged
}

// planned is what all mappers know of a kind of record.
type planned struct {
	plan    *plan
	steady  []bool                  // by field of few values: it has the same in all records
	special atomic.Pointer[[]*plan] // never changed, but replaced
}

// planning is what the mappers of a mapping plan together: each would have as much of its own to keep.
type planning struct {
	mutex   sync.Mutex
	kinds   map[string]*planned
	special int // plans
}

// plan is how records of a kind are mapped.
type plan struct {
	winner []int16 // by field: the rule that applies unless a step says otherwise, noRule, or, below that, the place of its value
	steps  []turn  // what has to be asked of each record
	when   []*compiled
	rules  []int16 // that may win
	parts  []part  // of the event, behind the fields of the record
	text   string  // of the parts
	values []expression.Value

	// Of a special plan (special.go), which is for the records of the kind that have some fields and lack others:
	programs []*expression.Program // by field: that of the rule that applies
	asked    expression.Presence   // the fields that matter
	present  expression.Presence   // those that the records have
	alone    []int                 // fields of the record on which alone some parts depend
	asking   int                   // of them: that on which all the steps depend, -1: none
}

// turn is a step of a plan. Its conditions and rules stand in the plan's, behind those of the turn before.
type turn struct{ when, rules, skip int32 }

// part is a part of an event: fields that are the same in all events of the
// kind, then one that is computed.
type part struct {
	end    int32 // of its text in the plan's, which begins where that of the part before ends
	slot   int32 // of the field of the record that it is, or -1
	field  int16
	of     int16 // of plan.alone: the field on which alone it depends, -1: none
	may    bool  // it is absent where no rule gives it
	read   bool  // another expression reads it
	steady bool  // no step may give it another rule
	firm   bool  // nor any field that it reads
}

// noRule is a winner where none applies. Those below it are values of the plan.
const noRule = -1

// value is that for which a winner below noRule stands.
func (p *plan) value(winner int16) expression.Value { return p.values[noRule-1-winner] }

// ask makes steps the plan's.
func (p *plan) ask(steps []step) {
	p.steps = make([]turn, len(steps))
	for i, s := range steps {
		p.when, p.rules = append(p.when, s.when...), append(p.rules, s.rules...)
		p.steps[i] = turn{int32(len(p.when)), int32(len(p.rules)), int32(s.skip)}
	}
	p.when, p.rules = slices.Clip(p.when), slices.Clip(p.rules)
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
	planning *planning
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
		found = &kind{planned: m.planned()}
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
	var before turn
	for i := 0; i < len(p.steps); i++ {
		s := p.steps[i]
		if !m.hold(p.when[before.when:s.when]) {
			i += int(s.skip)
		} else if rules := p.rules[before.rules:s.rules]; len(rules) > 0 {
			m.win(rules)
			touched = true
		}
		before = p.steps[i]
	}
	if m.recall != nil {
		m.recall.end(p, touched || len(m.failed) > 0)
	}
}

// hold says whether all conditions of a step hold.
func (m *Mapper) hold(all []*compiled) bool {
	for _, when := range all {
		if holds, err := when.program.Holds(m.machine); !holds {
			m.failedCondition(when, err)
			return false
		}
	}
	return true
}

// win makes rules apply, each unless a later one does. Until one does, winner is the plan's.
func (m *Mapper) win(rules []int16) {
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
	start := int32(0)
	for i := range p.parts {
		part := &p.parts[i]
		if start < part.end {
			dst = append(dst, p.text[start:part.end]...)
			start = part.end
		}
		if part.may && m.winner[part.field] == noRule {
			continue
		}
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
	return append(dst, p.text[start:]...)
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
