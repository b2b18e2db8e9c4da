package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/testkit"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/wording"
	"github.com/secure60/s60-m365-connector/engine/simulator"
)

// Secrets that are planted, and searched for in everything that the program
// writes.
const (
	plantedSecret = "planted~client~secret~4711"
	plantedToken  = "planted-ingest-token-4712"
	plantedAccess = "planted-access-token-4713"
)

// issuedToken is what access tokens of the simulator and client assertions look like.
var issuedToken = regexp.MustCompile(`eyJ[A-Za-z0-9_-]{16,}\.`)

// written is everything that a run of the program has written.
type written struct {
	state string
	out   transcript     // both streams
	until *regexp.Regexp // what a run must say before it is ended; nil: nothing
}

// transcript may be read while a program writes it.
type transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (t *transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.Write(p)
}

func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}

// program runs the binary with DEBUG logs until it ends, or for d and then
// until SIGTERM has ended it. meanwhile is called before that.
func (w *written) program(t *testing.T, env []string, d time.Duration, meanwhile func(), args ...string) {
	t.Helper()
	cmd := exec.Command("sh", append([]string{"-c", `umask 0; exec "$@"`, "sh", program.Name}, args...)...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "STATE_DIR=" + w.state, "CONFIG_DIR=" + filepath.Join(w.state, "none"),
		"LISTEN_ADDR=", "LOG_LEVEL=DEBUG", "HEARTBEAT_INTERVAL_MINUTES=0.02", "POLLING_INTERVAL_MINUTES=0.02"}, env...)
	cmd.Stdout, cmd.Stderr = &w.out, &w.out
	before := len(w.out.String())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	if d > 0 {
		select {
		case err := <-ended:
			t.Fatalf("%v ended by itself: %v\n%s", args, err, w.out.String())
		case <-time.After(d):
		}
		// A busy machine may need longer.
		for deadline := time.Now().Add(patience); w.until != nil && !w.until.MatchString(w.out.String()[before:]) && time.Now().Before(deadline); {
			time.Sleep(20 * time.Millisecond)
		}
		if meanwhile != nil {
			meanwhile()
		}
		cmd.Process.Signal(syscall.SIGTERM) //nolint:errcheck // it has ended
	}
	select {
	case <-ended:
	case <-time.After(patience):
		cmd.Process.Kill() //nolint:errcheck // it has ended
		t.Fatalf("%v does not end\n%s", args, &w.out)
	}
}

// search fails if a secret stands anywhere.
func (w *written) search(t *testing.T, secrets ...string) {
	t.Helper()
	look := func(where string, text []byte) {
		for _, secret := range secrets {
			if i := bytes.Index(text, []byte(secret)); i >= 0 {
				t.Errorf("%s holds %q: …%s…", where, secret, text[max(0, i-200):min(len(text), i+80)])
			}
		}
		if m := issuedToken.Find(text); m != nil {
			t.Errorf("%s holds a token: %s", where, m)
		}
	}
	look("the output", []byte(w.out.String()))
	files := 0
	err := filepath.WalkDir(w.state, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v: others can read it", path, info.Mode())
		}
		if entry.Type().IsRegular() {
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			files++
			look(path, text)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(w.out.String()) == 0 {
		t.Error("the program wrote nothing: nothing was searched")
	}
	t.Logf("searched %d bytes of output and %d files", len(w.out.String()), files)
}

func newWritten(t *testing.T) *written {
	return &written{state: filepath.Join(t.TempDir(), "state")}
}

// TestSecretsOfWorkingRun searches what a working connector writes, with faults
// of every kind, the pages it serves, and every subcommand.
func TestSecretsOfWorkingRun(t *testing.T) {
	startsTheProgram(t)
	for _, format := range []string{"text", "json"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			sim, err := simulator.Start(simulator.Options{Seed: 3, Records: 400, History: 5 * time.Hour, ClientSecret: plantedSecret, Token: plantedToken, BlobMax: 10})
			if err != nil {
				t.Fatal(err)
			}
			defer sim.Close()
			for _, f := range []simulator.Fault{
				{Target: "ingest", Kind: simulator.Poison, Match: "entra-directory-audits", Count: 3},
				{Target: "ingest", Kind: simulator.Reset, Count: 5},
				{Target: "ingest", Kind: simulator.Refuse, Match: "never"},
				{Target: "manage.blob", Kind: simulator.Expired, Count: 2},
				{Target: "manage.blob", Kind: simulator.Cut, Count: 2},
				{Target: "manage.content", Kind: simulator.ForeignLink, Match: "Audit.Exchange"},
				{Target: "graph.directoryAudits", Kind: simulator.ForeignNext},
				{Target: "graph.signIns", Kind: simulator.HTML, Count: 1},
			} {
				if err := sim.Inject(f); err != nil {
					t.Fatal(err)
				}
			}
			w := newWritten(t)
			w.until = regexp.MustCompile("leads to http://")
			listen, err := freeAddress()
			if err != nil {
				t.Fatal(err)
			}
			env := append(sim.Env(), "LOG_FORMAT="+format, "LISTEN_ADDR="+listen, "INITIAL_LOOKBACK_MINUTES=300")
			var pages []byte
			w.program(t, env, 5*time.Second, func() {
				for _, path := range []string{"/", "/metrics", "/status.json", "/ledger.json", "/healthz", "/readyz", "/livez", "/workbench"} {
					answer, err := http.Get("http://" + listen + path)
					if err != nil {
						t.Errorf("%s: %v", path, err)
						continue
					}
					text, err := io.ReadAll(answer.Body)
					answer.Body.Close()
					if err != nil || len(text) == 0 {
						t.Errorf("%s: %d bytes, %v", path, len(text), err)
					}
					pages = append(pages, fmt.Sprintf("\n%v %s\n", answer.Header, text)...)
				}
			}, "run")
			for _, args := range map[string][][]string{
				"text": {{"check"}, {"feeds"}, {"feeds", "--ledger"}, {"replay"}, {"validate"},
					{"backfill", "--feed", "entra-signins", "--from", time.Now().Add(-2 * time.Hour).UTC().Format(time.RFC3339), "--to", time.Now().UTC().Format(time.RFC3339)}},
				"json": {{"check", "--json"}, {"feeds", "--json"}},
			}[format] {
				w.program(t, env, 0, nil, args...)
			}
			w.out.Write(pages)
			w.search(t, plantedSecret, plantedToken)
			for _, v := range sim.Report().Violations {
				if strings.Contains(v, "foreign") {
					t.Error(v)
				}
			}
			if !w.until.MatchString(w.out.String()) {
				t.Error("no link to the foreign host was met: this test shows nothing about it")
			}
		})
	}
}

