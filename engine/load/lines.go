package load

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/secure60/s60-m365-connector/engine/transport"
)

// How much one call to Deliver should hold for a local destination: enough that
// a sync to disk for each call costs little.
const (
	linesBatchEvents = 1000
	linesBatchBytes  = 512 << 10
)

// writeGrace is how long a write that is under way when the caller gives up may
// take to finish, so that a batch that is as good as written is not repeated.
const writeGrace = time.Second

// lines delivers events as lines to something local, one batch at a time.
type lines struct {
	kind    string
	log     *slog.Logger
	breaker *breaker
	// write gives how much of p is there to stay, and why not all of it is.
	write func(p []byte) (int, error)
	close func() error

	turn   chan struct{} // holds a token while a batch is written
	buffer []byte        // of whose turn it is
	torn   bool          // a batch was given up in the middle of a line

	inFlight, requests, retries, events atomic.Int64
}

func newLines(config Config, write func([]byte) (int, error), close func() error) *lines {
	return &lines{
		kind:    config.Kind,
		log:     config.Logger,
		breaker: newBreaker(config),
		write:   write,
		close:   close,
		turn:    make(chan struct{}, 1),
	}
}

func (l *lines) Name() string     { return l.kind }
func (l *lines) BatchEvents() int { return linesBatchEvents }
func (l *lines) BatchBytes() int  { return linesBatchBytes }
func (l *lines) Batches() int     { return 1 }

func (l *lines) Close() error {
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
		return l.close()
	case <-time.After(writeGrace):
		return fmt.Errorf("close %s: %w", l.kind, errUnderWay)
	}
}

func (l *lines) State() State {
	state := l.breaker.state()
	state.InFlight = int(l.inFlight.Load())
	state.Requests, state.Retries = l.requests.Load(), l.retries.Load()
	state.Events = l.events.Load()
	return state
}

func (l *lines) Deliver(ctx context.Context, batch Batch) ([]Refused, error) {
	events := batch.Events
	if len(events) == 0 {
		return nil, ctx.Err()
	}
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if cap(l.buffer) > 2*linesBatchBytes {
		l.buffer = nil
	}
	l.buffer = l.buffer[:0]
	if l.torn {
		l.buffer = append(l.buffer, '\n')
	}
	l.buffer = appendLines(l.buffer, events)

	rest := l.buffer
	own := transport.NewDelays(l.breaker.retry.Initial, l.breaker.retry.Max, 0.5)
	for {
		n, wait, err := l.attempt(ctx, rest, own)
		if errors.Is(err, errUnderWay) {
			return nil, ctx.Err()
		}
		rest = rest[n:]
		l.torn = breaksLine(l.buffer[:len(l.buffer)-len(rest)])
		if len(rest) == 0 {
			break
		}
		if err == nil {
			l.retries.Add(1)
			err = transport.Sleep(ctx, wait)
		}
		if err != nil {
			<-l.turn
			return nil, err
		}
	}
	<-l.turn
	l.events.Add(int64(len(events)))
	l.log.Info(fmt.Sprintf("Forwarded %d events -> %s", len(events), l.kind), batch.from()...)
	return nil, nil
}

func breaksLine(written []byte) bool {
	return len(written) > 0 && written[len(written)-1] != '\n'
}

// errUnderWay says that a write outlives the call that began it. The turn is
// given back when it ends.
var errUnderWay = errors.New("the write is still under way")

// attempt writes once. The error ends the delivery.
func (l *lines) attempt(ctx context.Context, p []byte, own *transport.Delays) (n int, wait time.Duration, err error) {
	probe, err := l.breaker.enter(ctx)
	if err != nil {
		return 0, 0, err
	}
	l.requests.Add(1)
	l.inFlight.Add(1)
	type result struct {
		n   int
		err error
	}
	done := make(chan result, 1)
	// A write may block for as long as who reads it likes (a pipe), and cannot
	// be called back.
	go func() {
		n, err := l.write(p)
		l.inFlight.Add(-1)
		done <- result{n, err}
	}()
	var r result
	select {
	case r = <-done:
	case <-ctx.Done():
		select {
		case r = <-done:
		case <-time.After(writeGrace):
			l.breaker.leave(probe)
			go func() {
				r := <-done
				l.torn = breaksLine(p[:r.n])
				<-l.turn
			}()
			return 0, 0, errUnderWay
		}
	}
	l.log.Debug("Delivery attempt", "destination", l.kind, "bytes", len(p), "written", r.n, "cause", r.err)
	switch {
	case r.err == nil:
		l.breaker.pass(probe)
	case errors.Is(r.err, syscall.EPIPE), errors.Is(r.err, fs.ErrClosed):
		l.breaker.leave(probe)
		return r.n, 0, fmt.Errorf("deliver to %s: %w", l.kind, r.err)
	default:
		wait = l.breaker.fail(probe, failure{class: transient, cause: r.err.Error()}, own)
	}
	return r.n, wait, nil
}
