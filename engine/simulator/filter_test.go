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
		"createdDateTime lt 2026-03-01T09:00:00Z or status/errorCode eq 50126":                true,
		"status/errorCode ne 0":                                                               true,
		"status/errorCode gt 50126":                                                           false,
		"not (status/errorCode eq 50126)":                                                     false,
		"not status/errorCode eq 0 and isInteractive eq true":                                 true,
		"id eq '1' or id eq '2' and id eq '3'":                                                true, // and binds tighter
		"(id eq '1' or id eq '2') and id eq '3'":                                              false,
		"appDisplayName eq 'azure portal'":                                                    true, // text compares without case
		"startswith(appDisplayName,'Azure')":                                                  true,
		"startsWith(appDisplayName, 'Portal')":                                                false,
		"endswith(appDisplayName,'Portal')":                                                   true,
		"contains(appDisplayName,'e P')":                                                      true,
		"id in ('7','1')":                                                                     true,
		"note eq null":                                                                        true,
		"missing eq null":                                                                     true,
		"quote eq 'it''s'":                                                                    true,
		"status/errorCode eq '50126'":                                                         false, // another type
		"signInEventTypes/any(t: t eq 'nonInteractiveUser')":                                  true,
		"signInEventTypes/any(t:t eq 'servicePrincipal' or t eq 'managedIdentity')":           false,
		"signInEventTypes/any()":                                                              true,
		"targetResources/any(t: t/id eq 'b')":                                                 true,
		"targetResources/any(t: t/id eq 'b' and t/displayName eq 'One')":                      false,
		"targetResources/any(t: t/id eq 'a' and status/errorCode eq 50126)":                   true,
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
		"createdDateTime ge 2026-03-01T10:00:00 00:00": "is not a literal",
		"createdDateTime ge":                           "is not a literal",
		"createdDateTime":                              "an operator expected",
		"createdDateTime like 1":                       "'like' is not an operator",
		"a eq 'b":                                      "unterminated string",
		"a eq 1 b eq 2":                                "'b' is not expected",
		"(a eq 1":                                      "')' expected",
		"a eq 1)":                                      "')' is not expected",
		"a eq 1 & b eq 2":                              "character '&'",
		"signInEventTypes/any(t eq 'x')":               "':' expected",
		"signInEventTypes/any(t: )":                    "a property expected",
		"startswith(a)":                                "',' expected",
		"startswith(a, b)":                             "takes a property and a string",
		"":                                             "a property expected",
		strings.Repeat("(", 200) + "a":                 "nested more than",
		strings.Repeat("not ", 200) + "a eq 1":         "nested more than",
		"secret eq 1":                                  "no such thing",
		"targets/any(x: x eq 1) and x eq 1":            "no such thing",
		"targets/any(x: x/id eq 'a' and secret/id eq 'b'": "no such thing",
	} {
		known := func(path []string) error {
			if path[0] == "secret" || path[0] == "x" {
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
		"c ge 2026-03-01T10:00:00Z and c lt 2026-03-01T11:00:00Z":                {ten, eleven},
		"c gt 2026-03-01T10:00:00Z and (c le 2026-03-01T11:00:00Z and a eq 'x')": {ten + 1, eleven + 1},
		"c eq 2026-03-01T10:00:00Z":                                              {ten, ten + 1},
		"c ge 2026-03-01T10:00:00Z or a eq 'x'":                                  {math.MinInt64, math.MaxInt64},
		"not (c ge 2026-03-01T10:00:00Z)":                                        {math.MinInt64, math.MaxInt64},
		"a ge 2026-03-01T10:00:00Z":                                              {math.MinInt64, math.MaxInt64},
		"c ge 0001-01-01T00:00:00Z":                                              {math.MinInt64, math.MaxInt64},
	} {
		e, err := parseFilter(text, anyProperty)
		if err != nil {
			t.Fatal(err)
		}
		if from, to := bounds(e, "c"); from != want[0] || to != want[1] {
			t.Errorf("%s: got %d, %d", text, from, to)
		}
	}
}

// FuzzFilter holds that no text makes the parser panic or run away, and that
// the bounds of a filter never exclude a row for which it holds.
func FuzzFilter(f *testing.F) {
	for _, seed := range []string{
		"createdDateTime ge 2026-03-01T10:00:00Z and createdDateTime lt 2026-03-01T11:00:00Z",
		"signInEventTypes/any(t: t eq 'nonInteractiveUser' or t eq 'x') and not (id in ('1','2'))",
		"startswith(appDisplayName,'A''s') or status/errorCode ne -1.5e3", "a/any(b: b/any(c: c eq null))", "((((", "'", "not not not", "a eq 1:2",
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
		from, to := bounds(e, "createdDateTime")
		at := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC).UnixNano()
		if e.holds(row(t)) && (at < from || at >= to) {
			t.Errorf("%q holds for a row outside its bounds %d, %d", text, from, to)
		}
	})
}
