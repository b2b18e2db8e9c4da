package transform

import (
	"crypto/sha256"
	"encoding/binary"
	"math"

	"github.com/secure60/s60-m365-connector/engine/definition"
)

// filter is a rule that holds events back: all, or all but a share.
type filter struct {
	rule Rule
	when []*compiled // all must hold
	keep float64
}

// Rule is a drop or a sample of a mapping.
type Rule struct {
	As   string
	When definition.Text
}

// holds says whether the conditions of a filter hold for the event in hand. One
// that fails does not: what cannot be told is delivered.
func (m *Mapper) holds(f *filter) bool {
	for _, when := range f.when {
		if holds, err := when.program.Holds(m.machine); !holds {
			m.failedCondition(when, err)
			return false
		}
	}
	return true
}

// filter finds the rules that hold for the event in hand.
func (m *Mapper) filter() {
	m.filters = m.filters[:0]
	for _, list := range [][]filter{m.m.drops, m.m.samples} {
		for i := range list {
			if m.holds(&list[i]) {
				m.filters = append(m.filters, &list[i])
			}
		}
	}
}

// Filtered is the rule by which the event that Append gave last is to be held back, nil
// for none. key is the record's own: of a sample, the same record always
// falls the same way.
func (m *Mapper) Filtered(key []byte) *Rule {
	if len(m.filters) == 0 {
		return nil
	}
	sum := sha256.Sum256(key)
	share := float64(binary.BigEndian.Uint64(sum[:])) / math.MaxUint64
	for _, f := range m.filters {
		if f.keep == 0 || f.keep < 1 && share >= f.keep {
			return &f.rule
		}
	}
	return nil
}

// Holding are the rules that hold for the event that Append gave last, whatever its key.
func (m *Mapper) Holding() (rules []Rule) {
	for _, f := range m.filters {
		rules = append(rules, f.rule)
	}
	return rules
}

// Filters are the rules that hold events back, in their order.
func (m *Mapping) Filters() (rules []Rule) {
	for _, list := range [][]filter{m.drops, m.samples} {
		for _, f := range list {
			rules = append(rules, f.rule)
		}
	}
	return rules
}
