package shared

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/transport"
)

// What is on its way from the log to the view, whatever the log's length.
const (
	pullBytes   = 4 << 20 // asked of the server at a time
	waiting     = 16      // messages that wait to be applied
	batchBytes  = 512 << 10
	batchCount  = 2_000
	heartbeat   = time.Second      // two without one, and the consumer is made anew
	pullExpiry  = 10 * time.Second // of a request that finds no messages
	consumerTTL = time.Minute      // the server forgets one that asks no longer
	followPause = 250 * time.Millisecond
	askTimeout  = 2 * time.Second // for one answer of JetStream
)

// delivered is one message on its way to the view; without a subject it is the news that
// there is none.
type delivered struct {
	msg     *message // nil: not ours
	subject string
	bytes   int
	seq     uint64
	at      time.Time // it was stored
	pending uint64    // messages behind it
}

// follow keeps the view at the end of the log until the store is closed.
func (s *Store) follow() {
	incoming := make(chan delivered, waiting)
	s.work.Go(func() {
		defer close(incoming)
		s.read(incoming)
	})
	for d, ok := <-incoming; ok; {
		next, err := s.apply(d, incoming)
		if err != nil {
			s.stop(fmt.Errorf("applying the shared state to the view: %w", err))
			// The reader ends by the context; it must not wait for us.
			for range incoming {
			}
			return
		}
		if next != nil {
			d = *next
		} else {
			d, ok = <-incoming
		}
	}
}

// apply applies first and what waits behind it, up to what must be the first of its batch, which
// it returns.
func (s *Store) apply(first delivered, incoming <-chan delivered) (next *delivered, err error) {
	b := &viewBatch{view: s.view, subjects: make(map[string]subject)}
	pending := first.pending
	count := 0
	add := func(d delivered) error {
		pending = d.pending
		b.bytes += d.bytes
		count++
		b.applied = max(b.applied, d.seq)
		if d.subject == "" {
			return nil
		}
		before, ok := b.subjects[d.subject]
		if !ok {
			s.mu.Lock()
			before = s.subjects[d.subject]
			s.mu.Unlock()
		}
		b.subjects[d.subject] = before.next(d.msg, d.seq, d.at)
		if d.msg == nil {
			return nil
		}
		s.keys.Add(int64(len(d.msg.keys)))
		return b.add(d.subject, d.msg)
	}
	if err := add(first); err != nil {
		return nil, err
	}
	for b.bytes < batchBytes && count < batchCount && next == nil {
		var d delivered
		ok := false
		select {
		case d, ok = <-incoming:
		default:
		}
		if !ok {
			break
		}
		if d.msg != nil && d.msg.Kind == kindCommit && d.msg.Part > 0 {
			next = &d
		} else if err := add(d); err != nil {
			return nil, err
		}
	}
	return next, s.flush(b, pending)
}

