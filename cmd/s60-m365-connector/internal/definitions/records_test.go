package definitions

import (
	"strings"
	"testing"
)

// What people have at hand is read as they mean it, and what gives nothing, or hardly what was meant, is said.
func TestEachRecord(t *testing.T) {
	for name, test := range map[string]struct{ in, records, note string }{
		"an object":                {`{"a":1}`, `{"a":1}`, ""},
		"a list":                   {`[{"a":1},{"a":2}]`, `{"a":1} {"a":2}`, ""},
		"lines":                    {"{\"a\":1}\n{\"a\":2}\n", `{"a":1} {"a":2}`, ""},
		"an answer of Graph":       {`{"@odata.context":"c","value":[{"a":1}],"@odata.nextLink":"n"}`, `{"a":1}`, ""},
		"an answer of another":     {`{"value":[{"a":1},{"a":2}]}`, `{"a":1} {"a":2}`, ""},
		"an answer with more":      {`{"value":[{"a":1}],"count":1}`, `{"value":[{"a":1}],"count":1}`, `in, record 1: it has a list "value" of 1 object beside count, and is taken for one record; if it is an answer with records in it, give the list alone: jq .value`},
		"a record with a value":    {`{"value":["a"]}`, `{"value":["a"]}`, ""},
		"nothing":                  {" \n", "", "in holds nothing: no record, and so no event"},
		"an empty list":            {"[]", "", "in holds an empty list: no record"},
		"an answer with no record": {`{"@odata.context":"c","value":[]}`, "", `in holds an answer whose "value" is an empty list: no record`},
	} {
		t.Run(name, func(t *testing.T) {
			var notes strings.Builder
			var records []string
			err := EachRecord(strings.NewReader(test.in), func(_ int, record []byte) error {
				records = append(records, string(record))
				return nil
			}, "in", &notes)
			if got := strings.Join(records, " "); err != nil || got != test.records {
				t.Errorf("%s, %v", got, err)
			}
			if !strings.HasPrefix(notes.String(), test.note) || test.note == "" && notes.Len() > 0 {
				t.Errorf("noted %q", notes.String())
			}
		})
	}
}
