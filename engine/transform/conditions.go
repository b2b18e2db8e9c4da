package transform

import (
	"regexp"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"

	"github.com/secure60/s60-m365-connector/engine/expression"
)

// This file compiles expressions that answer a question: comparisons, searches
// and what and, or and not make of them.

// cond compiles a node as a condition.
func (k *closures) cond(n ast.Node) cond {
	switch n := n.(type) {
	case *ast.BoolNode:
		holds := n.Value
		return func(*Mapper) bool { return holds }
	case *ast.UnaryNode:
		if n.Operator == "not" || n.Operator == "!" {
			c := k.cond(n.Node)
			if c == nil {
				return nil
			}
			return func(m *Mapper) bool { return !c(m) }
		}
	case *ast.BinaryNode:
		if c, ok := k.comparison(n); ok {
			return c
		}
	}
	v := k.eval(n)
	if v == nil {
		return nil
	}
	return func(m *Mapper) bool { return m.truth(v(m)) }
}

// truth is a value as a condition.
func (m *Mapper) truth(v value) bool {
	switch v.kind {
	case boolKind:
		return v.bits != 0
	case nilKind:
		return false
	}
	_, err := expression.Operate("truth", m.any(v))
	m.fail(err)
	return false
}

// comparison compiles an operator whose result is true or false; ok is false
// if n is another.
func (k *closures) comparison(n *ast.BinaryNode) (c cond, ok bool) {
	switch n.Operator {
	case "and", "&&", "or", "||":
		left, right := k.cond(n.Left), k.cond(n.Right)
		switch {
		case left == nil || right == nil:
			return nil, true
		case n.Operator == "and" || n.Operator == "&&":
			return func(m *Mapper) bool { return left(m) && right(m) }, true
		}
		return func(m *Mapper) bool { return left(m) || right(m) }, true
	case "==", "!=":
		c := k.equality(n.Left, n.Right)
		if c != nil && n.Operator == "!=" {
			equal := c
			c = func(m *Mapper) bool { return !equal(m) }
		}
		return c, true
	case "in":
		return k.in(n), true
	case "matches":
		return k.matches(n), true
	}
	var of func(m *Mapper, a, b value) bool
	switch n.Operator {
	case "<":
		of = func(m *Mapper, a, b value) bool { c, ok := m.compare(a, b); return ok && c < 0 }
	case "<=":
		of = func(m *Mapper, a, b value) bool { c, ok := m.compare(a, b); return ok && c <= 0 }
	case ">":
		of = func(m *Mapper, a, b value) bool { c, ok := m.compare(a, b); return ok && c > 0 }
	case ">=":
		of = func(m *Mapper, a, b value) bool { c, ok := m.compare(a, b); return ok && c >= 0 }
	case "contains", "startsWith", "endsWith":
		return k.texts(n.Operator, n.Left, n.Right), true
	default:
		return nil, false
	}
	left, right := k.eval(n.Left), k.eval(n.Right)
	if left == nil || right == nil {
		return nil, true
	}
	return func(m *Mapper) bool {
		a := left(m)
		return of(m, a, right(m))
	}, true
}

// slotOfNode is the slot that a node reads and nothing else.
func (k *closures) slotOfNode(n ast.Node) (int, bool) {
	id, ok := n.(*ast.IdentifierNode)
	if !ok || slices.Contains(k.names(), id.Value) {
		return 0, false
	}
	if _, computed := k.fieldOf[id.Value]; computed {
		return 0, false
	}
	slot, ok := k.slotOf[id.Value]
	return slot, ok
}

