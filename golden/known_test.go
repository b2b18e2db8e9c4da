package golden_test

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sebdah/goldie/v2"

	"github.com/secure60/s60-m365-connector/engine/transform"
	"github.com/secure60/s60-m365-connector/mappings"
)

// TestKnownFields holds mappings/known-fields.txt, by which validate tells
// misspelt names, to the golden records: it has every field of theirs. The
// other names in it stay as they are.
func TestKnownFields(t *testing.T) {
	set := shipped(t)
	known := mappings.ParseNames(mappings.KnownFields)
	for _, name := range mapped(t) {
		mapper := compile(t, set.Mapping(name)).NewMapper(transform.Constant{Name: "source_name", Value: name})
		for _, one := range cases(t, name) {
			if one == "hostile" || one == "other-shapes" {
				continue // whose names no service ever wrote
			}
			event, _ := mapper.Append(nil, record(t, name, one))
			var fields map[string]json.RawMessage
			if err := json.Unmarshal(event, &fields); err != nil {
				t.Fatal(err)
			}
			for field := range fields {
				if strings.HasPrefix(field, "event_") && !known.Has(name, field) {
					known.Add(name, field)
				}
			}
		}
	}
	text, sections, _ := strings.Cut(mappings.KnownFields, "\n[")
	names := mapped(t)
	for section := range strings.SplitSeq(sections, "\n[") {
		name, _, _ := strings.Cut(section, "]")
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if lines := known.Whole(name); lines != nil {
			slices.Sort(lines)
			text += "\n[" + name + "]\n" + strings.Join(lines, "\n") + "\n"
		}
	}
	goldie.New(t, goldie.WithFixtureDir(filepath.Join("..", "mappings")), goldie.WithNameSuffix(".txt"), goldie.WithDiffEngine(goldie.ClassicDiff)).
		Assert(t, "known-fields", []byte(text))
}