// TestSecretsOfTenants searches what a connector of several tenants writes: their secrets
// stand in their files, one of which becomes broken in every way while it runs.
func TestSecretsOfTenants(t *testing.T) {
	t.Parallel()
	sim, err := simulator.Start(simulator.Options{Seed: 3, Records: 200, History: 5 * time.Hour, ClientSecret: plantedSecret, Token: plantedToken})
	if err != nil {
		t.Fatal(err)
	}
	defer sim.Close()
	w := newWritten(t)
	listen, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	var env []string
	for name, value := range sim.EnvMap() {
		if name != "CLIENT_SECRET" && name != "TOKEN" {
			env = append(env, name+"="+value)
		}
	}
	dir := testkit.Folder(t, map[string]string{
		"good.yaml":  "CLIENT_SECRET: " + plantedSecret + "\nTOKEN: " + plantedToken,
		"wrong.yaml": "CLIENT_SECRET: wrong" + plantedSecret + "\nTOKEN: wrong" + plantedToken + "\nPROJECT_ID: 7\nENABLE_MGMT_ACTIVITY: false",
		"file.yaml":  "CLIENT_SECRET_FILE: secret\nTOKEN_FILE: token\nPROJECT_ID: 8\nENABLE_MGMT_ACTIVITY: false",
		"secret":     plantedSecret, "token": plantedToken + "\nand a second line",
	})
	env = append(env, "TENANTS_DIR="+dir, "LISTEN_ADDR="+listen, "INITIAL_LOOKBACK_MINUTES=300")
	mustMeet := []string{"Forwarded ", "AADSTS7000215", "broken-13.yaml", "the tenant does not run until that is mended", "broken-9.yaml:1:1: unknown key"}
	metAll := func(text string) bool {
		return !slices.ContainsFunc(mustMeet, func(met string) bool { return !strings.Contains(text, met) })
	}
	var pages []byte
	w.program(t, env, 3*time.Second, func() {
		for i, text := range []string{
			"CLIENT_SECRET: *" + plantedSecret, "CLIENT_SECRET: !" + plantedSecret, "CLIENT_SECRET: [" + plantedSecret, "CLIENT_SECRET:" + plantedSecret,
			"CLIENT_SECRET: {" + plantedSecret + ": x}", "CLIENT_SECRET: &" + plantedSecret + " x", "TOKEN: '" + plantedToken, "TOKEN: |\n  " + plantedToken + "\n  x",
			"TOKEN: " + plantedToken + "\nTOKEN: " + plantedToken, "CLIENT_SECRT: " + plantedSecret, "CLIENT_SECRET: " + plantedSecret + "\nCLIENT_SECRET_FILE: secret",
			"TOKEN: " + plantedToken + "\x1b", "S60_COLLECTOR_BASE: https://user:" + plantedToken + "@c.example", "OUTPUT: nats://user:" + plantedToken + "@/",
		} {
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("broken-%d.yaml", i)), []byte(text), 0o600); err != nil {
				t.Error(err)
			}
		}
		for deadline := time.Now().Add(patience); !metAll(w.out.String()) && time.Now().Before(deadline); {
			time.Sleep(50 * time.Millisecond)
		}
		for _, path := range []string{"/", "/metrics", "/status.json", "/healthz", "/readyz", "/tenants/good", "/tenants/wrong", "/tenants/good/status.json", "/tenants/file/ledger.json", "/tenants/broken-0"} {
			answer, err := http.Get("http://" + listen + path)
			if err != nil {
				t.Errorf("%s: %v", path, err)
				continue
			}
			text, err := io.ReadAll(answer.Body)
			answer.Body.Close()
			if err != nil || len(text) == 0 {
				t.Errorf("%s: %d bytes, %v", path, len(text), err)
			}
			pages = append(pages, fmt.Sprintf("\n%v %s\n", answer.Header, text)...)
		}
	}, "run")
	for _, args := range [][]string{{"check"}, {"check", "--json"}, {"check", "--tenant", "broken-3"}, {"feeds"}, {"feeds", "--tenant", "broken-6"}, {"feeds", "--json"},
		{"validate"}, {"replay"}, {"replay", "--tenant", "broken-1"}, {"replay", "--tenant", "good"}} {
		w.program(t, env, 0, nil, args...)
	}
	w.out.Write(pages)
	w.search(t, plantedSecret, plantedToken)
	if !metAll(w.out.String()) {
		t.Errorf("the run did not meet all of %q: this test shows nothing about it", mustMeet)
	}
}

