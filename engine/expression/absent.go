package expression

import (
	"slices"
	"sort"
)

// This file finds out what an expression is where fields of the record are
// absent. Most records lack most fields that a mapping reads, and an expression
// that is nil, or a condition that does not hold, without them need not be
// evaluated: see [Program.Needs].

// Needs are fields of the record of which at least one must be there; empty if
// nothing is known.
type Needs []Word

// Word is a part of a set of fields, those of which the bits say that they are
// in it.
type Word struct {
	bits  uint64
	index int
}

// Word is the set as one word; it is empty where that cannot hold it.
func (n Needs) Word() Word {
	if len(n) == 1 {
		return n[0]
	}
	return Word{}
}

// Lacks says that the record has none of the fields of a word that is not empty.
func (m *Machine) Lacks(w Word) bool { return w.bits != 0 && m.present[w.index]&w.bits == 0 }

// Lacking says that the record has none of the fields.
func (n Needs) Lacking(m *Machine) bool {
	for _, w := range n {
		if !m.Lacks(w) {
			return false
		}
	}
	return len(n) > 0
}

// Needs are the fields of the record without which the expression is nil.
func (p *Program) Needs() Needs { return p.gives }

// Sure says that the expression, as a condition, fails on no record.
func (p *Program) Sure() bool {
	c := compiler{unit: p.unit}
	a := &absence{compiler: &c}
	return p.sure || !a.holds(p.syntax).fails
}

// absence guesses, some fields of the record being absent.
type absence struct {
	*compiler
	absent map[int]bool
	known  []bound // of let
}

type bound struct {
	name string
	guess
}

// need finds the fewest fields without which guess gives what is wanted.
func (c *compiler) need(names []Name, guess func(*absence) guess, wanted guessed) Needs {
	a := &absence{compiler: c, absent: make(map[int]bool)}
	var slots []int
	for _, name := range names {
		if i, ok := c.unit.slots[name.Name]; ok && i >= len(c.unit.options.Computed) && !a.absent[i] {
			a.absent[i] = true
			slots = append(slots, i)
		}
	}
	holds := func() bool {
		g := guess(a)
		return g.is == wanted && !g.fails
	}
	if len(slots) == 0 || !holds() {
		return nil
	}
	// What many expressions read is what most records have.
	sort.SliceStable(slots, func(i, j int) bool { return c.unit.reads[slots[i]] > c.unit.reads[slots[j]] })
	for _, i := range slots {
		if a.absent[i] = false; !holds() {
			a.absent[i] = true
		}
	}
	var out Needs
	for _, i := range slots {
		if a.absent[i] {
			out = out.With(Needs{{1 << (i % 64), i / 64}})
		}
	}
	return out
}

// With are the fields of both.
func (n Needs) With(others Needs) Needs {
	n = slices.Clone(n)
	for _, other := range others {
		at := slices.IndexFunc(n, func(w Word) bool { return w.index == other.index })
		if at < 0 {
			n = append(n, other)
		} else {
			n[at].bits |= other.bits
		}
	}
	return n
}