func (k *closures) equality(left, right ast.Node) cond {
	if _, ok := k.constant(left); ok {
		left, right = right, left
	}
	a, b := k.eval(left), k.eval(right)
	if a == nil || b == nil {
		return nil
	}
	if v, ok := k.constant(right); ok {
		if want, ok := constant(v); ok {
			slot, isSlot := k.slotOfNode(left)
			switch {
			case want.kind == textKind && isSlot:
				return func(m *Mapper) bool {
					if s := &m.slots[slot]; s.kind == slotText || s.event != m.event {
						return s.event == m.event && s.text == want.text
					}
					v := m.slotValue(slot)
					return v.kind == textKind && v.text == want.text
				}
			case want.kind == textKind:
				return func(m *Mapper) bool {
					v := a(m)
					return v.kind == textKind && v.text == want.text
				}
			case want.kind == nilKind:
				return func(m *Mapper) bool { return a(m).kind == nilKind }
			}
		}
	}
	return func(m *Mapper) bool {
		v := a(m)
		return m.equal(v, b(m))
	}
}

// in is a search in a list or among the keys of a map, mostly constant.
func (k *closures) in(n *ast.BinaryNode) cond {
	v := k.eval(n.Left)
	if v == nil {
		return nil
	}
	if of, ok := k.constant(n.Right); ok {
		switch of := of.(type) {
		case []any:
			return inList(v, of)
		case map[string]any:
			return func(m *Mapper) bool {
				text, _, ok := m.textOf(v(m))
				if ok {
					_, ok = of[text]
				}
				return ok
			}
		}
	}
	if list, ok := n.Right.(*ast.ArrayNode); ok {
		elements := k.evals(list.Nodes)
		if elements == nil {
			return nil
		}
		return func(m *Mapper) bool {
			a, found := v(m), false
			for _, element := range elements { // all, as one may fail
				found = m.equal(a, element(m)) || found
			}
			return found
		}
	}
	of := k.eval(n.Right)
	if of == nil {
		return nil
	}
	return func(m *Mapper) bool {
		a := m.any(v(m))
		return expression.In(a, m.any(of(m)))
	}
}

func inList(v eval, list []any) cond {
	set := expression.NewSet(list)
	var texts []string
	var integers []int64
	other := false
	for _, element := range list {
		switch element := element.(type) {
		case string:
			texts = append(texts, element)
		case int:
			integers = append(integers, int64(element))
		default:
			other = true
		}
	}
	return func(m *Mapper) bool {
		a := v(m)
		if a.kind == textKind {
			if len(texts) > 8 {
				return set.HasText(a.text)
			}
			for _, text := range texts {
				if text == a.text {
					return true
				}
			}
			return false
		}
		if !other {
			if len(integers) == 0 {
				return false
			}
			if i, ok := a.integer(); ok {
				return slices.Contains(integers, i)
			}
		}
		return set.Has(m.any(a))
	}
}

func (k *closures) matches(n *ast.BinaryNode) cond {
	v := k.eval(n.Left)
	if v == nil {
		return nil
	}
	if pattern, ok := n.Right.(*ast.StringNode); ok {
		re := regexp.MustCompile(pattern.Value) // compiled before, or the expression would have been refused
		return func(m *Mapper) bool {
			text, _, ok := m.textOf(v(m))
			return ok && re.MatchString(text)
		}
	}
	c := k.operation("matches", n.Left, n.Right)
	if c == nil {
		return nil
	}
	return func(m *Mapper) bool { return m.truth(c(m)) }
}

// texts is a comparison of two texts, numbers taken as such.
func (k *closures) texts(operator string, left, right ast.Node) cond {
	a, b := k.eval(left), k.eval(right)
	if a == nil || b == nil {
		return nil
	}
	of := strings.Contains
	switch operator {
	case "startsWith":
		of = strings.HasPrefix
	case "endsWith":
		of = strings.HasSuffix
	}
	if want, ok := k.constant(right); ok {
		if want, ok := want.(string); ok {
			slot, isSlot := k.slotOfNode(left)
			return func(m *Mapper) bool {
				if isSlot {
					if s := &m.slots[slot]; s.event != m.event {
						return false
					} else if s.kind == slotText {
						return of(s.text, want)
					}
				}
				text, _, ok := m.textOf(a(m))
				return ok && of(text, want)
			}
		}
	}
	return func(m *Mapper) bool {
		v := a(m)
		w := b(m)
		text, _, ok := m.textOf(v)
		if !ok {
			return false
		}
		part, _, ok := m.textOf(w)
		return ok && of(text, part)
	}
}
