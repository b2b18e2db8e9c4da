package transform

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/engine/definition"
)

// fields makes the fields of a mapping from name, expression, name, …
func fields(pairs ...string) []definition.MappingField {
	var out []definition.MappingField
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, definition.MappingField{Name: definition.Text{Value: pairs[i]}, Expr: definition.Text{Value: pairs[i+1]}})
	}
	return out
}

func when(condition string, pairs ...string) definition.Case {
	return definition.Case{When: definition.Text{Value: condition}, Fields: fields(pairs...)}
}

func compile(t testing.TB, m *definition.Mapping, constants ...Constant) *Mapping {
	t.Helper()
	if m.Name == "" {
		m.Name = "test"
	}
	compiled, problems := Compile(m, Options{Constants: constants, Now: func() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }})
	for _, p := range problems {
		t.Errorf("problem: %s", p.Message)
	}
	if len(problems) > 0 {
		t.FailNow()
	}
	return compiled
}

// event maps a record and gives the event without the always-fields that are
// defaults.
func event(t testing.TB, m *Mapping, record string) string {
	t.Helper()
	out, _ := m.NewMapper().Append(nil, []byte(record))
	if !json.Valid(out) {
		t.Fatalf("not JSON: %s", out)
	}
	text := string(out)
	for _, field := range []string{`,"timestamp":"2026-03-01T12:00:00Z"`, `,"operation":"test"`, `,"outcome":"success"`, `,"source_type":"test"`, `,"message_text":"test"`} {
		text = strings.Replace(text, field, "", 1)
	}
	return text
}

