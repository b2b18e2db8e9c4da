package definition

import (
	"regexp"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// mappingFile is a mapping with what checks across files report.
type mappingFile struct {
	mapping *Mapping
	include []Text
	tables  map[string]Text // where each of its tables is named
	reader  *reader
}

// fieldName is the form of a computed field. The destination's own names are
// lower case; a user's may be anything that an expression can name.
var fieldName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]*$`)

// mapping reads a whole mapping. base is the name of its file without the
// extension.
func (r *reader) mapping(base string) *mappingFile {
	o := r.object("mapping", nil, r.root)
	m := &Mapping{File: r.file}
	file := &mappingFile{mapping: m, tables: map[string]Text{}, reader: r}

	m.Name = o.definitionName(base).Value
	m.Description = o.word("description", o.take("description")).Value
	file.include = o.words("include", o.take("include"), false)
	m.When, _ = o.expressionText("when", o.take("when"))
	if node := o.take("flatten"); node != nil {
		f := r.object("flatten", o.pairs["flatten"].key, node)
		m.Pairs = f.paths("pairs", f.must("pairs"), false)
		f.done()
	}
	if node := o.take("tables"); node != nil {
		m.Tables = o.tables(node, file.tables)
	}
	m.Fields = o.mappingFields("fields", o.take("fields"))
	if node := o.take("cases"); node != nil {
		m.Cases = o.cases(node)
	}
	o.done()
	if !o.broken && len(o.pairs) > 0 && !o.has("fields") && !o.has("cases") && !o.has("tables") && !o.has("include") && !o.has("flatten") {
		o.node(o.key, "the mapping does nothing: give it fields, cases, tables or include")
	}
	return file
}

func (o *object) tables(node *yaml.Node, places map[string]Text) map[string]map[string]any {
	if node.Kind != yaml.MappingNode {
		if node.Kind != yaml.AliasNode {
			o.node(node, `"tables" is %s, but must be a mapping of names to tables`, describe(node))
		}
		return nil
	}
	tables := map[string]map[string]any{}
	o.entries(node, func(name, value *yaml.Node) {
		if !identifier.MatchString(name.Value) {
			o.node(name, "%q is no name for a table: it may hold letters, digits and _, and begins with a letter", name.Value)
			return
		}
		if value.Kind != yaml.MappingNode {
			if value.Kind != yaml.AliasNode {
				o.node(value, "the table %q is %s, but must be a mapping of keys to values", name.Value, describe(value))
			}
			return
		}
		table := make(map[string]any, len(value.Content)/2)
		o.entries(value, func(key, entry *yaml.Node) {
			if v, ok := o.constant(key.Value, entry); ok {
				table[key.Value] = v
			}
		})
		tables[name.Value] = table
		places[name.Value] = o.text(name)
	})
	return tables
}

// constant is a scalar of a table with the type that YAML gives it.
func (o *object) constant(key string, node *yaml.Node) (any, bool) {
	if node.Kind == yaml.AliasNode {
		return nil, false
	}
	if node.Kind != yaml.ScalarNode {
		o.node(node, "%q is %s, but the values of a table are texts, numbers and booleans", key, describe(node))
		return nil, false
	}
	switch node.Tag {
	case "!!str", "!!timestamp":
		return node.Value, true
	case "!!bool":
		if b, err := strconv.ParseBool(strings.ToLower(node.Value)); err == nil {
			return b, true
		}
	case "!!int":
		if n, err := strconv.Atoi(node.Value); err == nil && strconv.Itoa(n) == node.Value {
			return n, true
		}
	case "!!float":
		if f, err := strconv.ParseFloat(node.Value, 64); err == nil && f-f == 0 { // neither infinite nor NaN
			return f, true
		}
	case "!!null":
		o.node(node, "%q has no value: give it one or remove the key", key)
		return nil, false
	}
	o.node(node, "%q is a number in a form that reads in more than one way: write it as plain decimal, or in quotes", key)
	return nil, false
}

func (o *object) mappingFields(key string, node *yaml.Node) []MappingField {
	if node == nil || node.Kind == yaml.AliasNode {
		return nil
	}
	if node.Kind != yaml.MappingNode {
		o.node(node, "%q is %s, but must be a mapping of fields to expressions", key, describe(node))
		return nil
	}
	fields := make([]MappingField, 0, len(node.Content)/2)
	o.entries(node, func(name, value *yaml.Node) {
		n := o.text(name)
		switch {
		case strings.HasPrefix(n.Value, "_"):
			o.at(n, "%q begins with _: such names are reserved by the destination", n.Value)
			return
		case n.Value == "error_mapping":
			o.at(n, `"error_mapping" is set by the engine when an expression fails: choose another name`)
			return
		case !fieldName.MatchString(n.Value):
			o.at(n, "%q is no name for a field: write it with letters, digits and _, beginning with a letter", n.Value)
			return
		}
		if value.Tag == "!!null" && value.Kind == yaml.ScalarNode {
			o.node(name, "%q has no value: give it an expression, or nil to leave the field out", n.Value)
			return
		}
		if expr, ok := o.expressionText(n.Value, value); ok {
			fields = append(fields, MappingField{Name: n, Expr: expr})
		}
	})
	return fields
}

func (o *object) cases(node *yaml.Node) []Case {
	if node.Kind != yaml.SequenceNode {
		if node.Kind != yaml.AliasNode {
			o.node(node, `"cases" is %s, but must be a list of {when: …, fields: {…}}`, describe(node))
		}
		return nil
	}
	var cases []Case
	for _, item := range node.Content {
		c := o.object("cases", nil, item)
		when, ok := c.expressionText("when", c.must("when"))
		if !ok {
			when.Value = "true" // the rest of the case is checked all the same
		}
		cases = append(cases, Case{When: when, Fields: c.mappingFields("fields", c.must("fields"))})
		c.done()
	}
	return cases
}
