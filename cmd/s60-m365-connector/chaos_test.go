package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
	"github.com/secure60/s60-m365-connector/engine/simulator"
	"github.com/secure60/s60-m365-connector/feeds"
)

// Chaos: the real binary in a process of its own against the simulated tenant
// in another. A seed makes a schedule of faults, late and repeated records,
// pauses and kills; in the end the faults go, the connector catches up, and the
// simulator counts what was lost and what came twice. "make chaos" runs it.
var (
	chaosMinutes = flag.Float64("chaos.minutes", 0, "how long TestChaos runs; 0: not at all")
	chaosSeed    = flag.Uint64("chaos.seed", 1, "seed of the schedule and of the tenant")
	chaosFormat  = flag.String("chaos.format", "object", "DELIVERY_FORMAT")
	chaosVerbose = flag.Bool("chaos.v", false, "log every step of the schedule")
)

const (
	// chaosMemory bounds the peak of the connector, whatever piles up.
	chaosMemory = 256 << 20
	// chaosPasses is how often the connector may poll once all is well again: the first passes may
	// meet records that become visible during them.
	chaosPasses = 12
)

func TestChaos(t *testing.T) {
	if *chaosMinutes <= 0 {
		t.Skip("runs with -chaos.minutes, or make chaos")
	}
	if runtime.GOOS != "linux" {
		t.Skip("reads /proc")
	}
	c := newChaos(t)
	defer c.end()
	c.run(time.Now().Add(time.Duration(*chaosMinutes * float64(time.Minute))))
	c.judge()
}

// chaos is one run.
type chaos struct {
	t       *testing.T
	rng     *rand.Rand
	binary  string
	state   string
	env     []string
	control string // of the simulator
	sim     *exec.Cmd
	log     *os.File // of all processes of the connector
	silent  int64    // length of the log until the one that runs has said something

	connector *exec.Cmd
	exited    chan error
	peak      int64 // bytes
	filler    string

	kills, stops, pauses, faults, full int
	repeated                           []int64 // records that came twice, up to each kill
}

func newChaos(t *testing.T) *chaos {
	seed := *chaosSeed
	c := &chaos{t: t, rng: rand.New(rand.NewPCG(seed, seed)), binary: buildProgram(t)}
	dir := t.TempDir()
	c.state = filepath.Join(dir, "state")
	if err := os.Mkdir(c.state, 0o700); err != nil {
		t.Fatal(err)
	}
	if smallDisk(c.state, 96<<20) == nil {
		c.filler = filepath.Join(c.state, "filler")
		t.Cleanup(func() { syscall.Unmount(c.state, 0) }) //nolint:errcheck // the machine's end does it
	}
	config := filepath.Join(dir, "config")
	err := writeQuickFeeds(config)
	if err != nil {
		t.Fatal(err)
	}
	if c.log, err = os.Create(filepath.Join(dir, "log")); err != nil {
		t.Fatal(err)
	}

	c.sim = exec.Command(c.binary, "simulate", "-seed", fmt.Sprint(seed), "-records", "20000", "-history", "20h",
		"-per-minute", "3000", "-blob-every", "2s", "-blob-max", "15", "-list-page", "40", "-page-size", "90",
		"-token-lifetime", "20s", "-late", "0.05", "-repeated", "0.05", "-odd", "0.02", "-revised", "0.1", "-revised-by", "10s")
	out, err := c.sim.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.sim.Stderr = os.Stderr
	if err := c.sim.Start(); err != nil {
		t.Fatal(err)
	}
	c.env = []string{"STATE_DIR=" + c.state, "CONFIG_DIR=" + config, "LISTEN_ADDR=", "PATH=" + os.Getenv("PATH"),
		"POLLING_INTERVAL_MINUTES=0.03", "HEARTBEAT_INTERVAL_MINUTES=0.1", "INITIAL_LOOKBACK_MINUTES=1440",
		"DELIVERY_FORMAT=" + *chaosFormat, "FEEDS=entra-provisioning,intune-audit-events"}
	for lines := bufio.NewScanner(out); lines.Scan() && lines.Text() != ""; {
		c.env = append(c.env, lines.Text())
		if base, ok := strings.CutPrefix(lines.Text(), "MS_LOGIN_BASE="); ok {
			c.control = base + "/_simulator/"
		}
	}
	if c.control == "" {
		t.Fatal("the simulator gave no settings")
	}
	// A destination that answers at once has no delivery under way when the
	// connector is killed.
	c.inject(simulator.Fault{Target: "ingest", Kind: simulator.Slow, Delay: 15 * time.Millisecond})
	return c
}