func TestFlatten(t *testing.T) {
	t.Parallel()
	pairs := []definition.Text{{Value: "Props"}, {Value: "a.items"}, {Value: "deep_list"}}
	tests := []struct{ name, record, want string }{
		{"scalars", `{"a":"x","n":1,"t":true,"f":false,"e":""}`, `{"event_a":"x","event_n":1,"event_t":true,"event_f":false,"event_e":""}`},
		{"objects", `{"a":{"b":{"c":1},"d":"x"}}`, `{"event_a_b_c":1,"event_a_d":"x"}`},
		{"null and empty", `{"a":null,"b":{},"c":{"d":null}}`, `{"timestamp":"2026-03-01T12:00:00Z"}`},
		{"digits", `{"a":12345678901234567890,"b":1.50,"c":1E+2,"d":-0,"e":1e999}`, `{"event_a":12345678901234567890,"event_b":1.50,"event_c":1E+2,"event_d":-0,"event_e":1e999}`},
		{"arrays", `{"a":[],"b":[ 1, "x\"y" , {"k" : [null]} ]}`, `{"event_a":"[]","event_b":"[1,\"x\\\"y\",{\"k\":[null]}]"}`},
		{"white space", " { \"a\" : 1 ,\n\t\"b\" : { \"c\" : \" \" } } \n", `{"event_a":1,"event_b_c":" "}`},
		{"names", `{"@odata.type":1,"a-b":2,"é":3,"x y":4,"\u0041\u002d":5,"日本":6,"":7,"_":8}`, `{"event__odata_type":1,"event_a_b":2,"event__":3,"event_x_y":4,"event_A_":5,"event___":6,"event_":7,"event___2":8}`},
		{"clashes", `{"a_b":1,"a":{"b":2},"a-b":3,"a_b_2":4,"a_b":5}`, `{"event_a_b":1,"event_a_b_2":2,"event_a_b_3":3,"event_a_b_2_2":4,"event_a_b_4":5}`},
		{"duplicate keys", `{"a":1,"a":1,"a":{"b":1},"a":[]}`, `{"event_a":1,"event_a_2":1,"event_a_b":1,"event_a_3":"[]"}`},
		{"text", `{"a":"tab\tquote\"\u00e9\ud83d\ude00\/"}`, `{"event_a":"tab\tquote\"\u00e9\ud83d\ude00\/"}`},
		{"lone surrogates", `{"a":"x\ud800y","b":"\udc00","c":"\ud800\u0041"}`, `{"event_a":"x` + "\ufffd" + `y","event_b":"` + "\ufffd" + `","event_c":"` + "\ufffd" + `A"}`},
		{"pairs", `{"Props":[{"Name":"A","Value":"x"},{"key":"b c","value":1},{"Value":true,"Name":"V"},{"name":"o","value":{"k":"v"}},{"Name":"l","Value":[1]},{"Name":"z","Value":null}]}`,
			`{"event_Props_A":"x","event_Props_b_c":1,"event_Props_V":true,"event_Props_o_k":"v","event_Props_l":"[1]"}`},
		{"pairs with other members", `{"Props":[{"Name":"A","NewValue":"n","OldValue":"o"},{"Name":"B","Value":1,"Type":2}]}`, `{"event_Props_A_NewValue":"n","event_Props_A_OldValue":"o","event_Props_B":1,"event_Props_B_Type":2}`},
		{"pairs that clash", `{"Props":[{"Name":"A","Value":1},{"Name":"A","Value":2}],"Props_A":3}`, `{"event_Props_A":1,"event_Props_A_2":2,"event_Props_A_3":3}`},
		{"pairs that do not fit", `{"Props":[{"Name":"A","Value":1},"x",{"Name":"","Value":2},{"Name":5,"Value":2},{"Name":"B"}]}`,
			`{"event_Props_A":1,"event_Props":"[{\"Name\":\"A\",\"Value\":1},\"x\",{\"Name\":\"\",\"Value\":2},{\"Name\":5,\"Value\":2},{\"Name\":\"B\"}]"}`},
		{"pairs that are none", `{"Props":"x","a":{"items":{"b":1}}}`, `{"event_Props":"x","event_a_items_b":1}`},
		{"nested pairs", `{"a":{"items":[{"Name":"n","Value":1}]},"deep":{"list":[{"Name":"n","Value":2}]}}`, `{"event_a_items_n":1,"event_deep_list_n":2}`},
		{"pairs as JSON text", `{"Props":"[{\"Name\":\"A\",\"Value\":\"q\\\"\\u00e9\"}, {\"Name\":\"B\",\"NewValue\":[1, 2]}]"}`, `{"event_Props_A":"q\"\u00e9","event_Props_B_NewValue":"[1,2]"}`},
		{"pairs as JSON text that do not fit", `{"Props":"[{\"Name\":\"A\",\"Value\":1}, 2]"}`, `{"event_Props_A":1,"event_Props":"[{\"Name\":\"A\",\"Value\":1},2]"}`},
		{"text that looks like pairs", `{"Props":"[{\"Name\":"}`, `{"event_Props":"[{\"Name\":"}`},
		{"empty pairs", `{"Props":[],"x":1}`, `{"event_x":1}`},
		{"array record", `[1, {"a": 2}]`, `{"event_value":"[1,{\"a\":2}]"}`},
		{"text record", `"x"`, `{"event_value":"x"}`},
		{"number record", `1.0`, `{"event_value":1.0}`},
		{"too deep", strings.Repeat(`{"a":`, 66) + `{"b": 1}` + strings.Repeat(`}`, 66), `{"event` + strings.Repeat("_a", 64) + `":"{\"a\":{\"a\":{\"b\":1}}}"}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m := compile(t, &definition.Mapping{Pairs: pairs})
			got := event(t, m, test.record)
			if test.name == "null and empty" {
				got = strings.Replace(got, `,"operation":"test","outcome":"success","source_type":"test","message_text":"test"`, "", 1)
			}
			if got != test.want {
				t.Errorf("record %s\n got %s\nwant %s", test.record, got, test.want)
			}
			// The second time the names are known, and the third in between others.
			mapper := m.NewMapper()
			first, _ := mapper.Append(nil, []byte(test.record))
			mapper.Append(nil, []byte(`{"zzz":1,"a":{"q":2},"Props":[{"Name":"A","Value":9}]}`))
			again, _ := mapper.Append([]byte("before"), []byte(test.record))
			if "before"+string(first) != string(again) {
				t.Errorf("again %s\nfirst %s", again, first)
			}
		})
	}
}

func TestComputedFields(t *testing.T) {
	t.Parallel()
	m := &definition.Mapping{
		Tables: map[string]map[string]any{"outcomes": {"0": "success", "1": true, "2": 3}},
		Fields: fields(
			"timestamp", `time(event_Created)`,
			"user_name", `lower(event_User)`,
			"outcome", `tables.outcomes[event_Code] ?? "failure"`,
			"message_text", `words(user_name, "did", operation)`,
			"copy", `event_Number`,
			"list", `split(event_User, "@")`,
			"product", `event_Product`,
			"fails", `split(event_User, "@") + 1`,
		),
		Cases: []definition.Case{
			when(`event_Kind == "a"`, "operation", `"one"`, "extra", `"x"`),
			when(`event_Kind in ["a", "b"]`, "operation", `kebab(event_Op)`, "extra", `event_Nope`),
			when(`user_name == "root"`, "actor_kind", `"system"`),
		},
	}
	compiled := compile(t, m, Constant{"vendor", "V"}, Constant{"product", "P"})
	tests := []struct{ name, record, want string }{
		{"all", `{"Created":"2026-01-02T03:04:05","User":"A@B","Code":0,"Number":123456789012345678901.50,"Kind":"b","Op":"Do It"}`,
			`{"vendor":"V","event_Created":"2026-01-02T03:04:05","event_User":"A@B","event_Code":0,"event_Number":123456789012345678901.50,"event_Kind":"b","event_Op":"Do It","timestamp":"2026-01-02T03:04:05Z","user_name":"a@b","outcome":"success","message_text":"a@b did do-it","copy":123456789012345678901.50,"list":"[\"A\",\"B\"]","product":"P","operation":"do-it","source_type":"test","error_mapping":"mapping test: fails: + needs two numbers, not a list and a number"}`},
		{"a later case wins with nil", `{"Kind":"a","Product":"Q"}`, `{"vendor":"V","event_Kind":"a","event_Product":"Q","timestamp":"2026-03-01T12:00:00Z","outcome":"failure","message_text":"did test","product":"Q","operation":"test","source_type":"test"}`},
		{"a time that nobody can read", `{"Created":"yesterday","Kind":"a"}`, `{"vendor":"V","event_Created":"yesterday","event_Kind":"a","timestamp":"2026-03-01T12:00:00Z","outcome":"failure","message_text":"did test","product":"P","operation":"test","source_type":"test","error_mapping":"mapping test: timestamp: event_Created holds no time that can be read: it is when the record was read"}`},
		{"a condition reads a computed field", `{"User":"ROOT","Code":9}`, `{"vendor":"V","event_User":"ROOT","event_Code":9,"timestamp":"2026-03-01T12:00:00Z","user_name":"root","outcome":"failure","message_text":"root did test","list":"[\"ROOT\"]","product":"P","actor_kind":"system","operation":"test","source_type":"test","error_mapping":"mapping test: fails: + needs two numbers, not a list and a number"}`},
	}
	for _, test := range tests {
		out, _ := compiled.NewMapper().Append(nil, []byte(test.record))
		want, got := decode(t, test.want), decode(t, string(out))
		for name := range want {
			if string(got[name]) != string(want[name]) {
				t.Errorf("%s: %s = %s, want %s", test.name, name, got[name], want[name])
			}
			delete(got, name)
		}
		for name, value := range got {
			t.Errorf("%s: unexpected %s = %s", test.name, name, value)
		}
	}
}

func decode(t testing.TB, text string) map[string]json.RawMessage {
	t.Helper()
	m := make(map[string]json.RawMessage)
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return m
}

func TestProblems(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		m    definition.Mapping
		want []string
	}{
		{"names", definition.Mapping{Fields: fields("event_x", `"a"`, "", `"a"`)}, []string{
			"event_x is a name for fields of the record: a computed field needs another",
			"a field needs a name",
		}},
		{"expressions", definition.Mapping{Fields: fields("user_name", `lower(user_nme)`, "a", `tables.none["x"]`), Cases: []definition.Case{when(`event_x ==`, "b", `"x`)}}, []string{
			"unknown name user_nme; did you mean user_name?", "tables has no none", "the expression ends where something is still missing", "literal not terminated",
		}},
		{"a cycle", definition.Mapping{Fields: fields("a", `b`, "b", `c + "x"`, "c", `lower(a)`)}, []string{"a depends on itself: a reads b reads c reads a"}},
		{"itself", definition.Mapping{Fields: fields("a", `lower(a)`)}, []string{"a depends on itself: a reads a"}},
		{"a cycle by a condition", definition.Mapping{Fields: fields("a", `"x"`), Cases: []definition.Case{when(`a == "x"`, "a", `"y"`)}}, []string{"a depends on itself: a reads a"}},
		{"a cycle by two conditions", definition.Mapping{Cases: []definition.Case{when(`a == "x"`, "b", `"y"`), when(`b == "x"`, "a", `"y"`)}}, []string{"b depends on itself: b reads a reads b"}},
		{"values", definition.Mapping{
			Let:    fields("event_x", `"a"`, "lower", `"a"`, "in", `"a"`, "tables", `"a"`, "a", `"a"`, "whole", `json(event_z) + whole`, "here", `there`, "there", `here`, "wrong", `unheard_of`),
			Fields: fields("a", `words(wrong, wrong, whole, her)`),
		}, []string{
			"event_x is a name for fields of the record: a value needs another", "a is a computed field: a value needs another name", "lower means something in expressions: a value needs another name",
			"in means something in expressions: a value needs another name", "tables means something in expressions: a value needs another name", "whole is part of its own value", "here is part of its own value",
			"unknown name unheard_of; expected a name that begins with event_, a computed field, tables or a function", "unknown name her; did you mean here?",
		}},
		{"a cycle by a value", definition.Mapping{Let: fields("v", `lower(a)`), Fields: fields("a", `b`, "b", `v`)}, []string{"a depends on itself: a reads b reads a"}},
		{"in what is included", definition.Mapping{Include: []*definition.Mapping{{Name: "inner", When: definition.Text{Value: `evnt_x == 1`}, Fields: fields("a", `lower()`)}}}, []string{"unknown name evnt_x; expected a name that begins with event_, a computed field, tables or a function", "lower takes 1 argument, not 0"}},
	}
	for _, test := range tests {
		m, problems := Compile(&test.m, Options{})
		var got []string
		for _, p := range problems {
			got = append(got, p.Message)
		}
		slices.Sort(test.want) // none of them has a place
		if !slices.Equal(got, test.want) || m != nil {
			t.Errorf("%s:\n got %q\nwant %q", test.name, got, test.want)
		}
	}
}

