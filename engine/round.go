package engine

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/extract"
)

const (
	// edge is kept between the oldest request and the service's own limit,
	// which a slow request or a clock a little off would cross.
	edge = 5 * time.Minute
	// ahead is how far in the future a cursor may lie before it is taken for
	// damage: clocks of hosts differ a little.
	ahead = 2 * time.Minute
	// wholeEvery is how often a round looks back over the whole overlap of a feed. The others look
	// back over brief: most of what appears late is late by less, and each look costs requests.
	wholeEvery = 15 * time.Minute
	brief      = 5 * time.Minute
	// wrongClock is how far this host's clock may be off before a person hears of it.
	wrongClock = time.Minute
)

// rounds polls until ctx ends, or this process no longer holds the partition; any
// error is one that no retry can mend.
func (p *partition) rounds(ctx context.Context) error {
	for {
		err := p.round(ctx)
		if StoreError(err) {
			return err
		}
		if errors.Is(err, checkpoint.ErrFenced) || !p.rest(ctx, p.pause(err)) {
			return nil
		}
	}
}

// round reads everything up to now, less the feed's delay, and keeps the state
// of the feed. A closed gate is a state, not an error.
func (p *partition) round(ctx context.Context) error {
	err := p.catchUp(ctx)
	if err == nil {
		err = p.reconcile(ctx)
	}
	if is[*extract.Subscribe](err) { // wherever it was met: the next round begins with a start
		p.subscribed, p.lost = false, true
	}
	if ctx.Err() != nil {
		return nil
	}
	if errors.Is(err, checkpoint.ErrFenced) {
		p.log.Warn("another process has taken over this partition; what is in flight may be delivered twice", "error", err)
		return err
	}
	if gated, ok := errors.AsType[*extract.Gated](err); ok {
		if err = p.refusedLicence(gated); err == nil || errors.Is(err, errUnconfirmed) {
			return err
		}
	} else if lacks := p.notConsented(ctx, err); len(lacks) > 0 {
		p.askConsent(lacks, err)
		return nil
	}
	p.settle(err)
	return err
}

// now is the time by the clock of the service that keeps the records, as far as it is known: windows
// are planned by it.
func (p *partition) now() time.Time {
	return p.engine.Now().UTC().Add(time.Duration(p.ahead.Load()))
}

// askClock learns how far the service's clock is ahead of this host's: of its last answer, or, before the
// first, of the token's issuer, which is asked for the token that is needed anyway.
// learned says that it was not known before.
func (p *partition) askClock(ctx context.Context) (learned bool) {
	ahead, known := p.reader.Clock(ctx)
	if !known {
		return false
	}
	p.ahead.Store(int64(ahead))
	learned, p.clocked = !p.clocked, true
	if ahead.Abs() > wrongClock {
		p.engine.wrongClock.Do(func() {
			p.log.Warn("the clock of this host is wrong: set it. Until then windows go by the service's clock, and nothing is lost",
				"service_ahead", ahead.Round(time.Second).String())
		})
	}
	return learned
}

// catchUp plans the windows from where the partition stands to now, and reads
// them in turn. All start from one reading of the clock, so that the round
// ends even where records arrive faster than they are read.
func (p *partition) catchUp(ctx context.Context) error {
	learned := p.askClock(ctx)
	if err := p.load(ctx, p.now()); err != nil {
		return err
	}
	if err := p.subscribe(ctx); err != nil {
		return err
	}
	started := p.now()
	if p.feed.Window == nil {
		return errors.Join(p.whole(ctx, started), p.tellOff(ctx, started))
	}
	if err := p.resumeJob(ctx, started, pass{}); err != nil {
		return err
	}
	from, fresh, target, lost := p.plan(started)
	// A first start that was planned before the service's clock was known may lie as much too early.
	if learned && p.position.ReadAt.IsZero() && lost <= time.Duration(p.ahead.Load()).Abs() {
		p.position.Start, lost = from, 0
		p.position.Cursor = later(p.position.Cursor, from)
	}
	if lost > 0 {
		// What is lost is known once the service can be read again: told before that, it would be told in
		// every round, and a little more each time.
		err := p.probe(ctx, from, target)
		if early := is[*extract.TooEarly](err); !early && err != nil && !hard(err) {
			return err
		} else if !early { // else the walk tells it, where the service's records begin
			reason := gapRetention
			if !p.position.Cursor.Before(from) {
				reason = gapLate
			}
			if err := p.lose(ctx, from.Add(-lost), from, reason); err != nil {
				return err
			}
		}
	}
	if p.position.Cursor.After(started.Add(ahead)) {
		if err := p.backFromTheFuture(ctx, from, target, started); err != nil {
			return err
		}
	}
	all := false
	err := p.walk(ctx, fresh, target, started, pass{}, func(at time.Time) { all = !at.Before(target) })
	err = errors.Join(err, p.tellOff(ctx, started))
	if err != nil && !all {
		return err
	}
	// An item that fails, perhaps for days, does not hold up the look back, which ends before the cursor and leaves it where it is.
	look := p.walk(ctx, later(from, p.begins), fresh, started, pass{}, nil)
	if p.looksWhole(started) { // kept with the next commit; until then the look is done again
		p.position.WholeAt, p.looked = p.wholeUntil(started, err, look), p.looked || look == nil
	}
	return errors.Join(err, look)
}

