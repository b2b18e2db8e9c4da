package main

import (
	"bufio"
	"bytes"
	"context"
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
		"-token-lifetime", "20s", "-late", "0.05", "-repeated", "0.05", "-odd", "0.02", "-revised", "0.02")
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

// chaosFaults are what a step draws from. None of them ends by itself but by
// count or time: the schedule clears none before the end.
var chaosFaults = []simulator.Fault{
	{Target: "manage.blob", Kind: simulator.Cut, Count: 3},
	{Target: "manage.blob", Kind: simulator.Truncate, Count: 2},
	{Target: "manage.blob", Kind: simulator.GzipBreak, Count: 2},
	{Target: "manage.blob", Kind: simulator.HTML, Count: 2},
	{Target: "manage.blob", Kind: simulator.Reset, Count: 4},
	{Target: "manage.blob", Kind: simulator.Status, Status: 503, Count: 2},
	{Target: "manage.blob", Kind: simulator.Status, Status: 500, Count: 2},
	{Target: "manage.blob", Kind: simulator.AF429, Count: 1},
	{Target: "manage.blob", Kind: simulator.Expired, Count: 2},
	{Target: "manage.blob", Kind: simulator.Slow, Delay: 700 * time.Millisecond, Count: 20},
	{Target: "manage.content", Kind: simulator.OddHeader, For: 5 * time.Second},
	{Target: "manage.content", Kind: simulator.EmptyPage, Count: 2},
	{Target: "manage.content", Kind: simulator.ExpireToken, Count: 1},
	{Target: "manage.content", Kind: simulator.SelfLink, Count: 1},
	{Target: "manage.content", Kind: simulator.Truncate, Count: 2},
	{Target: "manage.content", Kind: simulator.ForeignNext, Count: 1},
	{Target: "manage.content", Kind: simulator.ForeignLink, Count: 1},
	{Target: "manage.content", Kind: simulator.Status, Status: 429, Count: 1},
	{Target: "graph", Kind: simulator.Truncate, Count: 3},
	{Target: "graph", Kind: simulator.Cut, Count: 3},
	{Target: "graph", Kind: simulator.Expired, Count: 2},
	{Target: "graph", Kind: simulator.Throttle, RetryAfter: "1", Count: 2},
	{Target: "graph", Kind: simulator.Throttle, Count: 1},
	{Target: "graph", Kind: simulator.Status, Status: 504, Count: 2},
	{Target: "graph", Kind: simulator.ExpireToken, Count: 1},
	{Target: "graph", Kind: simulator.EmptyPage, Count: 2},
	{Target: "graph", Kind: simulator.SelfLink, Count: 1},
	{Target: "graph", Kind: simulator.ForeignNext, Count: 1},
	{Target: "graph.signIns", Kind: simulator.Unlicensed, Count: 1},
	{Target: "login", Kind: simulator.Busy, Count: 2},
	{Target: "login", Kind: simulator.Reset, Count: 2},
	{Target: "login", Kind: simulator.SecretExpired, For: 2 * time.Second},
	{Target: "login", Kind: simulator.Slow, Delay: time.Second, Count: 2},
	{Target: "tenant", Kind: simulator.RevokeTokens},
	{Target: "ingest", Kind: simulator.Reset, Count: 20},
	{Target: "ingest", Kind: simulator.Status, Status: 503, For: 3 * time.Second},
	{Target: "ingest", Kind: simulator.Throttle, RetryAfter: "1", Count: 3},
	{Target: "ingest", Kind: simulator.Throttle, Count: 3},
	{Target: "ingest", Kind: simulator.Slow, Delay: 60 * time.Millisecond, For: 4 * time.Second},
	{Target: "ingest", Kind: simulator.Slow, Delay: 2 * time.Second, Count: 10},
	{Target: "ingest", Kind: simulator.AcceptReset, Count: 3},
	{Target: "ingest", Kind: simulator.HTML, Status: 502, Count: 5},
	{Target: "ingest", Kind: simulator.TooLarge, Count: 2},
	{Target: "ingest", Kind: simulator.Poison, Count: 2},
	{Target: "ingest", Kind: simulator.Refuse, Count: 1},
}

