package expression

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"
)

// This file compiles expressions that answer a question: comparisons, searches
// and what and, or and not make of them.

// cond compiles a node as a condition.
func (c *compiler) cond(n ast.Node) cond {
	if c.settling != nil {
		return c.settleCond(n)
	}
	return c.test(n)
}

func (c *compiler) test(n ast.Node) cond {
	switch n := n.(type) {
	case *ast.BoolNode:
		holds := n.Value
		return func(*Machine) bool { return holds }
	case *ast.UnaryNode:
		if n.Operator == "not" || n.Operator == "!" {
			holds := c.cond(n.Node)
			return func(m *Machine) bool { return !holds(m) }
		}
	case *ast.BinaryNode:
		if holds := c.comparison(n); holds != nil {
			return holds
		}
	}
	v := c.eval(n)
	return func(m *Machine) bool { return m.truth(v(m)) }
}

// truth is a value as a condition.
func (m *Machine) truth(v Value) bool {
	switch v.kind {
	case boolKind:
		return v.bits != 0
	case nilKind:
		return false
	}
	m.fail(fmt.Errorf("a %s is neither true nor false", v.name()))
	return false
}

// comparison compiles an operator whose result is true or false; nil for others.
func (c *compiler) comparison(n *ast.BinaryNode) cond {
	switch n.Operator {
	case "and", "&&":
		return c.junction(n, true, func(left, right cond) cond {
			return func(m *Machine) bool { return left(m) && right(m) }
		})
	case "or", "||":
		return c.junction(n, false, func(left, right cond) cond {
			return func(m *Machine) bool { return left(m) || right(m) }
		})
	case "==":
		return c.equality(n)
	case "!=":
		equal := c.equality(n)
		return func(m *Machine) bool { return !equal(m) }
	case "in":
		return c.in(n)
	case "matches":
		return c.memoCond(n, c.matches(n))
	case "<":
		return c.order(n, func(order int) bool { return order < 0 })
	case "<=":
		return c.order(n, func(order int) bool { return order <= 0 })
	case ">":
		return c.order(n, func(order int) bool { return order > 0 })
	case ">=":
		return c.order(n, func(order int) bool { return order >= 0 })
	case "contains":
		return c.memoCond(n, c.texts(n, strings.Contains))
	case "startsWith":
		return c.texts(n, strings.HasPrefix)
	case "endsWith":
		return c.texts(n, strings.HasSuffix)
	}
	return nil
}

// junction compiles a condition of two, of which the second is asked if the first answers ask.
func (c *compiler) junction(n *ast.BinaryNode, ask bool, join func(left, right cond) cond) cond {
	left := c.cond(n.Left)
	if answer, ok := c.answer(n.Left); ok {
		if answer != ask {
			return left
		}
		return c.cond(n.Right)
	}
	right := c.cond(n.Right)
	if answer, ok := c.answer(n.Right); ok && answer == ask {
		return left
	}
	return join(left, right)
}

func (c *compiler) equality(n *ast.BinaryNode) cond {
	left, right := n.Left, n.Right
	if _, ok := c.constant(left); ok {
		left, right = right, left
	}
	a, b := c.eval(left), c.eval(right)
	if want, ok := c.constant(right); ok {
		switch want := want.(type) {
		case string:
			if i := c.field(left); i >= 0 {
				return func(m *Machine) bool { return m.is(i, want) }
			}
			if i := c.computed(left); i >= 0 {
				return func(m *Machine) bool { return m.Computed(i).IsText(want) }
			}
			return func(m *Machine) bool { return a(m).IsText(want) }
		case nil:
			if c.certain(left) {
				return func(*Machine) bool { return false }
			}
			return func(m *Machine) bool { return a(m).kind == nilKind }
		case bool:
			wanted := boolean(want).bits
			return func(m *Machine) bool {
				v := a(m)
				return v.kind == boolKind && v.bits == wanted
			}
		case int:
			fixed := integer(want)
			return func(m *Machine) bool {
				v := a(m)
				if v.kind == intKind {
					return v.bits == fixed.bits
				}
				return m.equal(v, fixed)
			}
		}
	}
	return func(m *Machine) bool {
		v := a(m)
		return m.equal(v, b(m))
	}
}

