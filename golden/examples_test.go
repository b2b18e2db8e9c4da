package golden_test

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"slices"
	"testing"

	"github.com/sebdah/goldie/v2"
	"github.com/tidwall/gjson"

	"github.com/secure60/s60-m365-connector/engine/transform"
)

// mostExamples is how many records a mapping has in mappings/examples.ndjson, largestExample how large one may be.
const (
	mostExamples   = 6
	largestExample = 4 << 10
)

// TestExamples holds mappings/examples.ndjson, which the workbench offers beside the severe ones, to the golden
// cases: of each mapping the first that have an operation and result of their own.
func TestExamples(t *testing.T) {
	set := shipped(t)
	var examples bytes.Buffer
	for _, name := range mapped(t) {
		mapper := compile(t, set.Mapping(name)).NewMapper(transform.Constant{Name: "source_name", Value: name})
		seen := map[string]bool{}
		for _, one := range cases(t, name) {
			raw := record(t, name, one)
			event, _ := mapper.Append(nil, raw)
			kind := gjson.GetBytes(event, "operation").String() + " " + gjson.GetBytes(event, "outcome").String() + " " + gjson.GetBytes(event, "auth_result").String()
			if slices.Contains(severities, gjson.GetBytes(event, "source_severity").String()) || seen[kind] || len(seen) == mostExamples || len(raw) > largestExample {
				continue
			}
			seen[kind] = true
			line, err := json.Marshal(struct {
				Mapping string          `json:"mapping"`
				Case    string          `json:"case"`
				Record  json.RawMessage `json:"record"`
			}{name, one, raw})
			if err != nil {
				t.Fatal(err)
			}
			examples.Write(append(line, '\n'))
		}
	}
	goldie.New(t, goldie.WithFixtureDir(filepath.Join("..", "mappings")), goldie.WithNameSuffix(".ndjson"), goldie.WithDiffEngine(goldie.ClassicDiff)).
		Assert(t, "examples", examples.Bytes())
}
