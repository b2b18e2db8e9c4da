package fleet

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/joho/godotenv"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/definitions"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/testkit"
)

// shippedDefinitions are those of a process without an overlay.
var shippedDefinitions = sync.OnceValue(func() *definitions.Compiled {
	s, err := settings.Read(map[string]string{}, true)
	if err != nil {
		panic(err)
	}
	defs, problems := definitions.Load(s, "")
	if defs == nil {
		panic(problems)
	}
	return defs
})

func newTenantsDir(t *testing.T, path string, env map[string]string) *tenantsDir {
	t.Helper()
	return &tenantsDir{path: path, env: env, set: shippedDefinitions().Set}
}

// lookAt gives what the folder holds now, by name.
func lookAt(t *testing.T, d *tenantsDir) map[string]Tenant {
	t.Helper()
	list, err := d.look()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]Tenant{}
	for _, one := range list {
		found[one.Name] = one
	}
	return found
}

// TestTenantOverTheEnvironment: what the file says, what the environment says, and what
// the one takes away from the other.
func TestTenantOverTheEnvironment(t *testing.T) {
	files := map[string]string{"secret": "s", "certificate.pem": "c"}
	for name, test := range map[string]struct {
		file string
		env  map[string]string
		want func(*settings.Settings) (got, want any)
	}{
		"a default": {"PROJECT_ID: 302", nil, func(s *settings.Settings) (any, any) {
			return s.TenantID + s.ProjectID + s.Token, testkit.Complete["TENANT_ID"] + "302the-token-value"
		}},
		"a number":           {"POLLING_INTERVAL_MINUTES: 0.5", nil, func(s *settings.Settings) (any, any) { return s.Poll.String(), "30s" }},
		"a switch":           {"ENABLE_GRAPH: false", nil, func(s *settings.Settings) (any, any) { return s.Names["ENABLE_GRAPH"], false }},
		"blank takes away":   {`ENVIRONMENT: ""`, map[string]string{"ENVIRONMENT": "Test"}, func(s *settings.Settings) (any, any) { return s.Environment, "" }},
		"feeds":              {"feeds: {entra-signins: false}", nil, func(s *settings.Settings) (any, any) { return fmt.Sprint(s.Switched), "map[entra-signins:false]" }},
		"the name":           {"PROJECT_ID: 302", nil, func(s *settings.Settings) (any, any) { return s.Tenant, "contoso" }},
		"dead letters":       {"PROJECT_ID: 302", map[string]string{"STATE_DIR": "/s"}, func(s *settings.Settings) (any, any) { return s.DeadLetters(), "/s/tenants/contoso/deadletter" }},
		"another credential": {"CLIENT_SECRET_FILE: secret", nil, func(s *settings.Settings) (any, any) { return s.Credential.Kind, "CLIENT_SECRET_FILE" }},
		"a collector":        {"S60_COLLECTOR_BASE: https://c.example", nil, func(s *settings.Settings) (any, any) { return s.DestinationText(), "collector https://c.example" }},
		"ingest for a collector": {"PROJECT_ID: 5\nTOKEN: t", map[string]string{"PROJECT_ID": "-", "TOKEN": "-", "S60_COLLECTOR_BASE": "https://c.example"}, func(s *settings.Settings) (any, any) {
			return s.DestinationText(), "ingest https://ingest.secure60.io project 5"
		}},
		"a token for a file":       {"TOKEN_FILE: secret", nil, func(s *settings.Settings) (any, any) { return s.Token + filepath.Base(s.TokenFile), "secret" }},
		"a file for a destination": {"OUTPUT: out.ndjson", nil, func(s *settings.Settings) (any, any) { return filepath.IsAbs(s.Output), true }},
		"standard output":          {"OUTPUT: '-'", nil, func(s *settings.Settings) (any, any) { return s.Output, "-" }},
		"a stream":                 {"OUTPUT: nats://127.0.0.1:4222/events", nil, func(s *settings.Settings) (any, any) { return s.Stream != nil, true }},
		"no output of the process": {"PROJECT_ID: 5", map[string]string{"OUTPUT": "/tmp/x"}, func(s *settings.Settings) (any, any) { return s.Output, "" }},
		"a cloud":                  {"MS_CLOUD: gcchigh", map[string]string{"MS_GRAPH_BASE": "https://proxy.example"}, func(s *settings.Settings) (any, any) { return s.GraphBase, "https://graph.microsoft.us" }},
		"a base of the process":    {"PROJECT_ID: 5", map[string]string{"MS_GRAPH_BASE": "https://proxy.example"}, func(s *settings.Settings) (any, any) { return s.GraphBase, "https://proxy.example" }},
		"a limit": {"TENANT_RATE_LIMIT: 500/10s", nil, func(s *settings.Settings) (any, any) {
			return s.TenantRate, settings.RateLimit{Requests: 500, Per: 10 * time.Second}
		}},
		"an absolute path stays":     {"CLIENT_CERTIFICATE_FILE: /dev/null", nil, func(s *settings.Settings) (any, any) { return s.Credential.Value, "/dev/null" }},
		"the tenants are not nested": {"PROJECT_ID: 5", map[string]string{"TENANTS_DIR": "/x"}, func(s *settings.Settings) (any, any) { return s.TenantsDir, "" }},
	} {
		t.Run(name, func(t *testing.T) {
			files := maps.Clone(files)
			files["contoso.yaml"] = test.file
			one := lookAt(t, newTenantsDir(t, testkit.Folder(t, files), testkit.Settings(test.env)))["contoso"]
			if one.Settings == nil || one.Problems != nil {
				t.Fatalf("problems: %v", one.Problems)
			}
			if got, want := test.want(one.Settings); got != want {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

// TestTenantProblems: each is a line, with its place, and shows no secret.
func TestTenantProblems(t *testing.T) {
	for name, test := range map[string]struct {
		file, text string
		want       []string
	}{
		"at its place":          {"a.yaml", "PROJECT_ID: 5\nMS_CLOUD: moon", []string{`a.yaml:2:11: MS_CLOUD is …: write one of`}},
		"missing":               {"a.yaml", `TENANT_ID: ""`, []string{"a.yaml:1:12: TENANT_ID is missing"}},
		"misspelt is no second": {"a.yaml", "CLIENT_SECRET: ''\nCLIENT_SECERT: hunter2", []string{`a.yaml:2:1: unknown key "CLIENT_SECERT": did you mean "CLIENT_SECRET"?`}},
		"of two":                {"a.yaml", "CLIENT_SECRET: hunter2\nCLIENT_SECRET_FILE: /dev/null", []string{"a.yaml:1:16: CLIENT_SECRET and CLIENT_SECRET_FILE are set together"}},
		"a file that is not":    {"a.yaml", "TOKEN_FILE: gone", []string{`a.yaml:1:13: TOKEN_FILE is …: no such file`}},
		"a feed":                {"a.yaml", "feeds:\n  entra-signin: true", []string{`a.yaml:2:3: there is no feed "entra-signin": did you mean "entra-signins"?`}},
		"a feed in FEEDS":       {"a.yaml", "FEEDS: security-alert", []string{`a.yaml:1:8: FEEDS holds "security-alert"`}},
		"of the process":        {"a.yaml", "LISTEN_ADDR: x\nWORKERS: 2\nSTATE_DIR: y", []string{"a.yaml:1:1: LISTEN_ADDR is a setting of the process", "a.yaml:2:1: WORKERS is", "a.yaml:3:1: STATE_DIR is"}},
		"several at once":       {"a.yaml", "TENAT_ID: x\nCLIENT_SECRET: 'hunter2'\nHEARTBEAT_INTERVAL_MINUTES: never\nfeeds: {x: true}", []string{"a.yaml:1:1: unknown key", "a.yaml:3:29: HEARTBEAT_INTERVAL_MINUTES", "a.yaml:4:9: there is no feed"}},
		"a limit":               {"a.yaml", "TENANT_RATE_LIMIT: 500", []string{`a.yaml:1:20: TENANT_RATE_LIMIT is …: write a number of requests and a span of time, such as 8000/10s`}},
		"a token of two lines":  {"a.yaml", "TOKEN: |\n  hunter2\n  hunter3", []string{"TOKEN holds a line break"}},
		"a secret in its stead": {"a.yaml", "PROJECT_ID: hunter2/hunter3\nMS_CLOUD: hunter2\nDELIVERY_GZIP: 'hunter\"2'\nTOKEN_FILE: hunter2", []string{"a.yaml:1:13: PROJECT_ID is", "a.yaml:2:11: MS_CLOUD is", "a.yaml:3:17: DELIVERY_GZIP is", "a.yaml:4:13: TOKEN_FILE is"}},
		"the name":              {"a b.yaml", "PROJECT_ID: 5", []string{"a b.yaml: the name of a tenant holds letters, digits"}},
		"no YAML":               {"a.yaml", "TOKEN: 'hunter2", []string{": not YAML: "}},
		"empty":                 {"a.yaml", "", []string{"a.yaml:1:1: the file is empty"}},
	} {
		t.Run(name, func(t *testing.T) {
			one := lookAt(t, newTenantsDir(t, testkit.Folder(t, map[string]string{test.file: test.text}), testkit.Complete))[strings.TrimSuffix(test.file, ".yaml")]
			if one.Settings != nil {
				t.Error("it has settings")
			}
			if len(one.Problems) != len(test.want) {
				t.Fatalf("%d problems, want %d: %q", len(one.Problems), len(test.want), one.Problems)
			}
			for i, problem := range one.Problems {
				if !strings.Contains(problem, test.want[i]) {
					t.Errorf("problem %d is %q, want %q in it", i, problem, test.want[i])
				}
				if strings.Contains(problem, "hunter") || strings.Contains(problem, "\n") {
					t.Errorf("a secret, or more than a line: %q", problem)
				}
			}
		})
	}
}

func TestTenantFiles(t *testing.T) {
	dir := testkit.Folder(t, map[string]string{
		"contoso.yaml": "PROJECT_ID: 1", "fabrikam.yml": "PROJECT_ID: 2", "notes.txt": "x", ".hidden.yaml": "x", "..data/northwind.yaml": "x",
		"sub/northwind.yaml": "x", "northwind.yaml/x": "x", "twice.yaml": "PROJECT_ID: 3", "twice.yml": "PROJECT_ID: 4",
	})
	if err := os.Symlink("gone", filepath.Join(dir, "link.yaml")); err != nil {
		t.Fatal(err)
	}
	found := lookAt(t, newTenantsDir(t, dir, testkit.Complete))
	if got, want := slices.Sorted(maps.Keys(found)), []string{"contoso", "fabrikam", "link", "northwind", "twice"}; !slices.Equal(got, want) {
		t.Fatalf("tenants are %v, want %v", got, want)
	}
	for name, want := range map[string]string{
		"link": "link.yaml: cannot be read: it is a link to a file that is not there", "northwind": "northwind.yaml: cannot be read: is a directory",
		"twice": "twice.yml: cannot be read: has the same name as",
	} {
		if got := strings.Join(found[name].Problems, "\n"); !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q in it", name, got, want)
		}
	}
	if _, err := newTenantsDir(t, filepath.Join(dir, "gone"), testkit.Complete).look(); err == nil {
		t.Error("a folder that is not there is no error")
	}
}

// TestTenantsChange: a change counts at the second look, an unchanged tenant keeps its
// settings, and a broken file leaves it the last good ones.
func TestTenantsChange(t *testing.T) {
	dir := testkit.Folder(t, map[string]string{"a.yaml": "PROJECT_ID: 1", "b.yaml": "PROJECT_ID: 2"})
	d := newTenantsDir(t, dir, testkit.Complete)
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	first := lookAt(t, d)
	if first["a"].Settings == nil || first["b"].Settings == nil {
		t.Fatal(first)
	}
	step := func(what string, names int, check func(now map[string]Tenant) bool) {
		t.Helper()
		once := lookAt(t, d) // not yet
		if len(once) == names && check(once) {
			t.Errorf("%s: at the first look", what)
		}
		now := lookAt(t, d)
		if len(now) != names || !check(now) {
			t.Errorf("%s: %d tenants, %+v", what, len(now), now)
		}
		if names > 1 && now["b"].Settings != first["b"].Settings {
			t.Errorf("%s: the other tenant has other settings", what)
		}
	}
	write("a.yaml", "PROJECT_ID: 3")
	step("changed", 2, func(now map[string]Tenant) bool { return now["a"].Settings.ProjectID == "3" })
	good := lookAt(t, d)["a"].Settings
	write("a.yaml", "PROJECT: 4")
	step("broken", 2, func(now map[string]Tenant) bool { return now["a"].Settings == good && len(now["a"].Problems) == 1 })
	write("a.yaml", "# as before\nPROJECT_ID: 3")
	step("mended", 2, func(now map[string]Tenant) bool { return now["a"].Settings == good && now["a"].Problems == nil })
	write("c.yaml", "PROJECT_ID: 2")
	step("a twin", 3, func(now map[string]Tenant) bool {
		return now["c"].Settings == nil && strings.Contains(strings.Join(now["c"].Problems, ""), "the same TENANT_ID and destination as ") && now["b"].Problems == nil
	})
	// A running tenant that becomes the twin of another one runs on as it was, whatever the names.
	write("a.yaml", "PROJECT_ID: 2")
	step("a twin that runs", 3, func(now map[string]Tenant) bool {
		return now["a"].Settings == good && now["a"].Problems != nil && now["b"].Problems == nil
	})
	if err := os.Remove(filepath.Join(dir, "a.yaml")); err != nil {
		t.Fatal(err)
	}
	step("removed", 2, func(now map[string]Tenant) bool { return now["a"].Settings == nil })
	// What a file names may be mended without a change of the file.
	write("c.yaml", "PROJECT_ID: 9\nTOKEN_FILE: token")
	step("without its token", 2, func(now map[string]Tenant) bool {
		return strings.Contains(strings.Join(now["c"].Problems, ""), "TOKEN_FILE is") && d.within == lookMended
	})
	write("token", "t")
	if now := lookAt(t, d); now["c"].Settings == nil {
		t.Errorf("with its token: %v", now["c"].Problems)
	}
	if err := os.Rename(dir, dir+"-away"); err != nil {
		t.Fatal(err)
	}
	if list, err := d.look(); err == nil || len(list) != 2 {
		t.Errorf("a folder that is gone: %d tenants, %v", len(list), err)
	}
}

// TestTwinOfTheRefused: a tenant that is refused runs on as it was, and nobody else gets
// what it delivers.
func TestTwinOfTheRefused(t *testing.T) {
	dir := testkit.Folder(t, map[string]string{"a.yaml": "PROJECT_ID: 1", "z.yaml": "PROJECT_ID: 2"})
	d := newTenantsDir(t, dir, testkit.Complete)
	first := lookAt(t, d)
	for name, text := range map[string]string{"z.yaml": "PROJECT_ID: 1", "b.yaml": "PROJECT_ID: 2"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for range 4 {
		now := lookAt(t, d)
		if now["z"].Settings != first["z"].Settings || now["b"].Settings != nil {
			t.Errorf("z has project %s, and b runs (%v): both deliver to project 2", now["z"].Settings.ProjectID, now["b"].Settings != nil)
		}
	}
	if now := lookAt(t, d); now["z"].Problems == nil || now["b"].Problems == nil {
		t.Errorf("problems: z %q, b %q", now["z"].Problems, now["b"].Problems)
	}
}

// TestShownTenants: the files that docs/tenants.md shows are valid, with the
// environment that it shows.
func TestShownTenants(t *testing.T) {
	page := testkit.Read(t, "docs/tenants.md")
	environments, shown := testkit.Fences(page, "ini"), testkit.Fences(page, "yaml")
	if len(environments) != 1 || len(shown) < 2 {
		t.Fatalf("%d environments and %d files", len(environments), len(shown))
	}
	env, err := godotenv.Unmarshal(environments[0])
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"app.pem": "x", "secrets/contoso.token": "x", "secrets/fabrikam.secret": "x"}
	for i, text := range shown {
		files[fmt.Sprintf("shown-%d.yaml", i)] = text
	}
	dir := testkit.Folder(t, files)
	env["CLIENT_CERTIFICATE_FILE"] = filepath.Join(dir, filepath.Base(env["CLIENT_CERTIFICATE_FILE"]))
	for name, one := range lookAt(t, newTenantsDir(t, dir, env)) {
		if one.Problems != nil {
			t.Errorf("%s: %s", name, one.Problems)
		}
	}
	_, process := settings.Names()
	for _, name := range process {
		if !strings.Contains(page, "`"+name+"`") {
			t.Errorf("the page does not say that %s is of the process", name)
		}
	}
}
