package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/engine/checkpoint/shared"
	"github.com/secure60/s60-m365-connector/engine/simulator"
)

// What a team does with replicas in the course of years, under the budgets of the shipped feeds. Each prints what was lost and repeated,
// and the longest silence of each log of the tenant.

// TestReplicasLoseTheState: all of NATS is lost while the destination is down, and more waits than a new connector looks
// back to, here a minute. The replicas' views know where each partition was.
func TestReplicasLoseTheState(t *testing.T) {
	c := newSteady(t)
	c.startAll(replicaCount)
	time.Sleep(2 * reportsEvery) // the first rounds read the history
	if err := c.sim.Inject(simulator.Fault{Target: "ingest", Kind: simulator.Status, Status: 503}); err != nil {
		t.Fatal(err)
	}
	down := time.Now()
	const lookback = time.Minute
	beyond := func() int64 { return c.sim.ReportBetween(down, time.Now().Add(-lookback)).Lost }
	for most := time.Now().Add(10 * time.Minute); beyond() < 2000; time.Sleep(time.Second) {
		if time.Now().After(most) {
			t.Fatalf("this shows nothing: %d records wait that a new connector would pass over", beyond())
		}
	}
	c.loseNATS()
	for _, n := range c.nodes {
		select {
		case <-n.exited: // and what runs its container starts it again
		case <-time.After(5 * time.Minute):
			t.Fatalf("%s does not see that the stream is another", n.name)
		}
		n.env = append(n.env, fmt.Sprintf("INITIAL_LOOKBACK_MINUTES=%v", lookback.Minutes()))
		c.start(n)
	}
	c.lookOn()
	c.settled("with a new stream")
	t.Logf("%d records wait that a new connector would pass over", beyond())
	end := c.silences("the destination is back")
	c.sim.Clear("ingest")
	time.Sleep(2 * reportsEvery)
	end()
	c.judge()
	c.told("connector-state-restored")
	c.withinLimits()
}

// told holds that the destination got such an event.
func (c *replicas) told(operation string) {
	if n := c.sim.Report().Other[operation]; n == 0 {
		c.t.Errorf("no event %s", operation)
	}
}

// TestReplicasFromOneAndBack: the state of one connector is carried over to replicas, and theirs back to one.
func TestReplicasFromOneAndBack(t *testing.T) {
	c := newSteady(t)
	alone := c.add("alone")
	c.start(alone)
	time.Sleep(2 * reportsEvery) // the first rounds read the history
	carry := func(args ...string) {
		cmd := exec.Command(c.binary, append([]string{"state", "import"}, args...)...)
		cmd.Env = append(alone.env, "STATE_URL="+c.natsURL)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("state import %v: %v: %s", args, err, out)
		}
		t.Logf("state import %v: %s", args, bytes.TrimSpace(out))
	}
	c.silent("to replicas", 2*reportsEvery, func() {
		c.stopOnly(alone)
		carry()
		c.nodes = nil
		c.startAll(replicaCount)
	})
	c.silent("back to one", 2*reportsEvery, func() {
		for _, n := range c.nodes {
			c.stopOnly(n)
		}
		carry("--back")
		c.start(alone)
	})
	c.judge()
	c.withinLimits()
}

// TestReplicasUpgrade: one replica after the other is upgraded from the release before the last change of the messages'
// format. The older ones work on until they are replaced, and what they cannot read is not written before.
func TestReplicasUpgrade(t *testing.T) {
	c := newSteady(t)
	binary, feeds := buildBefore(t, shared.Format)
	// The feeds are the older release's for all: what tells two records apart has changed since.
	c.config = filepath.Join(c.dir, "older")
	if err := writeFeeds(os.DirFS(feeds), c.config, strings.NewReplacer("delay: 5m", "delay: 0s")); err != nil {
		t.Fatal(err)
	}
	for i := range replicaCount {
		n := c.add(fmt.Sprintf("replica-%d", i+1), "STATE_URL="+c.natsURL)
		n.binary = binary
		c.start(n)
	}
	c.lookOn()
	c.settled("the older release")
	time.Sleep(2 * reportsEvery)
	c.silent("nothing happens", 2*reportsEvery, func() {})
	// A feed of objects, which only the newer release has.
	const snapshot, waits = "posture-conditional-access", "this feed waits until that one is upgraded"
	for i, n := range c.nodes {
		c.silent(fmt.Sprintf("%s is upgraded", n.name), 2*reportsEvery, func() {
			c.stopOnly(n)
			n.binary = c.binary
			n.env = append(n.env, "FEEDS="+snapshot)
			c.start(n)
			c.settled(n.name + " is upgraded")
		})
		for _, older := range c.nodes[i+1:] {
			select {
			case err := <-older.exited:
				t.Fatalf("%s, of the older release, ended: %v", older.name, err)
			default:
			}
		}
		if _, ok, err := c.view.Position(snapshot, ""); err != nil || ok && i < len(c.nodes)-1 {
			t.Errorf("%s was written while the older release ran: %v %v", snapshot, ok, err)
		}
	}
	log := ""
	for _, n := range c.nodes {
		text, err := os.ReadFile(n.log.Name())
		if err != nil {
			t.Fatal(err)
		}
		log += string(text)
	}
	if !strings.Contains(log, waits) {
		t.Errorf("no replica said of %s: %s", snapshot, waits)
	}
	for most := time.Now().Add(5 * time.Minute); ; time.Sleep(time.Second) {
		if _, ok, err := c.view.Position(snapshot, ""); err != nil {
			t.Fatal(err)
		} else if ok {
			break
		}
		if time.Now().After(most) {
			t.Fatalf("%s does not begin once all are upgraded", snapshot)
		}
	}
	c.judge()
	c.withinLimits()
}

