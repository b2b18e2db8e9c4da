package expression

import (
	"slices"

	"github.com/expr-lang/expr/ast"
)

// This file compiles an expression anew for records of which more is known than
// that they are records: the values of some names, and which fields are absent.
// It is the compiler of compile.go that does it. What turns out to read nothing
// that differs from record to record is evaluated once, on one of them, and what
// must be nil or false without the absent fields (guess.go) is not compiled at all.

// Facts are what is the same in all records of a kind, told of one of them,
// which the machine holds.
type Facts struct {
	Machine *Machine
	// Known is the value of a name, where it is the same in all of them.
	Known func(slot int) (Value, bool)
	// Asked are the fields of the record on whose presence, or absence, what was compiled
	// relies: others may be there or not.
	Asked Presence
	// Read says of each computed name whether what was compiled reads it.
	Read []bool

	uses, before map[int32]int // of nodes, by their numbers: in what is being compiled, and was the time before
}

// Presence is a set of fields of the record.
type Presence []uint64

// Present are the fields that the machine's record has.
func (m *Machine) Present() Presence { return m.present }

// Same says whether the fields of a set are, or are not, in two others alike.
func (p Presence) Same(a, b Presence) bool {
	for i, word := range p {
		if (a[i]^b[i])&word != 0 {
			return false
		}
	}
	return true
}

// NewFacts begins what is known of records like the one that the machine holds.
func (m *Machine) NewFacts(known func(slot int) (Value, bool)) *Facts {
	return &Facts{
		Machine: m,
		Known:   known,
		Asked:   make(Presence, len(m.present)),
		Read:    make([]bool, len(m.unit.options.Computed)),
		uses:    make(map[int32]int),
	}
}

// Again begins to compile the same once more, when it is known what stands in it several times.
func (f *Facts) Again(known func(slot int) (Value, bool)) {
	f.Known, f.before, f.uses = known, f.uses, make(map[int32]int)
}

// use says whether a node stands in what is compiled several times, as far as that is known.
func (f *Facts) use(number int32) bool {
	f.uses[number]++
	return f.before == nil || f.before[number] > 1
}

// has says whether the records have a field.
func (f *Facts) has(slot int) bool {
	f.Asked[slot/64] |= 1 << (slot % 64)
	return f.Machine.present[slot/64]&(1<<(slot%64)) != 0
}

// settling is what a compiler finds out of one expression by facts.
type settling struct {
	*Facts
	open    bool // what is compiled reads what may differ from record to record
	reads   []int
	lost    bool // what the unit does not have was asked for: there is no such program
	values  map[ast.Node]Value
	answers map[ast.Node]bool
}

// maxSettled is how long a text may be that is kept for a kind of record.
const maxSettled = 4096

// Special is the expression for the records of the facts.
func (p *Program) Special(f *Facts) *Program {
	c := compiler{unit: p.unit, settling: &settling{Facts: f, values: make(map[ast.Node]Value), answers: make(map[ast.Node]bool)}}
	s := &Program{source: p.source, syntax: p.syntax, names: p.names, unit: p.unit, pure: p.pure, field: notField}
	s.eval, s.cond = c.both(p.syntax)
	if c.lost {
		for _, name := range p.names {
			if i := p.unit.slots[name.Name]; i < len(f.Read) {
				f.Read[i] = true
			}
		}
		return p
	}
	holds, answered := c.answers[p.syntax]
	v, settled := c.values[p.syntax]
	switch {
	case answered:
		s.field, s.fixed = isFixed, boolean(holds)
	case settled:
		s.field, s.fixed = isFixed, v
	default:
		s.field = c.plain(p.syntax)
	}
	g := (&guesser{compiler: &c}).holds(p.syntax)
	s.sure = !g.fails
	if s.pure {
		slices.Sort(c.reads)
		s.reads = slices.Compact(append([]int{}, c.reads...))
	}
	return s
}

// Fixed is the value of an expression that is the same for all records.
func (p *Program) Fixed() (Value, bool) { return p.fixed, p.field == isFixed }