// wholeUntil is until when all that appeared late was looked for, after a round that ended with err for what is new, and with
// look for the look back: as far as the first item that fails, so that no more than that is told once it is lost.
func (p *partition) wholeUntil(started time.Time, err, look error) time.Time {
	late, items := errors.AsType[*extract.Incomplete](look)
	if look != nil && (!items || late.At.IsZero() || is[*unreadable](look)) {
		return p.position.WholeAt
	}
	whole, w := started, p.feed.Window
	for _, err := range []error{err, look} {
		if some, ok := errors.AsType[*extract.Incomplete](err); ok && !some.At.IsZero() && (some == late || some.At.Before(p.position.Cursor)) {
			item := some.At.Truncate(time.Second).Add(w.Delay + w.Overlap)
			whole = earlier(whole, earlier(item, started.Add(-wholeEvery))) // the next round looks for it again
		}
	}
	return later(p.position.WholeAt, whole)
}

// whole reads a feed without windows. A delta query whose link has expired begins anew.
func (p *partition) whole(ctx context.Context, started time.Time) error {
	err := p.window(ctx, extract.Window{Delta: p.position.Link}, started, pass{})
	if is[*extract.ResetWindow](err) && p.position.Link != "" {
		p.log.Info("the delta link has expired: the query begins anew, and what is as it was is not sent again", "cause", err)
		p.position.Link = ""
		err = p.window(ctx, extract.Window{}, started, pass{})
	}
	return err
}

// resumeJob reads the window whose job was started before a restart.
func (p *partition) resumeJob(ctx context.Context, started time.Time, how pass) error {
	if p.position.Job == "" {
		return nil
	}
	return p.walk(ctx, p.position.JobFor.From, p.position.JobFor.To, started, how, nil)
}

// backFromTheFuture begins anew where a clock that was wrong had led the cursor: what is new
// is read first, as all that the service keeps takes long. Nothing is lost or sent again.
func (p *partition) backFromTheFuture(ctx context.Context, from, target, started time.Time) error {
	p.log.Error("the cursor lies in the future: the clock of this host was wrong; reading again all that the service keeps, what was delivered is not sent again",
		"cursor", p.position.Cursor, "now", started, "from", from)
	p.position.Cursor, p.position.ReadAt, p.position.WholeAt, p.position.Start = from, time.Time{}, time.Time{}, from
	newest := target.Add(-p.feed.Window.Max)
	if !newest.After(from) {
		return nil
	}
	return p.walk(ctx, newest, target, started, pass{keepCursor: true}, nil)
}

// plan says what a round reads: from the cursor, or as far before it as
// records may have appeared since it was set; to now, less the delay, in whole
// seconds. What is from fresh on is read first: a look back over the whole overlap holds up nothing that is
// new. lost is how much before from the service no longer keeps, of what was never read, or not looked at again, and was
// not told; 0 or less: nothing.
func (p *partition) plan(now time.Time) (from, fresh, target time.Time, lost time.Duration) {
	w := p.feed.Window
	target = now.Add(-w.Delay).Truncate(time.Second)
	oldest := p.oldest(now)
	cursor := p.position.Cursor
	if cursor.After(now.Add(ahead)) {
		return oldest, oldest, target, 0
	}
	lost = oldest.Sub(p.unseen(p.retention()))
	if cursor.Before(oldest) {
		return oldest, oldest, target, lost
	}
	read, looked := p.position.ReadAt, p.position.WholeAt
	fresh = later(p.before(read, min(w.Overlap, brief)), oldest)
	alone := looked.IsZero() || looked.After(read) // what a kill after the first part would leave is not known
	if alone {
		looked = read
	}
	from = later(p.before(looked, w.Overlap), oldest)
	switch {
	case !p.looksWhole(now):
		return fresh, fresh, target, 0
	case alone:
		return from, from, target, lost
	default:
		return from, fresh, target, lost
	}
}

// before is the cursor, or as far before it as records may have appeared since.
func (p *partition) before(since time.Time, overlap time.Duration) time.Time {
	at := p.position.Cursor
	if !since.IsZero() {
		at = earlier(at, since.Add(-p.feed.Window.Delay-overlap).Truncate(time.Second))
	}
	return later(at, p.position.Start)
}

