package definition_test

import (
	"strings"
	"testing"

	"github.com/secure60/s60-m365-connector/engine/definition"
)

func TestTemplateExpand(t *testing.T) {
	env := map[string]any{
		"BASE": "https://api.example", "empty": "", "n": 12, "f": 0.5, "big": 1e15, "on": true, "list": []any{"a"},
		"window": map[string]any{"from": "2026-03-01T10:00:00Z", "to": "2026-03-01T11:00:00Z"},
	}
	for _, c := range []struct{ template, want, err string }{
		{"", "", ""},
		{"no expressions, $ and } and {", "no expressions, $ and } and {", ""},
		{"${BASE}/items", "https://api.example/items", ""},
		{"a ${window.from} b ${window.to}", "a 2026-03-01T10:00:00Z b 2026-03-01T11:00:00Z", ""},
		{"${n}${f}${big}${on}", "120.51000000000000000true", ""},
		{"x${empty}y", "xy", ""},
		{`${{"a": "}"}["a"]}!`, "}!", ""},
		{`${"${n}"}`, "${n}", ""},
		{"${'it\\'s }'}", "it's }", ""},
		{"${`\\`}}", `\}`, ""},
		{"${ n > 3 ? \"é\" : \"☃\" }", "é", ""},
		{"${missing}", "", "${missing} has no value"},
		{"${window.later}", "", "${window.later} has no value"},
		{"${list}", "", "${list} gives a []interface {}, not a text, number or boolean"},
	} {
		template, err := definition.NewTemplate(c.template)
		if err != nil {
			t.Errorf("%s: %v", c.template, err)
			continue
		}
		if template.String() != c.template {
			t.Errorf("%s: String is %s", c.template, template)
		}
		got, err := template.Expand(env)
		if got != c.want || (err == nil) != (c.err == "") || err != nil && err.Error() != c.err {
			t.Errorf("%s: got %q and %v, want %q and %q", c.template, got, err, c.want, c.err)
		}
	}
	var none *definition.Template
	if got, err := none.Expand(nil); got != "" || err != nil {
		t.Errorf("a nil template gives %q and %v", got, err)
	}
}

func TestTemplateErrors(t *testing.T) {
	for template, want := range map[string]string{
		"${":        "not closed",
		"a${b":      "not closed",
		"${\"}":     "not closed",
		"${a {b}":   "not closed",
		"${}":       "empty",
		"${ \t}":    "empty",
		"${1 +}":    "something is still missing",
		"${a b}":    "unexpected",
		"ok ${a}${": "not closed",
	} {
		if _, err := definition.NewTemplate(template); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", template, err, want)
		}
	}
}
