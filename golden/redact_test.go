package golden_test

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/transform"
)

// planted puts a secret into every text of a value, in all forms that a search for it knows.
func planted(v any, secret string) any {
	switch v := v.(type) {
	case string:
		return secret + v
	case []any:
		for i := range v {
			v[i] = planted(v[i], secret)
		}
	case map[string]any:
		for name := range v {
			if !strings.EqualFold(name, "name") && !strings.EqualFold(name, "key") { // of what is spread, a part of the field's name
				v[name] = planted(v[name], secret)
			}
		}
	}
	return v
}

// TestPlantedSecrets plants secrets in every text of the records of every family, and redacts
// all fields: no expression of any mapping finds a way around.
func TestPlantedSecrets(t *testing.T) {
	const secret = "Planted/Secret+4711 "
	forms := []string{secret, strings.ToLower(secret), "4711", url.QueryEscape(secret), base64.StdEncoding.EncodeToString([]byte(secret[:18]))}
	set := shipped(t)
	for _, name := range mapped(t) {
		for _, with := range []string{definition.RedactRemove, definition.RedactMask, definition.RedactPseudonym} {
			m := *set.Mapping(name)
			m.Redact = []definition.Redact{{Fields: []definition.Text{{Value: "event_*"}}, With: with}}
			mapper := compile(t, &m).NewMapper(transform.Constant{Name: "source_name", Value: name})
			for _, one := range cases(t, name) {
				var v any
				if err := json.Unmarshal(record(t, name, one), &v); err != nil {
					t.Fatal(err)
				}
				raw, err := json.Marshal(planted(v, secret))
				if err != nil {
					t.Fatal(err)
				}
				event, _ := mapper.Append(nil, raw)
				for _, form := range forms {
					if strings.Contains(string(event), form) {
						t.Errorf("%s/%s: %s leaves %q in %.400s", name, one, with, form, event)
						break
					}
				}
			}
		}
	}
}
