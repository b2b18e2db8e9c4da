package main

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/doctor"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
	"github.com/secure60/s60-m365-connector/engine/simulator"
)

// check runs the subcommand against a tenant, and gives its findings by name.
func check(t *testing.T, env map[string]string) (code int, findings map[string]doctor.Finding) {
	t.Helper()
	for name, value := range env {
		t.Setenv(name, value)
	}
	var out, errs bytes.Buffer
	std := streams{strings.NewReader(""), &out, &errs}
	code = exitCode(checkCommand{JSON: true}.Run(t.Context(), std), std)
	var list []doctor.Finding
	if err := json.Unmarshal(out.Bytes(), &list); err != nil {
		t.Fatalf("output is no list of findings: %v\n%s%s", err, &out, &errs)
	}
	findings = map[string]doctor.Finding{}
	for _, f := range list {
		if f.Name == "" || f.Cause == "" || f.Status == doctor.Failed && f.Remedy == "" || strings.ContainsAny(f.Cause+f.Remedy, "\n\x1b") {
			t.Errorf("finding without name, cause or remedy, or with control characters: %+v", f)
		}
		for _, secret := range []string{"CLIENT_SECRET", "TOKEN"} {
			if env[secret] != "" && strings.Contains(out.String(), env[secret]) {
				t.Errorf("%s is in the output", secret)
			}
		}
		findings[f.Name] = f
	}
	return code, findings
}

func TestCheckExitCodes(t *testing.T) {
	tests := map[string]struct {
		options simulator.Options
		fault   *simulator.Fault
		change  map[string]string
		feeds   string // a feed file of CONFIG_DIR
		want    int
		finding string // and the status it is to have
		status  doctor.Verdict
	}{
		"in order": {want: program.Done, finding: "clock", status: doctor.Passed},
		"settings": {change: map[string]string{"TENANT_ID": ""}, want: program.Usage, finding: "settings", status: doctor.Failed},
		"definitions": {
			feeds: "name: my\nurll: x\n", want: program.Definitions, finding: "feeds and mappings", status: doctor.Failed,
		},
		"definitions before credentials": {
			feeds: "name: my\nurll: x\n", change: map[string]string{"CLIENT_SECRET": "wrong-secret"},
			want: program.Definitions, finding: "tokens, permissions and feeds", status: doctor.Skipped,
		},
		"credentials": {
			fault: &simulator.Fault{Target: "login", Kind: simulator.SecretExpired},
			want:  program.Credentials, finding: "credential expiry", status: doctor.Skipped,
		},
		"login down": {
			fault: &simulator.Fault{Target: "login", Kind: simulator.Status, Status: 503},
			want:  program.Failed, finding: "clock", status: doctor.Passed,
		},
		"consent": {
			options: simulator.Options{Roles: []string{"ActivityFeed.Read", "AuditLog.Read.All"}},
			want:    program.Done, finding: "permission IdentityRiskyUser.Read.All", status: doctor.Warned,
		},
		"no consent at all": {
			fault: &simulator.Fault{Target: "login", Kind: simulator.NoRoles},
			want:  program.Failed, finding: "permissions of Office 365 Management APIs", status: doctor.Failed,
		},
		"licence": {
			options: simulator.Options{Licence: simulator.P1}, // which both feeds of Identity Protection miss
			want:    program.Done, finding: "feeds", status: doctor.Warned,
		},
		"secret ends soon": {
			options: simulator.Options{SecretExpires: time.Now().Add(8*24*time.Hour + time.Hour)},
			want:    program.Done, finding: "credential expiry", status: doctor.Warned,
		},
		"clock far ahead": {
			options: simulator.Options{Now: func() time.Time { return time.Now().Add(time.Hour) }},
			want:    program.Failed, finding: "clock", status: doctor.Failed,
		},
		"throttled": {
			fault: &simulator.Fault{Target: "graph.riskyUsers", Kind: simulator.Throttle, RetryAfter: "3600"},
			want:  program.Done, finding: "feed entra-risky-users", status: doctor.Warned,
		},
		"service down": {
			fault: &simulator.Fault{Target: "graph.riskyUsers", Kind: simulator.Status, Status: 500},
			want:  program.Failed, finding: "feed entra-risky-users", status: doctor.Failed,
		},
		"no such endpoint": {
			fault: &simulator.Fault{Target: "graph.riskyUsers", Kind: simulator.Status, Status: 404, Code: "ResourceNotFound"},
			want:  program.Done, finding: "feed entra-risky-users", status: doctor.Warned,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			test.options.Records = -1
			sim, err := simulator.Start(test.options)
			if err != nil {
				t.Fatal(err)
			}
			defer sim.Close()
			if test.fault != nil {
				if err := sim.Inject(*test.fault); err != nil {
					t.Fatal(err)
				}
			}
			env := sim.EnvMap()
			dir := t.TempDir()
			env["STATE_DIR"], env["CONFIG_DIR"], env["LISTEN_ADDR"] = filepath.Join(dir, "state"), filepath.Join(dir, "config"), ""
			env["MGMT_CONTENT_TYPES"] = "Audit.General"
			for k, v := range test.change {
				env[k] = v
			}
			if test.feeds != "" {
				if err := os.MkdirAll(filepath.Join(env["CONFIG_DIR"], "feeds"), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(env["CONFIG_DIR"], "feeds", "my.yaml"), []byte(test.feeds), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			code, findings := check(t, env)
			if code != test.want {
				t.Errorf("exit code is %d, want %d; findings: %+v", code, test.want, findings)
			}
			if got := findings[test.finding].Status; got != test.status {
				t.Errorf("%s is %q, want %q: %+v", test.finding, got, test.status, findings[test.finding])
			}
			if v := sim.Report().Violations; len(v) > 0 {
				t.Errorf("the services complain: %v", v)
			}
		})
	}
}

// A directory that cannot be written to is told; root writes everywhere, so a
// file stands where the directory should be.
func TestCheckStateDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "below")} {
		if _, err := doctor.Writable(dir); err == nil {
			t.Errorf("%s counts as writable", dir)
		}
	}
	dir := t.TempDir()
	if exists, err := doctor.Writable(filepath.Join(dir, "a", "b")); exists || err != nil {
		t.Errorf("a directory to be made: exists %v, error %v", exists, err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("the check left %v behind (%v)", entries, err)
	}
}

