package load

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/secure60/s60-m365-connector/engine/transport"
)

// Retry says how long a destination that does not accept is left alone. Delays
// double and are spread at random by half; Max and SlowMax are never exceeded.
// Zero fields take the defaults.
type Retry struct {
	Initial time.Duration // after a first failure: 500 ms
	Max     time.Duration // 15 s
	// Credentials that are refused, and redirects, need a person: they are
	// tried again slowly.
	SlowInitial time.Duration // 30 s
	SlowMax     time.Duration // 5 min
}

func (r Retry) withDefaults() Retry {
	set := func(d *time.Duration, value time.Duration) {
		if *d <= 0 {
			*d = value
		}
	}
	set(&r.Initial, 500*time.Millisecond)
	set(&r.Max, 15*time.Second)
	set(&r.SlowInitial, 30*time.Second)
	set(&r.SlowMax, 5*time.Minute)
	return r
}

// verdict is what an attempt came to.
type verdict int

const (
	accepted  verdict = iota
	transient         // a fault that passes: 408, 5xx, network, a full disk
	throttled         // 429
	denied            // needs a person: 401, 403, a redirect, no token, the wrong address
	tooLarge          // 413
	refused           // any other 4xx
	misplaced         // 404, 405, 410 or a page for people: of the event, or of the address?
)

// failure is an attempt that has to be made again.
type failure struct {
	verdict verdict       // transient, throttled or denied
	cause   string        // for a person; holds nothing of a token, an event or an answer's body
	advice  string        // for denied: what to do
	after   time.Duration // what the destination asked for; 0: nothing
	took    time.Duration // the attempt
}

const (
	// failuresUntilDown is how many failures in a row, over all requests, mean that the
	// destination is down rather than that a request had bad luck.
	failuresUntilDown = 3
	// longWait is what a person wants to hear of at once.
	longWait = 10 * time.Second
	// longTrouble is how long the destination may fail before a person hears of it.
	longTrouble = 5 * time.Second
	// shortestWait keeps a destination that asks for next to nothing from being
	// asked without pause.
	shortestWait = 50 * time.Millisecond
)

// gate decides when the next attempt may be made, and tells of changes in the
// destination's state.
//
// It is open while the destination takes events; a request that fails then waits
// on its own. When the destination is down, throttles or refuses the
// credentials, the gate closes: everything waits, and one attempt at a time,
// first come first served, finds out whether it may open again. So a
// destination in trouble sees one request for each delay, whatever the
// concurrency, and an event that alone makes it fail cannot hold up the others.
type gate struct {
	name  string
	log   *slog.Logger
	retry Retry
	probe chan struct{} // holds one token while somebody is the one to try

	mu       sync.Mutex
	opened   chan struct{} // not nil: closed gate; the channel is closed when it opens
	reopen   time.Time     // when a closed gate may be tried
	fast     *transport.Delays
	throttle *transport.Delays // of 429s in a row that do not say how long
	slow     *transport.Delays
	failures int // in a row
	since    time.Time
	told     verdict // the state that was last logged: accepted, transient or denied
	last     failure // the last attempt, if it failed
	next     time.Time
	waits    *time.Timer // until the trouble has lasted long enough to be told
}

func newGate(config Config) *gate {
	return &gate{
		name:  config.Kind,
		log:   config.Logger,
		retry: config.Retry,
		probe: make(chan struct{}, 1),
		fast:  transport.NewDelays(config.Retry.Initial, config.Retry.Max, 0.5),

		throttle: transport.NewDelays(config.Retry.Initial, config.Retry.Max, 0.5),
		slow:     transport.NewDelays(config.Retry.SlowInitial, config.Retry.SlowMax, 0.5),
	}
}

// enter waits until an attempt may be made. Each enter that gives no error is
// followed by one of pass, fail and leave, with the same probe.
func (g *gate) enter(ctx context.Context) (probe bool, err error) {
	for {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		g.mu.Lock()
		opened := g.opened
		g.mu.Unlock()
		if opened == nil {
			return false, nil
		}
		select {
		case g.probe <- struct{}{}:
		case <-opened:
			continue
		case <-ctx.Done():
			return false, ctx.Err()
		}
		ready, err := g.awaitReopen(ctx, opened)
		if ready {
			return true, nil
		}
		<-g.probe
		if err != nil {
			return false, err
		}
	}
}

