package engine

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/extract"
	"github.com/secure60/s60-m365-connector/engine/transform"
)

const (
	// edge is kept between the oldest request and the service's own limit,
	// which a slow request or a clock a little off would cross.
	edge = 5 * time.Minute
	// ahead is how far in the future a cursor may lie before it is taken for
	// damage: clocks of hosts differ a little.
	ahead = 2 * time.Minute
	// narrowest is the smallest span a window is cut to.
	narrowest = time.Second
	// resets is how often one window may begin anew before it is halved.
	resets = 3
	// unbounded is the retention of a feed that names none.
	unbounded = 30 * 24 * time.Hour
)

// partition is one feed, or one value of its for_each: what has a cursor.
type partition struct {
	engine  *Engine
	feed    *definition.Feed
	value   string // of the for_each, "" without
	account string // under which the state keeps it: its value, but for a backfill beside those who collect
	key     string // of its events, for their order: feed and value
	reader  reader
	mappers sync.Pool // of *transform.Mapper
	claims  *claims   // of records, shared by the partitions of the feed
	log     *slog.Logger
	hold    hold // what is in hand of it

	// Of the goroutine of the round.
	position   checkpoint.Position // during a window its courier has one that is newer
	loaded     bool                // position was read from the store
	subscribed bool                // the subscription was seen to be active
	span       time.Duration       // of a window: the feed's, or less after one that could not finish

	held bool // run by this process; guarded by Engine.holding, see Engine.share

	mu     sync.Mutex
	status FeedStatus
}

// reader is what a partition needs of an [extract.Reader].
type reader interface {
	Read(ctx context.Context, w extract.Window, sink extract.Sink) error
	Subscribe(ctx context.Context, last time.Time) (attempted time.Time, err error)
	Stats() extract.Stats
}

func newPartition(e *Engine, feed *definition.Feed, value string, mapping *transform.Mapping, shared *claims) (*partition, error) {
	reader, err := extract.NewReader(e.Client, feed, value, e.Settings)
	if err != nil {
		return nil, err
	}
	p := &partition{
		engine: e, feed: feed, value: value, account: value, key: feed.Name, reader: reader, claims: shared,
		hold:   hold{workers: e.Workers, tenant: e.Tenant},
		log:    e.Log.With("feed", feed.Name),
		status: FeedStatus{Feed: feed.Name, Partition: value, State: Starting, Since: e.Now()},
	}
	if value != "" {
		p.key += "/" + value
		p.log = p.log.With(feed.ForEach.Variable, value)
	}
	// A mapping may be shared with engines that have other constants.
	own := append(slices.Clip(e.Constants), transform.Constant{Name: "source_name", Value: feed.Name})
	p.hold.waits = p.waits
	reader.Pace(p.hold.begin, p.hold.end)
	p.mappers.New = func() any { return mapping.NewMapper(own...) }
	if feed.Window != nil {
		p.span = feed.Window.Max
	}
	return p, nil
}

func (p *partition) String() string {
	if p.value == "" {
		return "feed " + p.feed.Name
	}
	return "feed " + p.feed.Name + " " + p.value
}

func (p *partition) retention() time.Duration {
	if p.feed.Window == nil || p.feed.Window.Retention == 0 {
		return unbounded
	}
	return p.feed.Window.Retention
}

