package golden_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sebdah/goldie/v2"
	"gopkg.in/yaml.v3"

	"github.com/secure60/s60-m365-connector/detections"
	"github.com/secure60/s60-m365-connector/engine/transform"
	"github.com/secure60/s60-m365-connector/mappings/vocabulary"
)

// stories are detections/<rule>.yaml: what must make the rule fire, and what is
// near to it and must not.
type stories struct {
	Fires  []story `yaml:"fires"`
	Misses []story `yaml:"misses"`
}

type story struct {
	Story  string      `yaml:"story"`
	Events []happening `yaml:"events"`
}

// happening is a golden record, changed, that comes so many times, each so long
// after what was before it.
type happening struct {
	Record string            `yaml:"record"` // mapping/case
	Times  int               `yaml:"times"`
	After  time.Duration     `yaml:"after"`
	Set    map[string]any    `yaml:"set"`  // path to value
	Each   map[string]string `yaml:"each"` // path to a text with the number of the time for %d
}

// TestDetections tells each rule its stories, through the shipped mappings.
func TestDetections(t *testing.T) {
	set := shipped(t)
	rules, err := detections.Rules()
	if err != nil {
		t.Fatal(err)
	}
	mappers := make(map[string]*transform.Mapper)
	meanings := vocabulary.Meanings(set)
	known := make(map[string]bool)
	for _, rule := range rules {
		known[rule.Name+".yaml"] = true
		for _, field := range rule.Fields() {
			if meanings[field] == nil {
				t.Errorf("%s reads %s, which docs/fields.md does not have", rule.Name, field)
			}
		}
		data, err := os.ReadFile(filepath.Join("detections", rule.Name+".yaml"))
		if err != nil {
			t.Errorf("%s has no stories: %v", rule.Name, err)
			continue
		}
		var told stories
		d := yaml.NewDecoder(bytes.NewReader(data))
		d.KnownFields(true)
		if err := d.Decode(&told); err != nil {
			t.Errorf("golden/detections/%s.yaml: %v", rule.Name, err)
			continue
		}
		if len(told.Fires) == 0 || len(told.Misses) == 0 {
			t.Errorf("%s needs a story that makes it fire, and one that does not", rule.Name)
		}
		tell := func(s story, fires bool) {
			t.Run(rule.Name+"/"+s.Story, func(t *testing.T) {
				watcher := detections.NewWatcher([]*detections.Rule{rule})
				at := collected
				fired := false
				var last map[string]any
				for _, h := range s.Events {
					mapping, one, _ := strings.Cut(h.Record, "/")
					if mappers[mapping] == nil {
						mappers[mapping] = compile(t, set.Mapping(mapping)).NewMapper(transform.Constant{Name: "source_name", Value: mapping})
					}
					for i := range max(h.Times, 1) {
						at = at.Add(h.After)
						out, failed := mappers[mapping].Append(nil, h.record(t, mapping, one, i))
						for _, f := range failed {
							t.Errorf("%s: %s failed: %s", h.Record, f.Field, f.Cause)
						}
						event := make(map[string]any)
						if err := json.Unmarshal(out, &event); err != nil {
							t.Fatal(err)
						}
						event["timestamp"] = at.Format(time.RFC3339Nano)
						fired = len(watcher.Add(event)) > 0 || fired
						last = event
					}
				}
				if fired != fires {
					t.Errorf("fired: %v, want %v; the last event: %v", fired, fires, brief(last))
				}
			})
		}
		for _, s := range told.Fires {
			tell(s, true)
		}
		for _, s := range told.Misses {
			tell(s, false)
		}
	}
	entries, err := os.ReadDir("detections")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !known[e.Name()] {
			t.Errorf("golden/detections/%s belongs to no rule", e.Name())
		}
	}
}

// record is the record for the time i.
func (h happening) record(t *testing.T, mapping, one string, i int) []byte {
	t.Helper()
	data := record(t, mapping, one)
	if len(h.Set)+len(h.Each) == 0 {
		return data
	}
	var fields any
	if err := json.Unmarshal(data, &fields); err != nil {
		t.Fatal(err)
	}
	for path, v := range h.Set {
		put(t, fields, strings.Split(path, "."), v)
	}
	for path, text := range h.Each {
		put(t, fields, strings.Split(path, "."), fmt.Sprintf(text, i))
	}
	data, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// put sets the value at a path of names and indexes.
func put(t *testing.T, in any, path []string, v any) {
	t.Helper()
	switch in := in.(type) {
	case map[string]any:
		if len(path) == 1 {
			in[path[0]] = v
			return
		}
		put(t, in[path[0]], path[1:], v)
	case []any:
		i, err := strconv.Atoi(path[0])
		if err != nil || i >= len(in) {
			t.Fatalf("no element %s", path[0])
		}
		if len(path) == 1 {
			in[i] = v
			return
		}
		put(t, in[i], path[1:], v)
	default:
		t.Fatalf("nothing at %s", path[0])
	}
}

// brief is an event without its original fields.
func brief(event map[string]any) map[string]any {
	out := make(map[string]any)
	for name, v := range event {
		if !strings.HasPrefix(name, "event_") {
			out[name] = v
		}
	}
	return out
}

// TestDetectionsPage holds docs/detections.md, which is generated, to the rules.
func TestDetectionsPage(t *testing.T) {
	rules, err := detections.Rules()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `# Detections

<!-- Generated from detections/rules.yaml by go test ./golden -update. Do not edit. -->

%d rules for Secure60, over the [fields and operations](fields.md) of the events. Each is a condition, as Secure60's rules have it: fields compared by
`+"`=`, `~`"+` (a regular expression) and `+"`>=`"+`, joined by `+"`AND` and `OR`"+`. A rule that counts fires when the condition has held so often within the time, for one value of the
entity; log-ons that both APIs tell count once, by their `+"`request_id`"+`. A change of the directory that both APIs tell has one `+"`correlation_id`"+`: group alerts by it.

Every rule is proven: `+"`golden/detections`"+` has the records that must make it fire, from each API that tells the act, and near misses that must not, and a test tells them to it through the
shipped mappings.
`, len(rules))
	for _, r := range rules {
		fmt.Fprintf(&b, "\n## %s\n\n%s. Severity %s, [%s](https://attack.mitre.org/techniques/%s/).\n\n```\n%s\n```\n", r.Name, r.Title, r.Severity, r.Technique, strings.ReplaceAll(r.Technique, ".", "/"), r.When)
		if r.Count > 0 {
			what := "events"
			if r.Distinct != "" {
				what = "different `" + r.Distinct + "`"
			}
			fmt.Fprintf(&b, "\n%d %s within %s, for one `%s`.\n", r.Count, what, r.Within, r.By)
		}
		if r.Tune != "" {
			fmt.Fprintf(&b, "\nTo tune: %s\n", r.Tune)
		}
	}
	goldie.New(t, goldie.WithFixtureDir(filepath.Join("..", "docs")), goldie.WithNameSuffix(".md"), goldie.WithDiffEngine(goldie.ClassicDiff)).Assert(t, "detections", []byte(b.String()))
}
