package golden_test

import (
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sebdah/goldie/v2"

	"github.com/secure60/s60-m365-connector/engine/definition"
)

// TestFieldsPage holds docs/fields.md, which is generated, to the mappings.
func TestFieldsPage(t *testing.T) {
	set := shipped(t)
	page := fieldsPage(t, set)
	goldie.New(t, goldie.WithFixtureDir(filepath.Join("..", "docs")), goldie.WithNameSuffix(".md"), goldie.WithDiffEngine(goldie.ClassicDiff)).Assert(t, "fields", []byte(page))
}

// TestEveryFieldHasAMeaning holds mappings/vocabulary.yaml complete: a meaning
// for each computed field, and none for others.
func TestEveryFieldHasAMeaning(t *testing.T) {
	set := shipped(t)
	meanings, givers := meaningsOf(t, set), giversOf(set)
	for _, name := range slices.Sorted(maps.Keys(givers)) {
		if meanings[name] == nil {
			t.Errorf("mappings/vocabulary.yaml has no meaning for %s, which %s gives", name, strings.Join(givers[name], ", "))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(meanings)) {
		if givers[name] == nil {
			t.Errorf("mappings/vocabulary.yaml has a meaning for %s, which no mapping gives", name)
		}
	}
}

func meaningsOf(t *testing.T, set *definition.Set) map[string]any {
	t.Helper()
	vocabulary := set.Mapping("vocabulary")
	if vocabulary == nil || vocabulary.Tables["meanings"] == nil {
		t.Fatal("mappings/vocabulary.yaml lacks its table of meanings")
	}
	return vocabulary.Tables["meanings"]
}

// giversOf are the names of the mappings that give each field, in order.
func giversOf(set *definition.Set) map[string][]string {
	givers := make(map[string][]string)
	note := func(m *definition.Mapping, fields []definition.MappingField) {
		for _, f := range fields {
			if list := givers[f.Name.Value]; len(list) == 0 || list[len(list)-1] != m.Name {
				givers[f.Name.Value] = append(list, m.Name)
			}
		}
	}
	for _, m := range set.Mappings {
		note(m, m.Fields)
		for _, c := range m.Cases {
			note(m, c.Fields)
		}
	}
	return givers
}

// operation is a word of the vocabulary.
type operation struct {
	phrase    string
	originals []string
	seen      map[string]bool
}

// operationLiteral is an operation that an expression names itself.
var operationLiteral = regexp.MustCompile(`"([a-z]+(?:-[a-z]+)+)"`)

// operationsOf are the operations that tables and expressions name, with the
// originals that become them.
func operationsOf(set *definition.Set) map[string]*operation {
	operations := make(map[string]*operation)
	add := func(name, original string) {
		o := operations[name]
		if o == nil {
			o = &operation{seen: make(map[string]bool)}
			operations[name] = o
		}
		if original != "" && !o.seen[original] {
			o.seen[original] = true
			o.originals = append(o.originals, original)
		}
	}
	for _, m := range set.Mappings {
		for name, table := range m.Tables {
			if !strings.HasSuffix(name, "_operations") || name == "blocked_operations" {
				continue
			}
			for original, to := range table {
				add(fmt.Sprint(to), original)
			}
		}
	}
	literals := func(fields []definition.MappingField) {
		for _, f := range fields {
			if f.Name.Value == "operation" {
				for _, literal := range operationLiteral.FindAllStringSubmatch(f.Expr.Value, -1) {
					add(literal[1], "")
				}
			}
		}
	}
	for _, m := range set.Mappings {
		literals(m.Fields)
		for _, c := range m.Cases {
			literals(c.Fields)
		}
	}
	phrases := func(name string) string {
		for _, m := range set.Mappings {
			for _, table := range slices.Sorted(maps.Keys(m.Tables)) {
				if phrase := m.Tables[table][name]; phrase != nil && strings.HasSuffix(table, "phrases") {
					return fmt.Sprint(phrase)
				}
			}
		}
		return strings.ReplaceAll(name, "-", " ")
	}
	for name, o := range operations {
		o.phrase = phrases(name)
		slices.Sort(o.originals)
	}
	return operations
}

// fieldsPage is docs/fields.md.
func fieldsPage(t *testing.T, set *definition.Set) string {
	t.Helper()
	var b strings.Builder
	b.WriteString(`# Fields and operations

<!-- Generated from mappings/ by go test ./golden -update. Do not edit. -->

What rules and searches can rely on, whatever the kind of record. Every event has also the constants ` + "`vendor`, `product`, `type`, `app_name`, `technology_group`, `schema_version`" + `,
the feed in ` + "`source_name`" + ` and the kind of record in ` + "`source_type`" + `, and every original field of the record as ` + "`event_`" + ` and its path.

## Fields

A field is left out where a record does not tell it. Flags are the texts ` + "`true` and `false`" + `.

| field | meaning | given by |
| --- | --- | --- |
`)
	meanings, givers := meaningsOf(t, set), giversOf(set)
	for _, name := range slices.Sorted(maps.Keys(givers)) {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", name, cell(meanings[name]), strings.Join(givers[name], ", "))
	}
	b.WriteString(`
## Operations

Entity first, then what was done to it. Several originals that are one act share an operation.
An administrative cmdlet that is not listed is its noun and a verb: ` + "`Set-MailboxPlan` is `mailbox-plan-update`" + `; these are the verbs:

| cmdlet | verb |
| --- | --- |
`)
	verbs := set.Mapping("o365-cmdlets").Tables["cmdlet_verbs"]
	for _, verb := range slices.Sorted(maps.Keys(verbs)) {
		fmt.Fprintf(&b, "| `%s-…` | `…-%s` |\n", verb, verbs[verb])
	}
	b.WriteString(`
Any other original that names an act is told likewise, entity first: ` + "`CreateWidget` and `WidgetCreated` are `widget-create`" + `; what names none becomes its kebab-case.

| operation | in words | originals |
| --- | --- | --- |
`)
	operations := operationsOf(set)
	for _, name := range slices.Sorted(maps.Keys(operations)) {
		o := operations[name]
		var originals []string
		for _, original := range o.originals {
			originals = append(originals, "`"+original+"`")
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", name, cell(o.phrase), strings.Join(originals, ", "))
	}
	return b.String()
}

// cell is a text as a cell of a table.
func cell(v any) string {
	if v == nil {
		return ""
	}
	return strings.ReplaceAll(fmt.Sprint(v), "|", `\|`)
}
