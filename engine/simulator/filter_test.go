package simulator

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"
)

func anyProperty([]string) error { return nil }

const filterRow = `{"id":"1","createdDateTime":"2026-03-01T10:00:00Z","appDisplayName":"Azure Portal","isInteractive":true,"note":null,"quote":"it's",
	"status":{"errorCode":50126},"signInEventTypes":["nonInteractiveUser"],"targetResources":[{"id":"a","displayName":"One"},{"id":"b","displayName":"Two"}]}`

func row(t testing.TB) fields {
	var object map[string]any
	if err := json.Unmarshal([]byte(filterRow), &object); err != nil {
		t.Fatal(err)
	}
	return func(path []string) any { return property(object, path) }
}

func TestFilterHolds(t *testing.T) {
	for text, want := range map[string]bool{
		"createdDateTime ge 2026-03-01T10:00:00Z":                                             true,
		"createdDateTime gt 2026-03-01T10:00:00Z":                                             false,
		"createdDateTime le 2026-03-01T10:00:00.000Z":                                         true,
		"createdDateTime lt 2026-03-01T10:00:00Z":                                             false,
		"createdDateTime eq 2026-03-01T11:00:00+01:00":                                        true,
		"createdDateTime ge 2026-03-01":                                                       true,
		"createdDateTime ge 2026-03-01T09:00:00Z and createdDateTime lt 2026-03-01T10:00:00Z": false,
		"status/errorCode ne 0":                                                               true,
		"status/errorCode gt 50126":                                                           false,
		"appDisplayName eq 'azure portal'":                                                    true, // text compares without case
		"note eq null":                                                                        true,
		"missing eq null":                                                                     true,
		"quote eq 'it''s'":                                                                    true,
		"status/errorCode eq '50126'":                                                         false, // another type
		"signInEventTypes/any(t: t eq 'nonInteractiveUser')":                                  true,
		"signInEventTypes/any(t: t eq 'nonInteractiveUser') and createdDateTime ge 2026-03-01T10:00Z": false, // refused below
	} {
		e, err := parseFilter(text, anyProperty)
		if strings.HasSuffix(text, "T10:00Z") {
			if err == nil {
				t.Errorf("%s: a time without seconds was accepted", text)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := e.holds(row(t)); got != want {
			t.Errorf("%s: got %v", text, got)
		}
	}
}

func TestFilterRefused(t *testing.T) {
	for text, want := range map[string]string{
		"createdDateTime ge '2026-03-01T10:00:00Z'":    "Edm.String",
		"createdDateTime ge 5":                         "Edm.Int32",
		"createdDateTime ge 2026-03-01T10:00:00 00:00": "does not evaluate 'createdDateTime ge",
		"createdDateTime ge x":                         "is not a literal",
		"createdDateTime ge":                           "does not evaluate",
		"createdDateTime like 1":                       "does not evaluate",
		"a eq 'b":                                      "does not evaluate",
		"a eq 1 b eq 2":                                "does not evaluate",
		"a eq 1)":                                      "does not evaluate",
		"a eq 1 & b eq 2":                              "does not evaluate",
		"a eq 1 and ":                                  "does not evaluate",
		"a eq 1 and b":                                 "does not evaluate 'b'",
		"signInEventTypes/any(t eq 'x')":               "does not evaluate",
		"signInEventTypes/any(t: t eq 'x'":             "does not evaluate",
		"signInEventTypes/any(t: t/id eq 'x')":         "does not evaluate",
		"signInEventTypes/any(t: u eq 'x')":            "does not evaluate",
		"signInEventTypes/any(t: t ne 'x')":            "does not evaluate",
		"signInEventTypes/all(t: t eq 'x')":            "does not evaluate",
		"a eq 1 or b eq 2":                             "does not evaluate 'a eq 1 or b eq 2'",
		"not (a eq 1)":                                 "does not evaluate",
		"not a eq 1":                                   "does not evaluate",
		"startswith(a,'b')":                            "does not evaluate",
		"a in ('b')":                                   "does not evaluate",
		"":                                             "does not evaluate",
		"(a eq 1)":                                     "does not evaluate",
		"secret eq 1":                                  "no such thing",
		"targets/any(x: x eq 1) and secret/id eq 1":    "no such thing",
	} {
		known := func(path []string) error {
			if path[0] == "secret" {
				return badFilter("no such thing")
			}
			return nil
		}
		if _, err := parseFilter(text, known); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: got %v, want %q", text, err, want)
		}
	}
}

func TestBounds(t *testing.T) {
	at := func(s string) int64 {
		v, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return v.UnixNano()
	}
	ten, eleven := at("2026-03-01T10:00:00Z"), at("2026-03-01T11:00:00Z")
	for text, want := range map[string][2]int64{
		"c ge 2026-03-01T10:00:00Z and c lt 2026-03-01T11:00:00Z":              {ten, eleven},
		"c gt 2026-03-01T10:00:00Z and c le 2026-03-01T11:00:00Z and a eq 'x'": {ten + 1, eleven + 1},
		"c eq 2026-03-01T10:00:00Z":                                            {ten, ten + 1},
		"a ge 2026-03-01T10:00:00Z":                                            {math.MinInt64, math.MaxInt64},
		"c ge 0001-01-01T00:00:00Z":                                            {math.MinInt64, math.MaxInt64},
	} {
		e, err := parseFilter(text, anyProperty)
		if err != nil {
			t.Fatal(err)
		}
		if from, to := e.bounds("c"); from != want[0] || to != want[1] {
			t.Errorf("%s: got %d, %d", text, from, to)
		}
	}
}

// FuzzFilter holds that no text makes the parser panic or run away, and that
// the bounds of a filter never exclude a row for which it holds.
func FuzzFilter(f *testing.F) {
	for _, seed := range []string{
		"createdDateTime ge 2026-03-01T10:00:00Z and createdDateTime lt 2026-03-01T11:00:00Z",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		e, err := parseFilter(text, anyProperty)
		if err != nil {
			if err.Error() == "" {
				t.Error("an error without words")
			}
			return
		}
		from, to := e.bounds("createdDateTime")
		at := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC).UnixNano()
		if e.holds(row(t)) && (at < from || at >= to) {
			t.Errorf("%q holds for a row outside its bounds %d, %d", text, from, to)
		}
	})
}
