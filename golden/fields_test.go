package golden_test

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sebdah/goldie/v2"

	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/mappings/vocabulary"
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
	given := map[string]bool{}
	for _, f := range vocabulary.Fields(set) {
		if given[f.Name] = true; f.Meaning == "" {
			t.Errorf("mappings/vocabulary.yaml has no meaning for %s, which %s gives", f.Name, strings.Join(f.GivenBy, ", "))
		}
	}
	meanings := vocabulary.Meanings(set)
	if len(meanings) == 0 {
		t.Fatal("mappings/vocabulary.yaml lacks its table of meanings")
	}
	for _, name := range slices.Sorted(maps.Keys(meanings)) {
		if !given[name] {
			t.Errorf("mappings/vocabulary.yaml has a meaning for %s, which no mapping gives", name)
		}
	}
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
	for _, f := range vocabulary.Fields(set) {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", f.Name, cell(f.Meaning), strings.Join(f.GivenBy, ", "))
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
	for _, o := range vocabulary.Operations(set) {
		var originals []string
		for _, original := range o.Originals {
			originals = append(originals, "`"+original+"`")
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", o.Name, cell(o.Phrase), strings.Join(originals, ", "))
	}
	return b.String()
}

// cell is a text as a cell of a table.
func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }
