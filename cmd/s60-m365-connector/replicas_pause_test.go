package main

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/engine/simulator"
	"github.com/secure60/s60-m365-connector/feeds"
)

// reportsEvery is how often the tests of silence have the feeds of Graph polled. Five of them share five requests in ten
// seconds, and who takes a partition over polls it at once.
const reportsEvery = 20 * time.Second

// reportsSpan is the span of that budget: who takes a partition over may wait for its part of it as long.
const reportsSpan = 10 * time.Second

// What may be added to the silence of a feed: by a planned change, by a kill as long as it lasts, and by a machine
// that has other things to do.
const (
	silencePlanned = 2 * time.Second
	silenceKill    = 20 * time.Second
	silenceMachine = 2 * time.Second
)

// newSteady makes a tenant with something new in each of its twelve logs at each poll, a page at most, under Microsoft's limits, and
// replicas with the shipped feeds.
func newSteady(t *testing.T) *replicas {
	t.Helper()
	if *replicasRounds <= 0 {
		t.Skip("runs with -replicas.rounds, or make replicas")
	}
	volumes := map[string]simulator.Volume{}
	for _, log := range []string{simulator.SignInsInteractive, simulator.SignInsNonInteractive, simulator.SignInsServicePrincipal,
		simulator.SignInsManagedIdentity, simulator.DirectoryAudits, simulator.RiskDetections, simulator.RiskyUsers} {
		volumes[log] = simulator.Volume{History: 20, PerHour: 3600}
	}
	c := newReplicas(t, false, simulator.Options{Records: 600, History: 2 * time.Hour, PerMinute: 3000, Volumes: volumes,
		BlobEvery: time.Second, BlobMax: 40, Throttle: true})
	if err := writeFeeds(feeds.FS, c.config, strings.NewReplacer("name: graph-log\n", "name: graph-log\ninterval: "+reportsEvery.String()+"\n")); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestReplicasPause measures how long nothing of a feed arrives while replicas start, stop, are killed and join, with
// the budgets of the shipped feeds. A planned change may add two seconds to what it is when nothing happens, and
// a kill may last twenty. What it prints stands in docs/replicas.md; a busy machine lengthens it.
func TestReplicasPause(t *testing.T) {
	c := newSteady(t)
	c.startAll(replicaCount)
	time.Sleep(2 * reportsEvery) // the first rounds read the history
	quiet := c.silent("nothing happens", 5*reportsEvery/2, func() {})
	for _, event := range []struct {
		name string
		do   func()
		kill bool
	}{
		{"SIGTERM, and started again at once", func() { c.stopOnly(c.nodes[0]); c.start(c.nodes[0]) }, false},
		{"kill -9, and started again at once", func() { c.killOnly(c.nodes[1]); c.start(c.nodes[1]) }, true},
		{"SIGTERM, and away", func() { c.stopOnly(c.nodes[2]) }, false},
		{"joins", func() { c.start(c.nodes[2]) }, false},
		{"kill -9, and away", func() { c.killOnly(c.nodes[0]) }, true},
	} {
		c.short(event.name, quiet, event.kill, event.do)
	}
	c.withinLimits()
	c.start(c.nodes[0])
	c.judge()
}

// short holds that a planned change makes no log silent for much longer than it is when nothing happens; and a kill, for as long as it may last.
func (c *replicas) short(name string, quiet map[string]time.Duration, kill bool, event func()) {
	c.t.Helper()
	silent := c.silent(name, 3*reportsEvery/2, event)
	if len(silent) != len(quiet) || len(silent) < 12 {
		c.t.Errorf("%s: %d logs were seen, %d before", name, len(silent), len(quiet))
	}
	for log, longest := range silent {
		most := usual(quiet, log) + silencePlanned
		if kill {
			most = max(usual(quiet, log), silenceKill)
		}
		if longest > most+silenceMachine {
			c.t.Errorf("%s: nothing of %s for %v, want %v at most", name, log, longest, most)
		}
	}
}

// usual is how long a log may be silent while nothing happens: what was seen, and of Graph at least the time between two polls, and
// until there is a part of the budget.
func usual(quiet map[string]time.Duration, log string) time.Duration {
	if slices.Contains(simulator.ContentTypes, log) {
		return quiet[log]
	}
	return max(quiet[log], reportsEvery+reportsSpan)
}

// silent is the longest silence of each log from an event on, for some time.
func (c *replicas) silent(name string, watch time.Duration, event func()) map[string]time.Duration {
	end := c.silences(name)
	over := time.After(watch)
	event()
	<-over
	return end()
}

// silences looks at what arrives until the function is called that it returns, and something of each log has arrived after that, or
// nothing for two minutes. The function tells for how long nothing of each log of the tenant did.
func (c *replicas) silences(name string) (end func() map[string]time.Duration) {
	over, result := make(chan struct{}), make(chan map[string]time.Duration)
	began := time.Now()
	go func() {
		arrived, last, longest := map[string]int64{}, map[string]time.Time{}, map[string]time.Duration{}
		look := time.NewTicker(100 * time.Millisecond)
		defer look.Stop()
		ended, called := over, time.Time{}
		waits := func(last time.Time) bool { return !last.After(called) }
		for called.IsZero() || time.Since(called) < 2*time.Minute && slices.ContainsFunc(slices.Collect(maps.Values(last)), waits) {
			select {
			case <-look.C:
			case <-ended:
				ended, called = nil, time.Now()
			}
			feeds, now := c.sim.Report().Feeds, time.Now()
			for _, f := range feeds {
				n := f.Received + f.Duplicated + f.Revisions + f.Outside
				switch {
				case n == 0: // nobody reads it
				case last[f.Feed].IsZero():
					last[f.Feed], arrived[f.Feed] = began, n
					fallthrough
				default:
					longest[f.Feed] = max(longest[f.Feed], now.Sub(last[f.Feed]).Round(100*time.Millisecond))
					if n != arrived[f.Feed] {
						last[f.Feed], arrived[f.Feed] = now, n
					}
				}
			}
		}
		result <- longest
	}()
	return func() map[string]time.Duration {
		close(over)
		longest := <-result
		c.t.Logf("%s: longest silence %v", name, longest)
		return longest
	}
}

// withinLimits holds what was asked of the services to Microsoft's limits. A request is sent in time and arrives late where the machine
// holds processes up; where it did, some may meet that one.
func (c *replicas) withinLimits() {
	counts, asked, late := c.sim.Report().Counts, int64(0), time.Duration(c.late.Load())
	for what, n := range counts {
		if strings.HasPrefix(what, "requests.graph.") {
			asked += n
		}
	}
	most := int64(0)
	if late > tooLate {
		most = asked / 10
	}
	for what, n := range counts {
		// Where a share is less than one request in the limit's span, as with the one
		// request a second of Identity Protection, replicas keep to it over time, and may
		// meet within a span: see extract.Client.Share.
		if strings.HasPrefix(what, "throttled.") && what != "throttled.protection" && n > most {
			c.t.Errorf("%s: %d requests beyond the limit, want %d at most; of Graph %d were asked, and the machine held a process up for %v at most", what, n, most, asked, late)
		}
	}
}

// tooLate is more than the simulated services forgive.
const tooLate = 300 * time.Millisecond

// watchLate notes for how long the machine held this process up, at most, which only slept.
func (c *replicas) watchLate() {
	const nap = 20 * time.Millisecond
	for c.t.Context().Err() == nil {
		began := time.Now()
		time.Sleep(nap)
		if late := int64(time.Since(began) - nap); late > c.late.Load() {
			c.late.Store(late)
		}
	}
}