func (c *chaos) end() {
	if c.connector != nil {
		c.signal(syscall.SIGKILL)
		<-c.exited
	}
	c.sim.Process.Kill() //nolint:errcheck // it has ended
	c.sim.Wait()         //nolint:errcheck // it was killed
	if c.t.Failed() {
		c.log.Sync() //nolint:errcheck // of use only to the reader
		text, _ := os.ReadFile(c.log.Name())
		c.t.Logf("the end of the connector's log:\n%s", text[max(0, len(text)-6000):])
		if keep := os.Getenv("CHAOS_LOG"); keep != "" {
			os.WriteFile(keep, text, 0o600) //nolint:errcheck // of use only to the reader
		}
	}
}

// writeQuickFeeds overrides the shipped feeds: budgets of requests that do not
// stretch a test of seconds to minutes, and no distance to now, so that all
// that is on offer can be judged.
func writeQuickFeeds(dir string) error { return writeFeeds(feeds.FS, dir, quickLimits) }

// writeFeeds writes feeds into a CONFIG_DIR, with some of their text replaced.
func writeFeeds(from fs.FS, dir string, change *strings.Replacer) error {
	if err := os.MkdirAll(filepath.Join(dir, "feeds"), 0o700); err != nil {
		return err
	}
	names, err := fs.Glob(from, "*.yaml")
	if err != nil {
		return err
	}
	for _, name := range names {
		text, err := fs.ReadFile(from, name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, "feeds", name), []byte(change.Replace(string(text))), 0o600); err != nil {
			return err
		}
	}
	return nil
}

var quickLimits = strings.NewReplacer(
	"requests: 5, per: 10s", "requests: 1000, per: 1s",
	"requests: 1, per: 1s", "requests: 1000, per: 1s",
	"per: 1m,", "per: 1s,",
)

func buildProgram(t testing.TB) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), program.Name)
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return binary
}

// start runs the connector.
func (c *chaos) start() {
	cmd := c.command("run")
	c.silent = c.logged()
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.connector, c.exited = cmd, make(chan error, 1)
	go func(exited chan error) { exited <- cmd.Wait() }(c.exited)
}

// logged is the length of the log.
func (c *chaos) logged() int64 {
	info, err := c.log.Stat()
	if err != nil {
		c.t.Fatal(err)
	}
	return info.Size()
}

func (c *chaos) command(args ...string) *exec.Cmd {
	cmd := exec.Command(c.binary, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = c.env, c.log, c.log
	return cmd
}

func (c *chaos) signal(s syscall.Signal) {
	c.connector.Process.Signal(s) //nolint:errcheck // it has ended by itself, which the caller sees
}

// measure notes the peak memory of the connector.
func (c *chaos) measure() {
	if c.connector == nil {
		return
	}
	c.peak = max(c.peak, peakMemory(c.connector.Process.Pid))
}

// peakMemory is the largest resident size that a process ever had, in bytes;
// 0 for one that has gone.
func peakMemory(pid int) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, after, _ := bytes.Cut(text, []byte("VmHWM:"))
	line, _, _ := bytes.Cut(after, []byte("\n"))
	kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(string(line)), " kB"), 10, 64)
	if err != nil {
		return 0
	}
	return kb << 10
}

// ask uses a control endpoint of the simulator.
func (c *chaos) ask(method, path string, query url.Values, body []byte) []byte {
	r, err := http.NewRequest(method, c.control+path+"?"+query.Encode(), bytes.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		c.t.Fatalf("the simulator: %v", err)
	}
	defer answer.Body.Close()
	var text bytes.Buffer
	if _, err := text.ReadFrom(answer.Body); err != nil {
		c.t.Fatalf("the simulator: %v", err)
	}
	if answer.StatusCode != 200 {
		c.t.Fatalf("the simulator refused %s %s: %s", path, query.Encode(), text.String())
	}
	return text.Bytes()
}

func (c *chaos) inject(f simulator.Fault) []byte {
	body, err := json.Marshal(f)
	if err != nil {
		c.t.Fatal(err)
	}
	c.ask("POST", "fault", nil, body)
	return body
}

func (c *chaos) report() (r simulator.Report) {
	if err := json.Unmarshal(c.ask("GET", "report", nil, nil), &r); err != nil {
		c.t.Fatal(err)
	}
	return r
}
