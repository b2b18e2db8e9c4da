package transform

import (
	"fmt"

	"github.com/expr-lang/expr/ast"

	"github.com/secure60/s60-m365-connector/engine/expression"
)

// This file marks events whose record tells a time that nobody can read: their timestamp
// is when the record was read, which is not to be taken for when it happened. A
// rule that gives no time on purpose, and a record that has none, are left unmarked.

// timeArguments finds the fields that an expression hands to time().
type timeArguments struct{ names []string }

// Visit implements [ast.Visitor].
func (a *timeArguments) Visit(node *ast.Node) {
	call, ok := (*node).(*ast.CallNode)
	if !ok || len(call.Arguments) != 1 {
		return
	}
	if callee, ok := call.Callee.(*ast.IdentifierNode); !ok || callee.Value != "time" {
		return
	}
	if field, ok := call.Arguments[0].(*ast.IdentifierNode); ok {
		a.names = append(a.names, field.Value)
	}
}

// untimed notes as a failure that no field of the record that the rule reads as a time is one.
func (m *Mapper) untimed(rule int16) {
	var found timeArguments
	syntax := m.m.programs[rule].Syntax()
	ast.Walk(&syntax, &found)
	for _, name := range found.names {
		slot, ok := m.m.unit.Slot(name)
		if !ok {
			continue
		}
		text, ok := m.machine.Text(m.machine.Field(slot))
		if !ok || text == "" {
			continue
		}
		if _, readable := expression.AppendTime(nil, text); !readable {
			m.failed = append(m.failed, FieldError{Field: "timestamp", Cause: fmt.Sprintf("%s holds no time that can be read: it is when the record was read", name)})
			return
		}
	}
}