// TestInclude states the order in which included rules apply.
func TestInclude(t *testing.T) {
	t.Parallel()
	library := &definition.Mapping{Name: "library", Tables: map[string]map[string]any{"t": {"1": "one"}}}
	inner := &definition.Mapping{Name: "inner", When: definition.Text{Value: `event_deep == true`}, Fields: fields("c", `"inner"`), Include: []*definition.Mapping{library}}
	first := &definition.Mapping{
		Name: "first", When: definition.Text{Value: `event_kind == 1`}, Pairs: []definition.Text{{Value: "list"}}, Include: []*definition.Mapping{inner},
		Fields: fields("a", `"first"`, "b", `"first"`, "c", `"first"`, "t", `tables.t[event_kind]`),
		Cases:  []definition.Case{when(`event_x == "case"`, "b", `"first case"`)},
	}
	second := &definition.Mapping{Name: "second", Fields: fields("b", `"second"`), Include: []*definition.Mapping{inner}}
	late := &definition.Mapping{Name: "late", When: definition.Text{Value: `a == "first"`}, Fields: fields("d", `"late"`), Cases: []definition.Case{when(`c == "inner"`, "d", `"later"`)}}
	outer := &definition.Mapping{
		Include: []*definition.Mapping{first, second, late},
		Fields:  fields("a", `"outer"`, "b", `"outer"`, "c", `"outer"`, "e", `event_list_n`),
		Cases:   []definition.Case{when(`event_x == "outer case"`, "b", `"outer case"`)},
	}
	m := compile(t, outer)
	tests := []struct{ record, want string }{
		{`{"kind":0}`, `{"event_kind":0,"a":"outer","b":"second","c":"outer"}`},
		{`{"kind":1}`, `{"event_kind":1,"a":"first","b":"second","c":"first","t":"one","d":"late"}`},
		{`{"kind":1,"deep":true}`, `{"event_kind":1,"event_deep":true,"a":"first","b":"second","c":"inner","t":"one","d":"later"}`},
		{`{"kind":0,"deep":true}`, `{"event_kind":0,"event_deep":true,"a":"outer","b":"second","c":"inner"}`},
		{`{"kind":1,"x":"case"}`, `{"event_kind":1,"event_x":"case","a":"first","b":"second","c":"first","t":"one","d":"late"}`},
		{`{"kind":0,"x":"outer case","list":[{"Name":"n","Value":5}]}`, `{"event_kind":0,"event_x":"outer case","event_list_n":5,"a":"outer","b":"outer case","c":"outer","e":5}`},
	}
	for _, test := range tests {
		if got := decode(t, event(t, m, test.record)); !reflect.DeepEqual(got, decode(t, test.want)) {
			t.Errorf("%s\n got %s\nwant %s", test.record, event(t, m, test.record), test.want)
		}
	}
}

