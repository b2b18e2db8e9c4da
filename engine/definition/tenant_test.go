package definition_test

import (
	"strings"
	"testing"

	"github.com/secure60/s60-m365-connector/engine/definition"
)

var tenantOptions = definition.TenantOptions{
	Settings: []string{"TENANT_ID", "CLIENT_SECRET", "POLLING_INTERVAL_MINUTES", "ENABLE_GRAPH"},
	Process:  []string{"STATE_DIR", "LISTEN_ADDR"},
}

func TestParseTenant(t *testing.T) {
	tenant, problems := definition.ParseTenant("contoso.yaml", []byte(`# a customer
TENANT_ID: contoso.example
CLIENT_SECRET: "8Q~abc"
POLLING_INTERVAL_MINUTES: 0.10
ENABLE_GRAPH: no
feeds: {entra-risky-users: false, security-alerts: True}
`), tenantOptions)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	for name, want := range map[string]string{"TENANT_ID": "contoso.example", "CLIENT_SECRET": "8Q~abc", "POLLING_INTERVAL_MINUTES": "0.10", "ENABLE_GRAPH": "no"} {
		if got := tenant.Settings[name].Value; got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if len(tenant.Feeds) != 2 || tenant.Feeds["entra-risky-users"].On || !tenant.Feeds["security-alerts"].On {
		t.Errorf("feeds are %v", tenant.Feeds)
	}
	if got, want := tenant.Feeds["security-alerts"].Feed.Pos().String(), "contoso.yaml:6:35"; got != want {
		t.Errorf("the feed is at %s, want %s", got, want)
	}
}

// TestParseTenantProblems: each is one line with its place, and what a value
// holds is not in it, however it is written.
func TestParseTenantProblems(t *testing.T) {
	for name, test := range map[string]struct {
		text string
		want []string
	}{
		"unknown key":         {"TENAT_ID: a\n", []string{`x.yaml:1:1: unknown key "TENAT_ID": did you mean "TENANT_ID"?`}},
		"of the process":      {"TENANT_ID: a\nSTATE_DIR: /b\n", []string{`x.yaml:2:1: STATE_DIR is a setting of the process: set it in the environment`}},
		"twice":               {"TENANT_ID: a\nTENANT_ID: b\n", []string{`x.yaml:2:1: "TENANT_ID" is given twice`}},
		"no value":            {"TENANT_ID:\n", []string{`x.yaml:1:1: "TENANT_ID" has no value`}},
		"a list":              {"TENANT_ID: [hunter2]\n", []string{`x.yaml:1:12: "TENANT_ID" is a list, but must be a text`}},
		"a mapping":           {"CLIENT_SECRET:\n  hunter2: x\n", []string{`x.yaml:2:3: "CLIENT_SECRET" is a mapping, but must be a text`}},
		"feeds, a list":       {"feeds: [entra-signins]\n", []string{`x.yaml:1:8: "feeds" is a list, but must be a mapping of feeds to true or false`}},
		"feeds, no switch":    {"feeds:\n  entra-signins: maybe\n", []string{`x.yaml:2:3: "entra-signins" must be true or false`}},
		"feeds, twice":        {"feeds:\n  a: true\n  a: false\n", []string{`x.yaml:3:3: "a" is given twice`}},
		"an anchor":           {"CLIENT_SECRET: &hunter2 x\n", []string{`x.yaml:1:16: YAML anchors are not allowed here`}},
		"an alias":            {"CLIENT_SECRET: *hunter2\n", []string{`x.yaml:1:1: not YAML: unknown anchor … referenced`}},
		"a tag":               {"CLIENT_SECRET: !hunter2\n", []string{`x.yaml:1:16: YAML tags such as !… are not allowed here`}},
		"a standard tag":      {"CLIENT_SECRET: !!int hunter2\n", []string{`x.yaml:1`}},
		"no YAML":             {"CLIENT_SECRET: 'hunter2\n", []string{`: not YAML: `}},
		"a character":         {"CLIENT_SECRET: @hunter2\n", []string{`: not YAML: `}},
		"a colon":             {"CLIENT_SECRET: hunter2: x\n", []string{`: not YAML: `}},
		"no blank":            {"TENANT_ID: a\nCLIENT_SECRET:hunter2\n", []string{`x.yaml:2:1: not YAML: `}},
		"no mapping":          {"CLIENT_SECRET:hunter2\n", []string{`x.yaml:1:1: the tenant is a text, but must be a mapping`}},
		"a second document":   {"TENANT_ID: a\n---\nCLIENT_SECRET: hunter2\n", []string{`x.yaml:3:1: a second document in the file`}},
		"empty":               {"# nothing\n", []string{`x.yaml:1:1: the file is empty`}},
		"several":             {"TENAT_ID: a\nLISTEN_ADDR: b\nfeeds: 1\n", []string{"unknown key", "LISTEN_ADDR is a setting of the process", "must be a mapping of feeds"}},
		"a control character": {"CLIENT_SECRET: hunter2\x1b\n", []string{"x.yaml:1:23: control character U+001B"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, problems := definition.ParseTenant("x.yaml", []byte(test.text), tenantOptions)
			if len(problems) != len(test.want) {
				t.Fatalf("%d problems, want %d: %v", len(problems), len(test.want), problems)
			}
			for i, p := range problems {
				line := p.String()
				if !strings.Contains(line, test.want[i]) {
					t.Errorf("problem %d is %q, want %q in it", i, line, test.want[i])
				}
				if strings.Contains(line, "hunter2") || strings.Contains(line, "\n") {
					t.Errorf("a value, or more than a line: %q", line)
				}
			}
		})
	}
}

// TestTenantProblemAtAText: what the caller finds in a value shows its place,
// and not the value.
func TestTenantProblemAtAText(t *testing.T) {
	tenant, problems := definition.ParseTenant("x.yaml", []byte("\nCLIENT_SECRET: hunter2\n"), tenantOptions)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if got, want := tenant.Settings["CLIENT_SECRET"].Problem(0, 0, "is refused").String(), "x.yaml:2:16: is refused"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestFeedWith(t *testing.T) {
	feed, problems := definition.ParseFeed("f.yaml", []byte("name: f\nenabled: ENABLE_GRAPH\nrequest: {url: \"https://api.example\"}\nkey: id\nmapping: m\n"), settings)
	if feed == nil {
		t.Fatal(problems)
	}
	for _, on := range []bool{true, false} {
		if got, err := feed.With(on).Enabled.Bool(settings); err != nil || got != on {
			t.Errorf("switched %v, it is %v (%v)", on, got, err)
		}
	}
	if got, err := feed.Enabled.Bool(settings); err != nil || !got {
		t.Errorf("the feed itself changed: %v (%v)", got, err)
	}
}