// awaitReopen waits until the closed gate may be tried, or was opened, which gives
// false.
func (g *gate) awaitReopen(ctx context.Context, opened chan struct{}) (ready bool, err error) {
	for {
		g.mu.Lock()
		current, wait := g.opened, time.Until(g.reopen)
		g.mu.Unlock()
		if current != opened {
			return false, nil
		}
		// The time may have been put off meanwhile: it is looked at again.
		if wait <= 0 {
			return true, nil
		}
		if err := transport.Sleep(ctx, wait); err != nil {
			return false, err
		}
	}
}

// leave ends an attempt that came to nothing because its caller gave up.
func (g *gate) leave(probe bool) {
	if probe {
		<-g.probe
	}
}

// pass ends an attempt that the destination answered as a working one does.
func (g *gate) pass(probe bool) {
	g.mu.Lock()
	// Answers to requests that were under way when the gate closed do not open
	// it: only who was let through since then knows.
	if g.opened == nil || probe {
		g.failures, g.last = 0, failure{}
		if g.waits != nil {
			g.waits.Stop()
			g.waits = nil
		}
		if g.opened != nil {
			close(g.opened)
			g.opened = nil
		}
		g.fast.Reset()
		g.throttle.Reset()
		g.slow.Reset()
		if g.told != accepted {
			g.told = accepted
			g.log.Info(fmt.Sprintf("Destination %s is back after %s", g.name, time.Since(g.since).Round(time.Second)))
		}
	}
	g.mu.Unlock()
	g.leave(probe)
}

// fail ends a failed attempt. When the gate stays open, own says how long the
// request is to wait before its next attempt; otherwise it is 0 and enter does the waiting.
func (g *gate) fail(probe bool, f failure, own *transport.Delays) (wait time.Duration) {
	g.mu.Lock()
	defer func() {
		g.mu.Unlock()
		g.leave(probe)
	}()
	if g.failures == 0 {
		g.since = time.Now().Add(-f.took)
	}
	g.failures++
	g.last = f

	closed := g.opened != nil
	switch {
	case closed && !probe:
		// It was under way when the gate closed: it says nothing new, unless
		// that it has to stay closed for longer.
		if f.verdict == denied && g.told != denied {
			f.after = max(f.after, g.slow.Next())
		}
		wait = f.after
	case f.verdict == denied:
		wait = max(f.after, g.slow.Next())
	case closed || f.verdict == throttled || g.failures >= failuresUntilDown:
		series := g.fast
		if f.verdict == throttled { // a sign of life: what comes after it begins anew
			series = g.throttle
			g.fast.Reset()
		}
		wait = series.Next()
		if f.after > 0 {
			wait = max(f.after, shortestWait)
		}
	default:
		wait = max(f.after, own.Next())
		g.next = time.Now().Add(wait)
		g.tell(f, wait)
		return wait
	}
	if !closed {
		g.opened = make(chan struct{})
	}
	if at := time.Now().Add(wait); at.After(g.reopen) {
		g.reopen = at
	}
	g.next = g.reopen
	g.tell(f, wait)
	return 0
}

// tell logs a change of state, once.
func (g *gate) tell(f failure, wait time.Duration) {
	switch {
	case f.verdict == denied && g.told != denied:
		g.told = denied
		g.log.Error(fmt.Sprintf("Destination %s: %s. Delivery has stopped; nothing is lost. %s. It is tried again by itself after %s to %s",
			g.name, f.cause, f.advice, g.retry.SlowInitial, g.retry.SlowMax))
	case g.told == accepted && (g.failures >= failuresUntilDown || wait >= longWait || time.Since(g.since) >= longTrouble):
		g.told = transient
		next := max(time.Until(g.next), 0).Round(100 * time.Millisecond)
		g.log.Warn(fmt.Sprintf("Destination %s does not take events: %s. It is tried until it does, next in %v; nothing is lost", g.name, f.cause, next))
	case g.told == accepted && g.waits == nil:
		g.waits = time.AfterFunc(time.Until(g.since.Add(longTrouble)), g.tellLater)
	}
}

// tellLater tells of trouble that has lasted, while the next attempt is still awaited.
func (g *gate) tellLater() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.waits = nil; g.failures > 0 {
		g.tell(g.last, 0)
	}
}

// state is what the last attempt says of the destination's. The counts are not
// the gate's.
func (g *gate) state() State {
	g.mu.Lock()
	defer g.mu.Unlock()
	return State{OK: g.last.verdict == accepted, LastError: g.last.cause, Advice: g.last.advice}
}
