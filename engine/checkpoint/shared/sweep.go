package shared

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
)

const (
	sweepPatience = 2 * time.Minute // for one partition
	sweepFailures = 3               // and the others are left to the next sweep
	foldAfter     = 1_000           // messages without windows to fold make a fold worth while
	purgeMost     = 50_000          // messages looked at for one purge
)

// Sweep implements [checkpoint.Store]. Expired keys are forgotten in this replica's view alone, as every
// replica does. Of the partitions that it holds, old windows are folded by a message to all
// views, and then the log loses those of its oldest messages that serve no longer.
func (s *Store) Sweep(now time.Time) error {
	end, err := s.begin()
	if err != nil {
		return err
	}
	s.mu.Lock()
	held := maps.Clone(s.held)
	s.mu.Unlock()
	var failed []error
	for n, h := range held {
		if err := s.sweepPartition(n, h, now); err != nil && !errors.Is(err, checkpoint.ErrFenced) {
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
	return errors.Join(errors.Join(failed...), s.view.SweepKeys(now))
}

func (s *Store) sweepPartition(n partitionName, h *holding, now time.Time) error {
	ctx, cancel := context.WithTimeout(s.ctx, sweepPatience)
	defer cancel()
	if err := s.fold(ctx, n, h, now); err != nil {
		return err
	}
	for {
		more, err := s.purge(ctx, n, now)
		if err != nil || !more {
			return s.failed("purging", err)
		}
	}
}

// fold publishes the totals of the windows that are old at a time, until none is left.
func (s *Store) fold(ctx context.Context, n partitionName, h *holding, now time.Time) error {
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
		f, needed, err := s.view.Fold(n[0], n[1], now)
		if err != nil {
			return err
		}
		if !needed && s.about(n[0], n[1]).Since < foldAfter {
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
func (s *Store) publishFold(ctx context.Context, n partitionName, h *holding, f *checkpoint.Fold) error {
	m := message{Kind: kindFold, Feed: n[0], Partition: n[1]}
	room := s.room()
	size := 0
	// fits makes room for one thing more: what was gathered goes first, if it must.
	fits := func(thing any) error {
		text, err := json.Marshal(thing)
		if err != nil {
			return err
		}
		if size += len(text) + 1; size <= room || len(m.Days)+len(m.Objects) == 0 {
			return nil
		}
		part := m
		m.Days, m.Objects, size = nil, nil, len(text)+1
		return s.publishHeld(ctx, n, h, &part, false)
	}
	for i := range f.Same {
		if err := fits(&f.Same[i]); err != nil {
			return err
		}
		m.Days = append(m.Days, f.Same[i])
	}
	for o, err := range s.view.Objects(n[0], n[1]) {
		if err == nil {
			err = fits(&o)
		}
		if err != nil {
			return err
		}
		m.Objects = append(m.Objects, o)
	}
	position, ok, err := s.view.Position(n[0], n[1])
	if err != nil {
		return err
	}
	if err := fits(append([]any{position}, f.Days)); err != nil {
		return err
	}
	if ok {
		work := s.about(n[0], n[1]).work
		m.Position, m.Work = &position, &work
	}
	m.Days, m.Before, m.Forget = append(m.Days, f.Days...), f.Before, f.Forget
	return s.publishHeld(ctx, n, h, &m, false)
}

// purge takes from the log the oldest messages of a partition that say nothing any more: those
// before the last fold whose keys have expired and whose window it has folded, up to the first
// that still counts. It reads no more of them than their headers.
func (s *Store) purge(ctx context.Context, n partitionName, now time.Time) (more bool, err error) {
	name := subjectOf(s.opts.Name, n)
	about := s.about(n[0], n[1])
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
		if at.Sequence.Stream >= keep || more || serves(msg, about.Before, now) {
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

// serves reports whether a message before a fold with that boundary still says
// something. A header that cannot be read is taken to.
func serves(msg jetstream.Msg, before, now time.Time) bool {
	if v := msg.Headers().Get(headerExpires); v != "" {
		hours, err := strconv.ParseUint(v, 10, 32)
		if err != nil || !time.Unix(int64(hours)*3600, 0).Before(now) {
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
