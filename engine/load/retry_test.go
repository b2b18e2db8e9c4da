package load

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secure60/s60-m365-connector/engine/transport"
)

func testBreaker(t *testing.T) (*breaker, *logs) {
	logs, logger := newLogs(t)
	return newBreaker(Config{Kind: "ingest", Logger: logger, Retry: Retry{}.withDefaults()}), logs
}

// attempts makes n attempts that fail, and gives how long each was waited for.
func attempts(t *testing.T, g *breaker, n int, f failure) (waits []time.Duration) {
	own := transport.NewDelays(g.retry.Initial, g.retry.Max, 0.5)
	for range n {
		start := time.Now()
		probe, err := g.enter(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		waits = append(waits, time.Since(start))
		if wait := g.fail(probe, f, own); wait > 0 {
			if err := transport.Sleep(t.Context(), wait); err != nil {
				t.Fatal(err)
			}
			waits[len(waits)-1] += wait
		}
	}
	return waits
}

func TestDelaysGrowToTheirCap(t *testing.T) {
	tests := []struct {
		name       string
		failure    failure
		first, cap time.Duration
	}{
		{"down", failure{class: transient, cause: "x"}, 500 * time.Millisecond, 15 * time.Second},
		{"throttled", failure{class: throttled, cause: "x"}, 500 * time.Millisecond, 15 * time.Second},
		{"denied", failure{class: denied, cause: "x"}, 30 * time.Second, 5 * time.Minute},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, _ := testBreaker(t)
				waits := attempts(t, g, 40, test.failure)
				var late time.Duration
				for i, wait := range waits {
					if wait > test.cap {
						t.Errorf("wait %d is %s, more than %s", i, wait, test.cap)
					}
					if i > 20 {
						late += wait
					}
				}
				// A breaker that opens at once makes the second attempt wait.
				if first := cmp.Or(waits[0], waits[1]); first < test.first/2 || first > 3*test.first/2 {
					t.Errorf("the first wait is %s, want about %s", first, test.first)
				}
				if mean := late / 19; mean < test.cap/2 {
					t.Errorf("late waits are %s on average, want near %s", mean, test.cap)
				}
			})
		})
	}
}

func TestRetryAfterDecides(t *testing.T) {
	for _, after := range []time.Duration{100 * time.Millisecond, time.Second, 10 * time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			g, _ := testBreaker(t)
			for i, wait := range attempts(t, g, 5, failure{class: throttled, cause: "x", after: after})[1:] {
				if wait != after {
					t.Errorf("wait %d is %s, want %s", i, wait, after)
				}
			}
		})
	}
}

// When the destination is down, many callers make no more requests than one,
// and all go on as soon as one of them got through.
func TestBreakerLetsOneTry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, logs := testBreaker(t)
		start := time.Now()
		var mu sync.Mutex
		tries := 0
		var group sync.WaitGroup
		for range 50 {
			group.Go(func() {
				own := transport.NewDelays(g.retry.Initial, g.retry.Max, 0.5)
				for {
					probe, err := g.enter(t.Context())
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					tries++
					mu.Unlock()
					if time.Since(start) > time.Hour {
						g.pass(probe)
						return
					}
					if wait := g.fail(probe, failure{class: transient, cause: "down"}, own); wait > 0 {
						transport.Sleep(t.Context(), wait)
					}
				}
			})
		}
		group.Wait()
		if tries > 50+50+500 {
			t.Errorf("%d attempts in an hour of outage", tries)
		}
		if took := time.Since(start); took > time.Hour+2*time.Minute {
			t.Errorf("all were through %s after the end of the outage", took-time.Hour)
		}
		if logs.count("level=WARN") != 1 || logs.count("level=INFO", "is back after 1h") != 1 {
			t.Errorf("log:\n%s", logs)
		}
	})
}

