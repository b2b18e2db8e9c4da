package setup

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// workplace is where an administrator runs the shell script: a folder, an az
// on the PATH, a tenant behind it.
type workplace struct {
	t      *testing.T
	dir    string
	log    string
	tenant *tenant
	env    []string
}

type outcome struct {
	stdout, stderr string
	code           int
}

func newWorkplace(t *testing.T) *workplace {
	t.Helper()
	t.Parallel()
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("no bash here")
	}
	n := newTenant(t)
	server := httptest.NewServer(n.handler(t))
	t.Cleanup(server.Close)
	bin := t.TempDir()
	log := filepath.Join(bin, "log")
	startAzureCLI(t, bin, &azureCLI{log: log, tenant: server.URL})
	dir := t.TempDir()
	return &workplace{t: t, dir: dir, log: log, tenant: n, env: append(os.Environ(),
		"PATH="+bin+":"+os.Getenv("PATH"),
		tenantURL+"="+server.URL,
		azLog+"="+log,
		"SETUP_RETRY_SECONDS=0",
	)}
}

// azCalls are the calls of az or, of the PowerShell script, the cmdlets that act.
func (w *workplace) azCalls() []string {
	data, err := os.ReadFile(w.log)
	if err != nil && !os.IsNotExist(err) {
		w.t.Fatal(err)
	}
	return strings.FieldsFunc(string(data), func(r rune) bool { return r == '\n' })
}

func (w *workplace) run(args ...string) outcome {
	w.t.Helper()
	script, err := filepath.Abs(shellScript)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.execute(exec.Command("bash", append([]string{script}, args...)...))
}

// execute runs a command in the workplace's folder.
func (w *workplace) execute(command *exec.Cmd) outcome {
	w.t.Helper()
	command.Dir, command.Env = w.dir, w.env
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	err := command.Run()
	if _, isExit := err.(*exec.ExitError); err != nil && !isExit {
		w.t.Fatal(err)
	}
	// The calls have been answered: what they left in the tenant is seen from here.
	w.tenant.mu.Lock()
	defer w.tenant.mu.Unlock()
	return outcome{stdout.String(), stderr.String(), command.ProcessState.ExitCode()}
}

// mustRun runs the script and wants it to succeed.
func (w *workplace) mustRun(args ...string) outcome {
	w.t.Helper()
	return w.succeeded(w.run(args...), args)
}

// succeeded is an outcome, which is to be a good one.
func (w *workplace) succeeded(got outcome, args []string) outcome {
	w.t.Helper()
	if got.code != 0 {
		w.t.Fatalf("%v: exit %d\n%s%s", args, got.code, got.stdout, got.stderr)
	}
	return got
}

func (w *workplace) read(name string) string {
	w.t.Helper()
	return readFile(w.t, filepath.Join(w.dir, name))
}

func (w *workplace) write(name, text string) string {
	w.t.Helper()
	file := filepath.Join(w.dir, name)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
	return file
}

func declaredRoles(app *application) []string {
	var roles []string
	for _, access := range app.RequiredResourceAccess {
		for _, role := range access.ResourceAccess {
			roles = append(roles, role.ID)
		}
	}
	return roles
}

func parseTime(t *testing.T, value any) time.Time {
	t.Helper()
	text, _ := value.(string)
	parsed, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// certificateFile makes a PEM file, with its key or without, and gives its text
// and the certificate as Graph takes it.
func certificateFile(t *testing.T, withKey bool, valid time.Duration) (text, der string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "connector"},
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(valid)}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	if withKey {
		bytes, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		text = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: bytes}))
	}
	return text + string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw})), base64.StdEncoding.EncodeToString(raw)
}
