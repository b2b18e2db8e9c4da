package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/secure60/s60-m365-connector/engine/simulator"
)

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

// wait lets the connector work. It must not end by itself; only where the disk has no room
// for opening the state it may, and is started again, as a container is.
func (c *chaos) wait(d time.Duration) {
	for end := time.Now().Add(d); ; time.Sleep(20 * time.Millisecond) {
		c.measure()
		select {
		case err := <-c.exited:
			if c.opened() {
				c.t.Errorf("the connector ended by itself: %v", err)
			}
			c.start()
		default:
		}
		if time.Now().After(end) {
			return
		}
	}
}

// opened reports whether the process that ended last had got further than to find the disk full.
func (c *chaos) opened() bool {
	log, err := os.ReadFile(c.log.Name())
	if err != nil {
		c.t.Fatal(err)
	}
	said := string(log[c.silent:])
	return !strings.Contains(said, ": STATE_DIR: ") || !strings.Contains(said, "the disk is full")
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
	case n < 67:
		feed := chaosFeeds[c.rng.IntN(5)]
		c.note("repeat records of %s", feed)
		c.ask("POST", "repeat", url.Values{"feed": {feed}, "n": {"40"}}, nil)
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