// unseen is from when on records may have appeared since the last look back, and were not told as lost, at a service
// that keeps them for so long.
func (p *partition) unseen(kept time.Duration) time.Time {
	w, looked := p.feed.Window, p.position.WholeAt
	if w == nil {
		return p.position.Cursor
	}
	if looked.IsZero() {
		looked = p.position.ReadAt
	}
	// A service that keeps hardly more than the overlap has some of it passed over in each look.
	at := p.before(looked, min(w.Overlap, kept/2))
	for _, g := range p.position.Gaps {
		if !at.Before(g.From) {
			at = later(at, g.To)
		}
	}
	return at
}

// looksWhole reports whether a round looks back over the whole overlap: as far before the last one that did. The first
// of a process does: who starts it for each round, or starts it anew because something is amiss, wants all.
func (p *partition) looksWhole(now time.Time) bool {
	last := p.position.WholeAt
	return !p.looked || p.feed.Window.Overlap <= brief || last.IsZero() || last.After(now.Add(ahead)) || !now.Before(last.Add(wholeEvery))
}

// oldest is the earliest that the service can be asked for.
func (p *partition) oldest(now time.Time) time.Time {
	return now.Add(edge - p.retention()).Truncate(time.Second)
}

// probe asks for a minute from from on, at most to target.
func (p *partition) probe(ctx context.Context, from, target time.Time) error {
	_, err := p.reader.Probe(ctx, extract.Window{From: from, To: earlier(from.Add(time.Minute), target)})
	return err
}

// hard says that the service has the span, and cannot give it as it was asked for.
func hard(err error) bool { return is[*extract.Narrow](err) || is[*extract.ResetWindow](err) }

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// subscribe sees to it that the service collects for this partition at all.
func (p *partition) subscribe(ctx context.Context) error {
	if p.feed.Subscribe == nil || p.subscribed {
		return nil
	}
	attempted, none, err := p.reader.Subscribe(ctx, p.position.SubscribedAt, p.lost)
	off, tried := &p.position.Off, !attempted.Equal(p.position.SubscribedAt)
	if tried && none {
		if off.From.IsZero() {
			off.From = p.unseen(p.retention())
		}
		off.To = time.Time{}
	}
	// There is one: by this start, or by one before whose answer was lost.
	started := err == nil && !off.From.IsZero() && off.To.IsZero()
	if started {
		off.To = p.now().Truncate(time.Second).Add(time.Second) // it may have been off for less
		first := p.position.ReadAt.IsZero()
		if first { // of the time before its first subscription the service has collected nothing
			off.From = off.To.Add(-p.retention())
		}
		if p.archive != nil {
			p.position.Gaps = joined(append(slices.Clip(p.position.Gaps), *off))
		}
		if first {
			*off = checkpoint.Span{}
		}
		p.log.Info("subscription started")
	}
	if tried || started {
		p.position.SubscribedAt = attempted
		position := p.position
		if err := p.commit(ctx, &checkpoint.Commit{Position: &position}); err != nil {
			return err
		}
	}
	if err == nil {
		p.subscribed, p.lost = true, false
	}
	return err
}

// tellOff tells what was not collected while there was no subscription. What is lost is known once the round has read
// something: told before that, it would be told with each start, and a little more each time.
func (p *partition) tellOff(ctx context.Context, started time.Time) error {
	off := p.position.Off
	if off.To.IsZero() || !p.position.ReadAt.Equal(started) {
		return nil
	}
	if err := p.gap(ctx, off.From, off.To, gapSubscription); err != nil {
		return err
	}
	p.position.Off = checkpoint.Span{}
	position := p.position
	return p.commit(ctx, &checkpoint.Commit{Position: &position})
}

// interval is how long from one round to the next.
func (p *partition) interval() time.Duration {
	if p.feed.Interval > 0 {
		return p.feed.Interval
	}
	return p.engine.Poll
}

// pause is how long the partition rests after a round.
func (p *partition) pause(err error) time.Duration {
	now := p.engine.Now()
	if err == nil {
		if until := p.gateUntil(); !until.IsZero() {
			return max(until.Sub(now), time.Second)
		}
		return p.untilTurn(now)
	}
	if wait, ok := errors.AsType[*extract.SubscribeWait](err); ok {
		return max(time.Until(wait.Until), time.Second) // by the reader's clock
	}
	// A failed round has had its retries; a shorter rest than usual makes up for
	// a long interval without pressing an ailing service.
	return min(p.interval(), time.Minute)
}

// untilTurn is how long until the partition's place in the interval, over which the polls of
// all partitions are spread; at least half an interval.
func (p *partition) untilTurn(now time.Time) time.Duration {
	interval := p.interval()
	if interval <= 0 || len(p.engine.partitions) == 0 {
		return interval
	}
	place := interval * time.Duration(p.place) / time.Duration(len(p.engine.partitions))
	wait := interval - (now.Sub(p.engine.started)-place+interval)%interval // a whole one where its turn is now
	if wait < interval/2 {
		wait += interval / 2
	}
	return wait
}

// describe is an error in a person's words, for where its feed is named.
func (p *partition) describe(err error) string {
	return ofFeed.ReplaceAllString(p.engine.Explain(err), "")
}
