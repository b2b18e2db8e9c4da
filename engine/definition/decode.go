package definition

import (
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/secure60/s60-m365-connector/engine/expression"
	"github.com/secure60/s60-m365-connector/schemas"
)

// decoder fills values out of a tree that follows its schema; where it does not,
// that is reported, and what is wrong is left zero.
//
// A field of a struct names its place: `key:"auth.scope"`, and "." for a struct that
// shares its parent's place. What the file does not give has the default of the
// schema. `over:"answer"` says which of the decoder's namespaces the expressions of the field
// see; within a struct it holds until another is given. `over:"answer,bool"` asks
// for an expression that is true or false.
type decoder struct {
	*tree
	schema     *schemas.Document
	namespaces map[string]namespace
}

// decode fills a struct out of the whole tree.
func (d *decoder) decode(into any) {
	d.object(reflect.ValueOf(into).Elem(), d.root, d.schema.Root, "")
}

func (d *decoder) object(into reflect.Value, node *yaml.Node, schema map[string]any, over string) {
	for i := range into.NumField() {
		field := into.Type().Field(i)
		path, ok := field.Tag.Lookup("key")
		if !ok {
			continue
		}
		inner := field.Tag.Get("over")
		if inner == "" {
			inner = over
		}
		if path == "." {
			d.object(into.Field(i), node, schema, inner)
			continue
		}
		value, of := node, schema
		var key *yaml.Node
		for _, step := range strings.Split(path, ".") {
			key, value = child(value, step)
			of = d.schema.Follow(property(of, step))
		}
		if value == nil && of["default"] != nil {
			value = given(of["default"])
		}
		if value != nil && !isNull(value) {
			d.value(into.Field(i), key, value, of, inner)
		}
	}
}

// given is a default of the schema, as if the file gave it.
func given(value any) *yaml.Node {
	if text, ok := value.(string); ok { // as most are
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text}
	}
	node := new(yaml.Node)
	if err := node.Encode(value); err != nil {
		panic(err) // the schema is part of the program
	}
	return node
}

// value fills one field. key is nil of a default.
func (d *decoder) value(into reflect.Value, key, node *yaml.Node, schema map[string]any, over string) {
	scalar := node.Kind == yaml.ScalarNode
	switch v := into.Addr().Interface().(type) {
	case *string:
		if scalar {
			*v = node.Value
		}
	case *bool:
		*v = scalar && strings.EqualFold(node.Value, "true")
	case *int:
		*v, _ = strconv.Atoi(node.Value)
	case *float64:
		*v, _ = strconv.ParseFloat(node.Value, 64)
	case *time.Duration:
		*v, _ = ParseDuration(node.Value)
	case *Text:
		if d.expressionText(key, node) {
			*v = d.text(node)
		}
	case *[]string:
		for _, item := range items(node) {
			*v = append(*v, item.Value)
		}
	case *[]Text:
		for _, item := range items(node) {
			*v = append(*v, d.text(item))
		}
	case **expression.Program:
		*v = d.program(key, node, over)
	case **Template:
		*v = d.template(key, node, over)
	case *[]*Template:
		for _, item := range items(node) {
			if t := d.template(key, item, over); t != nil {
				*v = append(*v, t)
			}
		}
	case *[]Field:
		d.members(node, func(name, value *yaml.Node) {
			if t := d.template(name, value, over); t != nil {
				*v = append(*v, Field{Name: name.Value, Value: t})
			}
		})
	case *[]Assignment:
		d.members(node, func(name, value *yaml.Node) {
			if p := d.program(name, value, over); p != nil {
				*v = append(*v, Assignment{Name: name.Value, Value: p})
			}
		})
	case *[]MappingField:
		d.members(node, func(name, value *yaml.Node) {
			if d.expressionText(name, value) {
				*v = append(*v, MappingField{Name: d.text(name), Expr: d.text(value)})
			}
		})
	case *map[string]map[string]any:
		*v = map[string]map[string]any{}
		d.members(node, func(name, rows *yaml.Node) {
			table := make(map[string]any, len(rows.Content)/2)
			d.members(rows, func(row, value *yaml.Node) { table[row.Value] = constant(value) })
			(*v)[name.Value] = table
		})
	case **Body:
		*v = &Body{d.body(key, node, over)}
	case **ForEach:
		d.members(node, func(name, value *yaml.Node) {
			if p := d.program(name, value, over); p != nil && *v == nil {
				*v = &ForEach{Variable: name.Value, Values: p}
			}
		})
	default:
		d.composite(into, node, schema, over)
	}
}

