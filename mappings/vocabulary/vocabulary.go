// Package vocabulary tells which fields and operations mappings give, for docs/fields.md and the page of
// fields: it reads them out of the mappings, so that neither can be behind.
package vocabulary

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/secure60/s60-m365-connector/engine/definition"
)

// Field is a normalised field.
type Field struct {
	Name    string
	Meaning string   // "": nobody said
	GivenBy []string // mappings, in order
}

// Operation is a value of the field operation.
type Operation struct {
	Name      string
	Phrase    string   // in words
	Originals []string // what records call it
}

// Meanings is the table of what fields mean, of the mapping that holds it.
func Meanings(set *definition.Set) map[string]any {
	if m := set.Mapping("vocabulary"); m != nil {
		return m.Tables["meanings"]
	}
	return nil
}

// Fields are the fields that mappings compute, by name.
func Fields(set *definition.Set) []Field {
	meanings, givers := Meanings(set), map[string][]string{}
	each(set, func(m *definition.Mapping, f definition.MappingField) {
		if list := givers[f.Name.Value]; len(list) == 0 || list[len(list)-1] != m.Name {
			givers[f.Name.Value] = append(list, m.Name)
		}
	})
	var list []Field
	for _, name := range slices.Sorted(maps.Keys(givers)) {
		f := Field{Name: name, GivenBy: givers[name]}
		if meaning := meanings[name]; meaning != nil {
			f.Meaning = fmt.Sprint(meaning)
		}
		list = append(list, f)
	}
	return list
}

// each calls use for every field of every mapping and its cases.
func each(set *definition.Set, use func(*definition.Mapping, definition.MappingField)) {
	for _, m := range set.Mappings() {
		for _, f := range m.Fields {
			use(m, f)
		}
		for _, c := range m.Cases {
			for _, f := range c.Fields {
				use(m, f)
			}
		}
	}
}

// operationLiteral is an operation that an expression names itself.
var operationLiteral = regexp.MustCompile(`"([a-z]+(?:-[a-z]+)+)"`)

// Operations are the operations that tables and expressions name, by name.
func Operations(set *definition.Set) []Operation {
	originals := map[string]map[string]bool{}
	add := func(name, original string) {
		if originals[name] == nil {
			originals[name] = map[string]bool{}
		}
		if original != "" {
			originals[name][original] = true
		}
	}
	for _, m := range set.Mappings() {
		for name, table := range m.Tables {
			if strings.HasSuffix(name, "_operations") && name != "blocked_operations" {
				for original, to := range table {
					add(fmt.Sprint(to), original)
				}
			}
		}
	}
	each(set, func(_ *definition.Mapping, f definition.MappingField) {
		if f.Name.Value == "operation" {
			for _, literal := range operationLiteral.FindAllStringSubmatch(f.Expr.Value, -1) {
				add(literal[1], "")
			}
		}
	})
	var list []Operation
	for _, name := range slices.Sorted(maps.Keys(originals)) {
		list = append(list, Operation{name, phrase(set, name), slices.Sorted(maps.Keys(originals[name]))})
	}
	return list
}

// phrase is an operation in words.
func phrase(set *definition.Set, operation string) string {
	for _, m := range set.Mappings() {
		for _, table := range slices.Sorted(maps.Keys(m.Tables)) {
			if phrase := m.Tables[table][operation]; phrase != nil && strings.HasSuffix(table, "phrases") {
				return fmt.Sprint(phrase)
			}
		}
	}
	return strings.ReplaceAll(operation, "-", " ")
}
