package author

import (
	"strings"
	"testing"

	"github.com/secure60/s60-m365-connector/engine/definition"
)

// TestDoubtsOfKeys: a key that no record has, or that two different ones have, is told; the same record twice is none.
func TestDoubtsOfKeys(t *testing.T) {
	for name, c := range map[string]struct {
		feed    definition.Feed
		records []string
		want    string
	}{
		"apart":             {definition.Feed{Key: []string{"id", "at"}}, []string{`{"id":1,"at":1}`, `{"id":1,"at":2}`}, ""},
		"the same again":    {definition.Feed{Key: []string{"id"}}, []string{`{"id":1}`, `{"id":1}`}, ""},
		"of a delta":        {definition.Feed{Key: []string{"id"}, Paging: definition.Paging{Delta: true}}, []string{`{"id":1,"n":1}`, `{"id":1,"n":2}`}, ""},
		"not apart":         {definition.Feed{Key: []string{"id"}}, []string{`{"id":1,"n":1}`, `{"id":2}`, `{"id":1,"n":2}`}, "key: records 1 and 3 differ, and id is 1 in both"},
		"objects not apart": {definition.Feed{Snapshot: &definition.Snapshot{ID: []string{"no"}}}, []string{`{"no":1}`, `{"no":1,"lock":true}`}, "snapshot.id: records 1 and 2 differ, and no is 1 in both"},
		"absent":            {definition.Feed{Snapshot: &definition.Snapshot{ID: []string{"no"}}}, []string{`{"id":1}`, `{"id":2}`}, `snapshot.id: none of these records has "no"`},
	} {
		var records [][]byte
		for _, r := range c.records {
			records = append(records, []byte(r))
		}
		got := strings.Join((&Exchanges{}).Doubts(&c.feed, records, nil), " | ")
		if c.want == "" && got != "" || !strings.HasPrefix(got, c.want) || strings.Contains(got, " | ") {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
