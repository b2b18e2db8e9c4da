package transform

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/secure60/s60-m365-connector/engine/definition"
)

func text(s string) definition.Text { return definition.Text{Value: s} }

// kinds is a mapping of groups within groups, whose conditions read the fields
// that tell kinds, others, and computed fields, and some of which fail.
func kinds() *definition.Mapping {
	when := func(s string, pairs ...string) definition.Case {
		return definition.Case{When: text(s), Fields: fields(pairs...)}
	}
	inner := &definition.Mapping{
		Name: "inner", When: text(`event_Flag == true`),
		Fields: fields("x", `"inner"`, "y", `event_Kind + event_User`),
		Cases:  []definition.Case{when(`event_Kind == "a"`, "z", `"inner a"`), when(`event_Kind == "b"`, "x", `nil`)},
	}
	outer := &definition.Mapping{
		Name: "outer", When: text(`event_Kind in ["a", "b", 7] || event_Flag == true`), Include: []*definition.Mapping{inner},
		Fields: fields("operation", `"outer-" + event_Kind`, "w", `words(event_Kind, event_User)`),
		Cases: []definition.Case{
			when(`event_Kind == "b" && event_User != nil`, "w", `lower(event_User)`, "v", `event_User`),
			when(`operation == "outer-a"`, "late", `"a"`),
			when(`operation startsWith "outer-" && event_User == "U"`, "late", `"u"`),
			when(`event_User`, "v", `"a text is no condition"`),
		},
	}
	return &definition.Mapping{
		Name: "kinds", Include: []*definition.Mapping{outer},
		Fields: fields("operation", `event_Kind == 7 ? "seven" : "other"`, "x", `event_User`, "fails", `json(event_List) + 1`, "n", `event_Kind * 2`),
		Cases: []definition.Case{
			when(`event_Kind == "c"`, "x", `"c"`, "y", `operation`),
			when(`event_Kind == "d"`, "x", `upper(event_User)`, "vendor", `"of a case"`),
			when(`event_Kind not in ["a", "b"] and w == nil`, "late", `x ?? "none"`),
			when(`outcome == "success" and event_Kind == "a"`, "late", `"of all"`),
		},
	}
}

// TestPlans: events are the same with and without plans, whatever was mapped
// before.
func TestPlans(t *testing.T) {
	t.Parallel()
	m := compile(t, kinds(), Constant{"vendor", "V"})
	if len(m.telling) != 2 {
		t.Fatalf("%d fields tell kinds, want event_Kind and event_Flag", len(m.telling))
	}
	r := rand.New(rand.NewPCG(1, 2))
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	planned, plain := m.NewMapper(), m.NewMapper()
	plain.off = true
	for range 4000 {
		record := []byte(fmt.Sprintf(`{"Kind":%s,"User":%s,"Flag":%s,"List":%s}`, pick(`"a"`, `"b"`, `"c"`, `"d"`, `"e"`, `7`, `7.0`, `"7"`, `null`, `true`, `""`, `"\u0061"`, `[1, 2]`), pick(`"u"`, `"U"`, `null`, `3`), pick(`true`, `false`, `null`), pick(`null`, `[]`, `["a"]`)))
		want, failures := plain.Append(nil, record)
		got, failed := planned.Append(nil, record)
		if !bytes.Equal(got, want) || len(failed) != len(failures) {
			t.Fatalf("%s\nwith plans %s %v\nwithout    %s %v", record, got, failed, want, failures)
		}
	}
	if planned.off || len(planned.kinds) < 10 || planned.plan == nil {
		t.Errorf("%d plans, off %v", len(planned.kinds), planned.off)
	}
}

