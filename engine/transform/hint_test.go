package transform

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/secure60/s60-m365-connector/engine/definition"
)

// TestHints: what somebody writes who knows the records and not yet the language is answered with what to write.
func TestHints(t *testing.T) {
	for expression, want := range map[string]string{
		`role-change`:                         `a text within an expression has quotes of its own: '"role-change"'`,
		`role change`:                         `a text within an expression has quotes of its own: '"role change"'`,
		`success`:                             `unknown name success; if it is a text, write '"success"', and if a field of the record, event_success`,
		`lower(activityDisplayName)`:          `unknown name activityDisplayName; the field of the record is event_activityDisplayName here`,
		`lower(initiatedBy.user.ipAddress)`:   `the field of the record is event_initiatedBy_user_ipAddress here`,
		`event.initiatedBy.user.id ?? "none"`: `the field of the record is event_initiatedBy_user_id here`,
		`toLower(event_a)`:                    `unknown function toLower; did you mean lower?`,
		`uppercase(event_a)`:                  `unknown function uppercase; did you mean upper?`,
		`event_a = 1`:                         `unexpected =: write == to compare`,
		`“role”`:                              `“ is no quote here: write " or '`,
		`event_a == yes`:                      `unknown name yes: write true`,
		`other(event_a)`:                      `unknown function other`,
		`usr_name`:                            `unknown name usr_name; did you mean user_name?`,
	} {
		text := "name: m\nfields:\n  user_name: event_u\n  x: |-\n    " + expression + "\n"
		set, problems := definition.Load(definition.Options{Overlay: fstest.MapFS{"mappings/m.yaml": {Data: []byte(text)}}})
		m := set.Mapping("m")
		if m == nil {
			t.Fatalf("%s: %v", expression, problems)
		}
		_, problems = Compile(m, Options{})
		if len(problems) != 1 || !strings.HasPrefix(problems[0].Message, want) && !strings.HasSuffix(problems[0].Message, want) {
			t.Errorf("%s: %v, want %s", expression, problems, want)
		}
	}
}
