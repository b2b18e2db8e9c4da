package golden_test

import (
	"testing"

	"github.com/tidwall/gjson"
)

// mostExamples is how many records a mapping has in mappings/examples.ndjson, largestExample how large one may be.
const (
	mostExamples   = 6
	largestExample = 4 << 10
)

// TestExamples holds mappings/examples.ndjson, which the workbench offers beside the severe ones, to the golden
// cases: of each mapping the first that have an operation and result of their own.
func TestExamples(t *testing.T) {
	seen := map[string]map[string]bool{} // kinds of events, by mapping
	holdRecords(t, "examples", func(mapping string, raw, event []byte) bool {
		if seen[mapping] == nil {
			seen[mapping] = map[string]bool{}
		}
		kind := gjson.GetBytes(event, "operation").String() + " " + gjson.GetBytes(event, "outcome").String() + " " + gjson.GetBytes(event, "auth_result").String()
		if isSevere(event) || seen[mapping][kind] || len(seen[mapping]) == mostExamples || len(raw) > largestExample {
			return false
		}
		seen[mapping][kind] = true
		return true
	})
}
