package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
	"github.com/secure60/s60-m365-connector/engine/simulator"
)

// Sessions are whole: the real binary, against the simulator over real HTTP. A
// script in testdata/session is what a person would type and see.

func TestMain(m *testing.M) {
	// What starts the program waits more than it computes. A -parallel of the command line comes after this.
	flag.Set("test.parallel", "8") //nolint:errcheck // the flag is there
	testscript.Main(m, map[string]func(){program.Name: main, "relay": relay, bareClientName: bareClient, plainCollectorName: plainCollector})
}

// quickSessions, and TestSecretsOfTenants for tenants side by side, are all that -short starts the program for:
// each way a run begins and ends, and all parts of it at work at once, which is what the race detector is for.
var quickSessions = []string{
	"corpus-stopped-with-full-batches", "faults", "killed", "metrics", "page", "stopped",
}

// startsTheProgram begins a test that does, and that -short leaves out. Such tests run side by side.
func startsTheProgram(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("see quickSessions")
	}
	t.Parallel()
}

// sessionBinary is the program that sessions run: the one that is shipped, say,
// which is built in another way.
var sessionBinary = flag.String("session.binary", "", "what TestSessions and TestRecipes run; empty: the program in the test, or what is built for it")

// sessionFiles are the scripts to run.
func sessionFiles(t *testing.T) []string {
	const dir = "testdata/session"
	if testing.Short() {
		files := make([]string, len(quickSessions))
		for i, name := range quickSessions {
			files[i] = filepath.Join(dir, name+".txtar")
		}
		return files
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts in %s: %v", dir, err)
	}
	return files
}

func TestSessions(t *testing.T) {
	t.Parallel() // with what else starts the program
	path := ""
	if *sessionBinary != "" {
		binary, err := filepath.Abs(*sessionBinary)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(binary); err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		if err := os.Symlink(binary, filepath.Join(dir, program.Name)); err != nil {
			t.Fatal(err)
		}
		path = dir + string(filepath.ListSeparator)
	}
	testscript.Run(t, testscript.Params{
		Files:               sessionFiles(t),
		RequireExplicitExec: true,
		Condition:           condition,
		UpdateScripts:       os.Getenv("UPDATE_SESSIONS") != "",
		Setup: func(env *testscript.Env) error {
			// Nothing of the machine's own settings may reach a session.
			env.Values[sessionKey] = new(session)
			if err := os.Mkdir(filepath.Join(env.WorkDir, "config"), 0o755); err != nil && !os.IsExist(err) {
				return err
			}
			env.Setenv("PATH", path+env.Getenv("PATH"))
			// A small heap costs a fifth of the processor, and only those that measure memory are about it.
			env.Vars = append(env.Vars, "GOGC=100", "STATE_DIR="+env.WorkDir+"/state", "CONFIG_DIR="+env.WorkDir+"/config", "LISTEN_ADDR=")
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"simulator":   startSimulator,
			"fault":       injectFault,
			"clear":       clearFaults,
			"publish":     publish,
			"report":      checkReport,
			"await":       await,
			"freeport":    freePort,
			"tenant":      changeTenant,
			"get":         get,
			"post":        postForm,
			"position":    setPosition,
			"quick":       quickConfig,
			"repeat":      repeat,
			"judge":       judge,
			"count":       count,
			"ends":        ends,
			"peak":        atPeak,
			"disk":        mountDisk,
			"memory":      memory,
			"newer-state": newerState,
			"nats":        startNATS,
			"nats-stream": createStream,
			"kafka":       startKafka,
			"forward":     forward,
		},
	})
}

// session is what a script has started.
type session struct {
	sim    *simulator.Simulator
	stored map[string]func() ([][]byte, error) // what the stream platforms hold
}

const sessionKey = "simulator"

func simulatorOf(ts *testscript.TestScript) *simulator.Simulator {
	s := ts.Value(sessionKey).(*session)
	if s.sim == nil {
		ts.Fatalf("no simulator runs")
	}
	return s.sim
}

