package transform

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/engine/definition"
)

func texts(values ...string) (list []definition.Text) {
	for _, v := range values {
		list = append(list, definition.Text{Value: v})
	}
	return list
}

func TestMask(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"alex@contoso.example": "a***@c***.example", "a@b.c": "a***@b***.c", "x@mail.contoso.co.example": "x***@m***.example",
		"192.0.2.7": "192.0.*.*", "2001:db8::7": "2001:0db8:*", "::1": "0000:0000:*", "secret": "s***", "Łukasz": "Ł***", "": "", "x": "x***",
		"alex@host": "a***", "@host.example": "@***", "Alex <alex@contoso.example>": "A***", "1.2.3": "1***",
	} {
		if got := mask(in); got != want {
			t.Errorf("mask(%q) = %q, want %q", in, got, want)
		}
	}
}

// The key and the pseudonym were computed with openssl dgst -sha256 -hmac and base32.
func TestPseudonym(t *testing.T) {
	t.Parallel()
	const want = "p-tydnozbtzr2jz4au5ee6l3xqb7"
	if got := pseudonym([]byte("key"), []byte("alex@contoso.example")); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestMatches(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		pattern, name string
		want          bool
	}{
		{"event_Subject", "event_Subject", true}, {"event_Subject", "event_Subjects", false}, {"event_*_Sender", "event_Mail_Sender", true}, {"event_*_Sender", "event_Sender", false},
		{"event_*", "event_", true}, {"*Sender*", "event_Sender_x", true}, {"event_a*b*c", "event_a1b2b3c", true}, {"event_a*b*c", "event_a1b2b3", false}, {"*", "", true}, {"", "a", false}, {"**", "abc", true},
	} {
		if got := matches(test.pattern, test.name); got != test.want {
			t.Errorf("matches(%q, %q) = %v", test.pattern, test.name, got)
		}
	}
}

// recordPart is what an event has of its record.
func recordPart(event string) string {
	from, to := strings.Index(event, `"event_`), strings.Index(event, `,"timestamp"`)
	if from < 0 || from > to {
		return ""
	}
	return event[from:to]
}