// TestSecretsAtHostileServices runs the connector against services that repeat
// what they were sent, lead elsewhere, and colour their answers.
func TestSecretsAtHostileServices(t *testing.T) {
	startsTheProgram(t)
	const escape = "\x1b[31mred\u009b31m\a"
	echo := func(status int, shape string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body) // what there is of it
			text, err := json.Marshal(escape + " you sent " + r.Header.Get("Authorization") + " and " + string(body))
			if err != nil {
				panic(err)
			}
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			fmt.Fprintf(w, shape, text)
		}
	}
	for _, tt := range []struct {
		name  string
		login func(foreign string) http.HandlerFunc
		graph func(foreign string) http.HandlerFunc
		into  func(foreign string) http.HandlerFunc // ingest
		seen  string                                // what the run must have met
	}{
		{name: "login repeats the secret", seen: "AADSTS|login|token",
			login: func(string) http.HandlerFunc {
				return echo(401, `{"error":"invalid_client","error_description":%s,"error_codes":[7000215]}`)
			}},
		{name: "login leads elsewhere", seen: "redirect|307",
			login: func(foreign string) http.HandlerFunc {
				return func(w http.ResponseWriter, r *http.Request) {
					http.Redirect(w, r, foreign+r.URL.Path, http.StatusTemporaryRedirect)
				}
			}},
		{name: "graph repeats the token", seen: "you sent",
			graph: func(string) http.HandlerFunc { return echo(400, `{"error":{"code":"BadRequest","message":%s}}`) }},
		{name: "graph leads elsewhere", seen: "redirect|leads|302|host",
			graph: func(foreign string) http.HandlerFunc {
				return func(w http.ResponseWriter, r *http.Request) {
					http.Redirect(w, r, foreign+r.URL.Path, http.StatusFound)
				}
			}},
		{name: "ingest repeats the token", seen: "refused events for good",
			into: func(string) http.HandlerFunc { return echo(400, `{"error":%s}`) }},
		{name: "ingest refuses and repeats the token", seen: "401",
			into: func(string) http.HandlerFunc { return echo(401, `{"error":%s}`) }},
		{name: "ingest leads elsewhere", seen: "307",
			into: func(foreign string) http.HandlerFunc {
				return func(w http.ResponseWriter, r *http.Request) {
					http.Redirect(w, r, foreign+r.URL.Path, http.StatusTemporaryRedirect)
				}
			}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			var leaks []string
			foreign := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body) // what there is of it
				mu.Lock()
				defer mu.Unlock()
				leaks = append(leaks, fmt.Sprintf("%s %s Authorization=%q body=%q", r.Method, r.URL, r.Header.Get("Authorization"), body))
			}))
			defer foreign.Close()
			serve := func(hostile func(string) http.HandlerFunc, tame http.HandlerFunc) string {
				if hostile != nil {
					tame = hostile(foreign.URL)
				}
				server := httptest.NewServer(tame)
				t.Cleanup(server.Close)
				return server.URL
			}
			env := []string{
				"TENANT_ID=11111111-2222-4333-8444-555555555555", "CLIENT_ID=11111111-2222-4333-8444-666666666666",
				"CLIENT_SECRET=" + plantedSecret, "PROJECT_ID=1", "TOKEN=" + plantedToken, "ENABLE_MGMT_ACTIVITY=false",
				"MS_LOGIN_BASE=" + serve(tt.login, func(w http.ResponseWriter, r *http.Request) {
					fmt.Fprintf(w, `{"token_type":"Bearer","expires_in":3600,"access_token":%q}`, plantedAccess)
				}),
				"MS_GRAPH_BASE=" + serve(tt.graph, func(w http.ResponseWriter, r *http.Request) {
					fmt.Fprintf(w, `{"value":[{"id":"1","createdDateTime":%q,"userPrincipalName":"a\u001b[31m\u009b31m@b.example"}]}`, time.Now().UTC().Format(time.RFC3339))
				}),
				"S60_INGEST_BASE=" + serve(tt.into, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(200) }),
			}
			w := newWritten(t)
			w.until = regexp.MustCompile(tt.seen)
			w.program(t, env, 1500*time.Millisecond, nil, "run")
			w.program(t, env, 0, nil, "feeds")
			w.program(t, env, 0, nil, "check", "--json")
			if tt.into != nil {
				w.program(t, env, 0, nil, "replay")
			}
			w.program(t, append(env, "LOG_FORMAT=json"), 1500*time.Millisecond, nil, "run")
			w.search(t, plantedSecret, plantedToken, plantedAccess)
			if strings.ContainsAny(w.out.String(), "\x1b\u009b\a") {
				i := strings.IndexAny(w.out.String(), "\x1b\u009b\a")
				t.Errorf("a control character reached the output: %q", w.out.String()[max(0, i-300):i+20])
			}
			if !regexp.MustCompile(tt.seen).MatchString(w.out.String()) {
				t.Errorf("the run did not meet %q:\n%s", tt.seen, w.out.String())
			}
			mu.Lock()
			defer mu.Unlock()
			for _, leak := range leaks {
				t.Errorf("the foreign host was asked: %s", leak)
			}
		})
	}
}

