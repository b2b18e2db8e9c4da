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

// severities are those that the documentation promises an analyst to look at.
var severities = []string{"medium", "high", "critical"}

// TestSevere holds mappings/severe.ndjson, by which validate tells what a drop would
// blind, to the golden cases.
func TestSevere(t *testing.T) {
	holdRecords(t, "severe", func(_ string, _, event []byte) bool { return isSevere(event) })
}

func isSevere(event []byte) bool {
	return slices.Contains(severities, gjson.GetBytes(event, "source_severity").String())
}

// holdRecords holds a file of mappings/ to those records of the golden cases that are chosen by their event.
func holdRecords(t *testing.T, file string, chosen func(mapping string, record, event []byte) bool) {
	t.Helper()
	set := shipped(t)
	var records bytes.Buffer
	for _, name := range mapped(t) {
		mapper := compile(t, set.Mapping(name)).NewMapper(transform.Constant{Name: "source_name", Value: name})
		for _, one := range cases(t, name) {
			raw := record(t, name, one)
			event, _ := mapper.Append(nil, raw)
			if !chosen(name, raw, event) {
				continue
			}
			line, err := json.Marshal(struct {
				Mapping string          `json:"mapping"`
				Case    string          `json:"case"`
				Record  json.RawMessage `json:"record"`
			}{name, one, raw})
			if err != nil {
				t.Fatal(err)
			}
			records.Write(append(line, '\n'))
		}
	}
	goldie.New(t, goldie.WithFixtureDir(filepath.Join("..", "mappings")), goldie.WithNameSuffix(".ndjson"), goldie.WithDiffEngine(goldie.ClassicDiff)).
		Assert(t, file, records.Bytes())
}