// rounds polls until ctx ends, or this process no longer holds the partition; any
// error is one that no retry can mend.
func (p *partition) rounds(ctx context.Context) error {
	for {
		err := p.round(ctx)
		if fatal := fatalError(err); fatal != nil {
			return fatal
		}
		if errors.Is(err, checkpoint.ErrFenced) || !Sleep(ctx, p.pause(err)) {
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
	if ctx.Err() != nil {
		return nil
	}
	if errors.Is(err, checkpoint.ErrFenced) {
		p.log.Warn("another process has taken over this partition; the batch in hand may be delivered twice", "error", err)
		return err
	}
	if gated, ok := errors.AsType[*extract.Gated](err); ok {
		p.close(gated)
		return nil
	}
	p.settle(err)
	return err
}

// catchUp plans the windows from where the partition stands to now, and reads
// them in turn. All start from one reading of the clock, so that the round
// ends even where records arrive faster than they are read.
func (p *partition) catchUp(ctx context.Context) error {
	started := p.engine.Now().UTC()
	if err := p.load(ctx, started); err != nil {
		return err
	}
	if err := p.subscribe(ctx); err != nil {
		return err
	}
	if p.feed.Window == nil {
		return p.window(ctx, extract.Window{}, started, pass{})
	}
	from, target, lost := p.plan(started)
	if lost > 0 {
		if err := p.gap(ctx, from.Add(-lost), from, gapRetention); err != nil {
			return err
		}
		p.position.Cursor = from
	}
	return p.walk(ctx, from, target, started, pass{}, nil)
}

// walk reads [from, target) window by window. A window that cannot finish is
// halved; one that must begin anew does, a few times; one of which a few items
// failed is left for the next round. after is called behind each window, with
// where it ended.
func (p *partition) walk(ctx context.Context, from, target, started time.Time, how pass, after func(at time.Time)) error {
	var incomplete error
	begun, renewed := 0, false
	for from.Before(target) {
		to := from.Add(p.span)
		if widest := from.Add(how.most); how.most > 0 && to.After(widest) {
			to = widest
		}
		if to.After(target) {
			to = target
		}
		err := p.window(ctx, extract.Window{From: from, To: to}, started, how)
		narrow, reset, lost := is[*extract.Narrow](err), is[*extract.ResetWindow](err), is[*extract.Subscribe](err)
		if reset {
			if begun++; begun <= resets {
				p.log.Info("window starts again", "from", from, "to", to, "cause", err)
				continue
			}
			narrow = true
		}
		if lost && !renewed {
			p.subscribed, renewed = false, true
			if err := p.subscribe(ctx); err != nil {
				return err
			}
			continue
		}
		if narrow && p.halve(to.Sub(from)) {
			p.log.Warn("window could not finish and is halved", "from", from, "to", to, "cause", err)
			begun = 0
			continue
		}
		if is[*extract.Incomplete](err) {
			// A few items fail, perhaps for days. The cursor stays before them, so
			// that they are tried again; what comes after them is read all the same.
			incomplete, err, how.keepCursor = errors.Join(incomplete, err), nil, true
		}
		if err != nil {
			return errors.Join(incomplete, err)
		}
		from, begun = to, 0
		p.span = min(2*p.span, p.feed.Window.Max)
		if after != nil {
			after(to)
		}
	}
	return incomplete
}

func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// halve reports whether a window of this width can be cut further.
func (p *partition) halve(width time.Duration) bool {
	half := (width / 2).Truncate(time.Second)
	if half < narrowest {
		return false
	}
	p.span = half
	return true
}

// load reads the position of a partition, or sets the first one. The first is
// committed at once: a connector that fails for an hour must still begin where
// it first began.
func (p *partition) load(ctx context.Context, now time.Time) error {
	if p.loaded {
		return nil
	}
	position, ok, err := p.engine.Store.Position(p.feed.Name, p.account)
	if err != nil {
		return err
	}
	if !ok {
		lookback := min(p.engine.Lookback, p.retention()-edge)
		position.Start = now.Add(-lookback).Truncate(time.Second)
		position.Cursor = position.Start
		if err := p.commit(ctx, &checkpoint.Commit{Position: &position}); err != nil {
			return err
		}
	}
	p.position, p.loaded = position, true
	p.observe(func(s *FeedStatus) {
		s.Cursor, s.Forwarded = position.Cursor, position.Forwarded
	})
	return nil
}

// plan says what a round reads: from the cursor, or as far before it as
// records may have appeared since it was set; to now, less the delay, in whole
// seconds. lost is how much before from the service no longer keeps, of what
// was never read.
func (p *partition) plan(now time.Time) (from, target time.Time, lost time.Duration) {
	w := p.feed.Window
	target = now.Add(-w.Delay).Truncate(time.Second)
	oldest := now.Add(edge - p.retention()).Truncate(time.Second)
	cursor := p.position.Cursor
	if cursor.After(now.Add(ahead)) {
		p.log.Error("the cursor lies in the future: the clock of this host was or is wrong; reading again all that the service keeps, what was delivered is not sent again",
			"cursor", cursor, "now", now, "from", oldest)
		p.position.Cursor, p.position.ReadAt, p.position.Start = oldest, time.Time{}, oldest
		return oldest, target, 0
	}
	if cursor.Before(oldest) {
		return oldest, target, oldest.Sub(cursor)
	}
	from = cursor
	if read := p.position.ReadAt; !read.IsZero() {
		if late := read.Add(-w.Delay - w.Overlap).Truncate(time.Second); late.Before(from) {
			from = late
		}
	}
	for _, bound := range []time.Time{p.position.Start, oldest} {
		if from.Before(bound) {
			from = bound
		}
	}
	return from, target, 0
}

// subscribe sees to it that the service collects for this partition at all.
func (p *partition) subscribe(ctx context.Context) error {
	if p.feed.Subscribe == nil || p.subscribed {
		return nil
	}
	attempted, err := p.reader.Subscribe(ctx, p.position.SubscribedAt)
	if !attempted.IsZero() && !attempted.Equal(p.position.SubscribedAt) {
		p.position.SubscribedAt = attempted
		position := p.position
		if err := p.commit(ctx, &checkpoint.Commit{Position: &position}); err != nil {
			return err
		}
		if err == nil {
			p.log.Info("subscription started")
			if !p.position.ReadAt.IsZero() { // somebody had stopped it
				err = p.gap(ctx, p.position.Cursor, p.engine.Now().UTC().Truncate(time.Second), gapSubscription)
			}
		}
	}
	p.subscribed = err == nil
	return err
}

// commit writes c for this partition, and tries until the connector stops: a
// full disk must not make it forget, and hence repeat, what it delivered.
func (p *partition) commit(ctx context.Context, c *checkpoint.Commit) error {
	c.Feed, c.Partition = p.feed.Name, p.account
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 30*time.Second) {
		err := p.engine.Store.Commit(c)
		if err == nil || fatalError(err) != nil || errors.Is(err, checkpoint.ErrFenced) {
			return err
		}
		p.log.Error("state could not be written, trying again", "error", err, "wait", wait)
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait):
		}
	}
}

// pause is how long the partition rests after a round.
func (p *partition) pause(err error) time.Duration {
	if err == nil {
		if until := p.gate(); !until.IsZero() {
			return max(until.Sub(p.engine.Now()), time.Second)
		}
		return p.engine.Poll
	}
	if wait, ok := errors.AsType[*extract.SubscribeWait](err); ok {
		return max(wait.Until.Sub(p.engine.Now()), time.Second)
	}
	// A failed round has had its retries; a shorter rest than usual makes up for
	// a long interval without pressing an ailing service.
	return min(p.engine.Poll, time.Minute)
}

func (p *partition) gate() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.status.State != Gated {
		return time.Time{}
	}
	return p.status.GateUntil
}

func (p *partition) describe(err error) string {
	return p.engine.Explain(err)
}
