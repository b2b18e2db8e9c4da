package transform

import (
	"math/bits"
	"slices"

	"github.com/expr-lang/expr/ast"

	"github.com/secure60/s60-m365-connector/engine/expression"
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

func (s set) add(i int) { s[i/64] |= 1 << (i % 64) }

// leastAsking is how many steps must ask for a field to make a selector worth
// its search.
const leastAsking = 4

// selectors finds what fields conditions ask for.
func (c *compiler) selectors(k *closures) {
	m := c.m
	steps := slices.Concat(m.steps, m.late)
	words := (len(steps) + 63) / 64
	type question struct {
		step int
		want []string
	}
	asked := make(map[int][]question)
	for i, s := range steps {
		for _, when := range s.all {
			for _, conjunct := range conjuncts(when.program.Syntax()) {
				if slot, want, ok := k.asks(conjunct); ok {
					asked[slot] = append(asked[slot], question{i, want})
				}
			}
		}
	}
	m.everything = make(set, words)
	for i := range steps {
		m.everything.add(i)
	}
	for slot := range len(m.slotOf) {
		questions := asked[slot]
		if len(questions) < leastAsking {
			continue
		}
		s := selector{slot: slot, rows: make(map[string]set), none: slices.Clone(m.everything)}
		for _, q := range questions {
			s.none[q.step/64] &^= 1 << (q.step % 64)
			for _, text := range q.want {
				s.rows[text] = nil
			}
		}
		for text := range s.rows {
			row := slices.Clone(m.everything)
			for _, q := range questions {
				if !slices.Contains(q.want, text) {
					row[q.step/64] &^= 1 << (q.step % 64)
				}
			}
			s.rows[text] = row
		}
		m.selectors = append(m.selectors, s)
	}
}

// conjuncts are the parts of a condition that must all hold.
func conjuncts(n ast.Node) []ast.Node {
	if b, ok := n.(*ast.BinaryNode); ok && (b.Operator == "and" || b.Operator == "&&") {
		return append(conjuncts(b.Left), conjuncts(b.Right)...)
	}
	return []ast.Node{n}
}

// asks recognizes a condition that can hold only if a field of the record has
// one of a few values, and gives their texts.
func (k *closures) asks(n ast.Node) (slot int, want []string, ok bool) {
	b, ok := n.(*ast.BinaryNode)
	if !ok || b.Operator != "==" && b.Operator != "in" {
		return 0, nil, false
	}
	field := b.Left
	if call, ok := field.(*ast.CallNode); ok && len(call.Arguments) == 1 && call.Callee.String() == "string" {
		field = call.Arguments[0]
	}
	slot, isSlot := k.slotOfNode(field)
	of, isConstant := k.constant(b.Right)
	if !isSlot || !isConstant {
		return 0, nil, false
	}
	list := []any{of}
	if b.Operator == "in" {
		if list, ok = of.([]any); !ok {
			return 0, nil, false
		}
	}
	for _, v := range list {
		switch v.(type) {
		case string, int:
			text, _ := expression.Text(v)
			want = append(want, text)
		default:
			return 0, nil, false
		}
	}
	return slot, want, true
}

// choose finds the rule that applies for each field.
func (m *Mapper) choose() {
	copy(m.winner, m.m.base)
	copy(m.open, m.m.everything)
	for i := range m.m.selectors {
		s := &m.m.selectors[i]
		row := s.none
		v := m.slotValue(s.slot)
		if v.kind == numberKind {
			if _, whole := v.integer(); !whole {
				continue // 15.0 equals 15 but reads otherwise
			}
		}
		if text, _, ok := m.textOf(v); ok {
			if found, ok := s.rows[text]; ok {
				row = found
			}
		}
		for w := range m.open {
			m.open[w] &= row[w]
		}
	}
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
		if !when.cond(m) || m.failure != nil {
			m.failedCondition(when)
			return false
		}
	}
	for _, r := range s.rules {
		if field := m.m.fieldOfRule[r]; r > m.winner[field] {
			m.winner[field] = r
		}
	}
	return true
}