func TestRedact(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		rules  []definition.Redact
		record string
		want   string
	}{
		{"remove by name", []definition.Redact{{Fields: texts("event_Subject", "event_Sens*"), With: "remove"}},
			`{"Subject":"s","SensitiveInfo":{"a":1,"b":[1]},"Other":"o","Subjects":1}`, `"event_Other":"o","event_Subjects":1`},
		{"a twin of it", []definition.Redact{{Fields: texts("event_a_b"), With: "mask"}}, `{"a b":"one","a":{"b":"two"}}`, `"event_a_b":"o***","event_a_b_2":"t***"}`},
		{"escaped, lone and other kinds", []definition.Redact{{Fields: texts("event_*"), With: "mask"}},
			`{"e":"\"q\"","l":"\ud800x","n":12.50,"t":true,"z":null,"arr":[1, "x"]}`, `"event_e":"\"***","event_l":"` + "\ufffd" + `***","event_n":"1***","event_t":"t***","event_arr":"[***"`},
		{"with a condition that comes later in the record", []definition.Redact{{Fields: texts("event_Subject"), When: definition.Text{Value: `event_Kind in [11, 13]`}, With: "remove"}},
			`{"Subject":"s","Kind":11}`, `"event_Kind":11`},
		{"with a condition that does not hold", []definition.Redact{{Fields: texts("event_Subject"), When: definition.Text{Value: `event_Kind in [11, 13]`}, With: "remove"}},
			`{"Subject":"s","Kind":12}`, `"event_Subject":"s","event_Kind":12`},
		{"a condition sees what another rule left", []definition.Redact{{Fields: texts("event_a"), With: "mask"}, {Fields: texts("event_b"), When: definition.Text{Value: `event_a == "x***"`}, With: "mask"}},
			`{"a":"xyz","b":"secret"}`, `"event_a":"x***","event_b":"s***"`},
		{"a condition that fails redacts", []definition.Redact{{Fields: texts("event_b"), When: definition.Text{Value: `event_b + 1 > [] or lower([1]) == "x"`}, With: "remove"}}, `{"b":"secret","c":1}`, `"event_c":1`},
		{"a path in an array", []definition.Redact{{Fields: texts("event_Details.*.Value", "event_Details.1"), With: "mask"}},
			`{"Details":[{"Name":"n","Value":"secret"}, {"Value":"gone"}, "x", {"Value":{"a":1}}]}`, `"event_Details":"[{\"Name\":\"n\",\"Value\":\"s***\"},\"{***\",\"x\",{\"Value\":\"{***\"}]"`},
		{"a path removes", []definition.Redact{{Fields: texts("event_Details.*.Va*e", "event_Details.0.Name"), With: "remove"}},
			`{"Details":[{"Name":"n","Value":"secret"},{"Value":"gone"},7]}`, `"event_Details":"[{},{},7]"`},
		{"a path in JSON text, twice", []definition.Redact{{Fields: texts("event_Data.f.*.v"), With: "remove"}},
			`{"Data":"{\"f\":\"[{\\\"v\\\":\\\"secret\\\",\\\"k\\\":1}]\",\"g\":2}"}`, `"event_Data":"{\"f\":\"[{\\\"k\\\":1}]\",\"g\":2}"`},
		{"a path in a text that is no JSON, or broken", []definition.Redact{{Fields: texts("event_a.x", "event_b.x"), With: "remove"}}, `{"a":"plain","b":"{\"x\":\"secr","c":1}`, `"event_a":"plain","event_c":1`},
		{"a spread array", []definition.Redact{{Fields: texts("event_Props_Pass*"), With: "mask"}},
			`{"Props":[{"Name":"Password","Value":"secret"},{"Name":"User","Value":"u"}]}`, `"event_Props_Password":"s***","event_Props_User":"u"`},
		{"a spread array that is kept whole, too", []definition.Redact{{Fields: texts("event_Props_Pass_word", "event_Props_User_Old"), With: "mask"}},
			`{"Props":[{"Name":"Pass word","Value":"secret"},{"Value":"v","Old":"old","Name":"User"},5]}`,
			`"event_Props_Pass_word":"s***","event_Props_User":"v","event_Props_User_Old":"o***","event_Props":"[{\"Name\":\"Pass word\",\"Value\":\"s***\"},{\"Value\":\"v\",\"Old\":\"o***\",\"Name\":\"User\"},5]"`},
		{"a path where an object comes, as it may", []definition.Redact{{Fields: texts("event_Item.Sub ject", "event_Details.*.Token", "event_n.a.b"), With: "remove"}},
			`{"Item":{"Sub ject":"secret","Path":"p"},"Details":{"x":{"Token":"secret","open":1},"Token":"open"},"n":{"a":"{\"b\":\"secret\",\"c\":1}"}}`,
			`"event_Item_Path":"p","event_Details_x_open":1,"event_Details_Token":"open","event_n_a":"{\"c\":1}"`},
		{"a path where an array is spread", []definition.Redact{{Fields: texts("event_Props.*.Value", "event_Props.*.Old"), With: "mask"}},
			`{"Props":[{"Name":"Pass","Value":"secret","Old":"secret"},{"Name":"User","New":"u"}]}`, `"event_Props_Pass":"s***","event_Props_Pass_Old":"s***","event_Props_User_New":"u***"`},
		{"a path in JSON that is a text in JSON, or behind a mark", []definition.Redact{{Fields: texts("event_a.x", "event_b.x", "event_c.x", "event_d.x"), With: "remove"}},
			`{"a":"\"{\\\"x\\\":\\\"secret\\\",\\\"y\\\":1}\"","b":"\ufeff {\"x\":\"secret\"}","c":"\"x\" is a quotation","d":"\"{\\\"x\\\":\\\"secr\""}`, `"event_a":"\"{\\\"y\\\":1}\"","event_b":"{}","event_c":"\"x\" is a quotation"`},
		{"such JSON cut off before its end", []definition.Redact{{Fields: texts("event_*.x"), With: "remove"}},
			`{"a":"\"{\\\"x\\\":\\\"secr","b":"\" [{\\\"x\\\":\\\"secr","c":"\"\\n\\t{\\n\\\"x\\\":\\\"secr","d":"\"\\\"{\\\\\\\"x\\\\\\\":\\\\\\\"secr","e":"\ufeff\"\\ufeff{\\\"x\\\":\\\"secr\\","f":"\"nothing {x} of it","g":"\"","h":"\"\\n"}`,
			`"event_f":"\"nothing {x} of it","event_g":"\"","event_h":"\"\\n"`},
		{"an index where an array is spread, and where it is not", []definition.Redact{{Fields: texts("event_Props.0.Value", "event_Props.1.Old", "event_List.0.Value"), With: "mask"}},
			`{"Props":[{"Name":"Pass","Value":"secret","New":"n"},{"Name":"User","Old":"secret"}],"List":[{"Value":"secret"},{"Value":"open"}],"Lists":1}`,
			`"event_Props_Pass":"s***","event_Props_Pass_New":"n***","event_Props_User_Old":"s***","event_List":"[{\"Value\":\"s***\"},{\"Value\":\"open\"}]","event_Lists":1`},
		{"an object too deep", []definition.Redact{{Fields: texts("event_*_secret"), With: "remove"}}, strings.Repeat(`{"a":`, 64) + `{"b":{"secret":"s","c":1}}` + strings.Repeat(`}`, 64),
			`"event` + strings.Repeat("_a", 64) + `":"{\"b\":{\"c\":1}}"`},
		{"everything", []definition.Redact{{Fields: texts("event_*"), With: "remove"}}, `{"a":1,"b":{"c":"x"},"Props":[{"Name":"A","Value":1},2]}`, ``},
	}
	for _, test := range tests {
		m := compile(t, &definition.Mapping{Pairs: texts("Props"), Redact: test.rules})
		mapper := m.NewMapper()
		for range 2 { // the second time the names are known
			out, _ := mapper.Append(nil, []byte(test.record))
			if !json.Valid(out) {
				t.Fatalf("%s: not JSON: %s", test.name, out)
			}
			if got := recordPart(string(out)); got != strings.TrimSuffix(test.want, "}") {
				t.Errorf("%s\n got %s\nwant %s", test.name, got, test.want)
			}
		}
	}
}

