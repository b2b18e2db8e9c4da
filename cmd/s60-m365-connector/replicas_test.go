package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/engine/simulator"
)

// Replicas: three real binaries share a simulated tenant over a real NATS server.
// They are killed, stopped, paused for longer than their sessions last, and, where root
// may give each a network of its own, cut off from NATS. In the end nothing is lost, what came
// twice is bounded by the batches that were in flight, and the log of each partition shows one
// writer at a time. "make replicas" runs it.
var (
	replicasRounds = flag.Int("replicas.rounds", 0, "how many faults TestReplicas has; 0: it does not run")
	replicasSeed   = flag.Uint64("replicas.seed", 1, "seed of the schedule and of the tenant")
)

func TestReplicas(t *testing.T) {
	if *replicasRounds <= 0 {
		t.Skip("runs with -replicas.rounds, or make replicas")
	}
	spaces := runtime.GOOS == "linux" && os.Getuid() == 0
	c := newReplicas(t, spaces, simulator.Options{Records: 6000, History: 10 * time.Hour, PerMinute: 1500,
		BlobEvery: 2 * time.Second, BlobMax: 40, Late: 0.02, Repeated: 0.05})
	if err := writeQuickFeeds(c.config); err != nil {
		t.Fatal(err)
	}
	// A destination that answers at once has no delivery under way when something happens.
	if err := c.sim.Inject(simulator.Fault{Target: "ingest", Kind: simulator.Slow, Delay: 5 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	c.startAll(replicaCount)
	faults := []func(*replicaProcess){c.kill, c.pause, c.stop, c.cut}
	if !spaces {
		t.Log("no replica is cut off from NATS: that needs root on Linux, for network namespaces")
		faults = faults[:3]
	}
	for round := range *replicasRounds {
		n := c.nodes[c.rng.IntN(len(c.nodes))]
		if err := c.sim.Publish(simulator.AuditSharePoint, 500, time.Minute); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(c.rng.IntN(3000)) * time.Millisecond)
		faults[round%len(faults)](n)
		c.settled(fmt.Sprintf("after round %d", round+1))
	}
	c.judge()
}

// TestReplicasStayWithinLimits: all replicas together ask no more often than the limits that
// Microsoft documents for one, also while partitions move between them, and when one wakes that slept meanwhile.
func TestReplicasStayWithinLimits(t *testing.T) {
	if *replicasRounds <= 0 {
		t.Skip("runs with -replicas.rounds, or make replicas")
	}
	c := newReplicas(t, false, simulator.Options{Records: 3000, History: 20 * time.Hour, PerMinute: 600, PageSize: 20, ListPage: 5, Throttle: true})
	c.startAll(replicaCount)
	c.pause(c.nodes[1])
	c.kill(c.nodes[0])
	time.Sleep(15 * time.Second)
	c.withinLimits()
	asked := int64(0)
	for what, n := range c.sim.Report().Counts {
		if strings.HasPrefix(what, "requests.graph") {
			asked += n
		}
	}
	// One that waits for ever keeps to every limit.
	if asked < 15 {
		t.Errorf("%d requests to Graph in all", asked)
	}
}