func TestDefaultMessage(t *testing.T) {
	t.Parallel()
	m := compile(t, &definition.Mapping{Name: "My mapping", Fields: fields("user_name", `event_u`, "ip_src_address", `ip(event_ip)`, "outcome", `event_o`, "operation", `event_op ?? message_text`)})
	for record, want := range map[string]string{
		`{}`:                                `"my-mapping"`,
		`{"u":"al","ip":"1.2.3.4:5"}`:       `"my-mapping by al from 1.2.3.4"`,
		`{"u":"al","op":"x","o":"failure"}`: `"x by al failed"`,
	} {
		out, _ := m.NewMapper().Append(nil, []byte(record))
		if got := string(decode(t, string(out))["message_text"]); got != want {
			t.Errorf("%s: %s, want %s", record, got, want)
		}
	}
}

// TestAllocations states that the common shapes of expressions allocate
// nothing once the names are known.
func TestAllocations(t *testing.T) {
	mapper := compile(t, benchMapping(), constantsForBench...).NewMapper()
	records := corpus(64)
	var dst []byte
	for range 3 {
		for _, record := range records {
			dst, _ = mapper.Append(dst[:0], record)
		}
	}
	if n := testing.AllocsPerRun(20, func() {
		for _, record := range records {
			dst, _ = mapper.Append(dst[:0], record)
		}
	}); n > 0 {
		t.Errorf("%v allocations for %d records", n, len(records))
	}
}