// What expressions read is redacted, however they come to it.
func TestRedactedExpressions(t *testing.T) {
	t.Parallel()
	m := compile(t, &definition.Mapping{
		Pairs:  texts("Props"),
		Redact: []definition.Redact{{Fields: texts("event_Props_Password", "event_User", "event_List.*.v"), With: "pseudonym", When: definition.Text{Value: `event_Kind == "x"`}}},
		Fields: fields("message_text", `words("by", event_User, event_Props_Password)`, "all", `event_Props`, "list", `json(event_List)[0].v`, "user_name", `lower(event_User)`, "kind", `type(event_Props_Password)`),
	}).NewMapper()
	out, _ := m.Append(nil, []byte(`{"User":"secret","Props":[{"Name":"Password","Value":"secret"}],"List":[{"v":"secret"}],"Kind":"x"}`))
	if strings.Contains(string(out), "secret") {
		t.Errorf("the secret is in %s", out)
	}
	event := decode(t, string(out))
	if event["user_name"] == nil || string(event["user_name"]) != string(event["list"]) || string(event["user_name"]) != string(event["event_Props_Password"]) {
		t.Errorf("one value has several pseudonyms: %s", out)
	}
	out, _ = m.Append(nil, []byte(`{"User":"shown","Kind":"y"}`))
	if got := decode(t, string(out))["user_name"]; string(got) != `"shown"` {
		t.Errorf("redacted though no rule holds: %s", out)
	}
}

func TestRedactWhatIsNoJSON(t *testing.T) {
	t.Parallel()
	m := compile(t, &definition.Mapping{Redact: []definition.Redact{{Fields: texts("event_x"), With: "remove"}}})
	mapper := m.NewMapper()
	out, failed := mapper.Append(nil, []byte(`{"x":"secret"`))
	if strings.Contains(string(out), "secret") || !strings.Contains(string(out), `"event_value":"13 bytes that are no JSON, SHA-256 `) || len(failed) != 1 {
		t.Errorf("%s, %v", out, failed)
	}
	if !mapper.Redacts() || compile(t, &definition.Mapping{}).NewMapper().Redacts() {
		t.Error("Redacts is wrong")
	}
}

// TestRedactPlanted plants secrets in every text of a record of every shape.
func TestRedactPlanted(t *testing.T) {
	t.Parallel()
	for _, with := range []string{"remove", "mask", "pseudonym"} {
		m := compile(t, &definition.Mapping{
			Pairs:  texts("Parameters", "ExtendedProperties"),
			Fields: fields("a", `event_Details`, "b", `words(event_User, event_Parameters)`, "c", `json(event_Details)[0].x`, "d", `event_Parameters_k1`),
			Redact: []definition.Redact{{Fields: texts("event_*"), When: definition.Text{Value: `event_Kind == 1`}, With: with}},
		}).NewMapper()
		secret := "x-TOPSECRET"
		var params []string
		for i := range 300 {
			params = append(params, fmt.Sprintf(`{"Name":"k%d","Value":"%s","Old":{"x":["%s"]}}`, i, secret, secret))
		}
		list := "[" + strings.Join(params, ",") + "]"
		text, _ := json.Marshal(list)
		for _, params := range []string{list, string(text), "[1," + list[1:]} {
			record := fmt.Sprintf(`{"User":"%[1]s","Parameters":%[2]s,"ExtendedProperties":%[2]s,"Details":[{"x":"%[1]s"}],"Nested":{"a":{"b":"%[1]s"}},"Kind":1}`, secret, params)
			out, _ := m.Append(nil, []byte(record))
			if strings.Contains(string(out), "TOPSECRET") {
				t.Errorf("%s: the secret is in %.600s", with, out)
			}
		}
	}
}

