package cases

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/definitions"
	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/transform"
)

// graph are the settings that the feeds in testdata read.
var graph = map[string]any{"MS_GRAPH_BASE": "https://graph.microsoft.com"}

// doors are a feed for cases that go wrong, and those in testdata.
func doors(t *testing.T) *definitions.Compiled {
	t.Helper()
	set, problems := definition.Load(definition.Options{
		Feeds: fstest.MapFS{"doors.yaml": {Data: []byte(`
name: doors
description: doors
enabled: "true"
auth: {scope: https://doors.example/.default}
request: {url: https://doors.example/log, query: {from: "${window.from}"}}
paging: {style: odata}
records: value
cursor: {field: at}
window: {max: 6h, delay: 0s, overlap: 1h, retention: 7d}
key: id
mapping: door
`)}},
		Overlay:  os.DirFS("testdata"),
		Settings: graph,
	})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	mapping, problems := transform.Compile(set.Mappings()[0], transform.Options{})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return &definitions.Compiled{Set: set, Mappings: map[string]func() *transform.Mapping{"door": func() *transform.Mapping { return mapping }}}
}

func TestCase(t *testing.T) {
	opened := `{value: [{id: a, at: 2026-03-01T11:10:00Z, n: 9007199254740993}]}`
	for _, test := range []struct{ name, text, want string }{
		{"as expected", `
exchanges:
  - request: {url: https://doors.example/log, query: {from: "2026-03-01T11:00:00Z"}}
    answer: {body: ` + opened + `}
expect:
  events: [{event_at: 2026-03-01T11:10:00Z, event_id: a, event_n: 9007199254740993, operation: door-open, outcome: success, message_text: door-open,
    source_name: doors, source_type: door, timestamp: "2026-03-01T11:10:00Z", app_name: ms365, product: Microsoft 365, schema_version: "1.0",
    technology_group: cloud, type: cloud, vendor: Microsoft}]
  cursor: 2026-03-01T12:00:00Z
  ledger: {listed: 1, fetched: 1, delivered: 1}
`, ""},
		{"an hour of waiting takes no time", `
exchanges:
  - request: {url: https://doors.example/log}
    answer: {status: 429, headers: {Retry-After: "600"}}
  - request: {url: https://doors.example/log}
    answer: {body: {value: []}}
expect: {events: [], cursor: 2026-03-01T12:00:00Z, ledger: {}}
`, ""},
		{"another query", `
exchanges:
  - request: {url: "https://doors.example/log?from=yesterday"}
    answer: {body: {value: []}}
expect: {events: [], ledger: {}}
`, "no exchange answers GET https://doors.example/log?from=2026-03-01T11:00:00Z"},
		{"an exchange too many", `
exchanges:
  - request: {url: https://doors.example/log}
    answer: {body: {value: []}}
  - request: {url: https://doors.example/other}
    answer: {body: {value: []}}
expect: {events: [], ledger: {}}
`, "nobody asked for exchange 2, https://doors.example/other"},
		{"another event, cursor and ledger", `
exchanges:
  - request: {url: https://doors.example/log}
    answer: {body: ` + opened + `}
expect: {events: [{operation: door-close}], cursor: 2026-03-01T12:00:01Z, ledger: {listed: 2}}
`, `event 1, operation:
  - "door-close"
  + "door-open"`},
		{"a failure that nobody expects", `
exchanges:
  - request: {url: https://doors.example/log}
    answer: {status: 403, body: {error: {code: Forbidden, message: no}}}
expect: {events: [], cursor: 2026-03-01T11:00:00Z, ledger: {}}
`, "Forbidden"},
	} {
		t.Run(test.name, func(t *testing.T) {
			root := t.TempDir()
			file := filepath.Join(root, "feeds", "doors", "case.yaml")
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte("description: "+test.name+"\n"+test.text), 0o644); err != nil {
				t.Fatal(err)
			}
			all, err := Find(root)
			if err != nil || len(all) != 1 {
				t.Fatalf("%d cases, %v", len(all), err)
			}
			begun := time.Now()
			got, err := all[0].Run(doors(t), map[string]any{})
			if took := time.Since(begun); took > 30*time.Second {
				t.Errorf("it took %v", took)
			}
			if err == nil {
				err = all[0].Compare(got)
			}
			switch {
			case test.want == "" && err != nil:
				t.Error(err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("got %v\nwant %s", err, test.want)
			}
			if test.want != "" {
				return
			}
			// What is written is what is read.
			if err := all[0].Write(got); err != nil {
				t.Fatal(err)
			}
			if all, err = Find(root); err != nil {
				t.Fatal(err)
			}
			if err := all[0].Compare(got); err != nil {
				t.Errorf("after Write: %v", err)
			}
		})
	}
}

func TestFindRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"field exchange not found": "exchange: []",
		"no exchanges":             "description: nothing",
	} {
		root := t.TempDir()
		if err := os.MkdirAll(filepath.Join(root, "feeds", "doors"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, "feeds", "doors", "case.yaml"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Find(root); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