// TestSharedMapping maps from several goroutines, for the race detector.
func TestSharedMapping(t *testing.T) {
	t.Parallel()
	m := compile(t, benchMapping(), constantsForBench...)
	records := corpus(50)
	single := m.NewMapper()
	var want [][]byte
	for _, record := range records {
		out, _ := single.Append(nil, record)
		want = append(want, out)
	}
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			mapper := m.NewMapper()
			for i, record := range records {
				if out, _ := mapper.Append(nil, record); !bytes.Equal(out, want[i]) {
					t.Errorf("got %s\nwant %s", out, want[i])
				}
			}
		})
	}
	wait.Wait()
}

// A message is one line, whatever stands in the record.
func TestMessageIsOneLine(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]string{
		`event_text`:                   "a [31mb c \"d\" é",
		`words("it says", event_text)`: "it says a [31mb c \"d\" é",
	} {
		m := compile(t, &definition.Mapping{Fields: fields("message_text", source)})
		out, _ := m.NewMapper().Append(nil, []byte(`{"text":"a\r\n\u001b[31mb\tc \"d\" é"}`))
		var got struct {
			Message string `json:"message_text"`
			Text    string `json:"event_text"`
		}
		if err := json.Unmarshal(out, &got); err != nil {
			t.Fatal(err)
		}
		if got.Message != want {
			t.Errorf("%s gives the message %q, want %q", source, got.Message, want)
		}
		if got.Text != "a\r\n\x1b[31mb\tc \"d\" é" {
			t.Errorf("the field of the record has become %q", got.Text)
		}
	}
}

