package definition

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/expr-lang/expr/ast"
	"github.com/secure60/s60-m365-connector/engine/expression"
	"gopkg.in/yaml.v3"
)

// scope is what an expression may name.
type scope struct {
	names    []string
	any      bool // further names are known only when it runs
	expected string
}

// compile compiles an expression that may name what is in scope.
func (s scope) compile(source string) (*expression.Program, *expression.Error) {
	options := expression.Options{Names: s.names, Expected: s.expected}
	if !s.any {
		options.Allowed = func(name string) bool { return slices.Contains(s.names, name) }
	}
	program, err := expression.Compile(source, options)
	if err != nil {
		e, ok := err.(*expression.Error)
		if !ok {
			e = &expression.Error{Message: err.Error()}
		}
		if strings.HasPrefix(e.Message, "unknown name window") && !s.any {
			e.Message = "there is no window here: it is known in request and expand, of a feed that has a cursor"
		}
		return nil, e
	}
	if e := checkWindow(program.Syntax()); e != nil && slices.Contains(s.names, "window") {
		return nil, e
	}
	return program, nil
}

// checkWindow finds the first use of window other than its two members, which
// would be nothing.
func checkWindow(syntax ast.Node) *expression.Error {
	var found windowUse
	ast.Walk(&syntax, &found)
	return found.err
}

type windowUse struct{ err *expression.Error }

// Visit looks at each node, as ast.Walk asks.
func (w *windowUse) Visit(node *ast.Node) {
	member, ok := (*node).(*ast.MemberNode)
	if !ok || w.err != nil {
		return
	}
	of, ok := member.Node.(*ast.IdentifierNode)
	if !ok || of.Value != "window" {
		return
	}
	name, ok := member.Property.(*ast.StringNode)
	if !ok || name.Value == "from" || name.Value == "to" {
		return
	}
	w.err = &expression.Error{Message: fmt.Sprintf("window has no %s: it has from and to", name.Value), Offset: name.Location().From, Length: utf8.RuneCountInString(name.Value)}
}

// program compiles an expression.
func (o *object) program(key string, node *yaml.Node, s scope) *expression.Program {
	t, ok := o.expressionText(key, node)
	if !ok {
		return nil
	}
	p, err := s.compile(t.Value)
	if err != nil {
		o.problems = append(o.problems, t.Problem(err.Offset, max(err.Length, 1), err.Message))
		return nil
	}
	return p
}

// question compiles an expression over an answer, which is true or false.
func (o *object) question(key string, node *yaml.Node) *expression.Program {
	p := o.program(key, node, answers())
	if p == nil {
		return nil
	}
	fault := map[string]any{"code": "code", "message": "message"}
	value, err := p.Eval(map[string]any{"status": 403, "error": fault, "body": map[string]any{"error": fault}, "headers": map[string]any{}})
	// An error may be of this sample alone.
	if _, is := value.(bool); err == nil && value != nil && !is {
		o.node(node, "%q must be true or false: compare it with something", key)
	}
	return p
}

// expressionText is the text of an expression, in a form of scalar in which
// the place of a character is known.
func (o *object) expressionText(key string, node *yaml.Node) (Text, bool) {
	t, ok := o.scalar(key, node)
	if !ok {
		return t, false
	}
	if strings.TrimSpace(t.Value) == "" {
		o.node(node, "%q is empty, but must be an expression", key)
		return t, false
	}
	if len(t.places()) == 0 && node.Anchor == "" && node.Style&yaml.TaggedStyle == 0 {
		o.node(node, "%q is an expression over several folded lines: write it on one line, or as a block after |", key)
		return t, false
	}
	return t, true
}

// template compiles a text with expressions in ${…}.
func (o *object) template(key string, node *yaml.Node, s scope) *Template {
	t, ok := o.scalar(key, node)
	if !ok {
		return nil
	}
	if strings.TrimSpace(t.Value) == "" {
		o.node(node, "%q is empty", key)
		return nil
	}
	if strings.Contains(t.Value, "${") && len(t.places()) == 0 && node.Anchor == "" && node.Style&yaml.TaggedStyle == 0 {
		o.node(node, "%q holds an expression over several folded lines: write it on one line, or as a block after |", key)
		return nil
	}
	template, errs := parseTemplate(t.Value, s.compile)
	for _, e := range errs {
		o.problems = append(o.problems, t.Problem(e.Offset, max(e.Length, 1), e.Message))
	}
	if len(errs) > 0 {
		return nil
	}
	return template
}

// fields are a mapping of names to templates, in file order. check, unless
// nil, looks at each.
func (o *object) fields(key string, node *yaml.Node, s scope, check func(name *yaml.Node, value *Template)) []Field {
	if node == nil || node.Kind == yaml.AliasNode {
		return nil
	}
	if node.Kind != yaml.MappingNode {
		o.node(node, "%q is %s, but must be a mapping of names to texts", key, describe(node))
		return nil
	}
	var list []Field
	o.entries(node, func(name, value *yaml.Node) {
		switch {
		case name.Value == "":
			o.node(name, "a name in %q is empty", key)
			return
		case value.Tag == "!!null" && value.Kind == yaml.ScalarNode:
			o.node(name, "%q has no value: give it one or remove the key", name.Value)
			return
		}
		if t := o.template(name.Value, value, s); t != nil {
			list = append(list, Field{Name: name.Value, Value: t})
			if check != nil {
				check(name, t)
			}
		}
	})
	return list
}
