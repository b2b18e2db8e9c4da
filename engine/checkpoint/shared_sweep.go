package checkpoint

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	sweepPatience = 2 * time.Minute     // for one partition
	foldSpan      = 60 * 24 * time.Hour // of windows that one fold takes at most, so that its totals fit a message
	sweepFailures = 3                   // and the others are left to the next sweep
	foldAfter     = 1_000               // messages without windows to fold make a fold worth while
	purgeMost     = 50_000              // messages looked at for one purge
)

// Sweep implements [Store]. Expired keys are forgotten in this replica's view alone, as every
// replica does. Of the partitions that it holds, old windows are folded by a message to all
// views, and then the log loses those of its oldest messages that serve no longer.
func (s *Shared) Sweep(now time.Time) error {
	end, err := s.begin()
	if err != nil {
		return err
	}
	s.mu.Lock()
	held := maps.Clone(s.held)
	s.mu.Unlock()
	var failed []error
	for n, h := range held {
		if err := s.sweepPartition(n, h, now); err != nil && !errors.Is(err, ErrFenced) {
			failed = append(failed, fmt.Errorf("sweeping %s: %w", n, err))
		}
		if err := s.over(); err != nil {
			end()
			return err
		}
		if len(failed) == sweepFailures {
			break
		}
	}
	end() // Close ends what follows by closing the view
	return errors.Join(errors.Join(failed...), s.view.sweepKeys(now))
}

func (s *Shared) sweepPartition(n partitionName, h *holding, now time.Time) error {
	ctx, cancel := context.WithTimeout(s.ctx, sweepPatience)
	defer cancel()
	if err := s.fold(ctx, n, h, now.Add(-s.opts.LedgerDetail)); err != nil {
		return err
	}
	for {
		more, err := s.purge(ctx, n, now)
		if err != nil || !more {
			return s.failed("purging", err)
		}
	}
}

// fold publishes the totals of the windows that ended before a time, until none is left.
func (s *Shared) fold(ctx context.Context, n partitionName, h *holding, before time.Time) error {
	if err := s.lock(ctx, n, h); err != nil {
		return err
	}
	defer h.unlock()
	for {
		// Nobody else writes, so once the view shows the last message it says what
		// every view will say where the fold has its place.
		if err := s.reached(ctx, h.last); err != nil {
			return err
		}
		f, err := s.view.foldOf(n, before)
		if err != nil {
			return err
		}
		s.mu.Lock()
		since := s.subjects[subjectOf(s.opts.Name, n)].Since
		s.mu.Unlock()
		if len(f.changed) == 0 && since < foldAfter {
			return nil
		}
		err = s.publishFold(ctx, n, h, f)
		if err != nil && !errors.Is(err, errMoved) {
			return err
		}
	}
}

// publishFold writes a fold, in parts if it is large. What has changed goes with the boundary, in
// one message: parts that lack it change nothing.
func (s *Shared) publishFold(ctx context.Context, n partitionName, h *holding, f *ledgerFold) error {
	m := message{Kind: kindFold, Feed: n[0], Partition: n[1]}
	room := s.largest() - 8<<10
	size := 0
	for i := range f.same {
		one := sizeOf(&f.same[i])
		if size += one; size > room {
			part := m
			if err := s.publishHeld(ctx, n, h, &part, false); err != nil {
				return err
			}
			m.Days, size = nil, one
		}
		m.Days = append(m.Days, f.same[i])
	}
	for i := range f.changed {
		size += sizeOf(&f.changed[i])
	}
	if size > room && len(m.Days) > 0 {
		part := m
		if err := s.publishHeld(ctx, n, h, &part, false); err != nil {
			return err
		}
		m.Days = nil
	}
	m.Days, m.Position, m.Before = append(m.Days, f.changed...), f.position, f.before
	return s.publishHeld(ctx, n, h, &m, false)
}

func sizeOf(e *Entry) int {
	b, err := json.Marshal(e)
	if err != nil {
		return 0 // what was read as JSON is written as JSON
	}
	return len(b) + 1
}

// ledgerFold is what a fold says.
type ledgerFold struct {
	position *Position
	changed  []Entry // days that windows are folded into
	same     []Entry // the other days
	before   time.Time
}

