package setup

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	core = []string{"ActivityFeed.Read", "AuditLog.Read.All", "Directory.Read.All"}
	risk = []string{"IdentityRiskEvent.Read.All", "IdentityRiskyUser.Read.All"}
)

func TestRegisterFromNothing(t *testing.T) {
	w := newWorkplace(t)
	w.tenant.notYet = 3 // what was just made is not everywhere at once
	got := w.mustRun()

	if len(w.tenant.apps) != 1 {
		t.Fatalf("%d apps, want 1", len(w.tenant.apps))
	}
	app := w.tenant.apps[0]
	if app.DisplayName != "s60-m365-connector" || app.SignInAudience != "AzureADMyOrg" {
		t.Errorf("app %q for %q, want s60-m365-connector for AzureADMyOrg", app.DisplayName, app.SignInAudience)
	}
	if granted := w.tenant.granted(app.AppID); !slices.Equal(granted, core) {
		t.Errorf("granted %v, want %v", granted, core)
	}
	if declared := declaredRoles(app); len(declared) != 3 {
		t.Errorf("the app asks for %v, want the 3 of the core", declared)
	}
	want := "TENANT_ID=11111111-2222-4333-8444-555555555555\nCLIENT_ID=" + app.AppID + "\nCLIENT_SECRET=" + w.tenant.secrets[0] + "\n"
	if got.stdout != "\n"+want && got.stdout != want {
		t.Errorf("stdout is %q, want %q", got.stdout, want)
	}
	expires := parseTime(t, app.PasswordCredentials[0]["endDateTime"])
	if months := time.Until(expires).Hours() / 24 / 30.4; months < 11.8 || months > 12.2 {
		t.Errorf("the secret is valid for %.1f months, want 12", months)
	}
	if w.tenant.host != "https://graph.microsoft.com" {
		t.Errorf("called %s", w.tenant.host)
	}
}

func TestRegisterAddsPermissionsLater(t *testing.T) {
	w := newWorkplace(t)
	w.mustRun("--dlp-detail")
	app := w.tenant.apps[0]
	// Somebody gave the app a permission of another service by hand.
	foreign := resourceAccess{ResourceAppID: "99999999-0000-4000-8000-000000000000"}
	app.RequiredResourceAccess = append(app.RequiredResourceAccess, foreign)
	w.mustRun("--identity-protection", "--workload-identities")

	want := []string{"ActivityFeed.Read", "ActivityFeed.ReadDlp", "AuditLog.Read.All", "Directory.Read.All",
		"IdentityRiskEvent.Read.All", "IdentityRiskyServicePrincipal.Read.All", "IdentityRiskyUser.Read.All"}
	if granted := w.tenant.granted(app.AppID); !slices.Equal(granted, want) {
		t.Errorf("granted %v, want %v", granted, want)
	}
	if declared := declaredRoles(app); len(declared) != len(want) {
		t.Errorf("the app asks for %d roles, want %d", len(declared), len(want))
	}
	if !slices.ContainsFunc(app.RequiredResourceAccess, func(a resourceAccess) bool { return a.ResourceAppID == foreign.ResourceAppID }) {
		t.Error("the permission of another service was dropped")
	}
	if len(w.tenant.secrets) != 1 {
		t.Errorf("%d secrets were made, want 1", len(w.tenant.secrets))
	}
}

// What is asked for is what the licences make of use, and what somebody asks for.
func TestLicencesAndPacks(t *testing.T) {
	w := newWorkplace(t)
	got := w.mustRun()
	app := w.tenant.apps[0]
	if granted := w.tenant.granted(app.AppID); !slices.Equal(granted, core) || !strings.Contains(got.stderr, "IdentityRiskyUser.Read.All: the tenant has no Entra ID P2") {
		t.Errorf("without licences granted %v, want %v:\n%s", granted, core, got.stderr)
	}
	w.tenant.plans = []string{planP2}
	w.write(".env", "FEEDS=message-trace\n")
	w.tenant.offerEverywhere("User.Read.All")
	got = w.mustRun("--write-env", "--pack", "email,defender", "--permission", "DeviceManagementApps.Read.All,User.Read.All,Nonsense.Read.All")
	w.tenant.holdsPacks(t, app)
	if told := regexp.MustCompile("does not offer [^:]*").FindAllString(got.stderr, -1); !slices.Equal(told, []string{"does not offer Nonsense.Read.All"}) {
		t.Errorf("of what no service offers it says %v:\n%s", told, got.stderr)
	}
	if w.tenant.principal(func(p *principal) bool { return p.AppID == "8bd644d1-64a1-4d4b-ae52-2e0cbf64e373" }) == nil {
		t.Error("message trace has no service principal")
	}
	if env := w.read(".env"); !strings.Contains(env, "FEEDS=message-trace,email,defender\n") {
		t.Errorf(".env does not switch the packs on:\n%s", env)
	}
}

