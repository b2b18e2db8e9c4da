package transform

import (
	"testing"

	"github.com/secure60/s60-m365-connector/engine/definition"
)

// TestLet holds values that expressions name to the same expressions written out.
func TestLet(t *testing.T) {
	t.Parallel()
	library := &definition.Mapping{Name: "library", Let: fields("lead", `parts[0]`, "parts", `event_parts startsWith "[" ? json(event_parts) : nil`, "grade", `lower(user_name)`)}
	named := compile(t, &definition.Mapping{
		Include: []*definition.Mapping{library},
		Let:     fields("names", `map(parts, .name)`, "unused", `lead + 1`, "broken", `lower(parts)`),
		Fields: fields("user_name", `lead.name`, "a", `join(names, ",")`, "b", `join(filter(names, # != lead.name), ",")`, "c", `let lead = "own"; lead`,
			"d", `grade`, "e", `broken`, "f", `event_x == 1 ? broken : "kept"`),
		Cases: []definition.Case{when(`event_x == 1 && len(parts) > 1`, "g", `any(parts, .name == grade)`)},
	})
	written := compile(t, &definition.Mapping{
		Fields: fields(
			"user_name", `(event_parts startsWith "[" ? json(event_parts) : nil)[0].name`,
			"a", `join(map(event_parts startsWith "[" ? json(event_parts) : nil, .name), ",")`,
			"b", `join(filter(map(event_parts startsWith "[" ? json(event_parts) : nil, .name), # != user_name), ",")`,
			"c", `"own"`, "d", `lower(user_name)`, "e", `lower(event_parts startsWith "[" ? json(event_parts) : nil)`,
			"f", `let broken = lower(event_parts startsWith "[" ? json(event_parts) : nil); event_x == 1 ? broken : "kept"`),
		Cases: []definition.Case{when(`event_x == 1 && len(event_parts startsWith "[" ? json(event_parts) : nil) > 1`, "g", `any(json(event_parts), .name == lower(user_name))`)},
	})
	for _, record := range []string{
		`{}`, `{"parts":"none","x":1}`, `{"parts":[],"x":1}`, `{"parts":[{"name":"A"}],"x":1}`,
		`{"parts":[{"name":"A"},{"name":"a"}],"x":1}`, `{"parts":[{"name":"a"},{"name":"B"},{}],"x":2}`,
	} {
		for range 3 { // plans are made of what comes often
			if got, want := event(t, named, record), event(t, written, record); got != want {
				t.Errorf("%s\nnamed:   %s\nwritten: %s", record, got, want)
			}
		}
	}
}

func TestLetReferences(t *testing.T) {
	t.Parallel()
	m := compile(t, &definition.Mapping{Let: fields("list", `json(event_list)`), Fields: fields("a", `list[0] ?? event_a`, "b", `list[1]`)})
	var got []string
	for _, r := range m.References() {
		got = append(got, r.Name)
	}
	if len(got) != 2 || got[0] != "event_list" || got[1] != "event_a" {
		t.Errorf("each name is told where it is written: %q", got)
	}
}

// TestLetRedacted: a value that was computed for a rule's condition is computed anew of what the rules leave.
func TestLetRedacted(t *testing.T) {
	t.Parallel()
	m := compile(t, &definition.Mapping{
		Let:    fields("names", `map(json(event_list), .name)`),
		Redact: []definition.Redact{rules(`"Ana" in names`, definition.RedactMask, "event_list.*.name")},
		Fields: fields("a", `join(names, ",")`),
	})
	for record, want := range map[string]string{
		`{"list":[{"name":"Ana"},{"name":"Ben"}]}`: `{"event_list":"[{\"name\":\"A***\"},{\"name\":\"B***\"}]","a":"A***,B***"}`,
		`{"list":[{"name":"Ben"}]}`:                `{"event_list":"[{\"name\":\"Ben\"}]","a":"Ben"}`,
	} {
		if got := event(t, m, record); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}
