package expression

import (
	"fmt"
	"slices"

	"github.com/expr-lang/expr/ast"
)

// This file tells which fields a condition asks for which values: by them a mapping rules most of its cases out.

// Question is a condition's part that can hold only if a name has one of a few
// values.
type Question struct {
	Slot  int
	Texts []string // of the values; whole numbers are written as JSON writes them
}

// Questions are the parts of a condition that must all hold and that ask one
// field of the record for its value: event_Kind == "a", string(event_Kind) in
// ["b", "c"].
func (p *Program) Questions() []Question {
	c := compiler{unit: p.unit}
	var out []Question
	for _, n := range conjuncts(p.syntax) {
		if q, ok := c.question(n); ok {
			out = append(out, q)
		}
	}
	return out
}

// Compared are the fields of the record that the expression compares with
// constants.
func (p *Program) Compared() (slots []int) {
	c := compiler{unit: p.unit}
	ast.Walk(&p.syntax, visit(func(n ast.Node) {
		if b, ok := n.(*ast.BinaryNode); ok && (b.Operator == "==" || b.Operator == "!=" || b.Operator == "in") {
			slot := c.field(inner(b.Left))
			if _, isConstant := c.constant(b.Right); slot >= 0 && isConstant && !slices.Contains(slots, slot) {
				slots = append(slots, slot)
			}
		}
	}))
	return slots
}

// inner is x of string(x).
func inner(n ast.Node) ast.Node {
	if call, ok := n.(*ast.CallNode); ok && len(call.Arguments) == 1 && call.Callee.String() == "string" {
		return call.Arguments[0]
	}
	return n
}

func conjuncts(n ast.Node) []ast.Node {
	if b, ok := n.(*ast.BinaryNode); ok && (b.Operator == "and" || b.Operator == "&&") {
		return append(conjuncts(b.Left), conjuncts(b.Right)...)
	}
	return []ast.Node{n}
}

func (c *compiler) question(n ast.Node) (q Question, ok bool) {
	b, ok := n.(*ast.BinaryNode)
	if !ok || b.Operator != "==" && b.Operator != "in" {
		return q, false
	}
	q.Slot = c.field(inner(b.Left))
	of, isConstant := c.constant(b.Right)
	if q.Slot < 0 || !isConstant {
		return q, false
	}
	list := []any{of}
	if b.Operator == "in" {
		if list, ok = of.([]any); !ok {
			return q, false
		}
	}
	for _, v := range list {
		switch v.(type) {
		case string, int:
			q.Texts = append(q.Texts, fmt.Sprint(v))
		default:
			return q, false
		}
	}
	return q, true
}
