package load

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/secure60/s60-m365-connector/engine/transport"
)

// How much one call to Deliver should hold for a stream platform: enough to
// keep it busy, and little to be sent anew after a fault.
const (
	streamBatchEvents = 1000
	streamBatchBytes  = 512 << 10
)

// stream delivers to a stream platform, one batch at a time, so that what is
// sent in order is stored in order.
type stream struct {
	kind    string
	log     *slog.Logger
	breaker *breaker
	// send makes one attempt to deliver the events of a batch that are named in
	// left, in this order, and tells of each one that is settled: accepted, or
	// refused for good for a reason. The failure says why the others are not;
	// it is accepted when all are. send is never called twice at a time.
	send  func(ctx context.Context, batch Batch, left []int, settle func(event int, refusal string)) failure
	close func()

	turn  chan struct{} // holds a token while a batch is delivered
	tally tally

	inFlight, requests, retries, events, refusals atomic.Int64
}

// newStream checks what the kinds have in common, and says it if everybody on the
// way can read the events.
func newStream(config Config) (*stream, error) {
	if config.Address.Kind != config.Kind {
		return nil, fmt.Errorf("the address %s is of another kind", config.Address)
	}
	s := &stream{kind: config.Kind, log: config.Logger, breaker: newBreaker(config), turn: make(chan struct{}, 1)}
	if config.Address.Exposed() {
		s.log.Warn("the destination is reached without encryption: whoever is on the way can read the events and the password; use the scheme with tls, unless the network is your own",
			"destination", config.Address.String())
	}
	return s, nil
}

func (s *stream) Name() string     { return s.kind }
func (s *stream) BatchEvents() int { return streamBatchEvents }
func (s *stream) BatchBytes() int  { return streamBatchBytes }
func (s *stream) Batches() int     { return 1 }

// Close ends the connection. Nothing is left to be flushed: Deliver returns
// when all is acknowledged, or given up.
func (s *stream) Close() error {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
		s.close()
		return nil
	case <-time.After(writeGrace):
		return fmt.Errorf("close %s: a delivery is still under way", s.kind)
	}
}

func (s *stream) State() State {
	state := s.breaker.state()
	state.InFlight = int(s.inFlight.Load())
	state.Requests, state.Retries = s.requests.Load(), s.retries.Load()
	state.Events, state.Refused = s.events.Load(), s.refusals.Load()
	return s.tally.over(state)
}

func (s *stream) Deliver(ctx context.Context, batch Batch) ([]Refused, error) {
	if len(batch.Events) == 0 {
		return nil, ctx.Err()
	}
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	reasons := make([]string, len(batch.Events)) // of the refused events
	left := make([]int, len(batch.Events))
	for i := range left {
		left[i] = i
	}
	own := transport.NewDelays(s.breaker.retry.Initial, s.breaker.retry.Max, 0.5)
	for {
		rest, wait, err := s.attempt(ctx, batch, left, reasons, own)
		if err != nil {
			return nil, err
		}
		if left = rest; len(left) == 0 {
			break
		}
		s.retries.Add(1)
		if err := transport.Sleep(ctx, wait); err != nil {
			return nil, err
		}
	}
	var refused []Refused
	for i, reason := range reasons {
		if reason != "" {
			refused = append(refused, Refused{Index: i, Reason: reason})
		}
	}
	if n := len(batch.Events) - len(refused); n > 0 {
		s.log.Info(fmt.Sprintf("Forwarded %d events -> %s (ack)", n, s.kind), batch.from()...)
	}
	return refused, nil
}

// attempt sends what is left once, and gives what is left then. The error is
// that of ctx.
func (s *stream) attempt(ctx context.Context, batch Batch, left []int, reasons []string, own *transport.Delays) (rest []int, wait time.Duration, err error) {
	probe, err := s.breaker.enter(ctx)
	if err != nil {
		return nil, 0, err
	}
	s.requests.Add(1)
	s.inFlight.Add(1)
	start := time.Now()
	settled := make([]bool, len(batch.Events))
	failed := s.send(ctx, batch, left, func(event int, refusal string) {
		settled[event] = true
		s.tally.add(1, refusal != "")
		if reasons[event] = refusal; refusal == "" {
			s.events.Add(1)
		} else {
			s.refusals.Add(1)
		}
	})
	s.inFlight.Add(-1)
	for _, event := range left {
		if !settled[event] {
			rest = append(rest, event)
		}
	}
	s.log.Debug("Delivery attempt", "destination", s.kind, "events", len(left), "left", len(rest),
		"cause", failed.cause, "took", time.Since(start).Round(time.Microsecond))
	switch {
	case len(rest) == 0:
		s.breaker.pass(probe)
		return nil, 0, nil
	case ctx.Err() != nil:
		s.breaker.leave(probe)
		return nil, 0, ctx.Err()
	}
	failed.took = time.Since(start)
	return rest, s.breaker.fail(probe, failed, own), nil
}
