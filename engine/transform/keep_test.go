package transform

import (
	"strings"
	"testing"

	"github.com/secure60/s60-m365-connector/engine/definition"
)

func rules(when string, with string, fields ...string) definition.Redact {
	return definition.Redact{Fields: texts(fields...), When: definition.Text{Value: when}, With: with}
}

// What is kept of a record is what its event shows, in the form of the record, and what was kept comes
// back as it was.
func TestRedacted(t *testing.T) {
	t.Parallel()
	m, problems := Compile(&definition.Mapping{
		Name: "m", Pairs: texts("Props"),
		Fields: fields("user_name", `lower(event_User)`),
		Redact: []definition.Redact{
			rules("", "remove", "event_settings_secret", "event_List.*.Value", "event_Props_Password"), rules("", "mask", "event_Address", "event_Mail"),
			rules(`event_Kind == "card"`, "pseudonym", "event_Number", "event_settings_owner"),
		},
	}, Options{PseudonymKey: []byte("a key that is long enough to be one")})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	mapper := m.NewMapper()
	const number = "p-s" // how its pseudonym begins
	for _, test := range []struct{ record, want string }{
		{`{"settings":{"secret":"s","shown":1,"owner":"o"},"Kind":"none","Number":"4711"}`, `{"settings":{"shown":1,"owner":"o"},"Kind":"none","Number":"4711"}`},
		{` { "List": [ {"Name":"a","Value":"s"}, {"Value":["s"]} ], "Gone": null }`, `{"List":[{"Name":"a"},{}],"Gone":null}`},
		{`{"List":"[{\"Value\":\"s\",\"v\":1}]","Address":"192.0.2.7","Mail":"al@contoso.example"}`, `{"List":"[{\"v\":1}]","Address":"192.0.*.*","Mail":"a***@c***.example"}`},
		{`{"Address":"2001:db8::1","Props":[{"Name":"Password","Value":"s"},{"Name":"Shown","Value":"v"}]}`, `{"Address":"2001:0db8:*","Props":[{"Name":"Password"},{"Name":"Shown","Value":"v"}]}`},
		{`{"Props":"[{\"Name\":\"Password\",\"Value\":\"s\"}]"}`, `{"Props":"[{\"Name\":\"Password\"}]"}`},
		{`{"before":{"settings_secret":"s","Address":"192.0.2.7","Props":[{"Name":"Password","Value":"s"}]}}`, `{"before":{"Address":"192.0.*.*","Props":[{"Name":"Password"}]}}`},
		{`["s"]`, `{}`}, {`{"settings":`, `{}`}, {``, `{}`},
	} {
		got := string(mapper.Redacted([]byte(test.record)))
		if got != test.want {
			t.Errorf("%s is kept as\n%s, want\n%s", test.record, got, test.want)
		}
		if again := string(mapper.Redacted([]byte(got))); again != got {
			t.Errorf("%s does not stay as it was kept: %s", got, again)
		}
	}
	card := []byte(`{"Kind":"card","Number":"4711","settings":{"owner":"al"}}`)
	kept := string(mapper.Redacted(card))
	event, _ := mapper.Append(nil, card)
	pseudonym := string(decode(t, string(event))["event_Number"])
	if strings.Contains(kept, "4711") || !strings.Contains(kept, pseudonym) || string(mapper.Redacted([]byte(kept))) != kept {
		t.Errorf("%s is kept as %s, told as %s (%s)", card, kept, event, number)
	}
	if again, _ := mapper.Append(nil, []byte(kept)); string(decode(t, string(again))["event_Number"]) != pseudonym {
		t.Errorf("what was kept is told as %s", again)
	}
	plain := compile(t, &definition.Mapping{Name: "m", Fields: fields("a", `event_a`)}).NewMapper()
	if got := plain.Redacted(card); &got[0] != &card[0] {
		t.Error("a record is copied though nothing redacts")
	}
}

// Former values are redacted by the rules of the fields whose they were.
func TestRedactedBefore(t *testing.T) {
	t.Parallel()
	mapper := compile(t, &definition.Mapping{
		Pairs:  texts("Props"),
		Fields: fields("message_text", `words("was", event_before_secret, event_before_deep_secret)`),
		Redact: []definition.Redact{rules("", "remove", "event_secret", "event_deep_*", "event_List.*.v"), rules(`event_Kind == 1`, "mask", "event_owner", "event_Props_Password")},
	}).NewMapper()
	out, _ := mapper.Append(nil, []byte(`{"before":{"secret":"TOP","deep_secret":"TOP","List":[{"v":"TOP"}],"owner":"TOP","Props":[{"Name":"Password","Value":"TOP"}],"shown":"shown"},"Kind":1}`))
	event := decode(t, string(out))
	if strings.Contains(string(out), "TOP") || string(event["event_before_owner"]) != `"T***"` || string(event["event_before_shown"]) != `"shown"` {
		t.Errorf("%s", out)
	}
}