// TestKnownValuesTellKinds: where conditions ask for nothing in particular, a plan is for values that the mapping knows.
func TestKnownValuesTellKinds(t *testing.T) {
	t.Parallel()
	mapper := compile(t, &definition.Mapping{
		Name:        "m",
		Fields:      fields("severity", `event_State == "safe" ? nil : "high"`, "user", `lower(event_User)`),
		Cases:       []definition.Case{when(`event_User == "none" && event_State == "lost"`, "severity", `"low"`)}, // which none is
		KnownValues: []definition.Known{{Field: text("event_State"), Is: text(`event_State == "safe"`)}, {Field: text("severity"), Is: text("true")}},
	}).NewMapper()
	for range 2 {
		for _, record := range []string{`{"State":"safe","User":"A"}`, `{"State":"risk","User":"B"}`, `{"User":"C"}`} {
			mapper.Append(nil, []byte(record))
		}
	}
	severity := mapper.m.fieldOf["severity"]
	if len(mapper.kinds) != 3 || mapper.plan.winner[severity] >= noRule {
		t.Errorf("%d kinds, want one for each state; severity is known: %v", len(mapper.kinds), mapper.plan.winner[severity] < noRule)
	}
}

// TestSpecialPlans: events are the same, too, where records of a kind are so many that they get special plans, and
// what was computed of a field is taken again.
func TestSpecialPlans(t *testing.T) {
	t.Parallel()
	mapping := kinds()
	for _, name := range []string{"one", "two"} {
		mapping.Fields = append(mapping.Fields, fields(name, `lower(event_User) ?? event_Other ?? "nobody"`, name+"_of", `upper(`+name+`) + string(event_Kind)`)...)
	}
	mapping.Cases = append(mapping.Cases,
		definition.Case{When: text(`event_User startsWith "U"`), Fields: fields("two", `event_Other`, "x", `upper(event_User)`)},
		definition.Case{When: text(`event_User == "U2"`), Fields: fields("operation", `event_Other + event_List`)},
	)
	m := compile(t, mapping, Constant{"vendor", "V"})
	for _, constants := range [][]Constant{nil, {{"w", "constant"}}} {
		r := rand.New(rand.NewPCG(1, 2))
		pick := func(of ...string) string { return of[r.IntN(len(of))] }
		planned, plain := m.NewMapper(constants...), m.NewMapper(constants...)
		plain.off = true
		special, repeated := 0, 0
		user := `"u"`
		for range 6000 {
			if r.IntN(3) == 0 {
				user = pick(`"u"`, `"U"`, `"U2"`, `"\u0055"`, `3`, `null`, `true`, `["u"]`)
			}
			record := []byte(fmt.Sprintf(`{"Kind":%s,"User":%s,"Other":%s,"Flag":%s,"List":%s}`, pick(`"a"`, `"b"`, `7`), user, pick(`null`, `"o"`, `"p"`), pick(`true`, `true`, `false`), pick(`null`, `null`, `["a"]`)))
			want, failures := plain.Append(nil, record)
			got, failed := planned.Append(nil, record)
			if !bytes.Equal(got, want) || !slices.Equal(failed, failures) {
				t.Fatalf("%s\nwith plans %s %v\nwithout    %s %v", record, got, failed, want, failures)
			}
			at, ok := planned.Time()
			if wantAt, wantOk := plain.Time(); at != wantAt || ok != wantOk {
				t.Fatalf("%s\nat %s %v, want %s %v", record, at, ok, wantAt, wantOk)
			}
			if planned.plan.programs != nil {
				special++
			}
			if planned.recall != nil && slices.ContainsFunc(planned.recall.fields, func(f remembered) bool { return f.now == repeat }) {
				repeated++
			}
		}
		if special < 2000 || repeated < 500 {
			t.Errorf("%d records had a special plan, of %d something was taken again: the test says little", special, repeated)
		}
		if shared := planned.planning == &m.planning; shared != (constants == nil) {
			t.Errorf("special plans are shared: %v, with constants %v, on which they depend", shared, constants)
		}
	}
}