// startSimulator starts a tenant and sets the connector's environment to it.
func startSimulator(ts *testscript.TestScript, neg bool, args []string) {
	var o simulator.Options
	fs := flag.NewFlagSet("simulator", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Uint64Var(&o.Seed, "seed", 7, "")
	fs.IntVar(&o.Records, "records", 400, "")
	fs.DurationVar(&o.History, "history", 5*time.Hour, "")
	fs.StringVar(&o.Licence, "licence", "", "")
	fs.DurationVar(&o.TokenLifetime, "token-lifetime", 0, "")
	fs.IntVar(&o.PageSize, "page", 0, "")
	fs.IntVar(&o.ListPage, "list-page", 0, "")
	fs.IntVar(&o.BlobMax, "blob-max", 0, "")
	fs.Float64Var(&o.Repeated, "repeated", 0, "")
	fs.IntVar(&o.KeepEvents, "keep", 0, "")
	fs.Int64Var(&o.MaxBody, "max-body", 0, "")
	fs.IntVar(&o.MaxWalk, "max-walk", 0, "")
	fs.DurationVar(&o.PartialFor, "partial-for", 0, "")
	fs.DurationVar(&o.SearchTakes, "search-takes", 0, "")
	fs.IntVar(&o.SearchLimit, "search-limit", 0, "")
	fs.DurationVar(&o.Quiet, "quiet", 0, "")       // what a report judges ends 6 minutes before now
	subscribed := fs.Bool("subscribed", false, "") // from the start, and long before
	fs.BoolVar(&o.ExpiresAsString, "expires-as-string", false, "")
	secretLasts := fs.Duration("secret-lasts", 0, "")
	if err := fs.Parse(args); err != nil {
		ts.Fatalf("simulator: %v", err)
	}
	if *secretLasts != 0 {
		o.SecretExpires = time.Now().Add(*secretLasts)
	}
	if *subscribed {
		o.Subscribed = simulator.ContentTypes
	}
	sim, err := simulator.Start(o)
	ts.Check(err)
	ts.Defer(func() { sim.Close() })
	for name, value := range sim.EnvMap() {
		ts.Setenv(name, value)
	}
	ts.Setenv("COLLECTOR", sim.CollectorBase())
	// Longer than the history: on a busy machine a run begins a while after the tenant.
	ts.Setenv("INITIAL_LOOKBACK_MINUTES", fmt.Sprint((o.History + 10*time.Minute).Minutes()))
	ts.Value(sessionKey).(*session).sim = sim
}

func injectFault(ts *testscript.TestScript, neg bool, args []string) {
	var f simulator.Fault
	if err := json.Unmarshal([]byte(strings.Join(args, " ")), &f); err != nil {
		ts.Fatalf("fault: %v", err)
	}
	ts.Check(simulatorOf(ts).Inject(f))
}

func clearFaults(ts *testscript.TestScript, neg bool, args []string) {
	simulatorOf(ts).Clear(strings.Join(args, ""))
}

// publish makes new records appear: publish FEED N AGE.
func publish(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: publish FEED N AGE")
	}
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	age, err := time.ParseDuration(args[2])
	ts.Check(err)
	ts.Check(simulatorOf(ts).Publish(args[0], n, age))
}

// checkReport fails unless every record that was offered arrived once. With an
// argument it instead checks numbers: report lost=0 received=400.
func checkReport(ts *testscript.TestScript, neg bool, args []string) {
	// What is younger than the delay of the slowest feed is still to come.
	r := simulatorOf(ts).ReportBetween(time.Time{}, time.Now().Add(-6*time.Minute))
	text, err := json.MarshalIndent(r, "", "  ")
	ts.Check(err)
	if len(args) == 0 {
		if r.Offered == 0 || r.Lost != 0 || r.Duplicated != 0 || r.Received != r.Offered || r.Unexpected != 0 || len(r.Violations) > 0 {
			ts.Fatalf("not every record arrived exactly once:\n%s", text)
		}
		return
	}
	var numbers map[string]any
	ts.Check(json.Unmarshal(text, &numbers))
	for _, arg := range args {
		name, want, _ := strings.Cut(arg, "=")
		if got := fmt.Sprint(numbers[name]); got != want {
			ts.Fatalf("%s is %s, want %s:\n%s", name, got, want, text)
		}
	}
}

// patience is how long a session waits for what must come: a slow machine is no reason to fail.
const patience = 3 * time.Minute

// await waits until a file of the session holds a text.
func await(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: await FILE TEXT")
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		data, err := os.ReadFile(ts.MkAbs(args[0]))
		if err == nil && strings.Contains(string(data), args[1]) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s never held %q; it holds:\n%s", args[0], args[1], data)
		}
	}
}

// freePort puts a free address into a variable.
func freePort(ts *testscript.TestScript, neg bool, args []string) {
	address, err := freeAddress()
	ts.Check(err)
	ts.Setenv(args[0], address)
}

var nextPort atomic.Int32

// freeAddress is one that nobody listens at. Its port is below those that the system
// hands out by itself, or a connection could take it before the program does.
func freeAddress() (string, error) {
	const first, ports = 20_000, 12_000
	nextPort.CompareAndSwap(0, 1+rand.Int32N(ports))
	var err error
	for range 100 {
		address := fmt.Sprintf("127.0.0.1:%d", first+nextPort.Add(1)%ports)
		var l net.Listener
		if l, err = net.Listen("tcp", address); err == nil {
			return address, l.Close()
		}
	}
	return "", err
}