// certificateFile writes a key and a certificate that ends at a time.
func certificateFile(t *testing.T, ends time.Time) (path string, certificate *x509.Certificate) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "connector"}, NotBefore: ends.Add(-1000 * time.Hour), NotAfter: ends}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := slices.Concat(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	path = filepath.Join(t.TempDir(), "connector.pem")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if certificate, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return path, certificate
}

func TestCheckOtherCredentials(t *testing.T) {
	soon, near := certificateFile(t, time.Now().Add(5*24*time.Hour+time.Hour))
	over, past := certificateFile(t, time.Now().Add(-24*time.Hour))
	federated := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(federated, []byte("assertion-of-another-issuer\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		options     simulator.Options
		kind, value string
		code        int
		status      doctor.Verdict
		cause       string
	}{
		"a certificate that ends soon":   {simulator.Options{Certificate: near}, "CLIENT_CERTIFICATE_FILE", soon, program.Done, doctor.Warned, "CLIENT_CERTIFICATE_FILE ends in 5 days"},
		"a certificate that has ended":   {simulator.Options{Certificate: past}, "CLIENT_CERTIFICATE_FILE", over, program.Credentials, doctor.Failed, "CLIENT_CERTIFICATE_FILE ended on"},
		"another certificate":            {simulator.Options{Certificate: past}, "CLIENT_CERTIFICATE_FILE", soon, program.Credentials, doctor.Warned, "CLIENT_CERTIFICATE_FILE ends in"},
		"a federated token":              {simulator.Options{FederatedToken: "assertion-of-another-issuer"}, "FEDERATED_TOKEN_FILE", federated, program.Done, doctor.Passed, "renewed by its issuer"},
		"a federated token, not trusted": {simulator.Options{FederatedToken: "another"}, "FEDERATED_TOKEN_FILE", federated, program.Credentials, doctor.Passed, "renewed by its issuer"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			test.options.Records = -1
			sim, err := simulator.Start(test.options)
			if err != nil {
				t.Fatal(err)
			}
			defer sim.Close()
			env := sim.EnvMap()
			env["CLIENT_SECRET"], env[test.kind] = "", test.value
			env["STATE_DIR"], env["CONFIG_DIR"], env["LISTEN_ADDR"] = t.TempDir(), t.TempDir(), ""
			env["ENABLE_GRAPH"], env["MGMT_CONTENT_TYPES"] = "false", "Audit.General"
			code, findings := check(t, env)
			got := findings["credential expiry"]
			if code != test.code || got.Status != test.status || !strings.Contains(got.Cause, test.cause) {
				t.Errorf("exit code %d, want %d; finding %+v, want %s %q; all: %+v", code, test.code, got, test.status, test.cause, findings)
			}
		})
	}
}