// is says whether a field of the record is this text.
func (m *Machine) is(i int, want string) bool {
	if !m.has(i) {
		return false
	}
	if r := m.refs[i]; r.what&15 == refText {
		return m.at(r) == want
	}
	return m.other(i).IsText(want)
}

func (c *compiler) order(n *ast.BinaryNode, holds func(int) bool) cond {
	left, right := c.eval(n.Left), c.eval(n.Right)
	return func(m *Machine) bool {
		v := left(m)
		order, ok := m.compare(v, right(m))
		return ok && holds(order)
	}
}

// texts is a comparison of two texts, numbers taken as such.
func (c *compiler) texts(n *ast.BinaryNode, holds func(s, t string) bool) cond {
	left, right := c.eval(n.Left), c.eval(n.Right)
	of, _ := c.constant(n.Right)
	want, isConstant := of.(string)
	if !isConstant {
		return func(m *Machine) bool {
			v := left(m)
			return m.texts(v, right(m), holds)
		}
	}
	if i := c.field(n.Left); i >= 0 {
		return func(m *Machine) bool {
			s, ok := m.fieldText(i)
			return ok && holds(s, want)
		}
	}
	return func(m *Machine) bool {
		s, _, ok := m.text(left(m))
		return ok && holds(s, want)
	}
}

// in is a search in a list or among the keys of a map, mostly constant.
func (c *compiler) in(n *ast.BinaryNode) cond {
	v := c.eval(n.Left)
	if rows := c.rows(n.Right); rows != nil {
		return func(m *Machine) bool {
			text, _, ok := m.text(v(m))
			if ok {
				_, ok = rows[text]
			}
			return ok
		}
	}
	if of, ok := c.constant(n.Right); ok {
		if list, ok := of.([]any); ok {
			return c.inConstant(v, n.Left, n.Right, list)
		}
	}
	of := c.eval(n.Right)
	return func(m *Machine) bool {
		a := v(m)
		return m.in(a, of(m))
	}
}

// search is a constant list to search in.
type search struct {
	texts  map[string]bool
	few    []string
	others []Value
}

// inConstant is a search in a list of which texts and whole numbers are known.
func (c *compiler) inConstant(v eval, of, n ast.Node, list []any) cond {
	s, ok := c.unit.searches[n]
	if c.lose(ok); c.settling == nil {
		s = &search{texts: make(map[string]bool)}
		for _, element := range list {
			if text, ok := element.(string); ok {
				s.texts[text] = true
				s.few = append(s.few, text)
			} else {
				s.others = append(s.others, c.pooled(element))
			}
		}
		c.unit.searches[n] = s
	}
	if i := c.field(of); i >= 0 {
		return func(m *Machine) bool { return s.has(m, m.field(i)) }
	}
	return func(m *Machine) bool { return s.has(m, v(m)) }
}

func (s *search) has(m *Machine, v Value) bool {
	switch {
	case v.kind != textKind:
		return slices.ContainsFunc(s.others, func(b Value) bool { return m.equal(v, b) })
	case len(s.few) > 8:
		return s.texts[v.text]
	}
	return slices.Contains(s.few, v.text)
}

// pattern is a regular expression, made once for the unit; nil if it is none.
func (c *compiler) pattern(source string) func(string) bool {
	match, ok := c.unit.patterns[source]
	if c.lose(ok); ok || c.settling != nil {
		return match
	}
	if re, err := regexp.Compile(source); err == nil {
		match = re.MatchString
	}
	c.unit.patterns[source] = match
	return match
}

func (c *compiler) matches(n *ast.BinaryNode) cond {
	v := c.eval(n.Left)
	if of, ok := c.constant(n.Right); ok {
		source, isText := of.(string)
		if match := c.pattern(source); isText && match != nil {
			return func(m *Machine) bool {
				text, _, ok := m.text(v(m))
				return ok && (m.patience == 0 || !m.late()) && match(text)
			}
		}
	}
	pattern := c.eval(n.Right)
	return func(m *Machine) bool {
		of, by := v(m), pattern(m)
		text, _, ok := m.text(of)
		source, _, okToo := m.text(by)
		if !ok || !okToo || m.patience > 0 && m.late() {
			return false
		}
		re, err := regexp.Compile(source)
		if err != nil {
			m.fail(fmt.Errorf("matches: %w", err))
			return false
		}
		return re.MatchString(text)
	}
}
