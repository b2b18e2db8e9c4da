package expression

import (
	"github.com/expr-lang/expr/ast"
)

// This file keeps what a call gave, for the other places of the unit where the same call stands, until the next record.

// memo makes that what stands in the unit several times, or in a loop without
// reading its element, is computed once for a record.
func (c *compiler) memo(n ast.Node, e eval) eval {
	i, ok := c.memoOf(n)
	if !ok {
		return e
	}
	return func(m *Machine) Value {
		if memo := &m.memos[i]; memo.record == m.record {
			return memo.Value
		}
		v := e(m)
		if m.run.failure == nil { // a failure must show in each expression that meets it
			m.memos[i] = slot{m.record, v}
		}
		return v
	}
}

// memoCond is memo for a condition.
func (c *compiler) memoCond(n ast.Node, holds cond) cond {
	i, ok := c.memoOf(n)
	if !ok {
		return holds
	}
	return func(m *Machine) bool {
		if memo := &m.memos[i]; memo.record == m.record {
			return memo.bits != 0
		}
		answer := holds(m)
		if m.run.failure == nil {
			m.memos[i] = slot{m.record, boolean(answer)}
		}
		return answer
	}
}

// memoOf is where the machine keeps what a node gave; ok is false if that does not
// pay, or may not be kept.
func (c *compiler) memoOf(n ast.Node) (i int, ok bool) {
	if c.unit.same.uses(n) < 2 && c.loops == 0 || c.readsScope(n) {
		return 0, false
	}
	number := c.unit.same.numbers[n]
	i, ok = c.unit.memos[number]
	if c.settling != nil {
		return i, ok && (c.use(number) || c.loops > 0)
	}
	if !ok {
		i = len(c.unit.memos)
		c.unit.memos[number] = i
	}
	return i, true
}

// readsScope says whether a node depends on a variable of let or a loop.
func (c *compiler) readsScope(n ast.Node) bool {
	if len(c.scope) == 0 {
		return false
	}
	r := scopeReader{compiler: c}
	ast.Walk(&n, &r)
	return r.reads
}

type scopeReader struct {
	*compiler
	reads bool
}

func (r *scopeReader) Visit(n *ast.Node) {
	switch n := (*n).(type) {
	case *ast.PointerNode:
		r.reads = true // a loop of its own within n hides its element: computed each time, which is right too
	case *ast.IdentifierNode:
		_, declared := r.lookup(n.Value)
		r.reads = r.reads || declared
	}
}
