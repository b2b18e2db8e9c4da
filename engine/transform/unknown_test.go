package transform

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/secure60/s60-m365-connector/engine/definition"
)

// What a mapping does not know is noted once by a mapper, and nothing that could be somebody's data.
func TestUnknown(t *testing.T) {
	t.Parallel()
	included := &definition.Mapping{
		Name: "inner", When: definition.Text{Value: `event_Kind == 7`},
		KnownValues: []definition.Known{{Field: definition.Text{Value: "event_Inner"}, Is: definition.Text{Value: `event_Inner == "a"`}}},
	}
	m, problems := Compile(&definition.Mapping{
		Name: "m", Include: []*definition.Mapping{included}, Pairs: texts("Props"),
		Tables:      map[string]map[string]any{"kinds": {"7": "seven", "8": "eight"}},
		Fields:      fields("operation", `kebab(event_Op)`),
		Redact:      []definition.Redact{rules("", "remove", "event_Secret*")},
		KnownFields: texts("event_Op", "event_Props_*"),
		KnownValues: []definition.Known{
			{Field: definition.Text{Value: "event_Kind"}, Is: definition.Text{Value: `tables.kinds[event_Kind] != nil`}, Kind: "record-type"},
			{Field: definition.Text{Value: "event_Op"}, Is: definition.Text{Value: `operation == "do-it"`}, Kind: "operation"},
			{Field: definition.Text{Value: "event_SecretState"}, Is: definition.Text{Value: `false`}},
		},
	}, Options{KnownFields: []string{"event_Kind", "event_Inner", "event_Deep_*"}})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	mapper := m.NewMapper()
	for _, test := range []struct{ record, want string }{
		{`{"Kind":7,"Op":"DoIt","Deep":{"a":{"b":1}},"Props":[{"Name":"x","Value":1}],"change":"created","before":{"Kind":8}}`, ""},
		{`{"Kind":8,"Op":"DoIt"}`, ""},
		{`{"Kind":9,"Op":"Other","New":{"a":1,"b":null}}`, "record-type event_Kind 9, operation event_Op Other, field event_New_a "},
		{`{"Kind":9,"Op":"Other","New":{"a":1}}`, ""},
		{`{"Kind":9,"Inner":"b"}`, ""}, // its mapping does not apply
		{`{"Kind":7,"Inner":"b"}`, "value event_Inner b"},
		{`{"Kind":7,"Inner":"b","Kind":8,"Kind":7}`, ""}, // the same name again
		{`{"SecretState":"x","SecretPlace":"y"}`, ""},
		{`{"Op":"alex@contoso.example"}`, ""}, {`{"Op":"a-4711-4711-4711"}`, ""}, {`{"Op":"` + strings.Repeat("x", 81) + `"}`, ""}, {"{\"Op\":\"a\\u0007\"}", ""},
		{`{"f_7e7e7e7e-4711-4711-0815-001122334455":1}`, ""},
		{`{"Kind":null,"Op":""}`, ""},
		{`not json`, ""},
	} {
		mapper.Append(nil, []byte(test.record))
		var got []string
		for _, u := range mapper.Unknown() {
			got = append(got, fmt.Sprintf("%s %s %s", u.Kind, u.Name, u.Value))
		}
		slices.Sort(got)
		want := strings.Split(test.want, ", ")
		slices.Sort(want)
		if strings.Join(got, ", ") != strings.Join(want, ", ") {
			t.Errorf("%s: %q, want %q", test.record, got, want)
		}
	}
	// What nobody asks for does not grow.
	for i := range 1000 {
		mapper.Append(nil, fmt.Appendf(nil, `{"x%s":1,"Op":"o%s"}`, word(i), word(i)))
	}
	if n := len(mapper.Unknown()); n != mostNoted {
		t.Errorf("%d are noted", n)
	}
	if plain := compile(t, &definition.Mapping{}).NewMapper(); true {
		plain.Append(nil, []byte(`{"a":1}`))
		if len(plain.Unknown()) > 0 {
			t.Error("a mapping that says nothing of what it knows does not know something")
		}
	}
}

// word is a number in letters.
func word(n int) string {
	return strings.Map(func(r rune) rune { return r - '0' + 'a' }, fmt.Sprint(n))
}