// TestRecordsOnTerminals: control characters of records are not printed raw.
func TestRecordsOnTerminals(t *testing.T) {
	startsTheProgram(t)
	record := `{"id":"1","riskLevel":"\u001b]0;title\u0007","userPrincipalName":"a` + "\u009b31m\u007f" + `b@c.example"}`
	for _, args := range [][]string{{"map", "--mapping", "entra-risky-user"}, {"map", "--mapping", "entra-risky-user", "--explain"}} {
		cmd := exec.Command(program.Name, args...)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "CONFIG_DIR=" + t.TempDir(), "STATE_DIR=" + t.TempDir()}
		cmd.Stdin = strings.NewReader(record)
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "c.example") {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
		if i := strings.IndexAny(string(out), "\x1b\a\u009b\u007f"); i >= 0 {
			t.Errorf("%v prints a control character: %q", args, out[max(0, i-80):min(len(out), i+40)])
		}
	}
}

// TestNoCoreFile: what is in memory does not reach a core file.
func TestNoCoreFile(t *testing.T) {
	startsTheProgram(t)
	if runtime.GOOS != "linux" {
		t.Skip("reads /proc")
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	cmd := exec.CommandContext(ctx, program.Name, "map", "--mapping", "entra-signin")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "CONFIG_DIR=" + t.TempDir(), "STATE_DIR=" + t.TempDir()}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait() //nolint:errcheck // it is ended by the test
	defer in.Close()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		if regexp.MustCompile(`Max core file size +0 +0 `).Match(limits) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("core files are possible:\n%s", limits)
		}
	}
}

func TestEscapeControls(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`{"a":"b"}`:                     `{"a":"b"}`,
		"{\"a\":\"\x7f\"}":              `{"a":"\u007f"}`,
		"{\"a\":\"\u0080\u009b31m\"}":   `{"a":"\u0080\u009b31m"}`,
		"{\"a\":\"\u00a0é\u20ac\xc2\"}": "{\"a\":\"\u00a0é\u20ac\xc2\"}",
	} {
		if got := string(wording.EscapeControls(nil, []byte(in))); got != want {
			t.Errorf("escapeControls(%q) = %q, want %q", in, got, want)
		}
		var before, after any
		if json.Unmarshal([]byte(in), &before) == nil && (json.Unmarshal(wording.EscapeControls(nil, []byte(in)), &after) != nil || fmt.Sprint(before) != fmt.Sprint(after)) {
			t.Errorf("escapeControls(%q) is another value: %v", in, after)
		}
	}
}
