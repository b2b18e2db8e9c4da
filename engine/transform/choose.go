package transform

import (
	"math/bits"
	"slices"
)

// This file finds the rules that apply to a record. A mapping of many families
// of records has many conditions, most of which ask for values of the same few
// fields: event_Kind == "a", string(event_Kind) in ["b", "c"]. One search by
// the value of such a field rules out all the conditions that ask for others;
// the conditions that remain are evaluated as they stand.

// selector rules out steps by the value of one field of the record.
type selector struct {
	slot int
	rows map[string]set // by text of the value: the steps that it leaves
	none set            // the steps left by any other value, and by nil
}

// set is a set of steps, those of Mapping.steps before those of Mapping.late.
type set []uint64

func (s set) add(i int)    { s[i/64] |= 1 << (i % 64) }
func (s set) remove(i int) { s[i/64] &^= 1 << (i % 64) }

// leastAsking is how many steps must ask for a field to make a selector worth
// its search.
const leastAsking = 4

// selectors finds what fields conditions ask for.
func selectors(steps []step) (list []selector, everything set) {
	type question struct {
		step int
		want []string
	}
	asked := make(map[int][]question)
	var slots []int
	everything = make(set, (len(steps)+63)/64)
	for i, s := range steps {
		everything.add(i)
		for _, when := range s.all {
			for _, q := range when.program.Questions() {
				if asked[q.Slot] == nil {
					slots = append(slots, q.Slot)
				}
				asked[q.Slot] = append(asked[q.Slot], question{i, q.Texts})
			}
		}
	}
	for _, slot := range slots {
		questions := asked[slot]
		if len(questions) < leastAsking {
			continue
		}
		s := selector{slot: slot, rows: make(map[string]set), none: slices.Clone(everything)}
		for _, q := range questions {
			s.none.remove(q.step)
			for _, text := range q.want {
				s.rows[text] = nil
			}
		}
		for text := range s.rows {
			row := slices.Clone(everything)
			for _, q := range questions {
				if !slices.Contains(q.want, text) {
					row.remove(q.step)
				}
			}
			s.rows[text] = row
		}
		list = append(list, s)
	}
	return list, everything
}

// left finds the steps that the selectors leave.
func (m *Mapper) left() {
	copy(m.open, m.m.everything)
	for i := range m.m.selectors {
		s := &m.m.selectors[i]
		row := s.none
		v := m.machine.Field(s.slot)
		if v.Fraction() {
			continue // 15.0 equals 15 but reads otherwise
		}
		if text, ok := m.machine.Text(v); ok {
			if found, ok := s.rows[text]; ok {
				row = found
			}
		}
		for w := range m.open {
			m.open[w] &= row[w]
		}
	}
}

// choose finds the rule that applies for each field, without a plan.
func (m *Mapper) choose() {
	copy(m.winner, m.m.base)
	m.left()
	steps, late := m.m.steps, m.m.late
	next := 0
	for w := range m.open {
		for word := m.open[w]; word != 0; word &= word - 1 {
			i := w*64 + bits.TrailingZeros64(word)
			switch {
			case i < next: // within a group that does not apply
			case i < len(steps):
				if s := &steps[i]; !m.apply(s) {
					next = i + 1 + s.skip
				}
			default:
				m.apply(&late[i-len(steps)])
			}
		}
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

// win makes rules apply, each unless a later one does.
func (m *Mapper) win(rules []int32) {
	for _, r := range rules {
		if field := m.m.targets[r]; r > m.winner[field] {
			m.winner[field] = r
		}
	}
}