// TestRecalledOfAnotherValue: what is known of the value before last is not taken for known of the last. A value
// too long to be remembered comes between, and a text that the default of message_text makes of other fields.
func TestRecalledOfAnotherValue(t *testing.T) {
	t.Parallel()
	m := compile(t, &definition.Mapping{
		Name: "m",
		Fields: fields("message_text", `event_Text`, "user_name", `event_Name`, "said", `lower(message_text)`, "of", `lower(event_User)`,
			"many", `words(event_User, "`+strings.Repeat("m", mostRemembered)+`")`),
		Cases: []definition.Case{
			{When: text(`event_Kind == "a"`), Fields: fields("x", `"a"`)}, {When: text(`event_Kind == "b"`), Fields: fields("x", `"b"`)},
			{When: text(`event_Kind == "c"`), Fields: fields("x", `"c"`)}, {When: text(`event_Kind == "d"`), Fields: fields("x", `"d"`)},
			{When: text(`event_User startsWith "U"`), Fields: fields("user_type", `lower(event_User)`)},
		},
	})
	planned, plain := m.NewMapper(), m.NewMapper()
	plain.off = true
	long := strings.Repeat("v", mostRemembered+1)
	repeated := false
	for i := range 4 * toSpecial {
		for _, user := range []string{"U1", long, "U1", "v", long} {
			record := []byte(fmt.Sprintf(`{"Kind":"a","User":%q,"Text":"","Name":"n%d"}`, user, i))
			want, _ := plain.Append(nil, record)
			if got, _ := planned.Append(nil, record); !bytes.Equal(got, want) {
				t.Fatalf("%.60s\nwith plans %.400s\nwithout    %.400s", record, got, want)
			}
			if planned.recall == nil {
				continue
			}
			repeated = repeated || planned.recall.fields[0].now == repeat
			for _, a := range planned.recall.answers {
				if max(len(a.text), len(a.event)) > mostRemembered {
					t.Fatalf("%d bytes are remembered of %.60s", len(a.event), record)
				}
			}
		}
	}
	if !repeated {
		t.Error("nothing was taken again: the test says nothing")
	}
}

// TestSpecialPlansAreShared: a mapper finds those that another made, while others look for them.
func TestSpecialPlansAreShared(t *testing.T) {
	t.Parallel()
	m := compile(t, kinds())
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			mapper := m.NewMapper()
			for i := range 2000 {
				mapper.Append(nil, []byte(fmt.Sprintf(`{"Kind":%q,"User":"u%d"}`, "abc"[i%3:i%3+1], i/100)))
			}
			if mapper.plan.programs == nil {
				t.Error("no special plan")
			}
		})
	}
	group.Wait()
	if m.planning.special > 6 {
		t.Errorf("%d special plans of three kinds of records", m.planning.special)
	}
}

// TestSpecialPlansOutliveTheirMapper: also those that depend on constants, as of a pool that drops its mappers.
func TestSpecialPlansOutliveTheirMapper(t *testing.T) {
	t.Parallel()
	another := compile(t, kinds()).Mappers(Constant{"w", "constant"})
	for i, want := range []bool{false, true} {
		mapper := another()
		mapper.Append(nil, []byte(`{"Kind":"a","User":"u"}`))
		if special := mapper.planning.special > 0; special != want {
			t.Errorf("mapper %d finds special plans: %v, want %v", i, special, want)
		}
		for range 2 * toSpecial {
			mapper.Append(nil, []byte(`{"Kind":"a","User":"u"}`))
		}
	}
}

// TestPlansOfTooManyKinds: a field that tells no kinds makes no plans for ever.
func TestPlansOfTooManyKinds(t *testing.T) {
	t.Parallel()
	m := compile(t, kinds())
	mapper := m.NewMapper()
	for i := range 3 * maxPlans {
		record := []byte(fmt.Sprintf(`{"Kind":"k%d","User":"u"}`, i))
		want, _ := m.NewMapper().Append(nil, record)
		if got, _ := mapper.Append(nil, record); !bytes.Equal(got, want) {
			t.Fatalf("%s\nat first %s\nlater    %s", record, want, got)
		}
	}
	if !mapper.off || mapper.kinds != nil {
		t.Errorf("%d plans are kept, off %v", len(mapper.kinds), mapper.off)
	}
}
