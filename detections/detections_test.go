package detections

import (
	"strings"
	"testing"
	"time"
)

func TestConditions(t *testing.T) {
	event := map[string]any{"operation": "user-logon", "outcome": "success", "count": 12.0, "user_name": `a"b`, "flag": true}
	for source, want := range map[string]bool{
		`operation = "user-logon"`: true,
		`operation = "user"`:       false,
		`operation ~ "^user-"`:     true,
		`operation ~ "off$"`:       false,
		`count >= "12"`:            true,
		`count >= "12.5"`:          false,
		`operation >= "1"`:         false,
		`missing = ""`:             false,
		`missing ~ ".*"`:           false,
		`flag = "true"`:            true,
		`user_name = "a\"b"`:       true,
		`user_name ~ "a\Wb"`:       true,
		`operation = "x" AND outcome = "success" OR flag = "true"`:                  true,
		`flag = "true" OR operation = "x" AND outcome = "failure"`:                  true,
		`(flag = "true" OR operation = "x") AND outcome = "failure"`:                false,
		`operation = "user-logon" AND (outcome = "failure" OR outcome = "success")`: true,
	} {
		c, _, err := parse(source)
		if err != nil {
			t.Errorf("%s: %v", source, err)
		} else if got := c(event); got != want {
			t.Errorf("%s holds: %v", source, got)
		}
	}
}

func TestConditionsThatAreNone(t *testing.T) {
	for source, want := range map[string]string{
		``:                           "expected a field",
		`operation`:                  "expected a text in quotes",
		`operation = user`:           "expected a text in quotes",
		`operation "x"`:              "expected a text in quotes",
		`operation = "x" outcome`:    "expected AND, OR or the end",
		`operation = "x" AND`:        "expected a field",
		`(operation = "x"`:           "expected )",
		`operation ~ "("`:            "missing closing )",
		`operation >= "x"`:           "invalid syntax",
		`operation != "x"`:           "expected a field, an operator",
		`operation ( "x"`:            "expected =, ~ or >=",
		`operation = "x" AND OR = "`: "expected a field",
	} {
		_, _, err := parse(source)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", source, err, want)
		}
	}
}

func FuzzConditions(f *testing.F) {
	rules, err := Rules()
	if err != nil {
		f.Fatal(err)
	}
	for _, r := range rules {
		f.Add(r.When)
	}
	f.Fuzz(func(t *testing.T, source string) {
		c, _, err := parse(source)
		if err == nil {
			c(map[string]any{"operation": "x", "count": 1.0})
		}
	})
}

func TestRulesAreWhole(t *testing.T) {
	rules, err := Rules()
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for _, r := range rules {
		if r.Name == "" || r.Title == "" || r.Technique == "" || seen[r.Name] {
			t.Errorf("rule %q lacks name, title or technique, or comes twice", r.Name)
		}
		seen[r.Name] = true
		if r.Severity != "LOW" && r.Severity != "MEDIUM" && r.Severity != "HIGH" {
			t.Errorf("%s has severity %q", r.Name, r.Severity)
		}
		if (r.Count > 0) != (r.By != "") || (r.Count > 0) != (r.Within != "") || r.Distinct != "" && r.Count == 0 {
			t.Errorf("%s counts by halves", r.Name)
		}
	}
	if len(rules) < 30 {
		t.Errorf("%d rules", len(rules))
	}
}

func TestCounting(t *testing.T) {
	c, _, err := parse(`outcome = "failure"`)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	type at struct {
		minute int
		by, id string
		fires  bool
	}
	for name, events := range map[string][]at{
		"enough":                   {{0, "a", "1", false}, {1, "a", "2", false}, {2, "a", "3", true}},
		"begins anew":              {{0, "a", "1", false}, {1, "a", "2", false}, {2, "a", "3", true}, {3, "a", "4", false}},
		"one act told twice":       {{0, "a", "1", false}, {0, "a", "1", false}, {1, "a", "2", false}, {1, "a", "2", false}},
		"of different entities":    {{0, "a", "1", false}, {1, "b", "2", false}, {2, "c", "3", false}},
		"too slow":                 {{0, "a", "1", false}, {8, "a", "2", false}, {16, "a", "3", false}},
		"late events count":        {{5, "a", "1", false}, {1, "a", "2", false}, {3, "a", "3", true}},
		"events without a request": {{0, "a", "", false}, {0, "a", "", false}, {0, "a", "", true}},
	} {
		w := NewWatcher([]*Rule{{Name: "r", By: "user_name", Count: 3, within: 10 * time.Minute, condition: c}})
		for i, e := range events {
			event := map[string]any{"outcome": "failure", "user_name": e.by, "timestamp": start.Add(time.Duration(e.minute) * time.Minute).Format(time.RFC3339Nano)}
			if e.id != "" {
				event["request_id"] = e.id
			}
			if got := len(w.Add(event)) > 0; got != e.fires {
				t.Errorf("%s: event %d fires: %v", name, i, got)
			}
		}
	}
}
