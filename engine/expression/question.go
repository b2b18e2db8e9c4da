package expression

import (
	"slices"

	"github.com/expr-lang/expr/ast"
)

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

// Parts are the conditions that must all hold, in this order, for the expression to hold: a, b of a && b. They
// take its place in the unit, which is not linked yet.
func (p *Program) Parts() []*Program {
	nodes := conjuncts(p.body)
	if len(nodes) == 1 {
		return []*Program{p}
	}
	u := p.unit
	u.programs = slices.DeleteFunc(u.programs, func(q *Program) bool { return q == p })
	var parts []*Program
	for _, n := range nodes {
		part, _ := u.program(p.source, n) // it was checked with the whole
		parts = append(parts, part)
	}
	u.programs = append(u.programs, parts...)
	return parts
}

func conjuncts(n ast.Node) []ast.Node {
	if b, ok := n.(*ast.BinaryNode); ok && (b.Operator == "and" || b.Operator == "&&") {
		return append(conjuncts(b.Left), conjuncts(b.Right)...)
	}
	return []ast.Node{n}
}
