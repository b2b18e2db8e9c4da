package main

import (
	"bytes"
	"fmt"
	"os/exec"
	"testing"
	"time"

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

// TestReplicasSpread: a replica joins a lone one that has much to do in one feed, and gets half of it; it leaves again.
func TestReplicasSpread(t *testing.T) {
	c := newSteady(t)
	c.startAll(1)
	time.Sleep(2 * reportsEvery) // the first rounds read the history
	quiet := c.silent("one alone", 5*reportsEvery/2, func() {})
	second := c.add("replica-2", "STATE_URL="+c.natsURL)
	c.short("a second joins", quiet, false, func() { c.start(second); c.settled("with the second") })
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
	c.short("the second leaves", quiet, false, func() { c.stopOnly(second); c.taken("stopped", second) })
	c.judge()
	c.withinLimits()
}