func TestFilters(t *testing.T) {
	t.Parallel()
	m := compile(t, &definition.Mapping{
		Fields: fields("operation", `kebab(event_Op)`, "user_name", `lower(event_User)`),
		Redact: []definition.Redact{{Fields: texts("event_Secret"), With: "remove"}},
		Drop:   []definition.Drop{{As: "system", When: definition.Text{Value: `user_name == "system"`}}, {As: "hidden", When: definition.Text{Value: `event_Secret == "s"`}}, {As: "feed", When: definition.Text{Value: `source_name == "noisy"`}}, {As: "fails", When: definition.Text{Value: `operation + [] == nil`}}},
		Sample: []definition.Sample{{As: "reads", When: definition.Text{Value: `operation == "read"`}, Keep: 0.25}, {As: "none", When: definition.Text{Value: `operation == "never"`}, Keep: 0}, {As: "all", When: definition.Text{Value: `operation == "always"`}, Keep: 1}},
	})
	for _, test := range []struct{ source, record, as string }{
		{"quiet", `{"Op":"write","User":"SYSTEM"}`, "system"}, {"quiet", `{"Op":"write","User":"x","Secret":"s"}`, ""}, {"noisy", `{"Op":"write"}`, "feed"},
		{"quiet", `{"Op":"never"}`, "none"}, {"quiet", `{"Op":"always"}`, ""},
	} {
		mapper := m.NewMapper(Constant{"source_name", test.source})
		out, _ := mapper.Append(nil, []byte(test.record))
		if rule := mapper.Filtered([]byte("k")); (rule != nil) != (test.as != "") || rule != nil && rule.As != test.as {
			t.Errorf("%s: %v, want %q", test.record, rule, test.as)
		}
		if got := decode(t, string(out)); string(got["source_name"]) != `"`+test.source+`"` || !strings.Contains(string(got["error_mapping"]), "cannot be added") {
			t.Errorf("%s gives %s", test.record, out)
		}
	}
	mapper := m.NewMapper()
	kept := 0
	const n = 4000
	for i := range n {
		key := fmt.Append(nil, "record-", i)
		mapper.Append(nil, []byte(`{"Op":"read"}`))
		filtered := mapper.Filtered(key) != nil
		if again := mapper.Filtered(key) != nil; again != filtered {
			t.Fatal("the same record falls in two ways")
		}
		if !filtered {
			kept++
		}
	}
	if share := float64(kept) / n; math.Abs(share-0.25) > 0.03 {
		t.Errorf("a sample of 0.25 keeps %.3f", share)
	}
}

func TestRedactProblems(t *testing.T) {
	t.Parallel()
	_, problems := Compile(&definition.Mapping{Fields: fields("user_name", `event_a`), Redact: []definition.Redact{{Fields: texts("event_b"), When: definition.Text{Value: `user_name == "x"`}, With: "remove"}}}, Options{})
	if len(problems) != 1 || !strings.Contains(problems[0].Message, "user_name is a computed field") {
		t.Errorf("got %v", problems)
	}
}

// BenchmarkRules maps the corpus without rules, and with five that redact and
// five that drop: the ten are to cost a fifth of mapping at most.
//
//	go test -run - -bench Rules -cpu 1 ./engine/transform
func BenchmarkRules(b *testing.B) {
	with := benchMapping()
	for i, field := range []string{"event_SensitivityLabelOwnerEmail", "event_DeviceProperties_SessionId", "event_*_deviceId", "event_Subject*", "event_PolicyDetails.*.Value"} {
		with.Redact = append(with.Redact, definition.Redact{Fields: texts(field), When: definition.Text{Value: []string{`event_RecordType == 15`, "", `event_isInteractive == true`, `event_RecordType in [11, 13, 33]`, ""}[i]}, With: []string{"mask", "remove"}[i%2]})
	}
	for _, when := range []string{`user_name == "nt authority\\system"`, `operation == "file-sync"`, `operation in ["a", "b", "c"]`, `user_type == "system" and outcome == "success"`, `app_client_id == "x" and event_RecordType == 6`} {
		with.Drop = append(with.Drop, definition.Drop{As: "rule", When: definition.Text{Value: when}})
	}
	records := corpus(256)
	var dst []byte
	round := func(mapper *Mapper) time.Duration {
		start := time.Now()
		for i := range records {
			dst, _ = mapper.Append(dst[:0], records[i])
			mapper.Filtered(dst[:16])
		}
		return time.Since(start)
	}
	mapper, ruled := compile(b, benchMapping(), constantsForBench...).NewMapper(), compile(b, with, constantsForBench...).NewMapper()
	least, leastRuled := time.Hour, time.Hour
	for range max(b.N, 30) {
		least, leastRuled = min(least, round(mapper)), min(leastRuled, round(ruled))
	}
	b.ReportMetric(float64(leastRuled)/float64(least), "of-mapping")
}
