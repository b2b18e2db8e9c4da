package transform

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/secure60/s60-m365-connector/engine/definition"
)

var seeds = []string{
	`{"a":1,"b":"x","c":[1,{"d":null}],"e":{"f":true}}`, `{"Props":[{"Name":"A","Value":"x"},{"Name":"B","NewValue":1}],"Props_A":2}`, `[]`, `{}`, `"x"`, `-0.5e-7`, `null`, ` { "a" : [ 1 , 2 ] } `,
	`{"a":"\ud800","b":"\ud83d\ude00","c":"\u0000\/\"\\"}`, `{"":{"":{"":1}}}`, `{"a":1,"a":2,"a_2":3}`, `{"é":"ü","a b":1}`, `{"a":"` + "\x01" + `"}`, `{"a":"` + "\xff" + `"}`, `{"a":tru}`, `{"a":01}`, `{"a":1,}`, `[1,2`, `{"a"}`, `"\u12"`, `1.`, `--1`, `{"a":1}}`,
	strings.Repeat(`[`, 200) + strings.Repeat(`]`, 200), strings.Repeat(`{"a":`, 100) + `1` + strings.Repeat(`}`, 100), `{"Props":[{"Name":"Props","Value":[{"Name":"x","Value":1}]}]}`, `{"Props":[{"Value":1,"Name":"x"},{"Name":"","Value":1},{"Name":"y"}]}`,
	`{"Props":[{"Name":"x","Value":1]}`, `{"Props":[{"Name":"x","Value":{"a":1}},{"Name":"x","Value":{"a":2}}]}`, `{"Props":[{"Name":"x",]}`, `{"Props":[{"Name":"x","Value":1}`,
}

// FuzzFlatten maps anything: the event is always one JSON object in UTF-8
// without a name twice, of scalars only, the same every time, and holds every
// scalar of the record.
func FuzzFlatten(f *testing.F) {
	for _, seed := range seeds {
		f.Add([]byte(seed))
	}
	m := compile(f, &definition.Mapping{
		Pairs:  []definition.Text{{Value: "Props"}, {Value: "a.b"}},
		Fields: fields("x", `lower(event_a) + event_b`, "y", `event_Props_A`, "z", `event_a_2 ?? event_c`, "w", `map(json(event_c), #)`),
	}, Constant{"vendor", "V"})
	reused := m.NewMapper()
	f.Fuzz(func(t *testing.T, data []byte) {
		first, _ := m.NewMapper().Append([]byte("before"), data)
		event := bytes.TrimPrefix(first, []byte("before"))
		again, _ := reused.Append(nil, data)
		if !bytes.Equal(event, again) {
			t.Fatalf("record %q\nnew mapper    %s\nreused mapper %s", data, event, again)
		}
		if !json.Valid(event) || !utf8.Valid(event) {
			t.Fatalf("record %q: not JSON: %q", data, event)
		}
		names := make(map[string]int)
		d := json.NewDecoder(bytes.NewReader(event))
		d.UseNumber()
		if token, err := d.Token(); err != nil || token != json.Delim('{') {
			t.Fatalf("record %q: not an object: %s", data, event)
		}
		scalars := 0
		for d.More() {
			name, _ := d.Token()
			if names[name.(string)]++; names[name.(string)] > 1 {
				t.Fatalf("record %q: %s stands twice: %s", data, name, event)
			}
			value, _ := d.Token()
			if _, nested := value.(json.Delim); nested || value == nil {
				t.Fatalf("record %q: %s is no scalar: %s", data, name, event)
			}
			if strings.HasPrefix(name.(string), "event_") {
				scalars++
			}
		}
		var record any
		if json.Unmarshal(data, &record) == nil && utf8.Valid(data) {
			if want := leaves(record, 0); scalars < want {
				t.Fatalf("record %q has %d values, the event %d: %s", data, want, scalars, event)
			}
		} else if scalars != 1 {
			t.Fatalf("record %q: %d fields: %s", data, scalars, event)
		}
	})
}

// leaves counts the fields that a record must give at least: its scalars
// outside of arrays. Duplicate names in an object make for more.
func leaves(v any, depth int) int {
	switch v := v.(type) {
	case map[string]any:
		if depth >= maxDepth {
			return 1
		}
		n := 0
		for _, member := range v {
			n += leaves(member, depth+1)
		}
		return n
	case []any, nil:
		return 0
	}
	return 1
}

// TestHostileRecords maps records that are made to hurt.
func TestHostileRecords(t *testing.T) {
	t.Parallel()
	m := compile(t, &definition.Mapping{
		Pairs:  []definition.Text{{Value: "Props"}},
		Fields: fields("x", `lower(event_big)`, "y", `words(event_big, event_big)`, "z", `split(event_big, "a")[3]`),
	}).NewMapper()
	keys := func(n int) string {
		var b strings.Builder
		b.WriteByte('{')
		for i := range n {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(`"k` + strings.Repeat("x", i%7) + string(rune('a'+i%26)) + json.Number(strings.Repeat("1", 1+i%3)).String() + `":` + `1`)
		}
		b.WriteByte('}')
		return b.String()
	}
	distinct := func(n int) string {
		var b strings.Builder
		b.WriteByte('{')
		for i := range n {
			if i > 0 {
				b.WriteByte(',')
			}
			text, _ := json.Marshal(i)
			b.WriteString(`"k` + string(text) + `":` + string(text))
		}
		b.WriteByte('}')
		return b.String()
	}
	for name, record := range map[string]string{
		"deep arrays":      `{"a":` + strings.Repeat("[", 1<<20) + strings.Repeat("]", 1<<20) + `}`,
		"deep objects":     strings.Repeat(`{"a":`, 1<<18) + "1" + strings.Repeat("}", 1<<18),
		"unclosed":         strings.Repeat(`{"a":[`, 1<<18),
		"a long text":      `{"big":"` + strings.Repeat("aB", 5<<20) + `"}`,
		"a long name":      `{"` + strings.Repeat("é", 1<<20) + `":1}`,
		"one name for all": keys(100_000),
		"many names":       distinct(100_000),
		"long number":      `{"n":` + strings.Repeat("9", 1<<20) + `}`,
		"many pairs":       `{"Props":[` + strings.Repeat(`{"Name":"a","Value":"b"},`, 50_000) + `{"Name":"a","Value":"b"}]}`,
	} {
		out, _ := m.Append(nil, []byte(record))
		if !json.Valid(out) {
			t.Errorf("%s: not JSON", name)
		}
		if n := strings.Count(string(out), `"event_`); n == 0 {
			t.Errorf("%s: nothing of the record is left", name)
		}
	}
	// What was learned from them is forgotten, and the mapper works on.
	out, _ := m.Append(nil, []byte(`{"a":1}`))
	if !strings.HasPrefix(string(out), `{"event_a":1,`) {
		t.Errorf("after all that: %s", out)
	}
	if m.nodes > maxNodes || m.learned > maxLearned || cap(m.text) > keepText {
		t.Errorf("kept %d names of %d bytes, %d bytes of scratch", m.nodes, m.learned, cap(m.text))
	}
}
