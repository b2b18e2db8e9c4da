package engine

import (
	"errors"
	"time"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/extract"
	"github.com/secure60/s60-m365-connector/engine/transform"
)

// This file notes in its status how a partition fares.

// unanswered shows a partition as failing that has asked for a while and got no usable answer: its round
// gives up only after minutes.
func (p *partition) unanswered(s *FeedStatus) {
	if p.engine.Client == nil {
		return
	}
	if since, err := p.engine.Client.Unanswered(p.feed.Name, p.value, time.Now().Add(-stalledAfter)); err != nil {
		s.fails(since, p.describe(err), p.engine.Now())
	}
}

// fails shows the partition as one that fails, for a cause that is no round's own.
func (s *FeedStatus) fails(since time.Time, text string, now time.Time) {
	s.become(Failing, since)
	s.GateReason, s.GateUntil, s.Holder = "", time.Time{}, ""
	s.LastError, s.LastErrorAt = text, now
}

// observe changes the status under its lock.
func (p *partition) observe(change func(*FeedStatus)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&p.status)
}

// waits shows whether the partition waits for one of the Workers.
func (p *partition) waits(waits bool) {
	var since time.Time
	if waits {
		since = p.engine.Now()
	}
	p.observe(func(s *FeedStatus) { s.WaitingSince = since })
}

// become changes the state, and reports whether it is another one.
func (s *FeedStatus) become(state State, now time.Time) bool {
	if s.State == state {
		return false
	}
	s.State, s.Since = state, now
	return true
}

// settle takes the end of a round for the state of the feed, and says so in
// one line when it changes.
func (p *partition) settle(err error) {
	now := p.engine.Now()
	p.mu.Lock()
	before, since := p.status.State, p.status.Since
	s := &p.status
	s.GateReason, s.GateUntil = "", time.Time{} // also of one that fails: something else is amiss now
	var changed bool
	if err == nil {
		changed = s.become(OK, now)
		s.LastSuccess, s.LastError = now, ""
		p.licence = licence{}
		if p.feed.Licence != nil {
			p.engine.licensed.Store(p.feed.Licence.Requires, now)
		}
	} else {
		text := p.describe(err)
		changed = s.become(Failing, now) || s.LastError != text
		s.LastError, s.LastErrorAt = text, now
	}
	text := s.LastError
	p.position.LastSuccess, p.position.LastError, p.position.LastErrorAt = s.LastSuccess, s.LastError, s.LastErrorAt
	p.position.GateReason, p.position.GateUntil = s.GateReason, s.GateUntil
	fallback := p.reader.Fallback()
	switched := fallback.IsZero() != p.position.FallbackUntil.IsZero()
	p.position.FallbackUntil = fallback
	p.mu.Unlock()
	if err != nil && p.engine.OnFailure != nil {
		p.engine.OnFailure(p.feed.Name, p.value, now, text)
	}
	switch {
	case !changed && !switched:
		return
	case !changed:
	case err != nil:
		auth, ok := errors.AsType[*extract.AuthError](err)
		p.engine.fails(p, text, ok && !auth.Temporary)
	case before == Starting:
		p.log.Info("feed caught up", "cursor", p.position.Cursor, "forwarded", p.position.Forwarded)
	case before == Failing:
		p.engine.recovers(p, false)
	default:
		p.log.Info("feed works again", "was", string(before), "for", now.Sub(since).Round(time.Second).String())
	}
	p.remember()
}

// remember writes the position for the `feeds` command of a connector that
// does not run. What it could not write is written with the next batch.
func (p *partition) remember() {
	if !p.loaded {
		return
	}
	position := p.position
	if err := p.engine.Store.Commit(&checkpoint.Commit{Feed: p.kept, Partition: p.account, Position: &position}); err != nil {
		p.log.Error("state could not be written", "error", err)
	}
}

// failedField counts a computed field that failed, and says so once for each
// field.
func (p *partition) failedField(f transform.FieldError) {
	var first bool
	p.observe(func(s *FeedStatus) {
		if s.FieldErrors == nil {
			s.FieldErrors = map[string]int64{}
		}
		s.FieldErrors[f.Field]++
		first = s.FieldErrors[f.Field] == 1
	})
	if first {
		p.log.Warn("a field of the mapping failed on a record; the event is sent without it, error_mapping says why; further ones are only counted",
			"mapping", p.feed.Mapping, "field", f.Field)
	}
}
