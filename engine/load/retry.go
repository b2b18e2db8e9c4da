package load

import (
	"cmp"
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
	return Retry{
		Initial: cmp.Or(r.Initial, 500*time.Millisecond), Max: cmp.Or(r.Max, 15*time.Second),
		SlowInitial: cmp.Or(r.SlowInitial, 30*time.Second), SlowMax: cmp.Or(r.SlowMax, 5*time.Minute),
	}
}

// class is what an attempt came to.
type class int

const (
	accepted  class = iota
	transient       // a fault that passes: 408, 5xx, network, a full disk
	throttled       // 429
	denied          // needs a person: 401, 403, a redirect, no token, the wrong address
	tooLarge        // 413
	refused         // any other 4xx
	misplaced       // 404, 405, 410 or a page for people: of the event, or of the address?
)

// failure is an attempt that has to be made again.
type failure struct {
	class  class         // transient, throttled or denied
	cause  string        // for a person; holds nothing of a token, an event or an answer's body
	advice string        // what to do about it; "": time will do
	after  time.Duration // what the destination asked for; 0: nothing
	took   time.Duration // the attempt
	fatal  error         // of what can never work
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

// breaker decides when the next attempt may be made, and tells of changes in the
// destination's state.
//
// It is closed while the destination takes events; a request that fails then waits
// on its own. When the destination is down, throttles or refuses the
// credentials, the breaker opens: everything waits, and one attempt at a time,
// first come first served, finds out whether it may close again. So a
// destination in trouble sees one request for each delay, whatever the
// concurrency, and an event that alone makes it fail cannot hold up the others.
type breaker struct {
	name  string
	log   *slog.Logger
	retry Retry
	probe chan struct{} // holds one token while somebody is the one to try

	mu       sync.Mutex
	flows    chan struct{} // not nil: the breaker is open; the channel is closed when it closes
	tryAt    time.Time     // when an open breaker may be tried
	fast     *transport.Delays
	throttle *transport.Delays // of 429s in a row that do not say how long
	slow     *transport.Delays
	failures int // in a row
	since    time.Time
	told     class   // the state that was last logged: accepted, transient or denied
	last     failure // the last attempt, if it failed
	next     time.Time
	waits    *time.Timer // until the trouble has lasted long enough to be told
}

func newBreaker(config Config) *breaker {
	return &breaker{
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
func (b *breaker) enter(ctx context.Context) (probe bool, err error) {
	for {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		b.mu.Lock()
		flows := b.flows
		b.mu.Unlock()
		if flows == nil {
			return false, nil
		}
		select {
		case b.probe <- struct{}{}:
		case <-flows:
			continue
		case <-ctx.Done():
			return false, ctx.Err()
		}
		ready, err := b.awaitTry(ctx, flows)
		if ready {
			return true, nil
		}
		<-b.probe
		if err != nil {
			return false, err
		}
	}
}

// awaitTry waits until the open breaker may be tried, or was closed, which gives
// false.
func (b *breaker) awaitTry(ctx context.Context, flows chan struct{}) (ready bool, err error) {
	for {
		b.mu.Lock()
		current, wait := b.flows, time.Until(b.tryAt)
		b.mu.Unlock()
		if current != flows {
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
func (b *breaker) leave(probe bool) {
	if probe {
		<-b.probe
	}
}

// pass ends an attempt that the destination answered as a working one does.
func (b *breaker) pass(probe bool) {
	b.mu.Lock()
	// Answers to requests that were under way when the breaker opened do not close
	// it: only who was let through since then knows.
	if b.flows == nil || probe {
		b.failures, b.last = 0, failure{}
		if b.waits != nil {
			b.waits.Stop()
			b.waits = nil
		}
		if b.flows != nil {
			close(b.flows)
			b.flows = nil
		}
		b.fast.Reset()
		b.throttle.Reset()
		b.slow.Reset()
		if b.told != accepted {
			b.told = accepted
			b.log.Info(fmt.Sprintf("Destination %s is back after %s", b.name, time.Since(b.since).Round(time.Second)))
		}
	}
	b.mu.Unlock()
	b.leave(probe)
}

// fail ends a failed attempt. When the breaker stays closed, own says how long the
// request is to wait before its next attempt; otherwise it is 0 and enter does the waiting.
func (b *breaker) fail(probe bool, f failure, own *transport.Delays) (wait time.Duration) {
	b.mu.Lock()
	defer func() {
		b.mu.Unlock()
		b.leave(probe)
	}()
	if b.failures == 0 {
		b.since = time.Now().Add(-f.took)
	}
	b.failures++
	b.last = f

	open := b.flows != nil
	switch {
	case open && !probe:
		// It was under way when the breaker opened: it says nothing new, unless
		// that it has to stay open for longer.
		if f.class == denied && b.told != denied {
			f.after = max(f.after, b.slow.Next())
		}
		wait = f.after
	case f.class == denied:
		wait = max(f.after, b.slow.Next())
	case open || f.class == throttled || b.failures >= failuresUntilDown:
		series := b.fast
		if f.class == throttled { // a sign of life: what comes after it begins anew
			series = b.throttle
			b.fast.Reset()
		}
		wait = series.Next()
		if f.after > 0 {
			wait = max(f.after, shortestWait)
		}
	default:
		wait = max(f.after, own.Next())
		b.next = time.Now().Add(wait)
		b.tell(f, wait)
		return wait
	}
	if !open {
		b.flows = make(chan struct{})
	}
	if at := time.Now().Add(wait); at.After(b.tryAt) {
		b.tryAt = at
	}
	b.next = b.tryAt
	b.tell(f, wait)
	return 0
}

// tell logs a change of state, once.
func (b *breaker) tell(f failure, wait time.Duration) {
	switch {
	case f.class == denied && b.told != denied:
		b.told = denied
		b.log.Error(fmt.Sprintf("Destination %s: %s. Delivery has stopped; nothing is lost. %s. It is tried again by itself after %s to %s",
			b.name, f.cause, f.advice, b.retry.SlowInitial, b.retry.SlowMax))
	case b.told == accepted && (b.failures >= failuresUntilDown || wait >= longWait || time.Since(b.since) >= longTrouble):
		b.told = transient
		next := max(time.Until(b.next), 0).Round(100 * time.Millisecond)
		text := f.cause
		if f.advice != "" {
			text += ". " + f.advice
		}
		b.log.Warn(fmt.Sprintf("Destination %s does not take events: %s. It is tried until it does, next in %v; nothing is lost", b.name, text, next))
	case b.told == accepted && b.waits == nil:
		b.waits = time.AfterFunc(time.Until(b.since.Add(longTrouble)), b.tellLater)
	}
}

// tellLater tells of trouble that has lasted, while the next attempt is still awaited.
func (b *breaker) tellLater() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.waits = nil; b.failures > 0 {
		b.tell(b.last, 0)
	}
}

// state is what the last attempt says of the destination's. The counts are not
// the breaker's.
func (b *breaker) state() State {
	b.mu.Lock()
	defer b.mu.Unlock()
	return State{OK: b.last.class == accepted, LastError: b.last.cause, Advice: b.last.advice}
}