// composite fills a struct, a pointer to one, or a list of some.
func (d *decoder) composite(into reflect.Value, node *yaml.Node, schema map[string]any, over string) {
	switch into.Kind() {
	case reflect.Pointer:
		if node.Kind == yaml.MappingNode {
			into.Set(reflect.New(into.Type().Elem()))
			d.object(into.Elem(), node, schema, over)
		}
	case reflect.Slice:
		if node.Kind != yaml.SequenceNode {
			return
		}
		element, _ := schema["items"].(map[string]any)
		into.Set(reflect.MakeSlice(into.Type(), len(node.Content), len(node.Content)))
		for i, item := range node.Content {
			d.object(into.Index(i), item, d.schema.Follow(element), over)
		}
	default:
		d.object(into, node, schema, over)
	}
}

// items are the scalars of a list; a scalar stands for a list of one.
func items(node *yaml.Node) []*yaml.Node {
	if node.Kind == yaml.ScalarNode {
		return []*yaml.Node{node}
	}
	return slices.DeleteFunc(slices.Clone(node.Content), func(item *yaml.Node) bool {
		return node.Kind != yaml.SequenceNode || item.Kind != yaml.ScalarNode
	})
}

// members calls f for each member of a mapping that has a value.
func (d *decoder) members(node *yaml.Node, f func(name, value *yaml.Node)) {
	if node.Kind != yaml.MappingNode {
		return
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if !isNull(node.Content[i+1]) {
			f(node.Content[i], node.Content[i+1])
		}
	}
}

// constant is a scalar of a table with the type that YAML gives it.
func constant(node *yaml.Node) any {
	switch node.Tag {
	case "!!bool":
		return strings.EqualFold(node.Value, "true")
	case "!!int", "!!float":
		n, _ := number(node)
		return n
	}
	return node.Value
}

// body compiles the texts of a value.
func (d *decoder) body(key, node *yaml.Node, over string) any {
	switch node.Kind {
	case yaml.MappingNode:
		object := map[string]any{}
		d.members(node, func(name, value *yaml.Node) { object[name.Value] = d.body(name, value, over) })
		for i := 0; i+1 < len(node.Content); i += 2 {
			if isNull(node.Content[i+1]) {
				object[node.Content[i].Value] = nil
			}
		}
		return object
	case yaml.SequenceNode:
		list := make([]any, len(node.Content))
		for i, item := range node.Content {
			list[i] = d.body(key, item, over)
		}
		return list
	}
	switch node.Tag {
	case "!!null":
		return nil
	case "!!str":
		if t := d.template(key, node, over); t != nil {
			return t
		}
		return ""
	}
	return constant(node)
}

// expressionText reports whether a value is the text of an expression, in a form of
// scalar in which the place of a character is known.
func (d *decoder) expressionText(key, node *yaml.Node) bool {
	if node.Kind != yaml.ScalarNode {
		return false
	}
	switch t := d.text(node); {
	case key == nil: // a default
	case strings.TrimSpace(t.Value) == "":
		if t.Value != "" { // an empty one is reported by the schema
			d.report(node, "%q is empty, but must be an expression", key.Value)
		}
		return false
	case node.Anchor == "" && node.Style&yaml.TaggedStyle == 0 && t.folded():
		d.report(node, "%q is an expression over several folded lines: write it on one line, or as a block after |", key.Value)
		return false
	}
	return true
}

// program compiles an expression.
func (d *decoder) program(key, node *yaml.Node, over string) *expression.Program {
	over, condition := strings.CutSuffix(over, ",bool")
	if !d.expressionText(key, node) {
		return nil
	}
	t := d.text(node)
	p, err := d.namespaces[over].compile(t.Value)
	if err != nil {
		d.add(t.Problem(err.Offset, max(err.Length, 1), err.Message))
		return nil
	}
	if condition && !maybeBool(p) {
		d.report(node, "%q must be true or false: compare it with something", key.Value)
	}
	return p
}

// maybeBool tries an expression over an answer. An error may be of this sample alone.
func maybeBool(p *expression.Program) bool {
	fault := map[string]any{"code": "code", "message": "message"}
	value, err := p.Eval(map[string]any{"status": 403, "error": fault, "body": map[string]any{"error": fault}, "headers": map[string]any{}})
	_, is := value.(bool)
	return err != nil || value == nil || is
}

// template compiles a text with expressions in ${…}.
func (d *decoder) template(key, node *yaml.Node, over string) *Template {
	if node.Kind != yaml.ScalarNode {
		return nil
	}
	t := d.text(node)
	if strings.Contains(t.Value, "${") && node.Anchor == "" && node.Style&yaml.TaggedStyle == 0 && t.folded() {
		d.report(node, "%q holds an expression over several folded lines: write it on one line, or as a block after |", key.Value)
		return nil
	}
	template, errs := parseTemplate(t.Value, d.namespaces[over].compile)
	if forgotten := d.namespaces[over].bare(t.Value); forgotten != nil {
		errs = append(errs, forgotten)
	}
	for _, e := range errs {
		d.add(t.Problem(e.Offset, max(e.Length, 1), e.Message))
	}
	if len(errs) > 0 {
		return nil
	}
	return template
}