// plain is the field that a node is and nothing else, or notField.
func (c *compiler) plain(n ast.Node) int {
	switch n := n.(type) {
	case *ast.ConditionalNode:
		if holds, ok := c.answer(n.Cond); ok {
			return c.plain(chosen(n, holds))
		}
	case *ast.BinaryNode:
		if n.Operator != "??" {
			break
		}
		if v, ok := c.value(n.Left); ok && v.kind == nilKind {
			return c.plain(n.Right)
		}
		if c.certain(n.Left) {
			return c.plain(n.Left)
		}
	}
	return c.field(n)
}

// Reads are the names on which a special expression depends, by their slots; nil if that is not known.
func (p *Program) Reads() []int { return p.reads }

// begin begins a node, and end ends it: whether it is open is its own affair, and
// that of what it is part of.
func (c *compiler) begin() (outer bool) {
	outer, c.open = c.open, false
	return outer
}

func (c *compiler) end(outer, settled bool) {
	c.open = outer || !settled
}

// settle compiles a node, which may turn out to be the same for all the records.
func (c *compiler) settle(n ast.Node) eval {
	outer := c.begin()
	e := c.build(n)
	v, ok := c.run(e)
	if !ok {
		g := (&guesser{compiler: c}).value(n)
		ok = g.is == isNil && !g.fails
	}
	c.end(outer, ok)
	if !ok {
		return e
	}
	c.values[n] = v
	return func(*Machine) Value { return v }
}

// run evaluates what reads nothing that differs; ok is false for what does, fails, or
// cannot be kept.
func (c *compiler) run(e eval) (v Value, ok bool) {
	if c.open || c.lost {
		return v, false
	}
	m := c.Machine
	m.start()
	v = e(m)
	if m.run.failure != nil || len(v.text) > maxSettled {
		return Value{}, false
	}
	return v.Kept()
}

// settleCond is settle for a condition.
func (c *compiler) settleCond(n ast.Node) cond {
	outer := c.begin()
	holds := c.test(n)
	v, ok := c.run(func(m *Machine) Value { return boolean(holds(m)) })
	answer := v.bits != 0
	if !ok {
		g := (&guesser{compiler: c}).holds(n)
		answer, ok = g.is == isTrue, (g.is == isTrue || g.is == isFalse) && !g.fails
	}
	c.end(outer, ok)
	if !ok {
		return holds
	}
	c.answers[n] = answer
	return func(*Machine) bool { return answer }
}

// value is what a node was found to be for all the records.
func (c *compiler) value(n ast.Node) (v Value, ok bool) {
	if c.settling != nil {
		v, ok = c.values[n]
	}
	return v, ok
}

// answer is what a condition was found to be for all the records.
func (c *compiler) answer(n ast.Node) (holds, ok bool) {
	if c.settling != nil {
		holds, ok = c.answers[n]
	}
	return holds, ok
}

// decides is the side of a ?? that alone is its value, once its left side was compiled; nil where that
// differs from record to record.
func (c *compiler) decides(n *ast.BinaryNode) ast.Node {
	switch v, ok := c.value(n.Left); {
	case ok && v.kind == nilKind:
		return n.Right
	case ok || c.certain(n.Left):
		return n.Left
	}
	return nil
}

// certain says that a node is never nil.
func (c *compiler) certain(n ast.Node) bool {
	if c.settling == nil {
		return false
	}
	if call, ok := n.(*ast.CallNode); ok && len(call.Arguments) == 1 {
		switch call.Callee.String() {
		case "lower", "upper", "trim", "string":
			return c.certain(call.Arguments[0])
		}
	}
	slot := c.field(n)
	return slot >= 0 && c.has(slot)
}

// settledName compiles a name that is known, or absent; ok is false for others.
func (c *compiler) settledName(slot int) (v Value, ok bool) {
	if v, ok = c.Known(slot); ok {
		return v, true
	}
	if slot < len(c.Read) {
		c.Read[slot] = true
	} else if !c.has(slot) {
		return v, true
	}
	c.reads = append(c.reads, slot)
	return v, false
}
