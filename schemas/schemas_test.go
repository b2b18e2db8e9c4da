package schemas_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v5"
	"github.com/secure60/s60-m365-connector/schemas"
)

// TestHelp makes sure that an editor has something to show for every key.
func TestHelp(t *testing.T) {
	for name, schema := range map[string]*schemas.Document{"feed": schemas.Feed(), "mapping": schemas.Mapping()} {
		count := 0
		var walk func(at string, node any)
		walk = func(at string, node any) {
			switch n := node.(type) {
			case []any:
				for _, child := range n {
					walk(at, child)
				}
			case map[string]any:
				properties, _ := n["properties"].(map[string]any)
				for key, p := range properties {
					p := p.(map[string]any)
					if strings.Contains(at, ".then") || strings.Contains(at, ".if") || p["const"] != nil { // of a condition
						continue
					}
					count++
					if text, _ := p["description"].(string); len(text) < 10 {
						t.Errorf("%s: %s.%s has no description", name, at, key)
					}
					if examples, _ := p["examples"].([]any); len(examples) == 0 {
						t.Errorf("%s: %s.%s has no examples", name, at, key)
					}
				}
				for key, child := range n {
					walk(at+"."+key, child)
				}
			}
		}
		walk("", schema.Root)
		if count < 10 {
			t.Errorf("%s: %d properties found", name, count)
		}
	}
}

// TestExamples checks each example and each default of a key against the key's own schema.
func TestExamples(t *testing.T) {
	for name, schema := range map[string]*schemas.Document{"feed": schemas.Feed(), "mapping": schemas.Mapping(), "event": schemas.Event()} {
		seen := map[*jsonschema.Schema]bool{}
		var walk func(at string, s *jsonschema.Schema)
		walk = func(at string, s *jsonschema.Schema) {
			if s == nil || seen[s] {
				return
			}
			seen[s] = true
			examples := s.Examples
			if s.Default != nil {
				examples = append(examples, s.Default)
			}
			for _, example := range examples {
				if err := s.Validate(example); err != nil {
					t.Errorf("%s%s: example %v: %v", name, at, example, err)
				}
			}
			for key, p := range s.Properties {
				walk(at+"."+key, p)
			}
			walk(at+"[]", s.Items2020)
			walk(at, s.Ref)
		}
		walk("", schema.Compiled())
		if len(seen) < 10 {
			t.Errorf("%s: %d schemas walked", name, len(seen))
		}
	}
}

func TestLookup(t *testing.T) {
	value, around := schemas.Feed().Lookup("https://x/feed.schema.json#/$defs/duration/pattern")
	if _, ok := value.(string); !ok || around["errorMessage"] == nil {
		t.Errorf("%v in %v", value, around)
	}
	if value, _ := schemas.Feed().Lookup("#/nothing/there"); value != nil {
		t.Errorf("%v", value)
	}
}

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0s": 0, "90s": 90 * time.Second, "1h30m": 90 * time.Minute, "7d": 168 * time.Hour, "1d12h": 36 * time.Hour, "1.5d": 36 * time.Hour, "10µs": 10 * time.Microsecond,
	} {
		if got, ok := schemas.ParseDuration(text); !ok || got != want {
			t.Errorf("%s: %v %v", text, got, ok)
		}
	}
	for _, text := range []string{"", "0", "5", "5 m", "-5m", "+5m", "d", "1w", "5m3d", "1e3d", "infd", "9999999d", "9999999h", "1d9999999h", "3650000000000h"} {
		if got, ok := schemas.ParseDuration(text); ok {
			t.Errorf("%s is taken for %v", text, got)
		}
	}
}

// TestMinimumDuration: the keyword refuses what is shorter, and what only looks like a duration.
func TestMinimumDuration(t *testing.T) {
	for recheck, want := range map[string]bool{"1m": true, "59s": false, "9999999h": false} {
		var feed any
		text := `{"name":"x","request":{"url":"https://a.example"},"key":"id","mapping":"m","licence":{"requires":"L","missing":true,"recheck":"` + recheck + `"}}`
		if err := json.Unmarshal([]byte(text), &feed); err != nil {
			t.Fatal(err)
		}
		if err := schemas.Feed().Validate(feed); (err == nil) != want {
			t.Errorf("%s: %v", recheck, err)
		}
	}
}