// Trouble that lasts is told while the attempt under way is still awaited, and with the next one's time.
func TestTroubleIsToldWhileAnAttemptLasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, logs := testBreaker(t)
		start := time.Now()
		attempts(t, g, 1, failure{class: transient, cause: "reset"})
		time.Sleep(time.Until(start.Add(longTrouble - time.Millisecond)))
		if logs.count("level=WARN") != 0 {
			t.Errorf("told too soon:\n%s", logs)
		}
		time.Sleep(time.Minute)
		if logs.count("level=WARN", "does not take events: reset", "next in 0s") != 1 || logs.count("level=WARN") != 1 {
			t.Errorf("not told:\n%s", logs)
		}
		g.pass(false)
		if logs.count("level=INFO", "is back after 1m") != 1 {
			t.Errorf("log:\n%s", logs)
		}
	})
}

// A failure now and then is not an outage.
func TestSingleFailuresAreQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, logs := testBreaker(t)
		for range 100 {
			attempts(t, g, failuresUntilDown-1, failure{class: transient, cause: "x"})
			probe, err := g.enter(t.Context())
			if err != nil || probe {
				t.Fatalf("enter: %t, %v", probe, err)
			}
			g.pass(probe)
		}
		if logs.String() != "" {
			t.Errorf("log:\n%s", logs)
		}
	})
}

// A long silence that the destination asks for is told at once.
func TestLongWaitIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, logs := testBreaker(t)
		attempts(t, g, 1, failure{class: throttled, cause: "slow down", after: time.Second})
		if logs.String() != "" {
			t.Errorf("log:\n%s", logs)
		}
		attempts(t, g, 1, failure{class: throttled, cause: "slow down", after: time.Minute})
		if logs.count("level=WARN", "slow down") != 1 {
			t.Errorf("log:\n%s", logs)
		}
	})
}

// Refused credentials are told as such even when an outage came before, and
// once.
func TestDeniedAfterAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, logs := testBreaker(t)
		attempts(t, g, 5, failure{class: transient, cause: "down"})
		attempts(t, g, 5, failure{class: denied, cause: "no", advice: "Ask"})
		if got := g.state(); got != (State{LastError: "no", Advice: "Ask"}) {
			t.Errorf("state: %+v", got)
		}
		attempts(t, g, 5, failure{class: transient, cause: "down"})
		probe, err := g.enter(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		g.pass(probe)
		if got := g.state(); got != (State{OK: true}) {
			t.Errorf("state: %+v", got)
		}
		if logs.count("level=WARN") != 1 || logs.count("level=ERROR", "Ask") != 1 || logs.count("level=INFO") != 1 {
			t.Errorf("log:\n%s", logs)
		}
	})
}

// Who gives up while it is the one to try hands that on.
func TestProbeIsHandedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := testBreaker(t)
		attempts(t, g, 1, failure{class: denied, cause: "x"})
		ctx, cancel := context.WithCancel(t.Context())
		gone := make(chan error)
		go func() {
			_, err := g.enter(ctx)
			gone <- err
		}()
		synctest.Wait()
		entered := make(chan bool)
		go func() {
			probe, _ := g.enter(t.Context())
			entered <- probe
		}()
		synctest.Wait()
		cancel()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if !<-entered {
			t.Error("the breaker was not open any more")
		}
		g.leave(true) // it gives up in mid-request
		if probe, err := g.enter(t.Context()); !probe || err != nil {
			t.Errorf("enter: %t, %v", probe, err)
		}
	})
}

// An answer to a request that was under way when the breaker opened does not close it.
func TestLateAnswersDoNotCloseTheBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := testBreaker(t)
		first, _ := g.enter(t.Context())
		second, _ := g.enter(t.Context())
		third, _ := g.enter(t.Context())
		g.fail(first, failure{class: throttled, cause: "x", after: time.Minute}, nil)
		g.pass(second)
		g.fail(third, failure{class: throttled, cause: "x", after: 2 * time.Minute}, nil)
		start := time.Now()
		if probe, err := g.enter(t.Context()); !probe || err != nil {
			t.Errorf("enter: %t, %v", probe, err)
		}
		if waited := time.Since(start); waited != 2*time.Minute {
			t.Errorf("waited %s, want the longest time asked for, 2m", waited)
		}
	})
}
