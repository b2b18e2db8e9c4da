package transform

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/secure60/s60-m365-connector/engine/definition"
)

func exampleMapping() *definition.Mapping {
	return &definition.Mapping{
		Name:   "example",
		Tables: map[string]map[string]any{"kinds": {"1": "one", "2": "two", "3": "three"}, "unused": {"a": 1}},
		Fields: fields("timestamp", `time(event_T)`, "operation", `kebab(event_Op)`, "kind", `tables.kinds[event_K]`, "product", `event_P`, "broken", `-event_Op`),
		Cases: []definition.Case{
			when(`event_Op == "Start"`, "outcome", `"success"`, "extra", `event_Nothing`),
			when(`event_Op == "Never"`, "outcome", `"failure"`),
			when(`operation == "stop" && event_K in tables.kinds`, "phase", `"end"`),
		},
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	m := compile(t, exampleMapping(), Constant{"vendor", "V"}, Constant{"product", "P"})
	var got []string
	for _, e := range m.Explain([]byte(`{"Op":"Start","K":2}`), Constant{"source_name", "feed"}) {
		got = append(got, fmt.Sprintf("%s=%s %s %s %s %s", e.Field, e.Value, e.From, e.Origin.Source, e.Origin.Case, e.Failed))
	}
	want := []string{
		`vendor="V" constant   `,
		`source_name="feed" constant   `,
		`event_Op="Start" record   `,
		`event_K=2 record   `,
		`timestamp="2026-03-01T12:00:00Z" default time(event_T)  `,
		`operation="start" rule kebab(event_Op)  `,
		`kind="two" rule tables.kinds[event_K]  `,
		`product="P" constant event_P  `,
		`outcome="success" rule "success" event_Op == "Start" `,
		`source_type="example" default   `,
		`message_text="start" default   `,
		`error_mapping="mapping example: broken: - needs a number, not a text" engine   `,
		`broken= rule -event_Op  - needs a number, not a text`,
		`extra= rule event_Nothing event_Op == "Start" `,
	}
	if !reflect.DeepEqual(got, want) {
		for i := range max(len(got), len(want)) {
			g, w := "", ""
			if i < len(got) {
				g = got[i]
			}
			if i < len(want) {
				w = want[i]
			}
			if g != w {
				t.Errorf("%d\n got %s\nwant %s", i, g, w)
			}
		}
	}
}

func TestReferences(t *testing.T) {
	t.Parallel()
	m := compile(t, exampleMapping())
	got := make(map[string]int)
	for _, r := range m.References() {
		got[r.Name]++
		if text := string([]rune(r.Text.Value)[r.Offset : r.Offset+r.Length]); text != r.Name {
			t.Errorf("%s stands at %q of %s", r.Name, text, r.Text.Value)
		}
	}
	want := map[string]int{"event_T": 1, "event_Op": 4, "event_K": 2, "event_P": 1, "event_Nothing": 1}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
