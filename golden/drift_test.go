package golden_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sebdah/goldie/v2"

	"github.com/secure60/s60-m365-connector/engine/transform"
)

// TestDrift holds golden/drift.golden.txt: what the mappings say of the golden records that they do
// not know. All of it is to be new to whoever reads it: what is published, they know.
func TestDrift(t *testing.T) {
	set := shipped(t)
	var lines []string
	for _, name := range mapped(t) {
		m := compile(t, set.Mapping(name))
		for _, one := range cases(t, name) {
			mapper := m.NewMapper(transform.Constant{Name: "source_name", Value: name})
			mapper.Append(nil, record(t, name, one))
			for _, u := range mapper.Unknown() {
				lines = append(lines, strings.TrimRight(fmt.Sprintf("%s/%s: %s %s %s", name, one, u.Kind, u.Name, u.Value), " ")+"\n")
			}
		}
	}
	slices.Sort(lines)
	goldie.New(t, goldie.WithFixtureDir("."), goldie.WithNameSuffix(".golden.txt"), goldie.WithDiffEngine(goldie.ClassicDiff)).
		Assert(t, "drift", []byte(strings.Join(lines, "")))
}