// foldOf makes the fold of a partition. Where windows reach far back it takes the
// older ones only.
func (v *Embedded) foldOf(n partitionName, before time.Time) (*ledgerFold, error) {
	if err := v.enter(); err != nil {
		return nil, err
	}
	defer v.leave()
	f := &ledgerFold{before: before}
	oldest := before
	err := v.windows(n, func(_ []byte, e *Entry) error {
		if e.To.Before(oldest) {
			oldest = e.To
		}
		return nil
	})
	if limit := oldest.Add(foldSpan); limit.Before(before) {
		f.before = limit
	}
	days := make(map[string]*Entry)
	if err == nil {
		err = v.windows(n, func(_ []byte, e *Entry) error {
			if !e.To.Before(f.before) {
				return nil
			}
			day, err := v.day(days, e)
			if err == nil {
				day.fold(e)
			}
			return err
		})
	}
	for _, e := range days {
		f.changed = append(f.changed, *e)
	}
	if err == nil {
		err = v.each(appendText(appendText([]byte{daySpace}, n[0]), n[1]), func(name, value []byte) error {
			if days[string(name)] != nil {
				return nil
			}
			e, err := decodeJSON[Entry](name, value)
			f.same = append(f.same, e)
			return err
		})
	}
	if err != nil {
		return nil, v.failed("reading the ledger", err)
	}
	position, ok, err := v.Position(n[0], n[1])
	if ok {
		f.position = &position
	}
	return f, err
}

// purge takes from the log the oldest messages of a partition that say nothing any more: those
// before the last fold whose keys have expired and whose window it has folded, up to the first
// that still counts. It reads no more of them than their headers.
func (s *Shared) purge(ctx context.Context, n partitionName, now time.Time) (more bool, err error) {
	name := subjectOf(s.opts.Name, n)
	s.mu.Lock()
	about := s.subjects[name]
	s.mu.Unlock()
	if about.Fold == 0 {
		return false, nil
	}
	consumer, err := s.js.CreateConsumer(ctx, s.opts.Name, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverAllPolicy, FilterSubject: name, HeadersOnly: true,
		AckPolicy: jetstream.AckNonePolicy, InactiveThreshold: consumerTTL, MemoryStorage: true, Replicas: 1,
	})
	if err != nil {
		return false, err
	}
	defer s.forgetConsumer(consumer)
	if consumer.CachedInfo().NumPending == 0 {
		return false, nil // somebody emptied the stream by hand
	}
	messages, err := consumer.Messages(jetstream.PullExpiry(pullExpiry), jetstream.PullHeartbeat(heartbeat), jetstream.WithMessagesErrOnMissingHeartbeat(true))
	if err != nil {
		return false, err
	}
	defer messages.Stop()
	keep := about.Fold
	count := uint64(1)
	for ; ; count++ {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return false, err
		}
		at, err := msg.Metadata()
		if err != nil {
			return false, err
		}
		if at.Sequence.Consumer != count {
			return false, errors.New("the connection lost messages that a purge has to look at; it is done again with the next sweep")
		}
		more = count > purgeMost
		if at.Sequence.Stream >= keep || more || counts(msg, about.Before, now) {
			keep = min(keep, at.Sequence.Stream)
			break
		}
	}
	if count == 1 {
		return false, nil
	}
	// "Purge up to but not including this sequence", of the subject:
	// https://docs.nats.io/reference/reference-protocols/nats_api_reference.
	return more, s.stream.Purge(ctx, jetstream.WithPurgeSubject(name), jetstream.WithPurgeSequence(keep))
}

// counts reports whether a message before a fold with that boundary still says
// something. A header that cannot be read is taken to.
func counts(msg jetstream.Msg, before, now time.Time) bool {
	if v := msg.Headers().Get(headerExpires); v != "" {
		hours, err := strconv.ParseUint(v, 10, 32)
		if err != nil || !hourTime(uint32(hours)).Before(now) {
			return true
		}
	}
	if v := msg.Headers().Get(headerWindow); v != "" {
		to, err := time.Parse(time.RFC3339Nano, v)
		if err != nil || !to.Before(before) {
			return true
		}
	}
	return false
}