// chaosFeeds get late, repeated and revised records.
var chaosFeeds = []string{
	simulator.AuditEntra, simulator.AuditExchange, simulator.AuditSharePoint, simulator.AuditGeneral, simulator.DLPAll,
	simulator.SignInsInteractive, simulator.SignInsNonInteractive, simulator.SignInsServicePrincipal, simulator.DirectoryAudits,
}

func (c *chaos) run(until time.Time) {
	c.start()
	for time.Now().Before(until) {
		c.wait(time.Duration(50+c.rng.IntN(900)) * time.Millisecond)
		c.step()
	}
	if c.connector.Process.Signal(syscall.SIGCONT) == nil {
		c.kill("")
	}
}

// wait lets the connector work. It must not end by itself.
func (c *chaos) wait(d time.Duration) {
	for end := time.Now().Add(d); ; time.Sleep(20 * time.Millisecond) {
		c.measure()
		select {
		case err := <-c.exited:
			c.t.Errorf("the connector ended by itself: %v", err)
			c.start()
		default:
		}
		if time.Now().After(end) {
			return
		}
	}
}

func (c *chaos) note(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	fmt.Fprintf(c.log, "--- %s\n", line)
	if *chaosVerbose {
		c.t.Log(line)
	}
}

func (c *chaos) step() {
	switch n := c.rng.IntN(100); {
	case n < 38:
		f := chaosFaults[c.rng.IntN(len(chaosFaults))]
		c.note("fault %s", c.inject(f))
		c.faults++
	case n < 60:
		feed := chaosFeeds[c.rng.IntN(len(chaosFeeds))]
		count, age := 1+c.rng.IntN(600), time.Duration(c.rng.IntN(5400))*time.Second
		c.note("publish %d records of %s, %s old", count, feed, age)
		c.ask("POST", "publish", url.Values{"feed": {feed}, "n": {fmt.Sprint(count)}, "age": {age.String()}}, nil)
	case n < 64:
		feed := chaosFeeds[c.rng.IntN(5)]
		c.note("repeat records of %s", feed)
		c.ask("POST", "repeat", url.Values{"feed": {feed}, "n": {"40"}}, nil)
	case n < 67:
		c.note("revise sign-ins")
		c.ask("POST", "revise", url.Values{"feed": {simulator.SignInsInteractive}, "n": {"5"}}, nil)
	case n < 73:
		d := time.Duration(100+c.rng.IntN(2500)) * time.Millisecond
		c.note("pause for %s", d)
		c.pauses++
		c.signal(syscall.SIGSTOP)
		time.Sleep(d)
		c.signal(syscall.SIGCONT)
	case n < 78:
		c.stop()
	case n < 82 && c.filler != "":
		c.fillDisk(time.Duration(200+c.rng.IntN(2500)) * time.Millisecond)
	default:
		c.kill("killed")
	}
}

// kill ends the connector as a power cut would, and with a word starts it again.
func (c *chaos) kill(word string) {
	c.measure()
	c.signal(syscall.SIGKILL)
	<-c.exited
	c.account()
	c.kills++
	if word == "" {
		c.connector = nil
		return
	}
	c.note("%s", word)
	c.start()
}

// account notes how many records came twice so far. A delivery that was
// accepted and not answered is none of the connector's: it must be sent again.
func (c *chaos) account() {
	r := c.report()
	c.repeated = append(c.repeated, r.Duplicated-r.Faults[simulator.AcceptReset])
}

// stop ends the connector as a container runtime does: it must go within ten
// seconds, with exit code 0.
func (c *chaos) stop() {
	c.note("stop")
	c.stops++
	c.measure()
	c.signal(syscall.SIGTERM)
	select {
	case err := <-c.exited:
		if err != nil && c.logged() > c.silent { // else it was no program yet that could hear
			c.t.Errorf("stopped by SIGTERM: %v, want exit code 0", err)
		}
	case <-time.After(11 * time.Second):
		c.t.Error("still running 11 s after SIGTERM")
		c.signal(syscall.SIGKILL)
		<-c.exited
	}
	c.start()
}

// fillDisk leaves no byte on the disk of the state for a while.
func (c *chaos) fillDisk(d time.Duration) {
	c.note("disk full for %s", d)
	c.full++
	fill(c.filler)
	c.wait(d)
	if err := os.Remove(c.filler); err != nil {
		c.t.Fatal(err)
	}
}

