package load

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/secure60/s60-m365-connector/engine/transport"
)

// How much one call to Deliver should hold: enough to keep a stream platform busy, and that a sync to disk for
// each call costs little; and little to be sent anew after a fault.
const (
	streamBatchEvents = 1000
	streamBatchBytes  = 512 << 10
)

// stream delivers one batch at a time, so that what is sent in order is stored in order: to a stream platform, or
// as lines to something local.
type stream struct {
	counts
	kind    string
	ack     string // what the log says of a delivery
	log     *slog.Logger
	breaker *breaker
	// send makes one attempt to deliver what is left of a batch, in its order, and tells of each event that is
	// settled: accepted, or refused for good for a reason. The failure says why the others are not; it is
	// accepted when all are. send is never called twice at a time.
	send  func(ctx context.Context, d *shipment, settle func(event int, refusal string)) failure
	close func() error

	turn chan struct{} // holds a token while a batch is delivered
}

// shipment is a batch on its way.
type shipment struct {
	Batch
	left  []int // events that are not settled, in order
	begun int   // bytes of the first of them that are written already, of lines
}

// newStream warns if everybody on the way can read the events.
func newStream(config Config) *stream {
	s := &stream{kind: config.Kind, log: config.Logger, breaker: newBreaker(config), turn: make(chan struct{}, 1)}
	if config.Address.Exposed() {
		s.log.Warn("the destination is reached without encryption: whoever is on the way can read the events and the password; use the scheme with tls, unless the network is your own",
			"destination", config.Address.String())
	}
	return s
}

func (s *stream) Name() string     { return s.kind }
func (s *stream) BatchEvents() int { return streamBatchEvents }
func (s *stream) BatchBytes() int  { return streamBatchBytes }
func (s *stream) Batches() int     { return 1 }
func (s *stream) State() State     { return s.state(s.breaker) }

// Close ends the connection. Nothing is left to be flushed: Deliver returns
// when all is acknowledged, or given up.
func (s *stream) Close() error {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
		if err := s.close(); err != nil {
			return fmt.Errorf("close %s: %w", s.kind, err)
		}
		return nil
	case <-time.After(writeGrace):
		return fmt.Errorf("close %s: a delivery is still under way", s.kind)
	}
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
	d := &shipment{Batch: batch, left: make([]int, len(batch.Events))}
	for i := range d.left {
		d.left[i] = i
	}
	own := transport.NewDelays(s.breaker.retry.Initial, s.breaker.retry.Max, 0.5)
	for {
		wait, err := s.attempt(ctx, d, reasons, own)
		if err != nil {
			return nil, err
		}
		if len(d.left) == 0 {
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
		s.log.Info(fmt.Sprintf("Forwarded %d events -> %s%s", n, s.kind, s.ack), batch.from()...)
	}
	return refused, nil
}

// attempt sends what is left once. The error ends the delivery.
func (s *stream) attempt(ctx context.Context, d *shipment, reasons []string, own *transport.Delays) (wait time.Duration, err error) {
	probe, err := s.breaker.enter(ctx)
	if err != nil {
		return 0, err
	}
	s.requests.Add(1)
	s.inFlight.Add(1)
	start, events := time.Now(), len(d.left)
	settled := make([]bool, len(d.Events))
	failed := s.send(ctx, d, func(event int, refusal string) {
		settled[event], reasons[event] = true, refusal
		s.settle(1, refusal != "")
	})
	s.inFlight.Add(-1)
	d.left = slices.DeleteFunc(d.left, func(event int) bool { return settled[event] })
	s.log.Debug("Delivery attempt", "destination", s.kind, "events", events, "left", len(d.left),
		"cause", failed.cause, "duration", time.Since(start).Round(time.Millisecond))
	switch {
	case len(d.left) == 0:
		s.breaker.pass(probe)
		return 0, nil
	case failed.fatal != nil:
		s.breaker.leave(probe)
		return 0, fmt.Errorf("deliver to %s: %w", s.kind, failed.fatal)
	case ctx.Err() != nil:
		s.breaker.leave(probe)
		return 0, ctx.Err()
	}
	failed.took = time.Since(start)
	return s.breaker.fail(probe, failed, own), nil
}