// The mapper tells the time that the mapping gave, and none that it did not.
func TestTime(t *testing.T) {
	t.Parallel()
	m := compile(t, &definition.Mapping{Fields: fields("timestamp", `time(event_at)`)}).NewMapper()
	for record, want := range map[string]string{`{"at":"2026-03-01T10:00:00.5"}`: "2026-03-01T10:00:00.5Z", `{"at":"soon"}`: "", `{}`: ""} {
		m.Append(nil, []byte(record))
		at, ok := m.Time()
		if got := at.Format(time.RFC3339Nano); ok != (want != "") || ok && got != want {
			t.Errorf("%s: %v, %v, want %q", record, at, ok, want)
		}
	}
}

// A rule for the timestamp that fails says why, and nothing else beside it.
func TestTimestampFailsOnce(t *testing.T) {
	t.Parallel()
	m := compile(t, &definition.Mapping{Fields: fields("timestamp", `time(event_at) ?? (event_flag + 1)`)}).NewMapper()
	if _, failed := m.Append(nil, []byte(`{"at":"soon","flag":true}`)); len(failed) != 1 || !strings.HasPrefix(failed[0].Cause, "+ needs two numbers") {
		t.Errorf("it failed by %v", failed)
	}
}

// An array is spread into so many fields at most; what is more stays in its text.
func TestManyPairs(t *testing.T) {
	t.Parallel()
	m := compile(t, &definition.Mapping{Pairs: []definition.Text{{Value: "Props"}}, Fields: fields("n", `len(json(event_Props))`, "first", `event_Props_k0`)})
	element := func(i int) string { return fmt.Sprintf(`{"Name":"k%d","Value":%d}`, i, i) }
	wide := `{"Name":"k0","Value":0`
	for i := range 1000 {
		wide += fmt.Sprintf(`,"m%d":{"x":1}`, i)
	}
	for _, test := range []struct {
		elements     []string
		spread, kept int
	}{
		{[]string{element(0), element(1)}, 2, 0},
		{slices.Repeat([]string{element(0)}, 256), 256, 0},
		{slices.Repeat([]string{element(0)}, 257), 256, 1},
		{slices.Repeat([]string{element(0)}, 5000), 256, 1},
		{[]string{wide + "}", element(1)}, 256, 1},
	} {
		list := "[" + strings.Join(test.elements, ", ") + "]"
		text, _ := json.Marshal(list)
		for _, value := range []string{list, string(text)} {
			event := decode(t, event(t, m, `{"Props":`+value+`,"after":1}`))
			spread, kept := 0, 0
			for name := range event {
				if strings.HasPrefix(name, "event_Props_") {
					spread++
				} else if name == "event_Props" {
					kept++
				}
			}
			if spread != test.spread || kept != test.kept || string(event["event_after"]) != "1" || string(event["n"]) != strconv.Itoa(len(test.elements)) || string(event["first"]) != "0" {
				t.Errorf("%d elements: %d fields, %d texts, n %s", len(test.elements), spread, kept, event["n"])
			}
		}
	}
}