// buildBefore builds the connector as it was before messages had that format, and returns its feeds too.
func buildBefore(t *testing.T, format int) (binary, feeds string) {
	t.Helper()
	git := func(args ...string) []byte {
		out, err := exec.Command("git", append([]string{"-C", "../.."}, args...)...).Output()
		if err != nil {
			t.Skipf("the history is not here, so there is no older release: git %v: %v", args, err)
		}
		return out
	}
	changed := bytes.Fields(git("log", "--format=%H", fmt.Sprintf("-Sconst Format = %d", format), "--", "engine/checkpoint/shared/message.go"))
	if len(changed) == 0 {
		t.Skipf("the history does not go back to where messages got format %d", format)
	}
	before := string(changed[len(changed)-1]) + "^"
	archive, dir := git("archive", before), t.TempDir()
	unpack := exec.Command("tar", "-x", "-C", dir)
	unpack.Stdin = bytes.NewReader(archive)
	if out, err := unpack.CombinedOutput(); err != nil {
		t.Fatalf("tar: %v: %s", err, out)
	}
	t.Logf("the older release is %s", bytes.TrimSpace(git("log", "-1", "--format=%h %ad %s", before)))
	binary = filepath.Join(dir, "older")
	build := exec.Command("go", "build", "-o", binary, "./cmd/s60-m365-connector")
	build.Dir = dir
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the older release: %v: %s", err, out)
	}
	return binary, filepath.Join(dir, "feeds")
}

// TestReplicasSpread: a replica joins a lone one that has much to do in one feed, and gets half of it; it leaves again.
func TestReplicasSpread(t *testing.T) {
	c := newSteady(t)
	c.startAll(1)
	time.Sleep(2 * reportsEvery) // the first rounds read the history
	quiet := c.silent("one alone", 5*reportsEvery/2, func() {})
	second := c.add("replica-2", "STATE_URL="+c.natsURL)
	short := func(name string, event func()) {
		for log, longest := range c.silent(name, 3*reportsEvery/2, event) {
			if most := usual(quiet, log) + silencePlanned; longest > most+silenceMachine {
				t.Errorf("%s: nothing of %s for %v, want %v at most", name, log, longest, most)
			}
		}
	}
	short("a second joins", func() { c.start(second); c.settled("with the second") })
	load, heavy := map[string]int{}, map[string]int{}
	largest, total := 0, 0
	positions, err := c.view.Positions("")
	if err != nil {
		t.Fatal(err)
	}
	for p := range positions {
		owner, weight := c.view.Owner(p[0], p[1]), c.view.Weight(p[0], p[1])
		load[owner] += weight
		largest, total = max(largest, weight), total+weight
		if p[1] != "" {
			heavy[owner]++
		}
	}
	t.Logf("weights %v, partitions of the heavy feed %v", load, heavy)
	if len(load) != 2 || len(heavy) != 2 {
		t.Errorf("the work is not spread over two: weights %v, partitions of the heavy feed %v", load, heavy)
	}
	for owner, weight := range load {
		if 2*weight > total+largest {
			t.Errorf("%s has %d of %d, and the largest partition is %d", owner, weight, total, largest)
		}
	}
	short("the second leaves", func() { c.stopOnly(second); c.taken("stopped", second) })
	c.judge()
	c.withinLimits()
}
