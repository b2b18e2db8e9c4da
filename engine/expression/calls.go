package expression

import (
	"fmt"

	"github.com/expr-lang/expr/ast"
)

// This file compiles what looks something up and what calls a function.

// member is a lookup. In a table it is one search of a Go map.
func (c *compiler) member(n *ast.MemberNode) eval {
	key := c.eval(n.Property)
	if rows := c.rows(n.Node); rows != nil {
		if i := c.field(n.Property); i >= 0 {
			return func(m *Machine) Value {
				if text, ok := m.fieldText(i); ok {
					return rows[text]
				}
				return Value{}
			}
		}
		return func(m *Machine) Value {
			if text, _, ok := m.text(key(m)); ok {
				return rows[text]
			}
			return Value{}
		}
	}
	of := c.eval(n.Node)
	return func(m *Machine) Value {
		v := of(m)
		return m.member(v, key(m))
	}
}

func (c *compiler) slice(n *ast.SliceNode) eval {
	of := c.eval(n.Node)
	bound := func(n ast.Node) eval {
		if n == nil {
			return func(*Machine) Value { return unbounded }
		}
		return c.eval(n)
	}
	from, to := bound(n.From), bound(n.To)
	return func(m *Machine) Value {
		v, a := of(m), from(m)
		out, err := m.slice(v, a, to(m))
		if err != nil {
			return m.fail(err)
		}
		return out
	}
}

// call compiles a call: nil among the arguments makes the result nil, unless the
// function takes nil.
func (c *compiler) call(n *ast.CallNode) eval {
	name := n.Callee.(*ast.IdentifierNode).Value
	f := functions[name]
	args := c.evals(n.Arguments)
	if f.one != nil && len(args) == 1 {
		arg, one := args[0], f.one
		if i := c.field(n.Arguments[0]); i >= 0 {
			return func(m *Machine) Value {
				v := m.field(i)
				if v.kind == nilKind {
					return v
				}
				v, err := one(m, v)
				if err != nil {
					return m.fail(fmt.Errorf("%s: %w", name, err))
				}
				return v
			}
		}
		return func(m *Machine) Value {
			v := arg(m)
			if v.kind == nilKind {
				return v
			}
			v, err := one(m, v)
			if err != nil {
				return m.fail(fmt.Errorf("%s: %w", name, err))
			}
			return v
		}
	}
	early := !f.takesNil && len(args) > 1 // a first argument that is nil decides: the others are constants
	for i := 1; i < len(args); i++ {
		v, ok := c.constant(n.Arguments[i])
		early = early && ok && v != nil
	}
	return func(m *Machine) Value {
		start, absent := len(m.stack), false
		for i, arg := range args {
			v := arg(m)
			if v.kind == nilKind {
				if early && i == 0 {
					return v
				}
				absent = true
			}
			m.stack = append(m.stack, v)
		}
		var v Value
		var err error
		if !absent || f.takesNil {
			v, err = f.call(m, m.stack[start:])
		}
		m.stack = m.stack[:start]
		if err != nil {
			return m.fail(fmt.Errorf("%s: %w", name, err))
		}
		return v
	}
}
