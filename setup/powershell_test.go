package setup

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// modulesFolder names where npm has installed the grammar of PowerShell. Without it
// the tests of that script are skipped: .ci/run sets it.
const modulesFolder = "S60_POWERSHELL_MODULES"

// newPowerShell is a workplace for the PowerShell script, which is run by the
// interpreter of .ci/powershell-run.mjs: there is no PowerShell where this is checked.
func newPowerShell(t *testing.T) *workplace {
	t.Helper()
	if os.Getenv(modulesFolder) == "" {
		t.Skip(modulesFolder + " is not set: .ci/run powershell installs what it names")
	}
	w := newWorkplace(t)
	w.env = append(w.env, "PS_MODULE_VERSION=2.28.0")
	return w
}

func (w *workplace) runPowerShell(args ...string) outcome {
	w.t.Helper()
	script, err := filepath.Abs(powershellScript)
	if err != nil {
		w.t.Fatal(err)
	}
	interpreter, err := filepath.Abs("../.ci/powershell-run.mjs")
	if err != nil {
		w.t.Fatal(err)
	}
	return w.execute(exec.Command("node", slices.Concat([]string{"--liftoff-only", interpreter, os.Getenv(modulesFolder), script}, args)...))
}

func (w *workplace) mustRunPowerShell(args ...string) outcome {
	w.t.Helper()
	return w.succeeded(w.runPowerShell(args...), args)
}

func TestPowerShellRegisters(t *testing.T) {
	w := newPowerShell(t)
	w.tenant.notYet = 3
	got := w.mustRunPowerShell()
	app := w.tenant.apps[0]
	if granted := w.tenant.granted(app.AppID); !slices.Equal(granted, core) {
		t.Errorf("granted %v, want %v\n%s", granted, core, got.stderr)
	}
	want := "TENANT_ID=11111111-2222-4333-8444-555555555555\nCLIENT_ID=" + app.AppID + "\nCLIENT_SECRET=" + w.tenant.secrets[0] + "\n"
	if got.stdout != want {
		t.Errorf("stdout is %q, want %q", got.stdout, want)
	}
	if !strings.Contains(got.stderr, "IdentityRiskEvent.Read.All: the tenant has no Entra ID P2") {
		t.Errorf("does not say what was left out:\n%s", got.stderr)
	}

	// Again, with the licence there, into a file: it adds what that makes of use.
	w.tenant.plans = []string{planP2}
	w.write(".env", "PROJECT_ID=301\nFEEDS=message-trace\nCLIENT_SECRET="+w.tenant.secrets[0]+"\nCLIENT_ID="+app.AppID+"\n")
	w.tenant.offerEverywhere("User.Read.All")
	got = w.mustRunPowerShell("-WriteEnv", "-Pack", "email,defender", "-Permission", "DeviceManagementApps.Read.All,User.Read.All")
	w.tenant.holdsPacks(t, app)
	if strings.Contains(got.stderr, "does not offer") {
		t.Errorf("says that something is not offered:\n%s", got.stderr)
	}
	if w.tenant.principal(func(p *principal) bool { return p.AppID == "8bd644d1-64a1-4d4b-ae52-2e0cbf64e373" }) == nil {
		t.Error("message trace has no service principal")
	}
	want = "PROJECT_ID=301\nFEEDS=message-trace,email,defender\nCLIENT_SECRET=" + w.tenant.secrets[0] + "\nCLIENT_ID=" + app.AppID + "\nTENANT_ID=11111111-2222-4333-8444-555555555555\n"
	if env := w.read(".env"); env != want {
		t.Errorf(".env is\n%s\nwant\n%s", env, want)
	}
	if info, err := os.Stat(filepath.Join(w.dir, ".env")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf(".env has mode %v, %v, want 0600", info.Mode(), err)
	}
	if len(w.tenant.secrets) != 1 || strings.Contains(got.stdout+got.stderr, w.tenant.secrets[0]) {
		t.Errorf("%d secrets were made, want 1, and it is not shown:\n%s%s", len(w.tenant.secrets), got.stdout, got.stderr)
	}
}

// What a machine's calendar and separators are is nothing to Graph.
func TestPowerShellInOtherCultures(t *testing.T) {
	for _, culture := range []string{"th-TH", "fi-FI"} {
		t.Run(culture, func(t *testing.T) {
			w := newPowerShell(t)
			w.env = append(w.env, "PS_CULTURE="+culture)
			w.mustRunPowerShell("-WriteEnv")
			got := w.mustRunPowerShell("-RotateSecret", "-SecretMonths", "3", "-WriteEnv")
			app := w.tenant.apps[0]
			if len(app.PasswordCredentials) != 2 {
				t.Fatalf("%s: %d secrets, want the former and the new", culture, len(app.PasswordCredentials))
			}
			for i, months := range []int{12, 3} {
				expires := parseTime(t, app.PasswordCredentials[i]["endDateTime"])
				if until := time.Until(expires).Hours() / 24 / 30.4; until < float64(months)-0.3 || until > float64(months)+0.3 {
					t.Errorf("%s: the secret is valid for %.1f months, want %d", culture, until, months)
				}
			}
			now := time.Now().UTC() // AddMonths ends with the month where it has fewer days
			if day := time.Date(now.Year(), now.Month()+3, 1, 0, 0, 0, 0, time.UTC).Format("2006-01-"); !strings.Contains(got.stderr, "valid until "+day) {
				t.Errorf("%s: says not %s…:\n%s", culture, day, got.stderr)
			}
		})
	}
}