// judge ends all faults, lets the connector catch up, and counts.
func (c *chaos) judge() {
	c.ask("POST", "clear", nil, nil)
	c.ask("POST", "stop", nil, nil)
	time.Sleep(1200 * time.Millisecond) // past the second that a window ends with
	var r simulator.Report
	for pass := 1; pass <= chaosPasses; pass++ {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		for _, args := range [][]string{{"run", "--once"}, {"replay"}} {
			cmd := c.command(args...)
			if err := cmd.Start(); err != nil {
				c.t.Fatal(err)
			}
			stop := context.AfterFunc(ctx, func() { cmd.Process.Kill() }) //nolint:errcheck // it has ended
			if err := cmd.Wait(); err != nil && pass > 2 {
				c.t.Errorf("%s, with no fault left: %v", strings.Join(args, " "), err)
			}
			stop()
		}
		cancel()
		if r = c.report(); r.Lost == 0 {
			break
		}
	}
	c.account()
	batch := int64(200)
	if *chaosFormat != "object" {
		batch = 1000
	}
	var spoilt int64
	for _, n := range r.Faults {
		spoilt += n
	}
	repeated := c.repeated[len(c.repeated)-1]
	fmt.Printf("chaos: seed %d, %.1f minutes, format %s\n", *chaosSeed, *chaosMinutes, *chaosFormat)
	fmt.Printf("  records offered %d, lost %d, duplicated %d; accepted without an answer, and hence sent again: %d\n",
		r.Offered, r.Lost, max(repeated, 0), r.Faults[simulator.AcceptReset])
	fmt.Printf("  kills %d, stops %d, pauses %d, full disks %d, faults %d (requests spoilt: %d)\n", c.kills, c.stops, c.pauses, c.full, c.faults, spoilt)
	fmt.Printf("  duplicates for each kill %.0f, a batch is %d; peak memory %d MB, deliveries %d, revisions %d\n",
		float64(repeated)/float64(max(c.kills, 1)), batch, c.peak>>20, r.Counts["requests.ingest"], r.Revisions)
	fmt.Printf("  again: make chaos SEED=%d MINUTES=%g\n", *chaosSeed, *chaosMinutes)

	if r.Offered == 0 || c.kills == 0 {
		c.t.Errorf("this run shows nothing: %d records, %d kills", r.Offered, c.kills)
	}
	if r.Lost > 0 {
		c.t.Errorf("lost %d records: %s", r.Lost, lostOf(r))
	}
	// What a kill repeats comes when its window is read again, which may be
	// after further kills.
	for i, n := range c.repeated {
		if kills := int64(min(i, c.kills)); n > kills*batch {
			c.t.Errorf("after %d kills %d records had come twice; a batch is %d", kills, n, batch)
			break
		}
	}
	if r.Unexpected > 0 || len(r.Violations) > 0 {
		c.t.Errorf("unexpected events: %d, violations: %q", r.Unexpected, r.Violations)
	}
	if c.peak > chaosMemory {
		c.t.Errorf("peak memory %d MB, want at most %d MB", c.peak>>20, chaosMemory>>20)
	}
	if c.peak == 0 {
		c.t.Error("memory was not measured")
	}
}

// lostOf names some of the lost records.
func lostOf(r simulator.Report) string {
	var text strings.Builder
	for _, f := range r.Feeds {
		if f.Asked && f.Lost > 0 {
			fmt.Fprintf(&text, "\n%s: %d of %d, such as %s", f.Feed, f.Lost, f.Offered, strings.Join(f.LostIDs[:min(3, len(f.LostIDs))], ", "))
		}
	}
	return text.String()
}

// smallDisk mounts a disk of that many bytes. It needs root.
func smallDisk(dir string, size int) error {
	return syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", size))
}

// fill writes a file until the disk has no space left.
func fill(name string) {
	f, err := os.Create(name)
	if err != nil {
		return // there is no space already
	}
	defer f.Close()
	block := make([]byte, 64<<10)
	for _, err = f.Write(block); err == nil; _, err = f.Write(block) {
	}
}