func TestLicencesUnreadable(t *testing.T) {
	w := newWorkplace(t)
	w.tenant.noLicences = true
	w.tenant.withoutService = managementApp
	w.env = append(w.env, "SETUP_RETRY_SECONDS=60") // nothing is waited for
	got := w.mustRun("--cloud", "china", "--use-device-code")
	if granted := w.tenant.granted(w.tenant.apps[0].AppID); !slices.Equal(granted, slices.Concat(core[1:], risk)) {
		t.Errorf("granted %v, want the core of Graph and the risk records", granted)
	}
	for _, want := range []string{"licences could not be read", "does not offer ActivityFeed.Read:", "block the device code flow by Conditional Access"} {
		if !strings.Contains(got.stderr, want) {
			t.Errorf("does not say %q:\n%s", want, got.stderr)
		}
	}
}

func TestWriteEnv(t *testing.T) {
	w := newWorkplace(t)
	w.write(".env", "# mine\nPROJECT_ID=301\nCLIENT_ID=old\n\nTOKEN=t=k&n\\x\nCLIENT_ID=twice\nLAST=no newline")
	got := w.mustRun("--write-env")
	app := w.tenant.apps[0]
	want := "# mine\nPROJECT_ID=301\nCLIENT_ID=" + app.AppID + "\n\nTOKEN=t=k&n\\x\nLAST=no newline\n" +
		"TENANT_ID=11111111-2222-4333-8444-555555555555\nCLIENT_SECRET=" + w.tenant.secrets[0] + "\n"
	if env := w.read(".env"); env != want {
		t.Errorf(".env is\n%s\nwant\n%s", env, want)
	}
	info, err := os.Stat(filepath.Join(w.dir, ".env"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf(".env has mode %v, %v, want 0600", info.Mode(), err)
	}
	if all := got.stdout + got.stderr; strings.Contains(all, w.tenant.secrets[0]) {
		t.Error("the secret was printed although it is in the file")
	}
	if entries, _ := os.ReadDir(w.dir); len(entries) != 1 {
		t.Errorf("files were left: %v", entries)
	}

	// Once more: there is nothing to change.
	before := len(w.tenant.writes())
	got = w.mustRun("--write-env")
	if writes := w.tenant.writes()[before:]; len(writes) > 0 {
		t.Errorf("the second run wrote: %v", writes)
	}
	if again := w.read(".env"); again != want {
		t.Errorf(".env changed from\n%s\nto\n%s", want, again)
	}
	if strings.Contains(got.stderr, "cannot be read again") {
		t.Errorf("asks for a rotation although .env has the secret:\n%s", got.stderr)
	}
}

// A .env that is not there yet starts from the example.
func TestRotateSecret(t *testing.T) {
	w := newWorkplace(t)
	example, err := os.ReadFile("../.env.example")
	if err != nil {
		t.Fatal(err)
	}
	w.write(".env.example", string(example))
	w.mustRun("--write-env")
	env := w.read(".env")
	for _, line := range []string{"PROJECT_ID=", "TENANT_ID=11111111-2222-4333-8444-555555555555", "CLIENT_SECRET=" + w.tenant.secrets[0], "#S60_COLLECTOR_BASE="} {
		if strings.Count(env, "\n"+line) != 1 {
			t.Errorf(".env does not have the line %s once:\n%s", line, env)
		}
	}
	app := w.tenant.apps[0]
	stranger := map[string]any{"displayName": "made in the portal", "keyId": "stranger", "startDateTime": "2020-01-01T00:00:00Z", "endDateTime": "2020-06-01T00:00:00Z"}
	expired := map[string]any{"displayName": "s60-m365-connector", "keyId": "expired", "startDateTime": "2020-01-01T00:00:00Z", "endDateTime": "2020-06-01T00:00:00Z"}
	app.PasswordCredentials = append(app.PasswordCredentials, stranger, expired)
	before := len(w.tenant.calls)

	w.mustRun("--rotate-secret", "--write-env", "--secret-months", "3")
	w.mustRun("--rotate-secret", "--write-env")

	if env := w.read(".env"); !strings.Contains(env, "CLIENT_SECRET="+w.tenant.secrets[2]+"\n") {
		t.Errorf(".env does not have the newest secret:\n%s", env)
	}
	var left []string
	for _, password := range app.PasswordCredentials {
		left = append(left, password["keyId"].(string))
	}
	// The stranger's, the former one and the newest: not the first, not the expired one.
	if len(left) != 3 || !slices.Contains(left, "stranger") || slices.Contains(left, "expired") {
		t.Errorf("left are %v, want the stranger's, the former and the newest", left)
	}
	for _, call := range w.tenant.calls[before:] {
		if strings.Contains(call, "appRoleAssignments") || strings.HasPrefix(call, "PATCH") {
			t.Errorf("a rotation touched the permissions: %s", call)
		}
	}
}

func TestCertificate(t *testing.T) {
	w := newWorkplace(t)
	first, der := certificateFile(t, true, time.Hour)
	w.write("first.pem", first)
	w.write(".env", "CLIENT_SECRET=former\n")
	w.mustRun("--certificate-path", "first.pem", "--write-env")
	app := w.tenant.apps[0]
	if len(app.KeyCredentials) != 1 || app.KeyCredentials[0]["key"] != der || app.KeyCredentials[0]["type"] != "AsymmetricX509Cert" || app.KeyCredentials[0]["usage"] != "Verify" {
		t.Errorf("key credentials are %v", app.KeyCredentials)
	}
	if len(app.PasswordCredentials) != 0 {
		t.Error("a secret was made beside the certificate")
	}
	for _, line := range []string{"CLIENT_SECRET=\n", "CLIENT_CERTIFICATE_FILE=first.pem\n"} {
		if env := w.read(".env"); !strings.Contains(env, line) {
			t.Errorf(".env lacks %q:\n%s", line, env)
		}
	}
	for _, call := range w.azCalls() {
		if strings.Contains(call, "PRIVATE KEY") {
			t.Error("the private key was sent")
		}
	}

	w.mustRun("--certificate-path", "first.pem") // again: nothing new
	second, _ := certificateFile(t, false, time.Hour)
	w.write("second.pem", second)
	got := w.mustRun("--certificate-path", "second.pem")
	if len(app.KeyCredentials) != 2 || app.KeyCredentials[0]["key"] != der {
		t.Errorf("key credentials are %v, want the first and the second", app.KeyCredentials)
	}
	if !strings.Contains(got.stderr, "second.pem has no key") {
		t.Errorf("does not say that the key is missing:\n%s", got.stderr)
	}
}

func TestRemove(t *testing.T) {
	w := newWorkplace(t)
	w.tenant.apps = append(w.tenant.apps, &application{ID: w.tenant.id(), AppID: w.tenant.id(), DisplayName: "s60-m365-connector"})
	if got := w.run("--remove"); got.code != 1 || len(w.tenant.apps) != 1 {
		t.Errorf("--remove without a terminal and without --yes: exit %d, %d apps left; want 1 and 1", got.code, len(w.tenant.apps))
	}
	w.mustRun("--remove", "--yes")
	if len(w.tenant.apps) != 0 {
		t.Error("the app is still there")
	}
	if got := w.mustRun("--remove", "--yes"); !strings.Contains(got.stderr, "nothing to remove") {
		t.Errorf("a second removal says %q", got.stderr)
	}
}

func TestConsentRefused(t *testing.T) {
	w := newWorkplace(t)
	w.tenant.refuseConsent = true
	got := w.run("--write-env")
	app := w.tenant.apps[0]
	link := "https://login.microsoftonline.com/11111111-2222-4333-8444-555555555555/adminconsent?client_id=" + app.AppID
	if got.code != 1 || !strings.Contains(got.stderr, link) {
		t.Errorf("exit %d, want 1 and the link %s:\n%s", got.code, link, got.stderr)
	}
	if !strings.Contains(w.read(".env"), w.tenant.secrets[0]) {
		t.Error("the secret was made but is lost")
	}
	w.tenant.refuseConsent = false
	w.mustRun("--write-env")
	if granted := w.tenant.granted(app.AppID); !slices.Equal(granted, core) {
		t.Errorf("after an administrator ran it again, granted is %v", granted)
	}
}

func TestNationalCloud(t *testing.T) {
	w := newWorkplace(t)
	w.mustRun("--cloud", "gcchigh", "--write-env", "--use-device-code", "--tenant-id", "22222222-0000-4000-8000-000000000000")
	if w.tenant.host != "https://graph.microsoft.us" {
		t.Errorf("called %s, want https://graph.microsoft.us", w.tenant.host)
	}
	for _, line := range []string{"MS_CLOUD=gcchigh\n", "TENANT_ID=22222222-0000-4000-8000-000000000000\n"} {
		if env := w.read(".env"); !strings.Contains(env, line) {
			t.Errorf(".env lacks %q:\n%s", line, env)
		}
	}
	calls := strings.Join(w.azCalls(), "\n")
	for _, want := range []string{"cloud set --name AzureUSGovernment", "login --allow-no-subscriptions --output none --only-show-errors --tenant 22222222-0000-4000-8000-000000000000 --use-device-code"} {
		if !strings.Contains(calls, want) {
			t.Errorf("az was not called with %q:\n%s", want, calls)
		}
	}
}

func TestRoleThatCloudLacks(t *testing.T) {
	w := newWorkplace(t)
	graph := w.tenant.principals[0]
	graph.AppRoles = slices.DeleteFunc(graph.AppRoles, func(role map[string]string) bool { return role["value"] == "IdentityRiskyUser.Read.All" })
	got := w.mustRun("--identity-protection")
	if !strings.Contains(got.stderr, "does not offer IdentityRiskyUser.Read.All") {
		t.Errorf("does not say what the cloud lacks:\n%s", got.stderr)
	}
	if granted := w.tenant.granted(w.tenant.apps[0].AppID); len(granted) != 4 {
		t.Errorf("granted %v, want the other four", granted)
	}
}

func TestRefusals(t *testing.T) {
	expired, _ := certificateFile(t, false, -time.Hour)
	for _, test := range []struct {
		name    string
		prepare func(*workplace)
		args    []string
		code    int
		want    string
	}{
		{"unknown option", nil, []string{"--nonsense"}, 2, "unknown option --nonsense"},
		{"option without value", nil, []string{"--cloud"}, 2, "--cloud needs a value"},
		{"unknown cloud", nil, []string{"--cloud", "moon"}, 2, "--cloud is commercial, gcc, gcchigh, dod or china, not moon"},
		{"months", nil, []string{"--secret-months", "25"}, 2, "from 1 to 24"},
		{"months in words", nil, []string{"--secret-months", "one"}, 2, "from 1 to 24"},
		{"name that JSON would take apart", nil, []string{"--display-name", `a","b`}, 2, "--display-name may hold"},
		{"client id that a filter would take apart", nil, []string{"--client-id", "x' or 1"}, 2, "are ids"},
		{"unknown pack", nil, []string{"--pack", "email,nonsense"}, 2, "there is no pack nonsense; there are: "},
		{"rotate a certificate", nil, []string{"--rotate-secret", "--certificate-path", "x"}, 2, "exclude each other"},
		{"remove and write", nil, []string{"--remove", "--write-env"}, 2, "--remove goes with no other"},
		{"rotate nothing", nil, []string{"--rotate-secret"}, 1, "there is no app s60-m365-connector to rotate"},
		{"client id of no app", nil, []string{"--client-id", "33333333-0000-4000-8000-000000000000"}, 1, "no app in this tenant"},
		{"no certificate in file", func(w *workplace) { w.write("c.pem", "nothing") }, []string{"--certificate-path", "c.pem"}, 1, "holds no PEM certificate"},
		{"no such file", nil, []string{"--certificate-path", "absent.pem"}, 1, "cannot read absent.pem"},
		{"expired certificate", func(w *workplace) { w.write("c.pem", expired) }, []string{"--certificate-path", "c.pem"}, 1, "has expired"},
		{"two apps of the name", func(w *workplace) {
			for range 2 {
				w.tenant.apps = append(w.tenant.apps, &application{ID: w.tenant.id(), AppID: w.tenant.id(), DisplayName: "s60-m365-connector"})
			}
		}, nil, 1, "2 apps are named s60-m365-connector; say which with --client-id"},
		{"tenant forbids secrets", func(w *workplace) { w.tenant.refusePassword = "CredentialTypeNotAllowedAsPerAppPolicy" }, nil, 1, "--certificate-path"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorkplace(t)
			if test.prepare != nil {
				test.prepare(w)
			}
			got := w.run(test.args...)
			if got.code != test.code || !strings.Contains(got.stderr, test.want) {
				t.Errorf("exit %d, want %d and %q:\n%s", got.code, test.code, test.want, got.stderr)
			}
			if test.code == 2 && len(w.azCalls()) > 0 {
				t.Errorf("az was called before the options were checked: %v", w.azCalls())
			}
		})
	}
}

// Whatever the help shows is an option that the script takes, and the reverse.
func TestHelp(t *testing.T) {
	w := newWorkplace(t)
	help := w.mustRun("--help").stdout
	script := readFile(t, shellScript)
	loop := script[strings.Index(script, "case $1 in\n\t--identity"):]
	loop = loop[:strings.Index(loop, "esac")]
	option := regexp.MustCompile(`--[a-z][a-z-]+`)
	shown, taken := option.FindAllString(help, -1), option.FindAllString(loop, -1)
	for _, name := range shown {
		if !slices.Contains(taken, name) {
			t.Errorf("--help shows %s, which the script does not take", name)
		}
	}
	for _, name := range taken {
		if !slices.Contains(shown, name) {
			t.Errorf("--help does not show %s", name)
		}
	}
}
