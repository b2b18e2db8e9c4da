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
