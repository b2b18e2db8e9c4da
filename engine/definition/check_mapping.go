package definition

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/parser"
	"github.com/secure60/s60-m365-connector/engine/expression"
	"github.com/secure60/s60-m365-connector/schemas"
)

// check checks what the schema of mappings cannot say of one file.
func (m *mappingFile) check(settings map[string]any) {
	for i, r := range m.Redact {
		_, node := m.tree.get(fmt.Sprintf("redact.%d.with", i))
		if key, _ := settings["PSEUDONYM_KEY_FILE"].(string); r.With == RedactPseudonym && settings != nil && key == "" && node != nil {
			m.tree.report(node, "pseudonym needs a key: set PSEUDONYM_KEY_FILE")
		}
	}
}

// fields calls f for each computed field, those of cases, too.
func (m *mappingFile) fields(f func(MappingField)) {
	for _, field := range m.Fields {
		f(field)
	}
	for _, c := range m.Cases {
		for _, field := range c.Fields {
			f(field)
		}
	}
}

// checkConstants holds the constants that a field can be to the schema of events.
func (m *mappingFile) checkConstants() {
	event := schemas.Event()
	m.fields(func(f MappingField) {
		if !strings.ContainsAny(f.Expr.Value, "\"'`") {
			return
		}
		property := event.Compiled().Properties[f.Name.Value]
		if property == nil {
			return
		}
		tree, err := parser.Parse(f.Expr.Value)
		if err != nil {
			return // whoever compiles it says so
		}
		for _, constant := range constants(tree.Node) {
			rule, _ := event.Root["properties"].(map[string]any)[f.Name.Value].(map[string]any)
			if constant.Value == "" || property.Validate(constant.Value) == nil {
				m.checkUsual(f, rule, constant)
				continue
			}
			must := rule["description"]
			if allowed := words(rule["enum"]); allowed != nil {
				must = "one of " + strings.Join(allowed, ", ")
			} else if fixed := rule["const"]; fixed != nil {
				must = fmt.Sprintf("always %q", fixed)
			}
			m.tree.add(f.Expr.Problem(constant.Location().From, len([]rune(strconv.Quote(constant.Value))), fmt.Sprintf("%q is no value of %s, which must be: %s", constant.Value, f.Name.Value, must)))
		}
	})
}

// checkUsual warns of a constant that is none of the words which events use there: x-usual in the schema says
// that its examples are all of them. What a record says itself may be another.
func (m *mappingFile) checkUsual(f MappingField, rule map[string]any, constant *ast.StringNode) {
	if usual := words(rule["examples"]); rule["x-usual"] == true && constant.Value != "" && !slices.Contains(usual, constant.Value) {
		p := f.Expr.Problem(constant.Location().From, len([]rune(strconv.Quote(constant.Value))), fmt.Sprintf("rules that compare %s look for %s, not for %q", f.Name.Value, strings.Join(usual, ", "), constant.Value))
		p.Warning = true
		m.tree.add(p)
	}
}

// constants are the texts that an expression can be as a whole.
func constants(node ast.Node) []*ast.StringNode {
	switch n := node.(type) {
	case *ast.StringNode:
		return []*ast.StringNode{n}
	case *ast.ConditionalNode:
		return slices.Concat(constants(n.Exp1), constants(n.Exp2))
	case *ast.BinaryNode:
		if n.Operator == "??" {
			return slices.Concat(constants(n.Left), constants(n.Right))
		}
	case *ast.VariableDeclaratorNode:
		return constants(n.Expr)
	}
	return nil
}

// checkNames warns of a field that is nearly one of those that events have.
func (m *mappingFile) checkNames(known []string) {
	m.fields(func(f MappingField) {
		if slices.Contains(known, f.Name.Value) || m.tree.faultyAt(f.Name.Pos()) {
			return
		}
		if near := expression.Nearest(f.Name.Value, known); near != "" {
			p := f.Name.Problem(0, 0, fmt.Sprintf("no event of the shipped mappings has the field %s: did you mean %s?", f.Name.Value, near))
			p.Warning = true
			m.tree.add(p)
		}
	})
}
