package expression

import (
	"fmt"

	"github.com/expr-lang/expr/ast"

	"github.com/secure60/s60-m365-connector/engine/rawjson"
)

// This file compiles words(…), of which messages are made: its arguments are
// written behind each other, where they are texts put together or chosen by a
// condition without making a text of each first.

// writer appends the text of a node to the machine's draft.
type writer func(m *Machine) wrote

// wrote is what a writer met.
type wrote uint8

const (
	wroteNil wrote = iota
	wroteText
	wroteSafe // text that JSON writes as it stands
	wroteBad  // what is no text; Machine.bad says what
)

// words compiles words(…).
func (c *compiler) words(arguments []ast.Node) eval {
	write := c.sentence(arguments)
	return func(m *Machine) Value {
		start := len(m.draft)
		what := write(m)
		from := len(m.arena)
		if !m.room(len(m.draft) - start) {
			m.draft = m.draft[:start]
			return m.fail(fmt.Errorf("words: %w", errTooLong))
		}
		m.arena = append(m.arena, m.draft[start:]...)
		m.draft = m.draft[:start]
		return Value{kind: textKind, text: view(m.arena[from:]), safe: what == wroteSafe}
	}
}

// sentence writes what says something, with a space between.
func (c *compiler) sentence(arguments []ast.Node) writer {
	var writers []writer
	for _, n := range arguments {
		write := c.writer(n)
		if v, ok := c.value(n); !ok || v.kind != nilKind {
			writers = append(writers, write)
		}
	}
	return func(m *Machine) wrote {
		start, all := len(m.draft), wroteSafe
		for _, write := range writers {
			end := len(m.draft)
			if end > start {
				m.draft = append(m.draft, ' ')
			}
			from := len(m.draft)
			what := write(m)
			if what == wroteBad {
				m.fail(fmt.Errorf("words: a %s is not text", m.bad))
				m.draft = m.draft[:start]
				return wroteNil
			}
			if len(m.draft) == from {
				m.draft = m.draft[:end]
			} else if what != wroteSafe {
				all = wroteText
			}
		}
		return all
	}
}

// writer compiles a node to what writes its text.
func (c *compiler) writer(n ast.Node) writer {
	if c.settling != nil {
		return c.settleWriter(n)
	}
	return c.phrase(n)
}

func (c *compiler) phrase(n ast.Node) writer {
	if v, ok := c.constant(n); ok {
		if s, isText := v.(string); isText {
			what := wroteText
			if rawjson.IsPlain(s) {
				what = wroteSafe
			}
			return func(m *Machine) wrote {
				m.draft = append(m.draft, s...)
				return what
			}
		}
		if v == nil {
			return func(*Machine) wrote { return wroteNil }
		}
	}
	switch n := n.(type) {
	case *ast.ChainNode:
		return c.writer(n.Node)
	case *ast.ConditionalNode:
		holds := c.cond(n.Cond)
		if answer, ok := c.answer(n.Cond); ok {
			return c.writer(chosen(n, answer))
		}
		yes, no := c.writer(n.Exp1), c.writer(n.Exp2)
		return func(m *Machine) wrote {
			if holds(m) {
				return yes(m)
			}
			return no(m)
		}
	case *ast.BinaryNode:
		switch {
		case n.Operator == "??":
			left := c.writer(n.Left)
			switch c.decides(n) {
			case n.Right:
				return c.writer(n.Right)
			case n.Left:
				return left
			}
			right := c.writer(n.Right)
			return func(m *Machine) wrote {
				if what := left(m); what != wroteNil {
					return what
				}
				return right(m)
			}
		case c.joins(n):
			return c.join(n)
		}
	case *ast.CallNode:
		if n.Callee.String() == "words" && c.unit.same.uses(n) < 2 && c.loops == 0 {
			return c.sentence(n.Arguments)
		}
	}
	v := c.eval(n)
	return func(m *Machine) wrote {
		v := v(m)
		if v.kind == nilKind {
			return wroteNil
		}
		text, safe, ok := m.text(v)
		if !ok {
			m.bad = v.name()
			return wroteBad
		}
		if len(m.draft)-m.run.draft+len(text) > MaxText {
			m.fail(errTooLong)
			return wroteNil
		}
		m.draft = append(m.draft, text...)
		if safe {
			return wroteSafe
		}
		return wroteText
	}
}

// joins says that a node adds to a text, so that it gives a text or nil.
func (c *compiler) joins(n ast.Node) bool {
	b, ok := n.(*ast.BinaryNode)
	return ok && b.Operator == "+" && (c.isText(b.Left) || c.isText(b.Right) || c.joins(b.Left))
}

func (c *compiler) isText(n ast.Node) bool {
	v, _ := c.constant(n)
	_, ok := v.(string)
	return ok
}

// join writes a + b, one of which is a text: nothing if the other is nil.
func (c *compiler) join(n *ast.BinaryNode) writer {
	left, right := c.writer(n.Left), c.writer(n.Right)
	return func(m *Machine) wrote {
		start := len(m.draft)
		a := left(m)
		first := m.bad
		b := right(m) // also where the first is nil: it may fail
		switch {
		case a == wroteNil || b == wroteNil:
			m.draft = m.draft[:start]
			return wroteNil
		case a == wroteBad:
			m.fail(fmt.Errorf("a %s and a text cannot be added", first))
		case b == wroteBad:
			m.fail(fmt.Errorf("a text and a %s cannot be added", m.bad))
		}
		return min(a, b)
	}
}