func TestPowerShellCertificates(t *testing.T) {
	w := newPowerShell(t)
	first, der := certificateFile(t, true, time.Hour)
	second, _ := certificateFile(t, false, time.Hour)
	w.write("first.pem", first)
	w.write("second.pem", second)
	w.mustRunPowerShell("-CertificatePath", "first.pem", "-WriteEnv")
	app := w.tenant.apps[0]
	// The directory adds times, which Windows PowerShell 5.1 would write in a form of its own.
	app.KeyCredentials[0]["startDateTime"], app.KeyCredentials[0]["endDateTime"] = "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"
	w.mustRunPowerShell("-CertificatePath", "first.pem") // again: nothing new
	w.mustRunPowerShell("-CertificatePath", "second.pem")
	if len(app.KeyCredentials) != 2 || app.KeyCredentials[0]["key"] != der || app.KeyCredentials[0]["endDateTime"] != "2027-01-01T00:00:00Z" {
		t.Errorf("key credentials are %v, want the first as it was, and the second", app.KeyCredentials)
	}
	if len(w.tenant.secrets) != 0 || !strings.Contains(w.read(".env"), "CLIENT_CERTIFICATE_FILE=first.pem\n") {
		t.Errorf("%d secrets, .env:\n%s", len(w.tenant.secrets), w.read(".env"))
	}
}

func TestPowerShellRefusals(t *testing.T) {
	expired, _ := certificateFile(t, false, -time.Hour)
	for _, test := range []struct {
		name    string
		prepare func(*workplace)
		args    []string
		code    int
		want    string
	}{
		{"no module", func(w *workplace) { w.env = append(w.env, "PS_MODULE_VERSION=") }, nil, 1, "Install-Module Microsoft.Graph.Authentication -Scope CurrentUser"},
		{"old module", func(w *workplace) { w.env = append(w.env, "PS_MODULE_VERSION=1.28.0") }, nil, 1, "is of version 1.28.0; it takes 2.0 or later"},
		{"unknown pack", nil, []string{"-Pack", "email,nonsense"}, 1, "There is no pack nonsense; there are: "},
		{"rotate a certificate", nil, []string{"-RotateSecret", "-CertificatePath", "x"}, 1, "Parameter set"},
		{"too many months", nil, []string{"-SecretMonths", "25"}, 1, "Cannot validate"},
		{"rotate nothing", nil, []string{"-RotateSecret"}, 1, "no app s60-m365-connector to rotate"},
		{"expired", func(w *workplace) { w.write("c.pem", expired) }, []string{"-CertificatePath", "c.pem"}, 1, "has expired on 20"},
		{"consent refused", func(w *workplace) { w.tenant.refuseConsent = true }, nil, 1, "/adminconsent?client_id="},
		{"policy", func(w *workplace) { w.tenant.refusePassword = "CredentialTypeNotAllowedAsPerAppPolicy" }, nil, 1, "try fewer -SecretMonths"},
		{"no licences", func(w *workplace) { w.tenant.noLicences = true }, nil, 0, "granted   IdentityRiskyUser.Read.All"},
		{"no such permission", nil, []string{"-Permission", "Nonsense.Read.All"}, 0, "does not offer Nonsense.Read.All"},
		{"device code", nil, []string{"-UseDeviceCode"}, 0, "Many tenants block the device code flow by Conditional Access"},
		{"removal not confirmed", nil, []string{"-Remove"}, 0, "nothing to remove"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newPowerShell(t)
			if test.prepare != nil {
				test.prepare(w)
			}
			if got := w.runPowerShell(test.args...); got.code != test.code || !strings.Contains(got.stderr, test.want) {
				t.Errorf("exit %d, want %d and %q:\n%s", got.code, test.code, test.want, got.stderr)
			}
		})
	}
}

// A service that a cloud lacks is known at once, not waited for.
func TestPowerShellInChina(t *testing.T) {
	w := newPowerShell(t)
	w.tenant.withoutService = managementApp
	got := w.mustRunPowerShell("-Environment", "China")
	if w.tenant.host != "https://microsoftgraph.chinacloudapi.cn" || !strings.Contains(got.stdout, "MS_CLOUD=china\n") {
		t.Errorf("called %s:\n%s", w.tenant.host, got.stdout)
	}
	if !strings.Contains(got.stderr, "does not offer ActivityFeed.Read:") || slices.ContainsFunc(w.azCalls(), func(c string) bool { return strings.HasPrefix(c, "Start-Sleep") }) {
		t.Errorf("waited, or did not say what is missing:\n%s\n%v", got.stderr, w.azCalls())
	}
	w.mustRunPowerShell("-Environment", "China", "-Remove", "-Confirm:$false")
	if len(w.tenant.apps) != 0 {
		t.Error("the app is still there")
	}
}