// flush applies a batch, and tells those who wait for what is in it.
func (s *Store) flush(b *viewBatch, pending uint64) error {
	if b.applied > 0 { // 0: an empty log
		if err := b.write(s.created); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	owners := false
	for name, one := range b.subjects {
		owners = owners || one.Session != s.subjects[name].Session
		s.subjects[name] = one
	}
	s.applied = max(s.applied, b.applied)
	s.caughtUp = s.caughtUp || pending == 0
	close(s.moved)
	s.moved = make(chan struct{})
	if owners {
		close(s.changed)
		s.changed = make(chan struct{})
	}
	return nil
}

// read reads the log in order, from behind what the view has. A consumer that ends for
// whatever reason is made anew, from the message after the last one read.
func (s *Store) read(out chan<- delivered) {
	s.mu.Lock()
	last := s.applied
	s.mu.Unlock()
	for s.ctx.Err() == nil {
		ctx, cancel := context.WithCancel(s.ctx)
		s.mu.Lock()
		s.restart = cancel
		s.mu.Unlock()
		err := s.readOn(ctx, &last, out)
		restarted := ctx.Err() != nil
		cancel()
		if errors.Is(err, errNewer) {
			s.stop(fmt.Errorf("%w: %w", checkpoint.ErrStopped, err))
		}
		if s.ctx.Err() != nil {
			return
		}
		s.log.Debug("shared state: reading the log anew", "from", last+1, "error", err)
		if !restarted { // else it is connected again
			transport.Sleep(s.ctx, followPause) //nolint:errcheck // the loop asks ctx
		}
	}
}

// readOn reads until something is amiss. The consumer acknowledges nothing, so what
// the server sent and the connection lost is not sent again: a gap in the consumer's own
// count of messages shows it (https://docs.nats.io/nats-concepts/jetstream/consumers:
// ordered consumers do the same).
func (s *Store) readOn(ctx context.Context, last *uint64, out chan<- delivered) error {
	s.check(ctx) // a consumer that begins behind the end of another stream would wait for ever
	ask, cancel := context.WithTimeout(ctx, 2*askTimeout)
	defer cancel()
	consumer, err := s.js.CreateConsumer(ask, s.opts.Name, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: *last + 1,
		AckPolicy: jetstream.AckNonePolicy, InactiveThreshold: consumerTTL, MemoryStorage: true, Replicas: 1,
	})
	if err != nil {
		return err
	}
	defer s.forgetConsumer(consumer)
	if consumer.CachedInfo().NumPending == 0 {
		if !s.send(out, delivered{seq: *last}) {
			return nil
		}
	}
	messages, err := consumer.Messages(jetstream.PullMaxBytes(pullBytes), jetstream.PullExpiry(pullExpiry),
		jetstream.PullHeartbeat(heartbeat), jetstream.WithMessagesErrOnMissingHeartbeat(true))
	if err != nil {
		return err
	}
	defer messages.Stop()
	for count := uint64(1); ; count++ {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return err
		}
		about, err := msg.Metadata()
		if err != nil {
			return err
		}
		if about.Sequence.Consumer != count {
			return fmt.Errorf("message %d came as the consumer's %d, not as its %d", about.Sequence.Stream, about.Sequence.Consumer, count)
		}
		d := delivered{subject: msg.Subject(), bytes: len(msg.Data()), seq: about.Sequence.Stream, at: about.Timestamp, pending: about.NumPending}
		d.msg, err = decodeMessage(s.opts.Name, msg.Subject(), msg.Data())
		if errors.Is(err, errNewer) {
			return err
		}
		if err != nil {
			// It is not ours, and must not keep every replica from going on.
			s.log.Error("shared state: a message of the stream was not written by the connector and is passed over; find out who publishes there, and take the permission away",
				"stream", s.opts.Name, "subject", msg.Subject(), "sequence", d.seq, "error", err)
		}
		if !s.send(out, d) {
			return nil
		}
		*last = d.seq
	}
}

// forgetConsumer spares the server the wait until it forgets a consumer by itself.
func (s *Store) forgetConsumer(consumer jetstream.Consumer) {
	s.work.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
		defer cancel()
		if err := s.js.DeleteConsumer(ctx, s.opts.Name, consumer.CachedInfo().Name); err != nil {
			s.log.Debug("shared state: deleting a consumer failed", "error", err)
		}
	})
}

func (s *Store) send(out chan<- delivered, d delivered) bool {
	select {
	case out <- d:
		return true
	case <-s.ctx.Done():
		return false
	}
}

// catchUp waits until the view shows the message end, or the log ends before it.
func (s *Store) catchUp(ctx context.Context, end uint64) error {
	const report = 10 * time.Second
	tick := time.NewTicker(report)
	defer tick.Stop()
	began := time.Now()
	s.mu.Lock()
	start := s.applied
	s.mu.Unlock()
	reported := false
	for {
		s.mu.Lock()
		applied, moved, cause := s.applied, s.moved, s.cause
		caughtUp := s.caughtUp || applied >= end
		s.mu.Unlock()
		switch {
		case cause != nil:
			return cause
		case caughtUp:
			if reported {
				s.log.Info("shared state: the view is complete", "messages", applied-start, "took", time.Since(began).Round(time.Second).String())
			}
			return nil
		}
		select {
		case <-moved:
		case <-s.ctx.Done():
			return s.over()
		case <-ctx.Done():
			return fmt.Errorf("shared state: the view shows %d of %d messages of %s: %w; it goes on from there when it is opened again", applied, end, s.servers, ctx.Err())
		case <-tick.C:
			reported = true
			s.log.Info("shared state: building the view from the log", "keys", s.keys.Load(), "message", applied, "of", end)
		}
	}
}

// reached waits until the view shows the message seq.
func (s *Store) reached(ctx context.Context, seq uint64) error {
	patience := time.NewTicker(2 * time.Second)
	defer patience.Stop()
	for {
		s.mu.Lock()
		applied, moved := s.applied, s.moved
		s.mu.Unlock()
		if applied >= seq {
			return nil
		}
		select {
		case <-moved:
		case <-s.ctx.Done():
			return s.over()
		case <-ctx.Done():
			return fmt.Errorf("shared state: what was written is not in the view yet: %w", ctx.Err())
		case <-patience.C:
			if full := s.view.Full(); full != nil {
				return full
			}
		}
	}
}
