package engine

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/extract"
)

// unbounded is the retention of a feed that names none.
const unbounded = 30 * 24 * time.Hour

// partition is one feed, or one value of its for_each: what has a cursor.
type partition struct {
	engine  *Engine
	feed    *definition.Feed
	value   string           // of the for_each, "" without
	place   int              // among the partitions of the engine
	kept    string           // the feed's name in the state: its own, but for an archive
	account string           // under which the state keeps it: its value, but for a backfill beside those who collect
	archive *definition.Feed // of the feed; nil: none
	keep    time.Duration    // how long records may be offered again; 0: as long as the service keeps them
	key     string           // of its events, for their order: feed and value
	reader  reader
	mappers *sync.Pool // see [Engine.mappers]
	claims  *claims    // of records, shared by the partitions of the feed
	drift   drift
	log     *slog.Logger
	inWork  inWork       // what is in hand of it
	ahead   atomic.Int64 // how far the service's clock is ahead of this host's: a time.Duration

	// Of the goroutine of the round.
	position   checkpoint.Position // during a window its courier has one that is newer
	clocked    bool                // the service's clock is known
	loaded     bool                // position was read from the store
	subscribed bool                // the subscription was seen to be active
	lost       bool                // the service has said since that there is none
	looked     bool                // back over the whole overlap, since the start
	begins     time.Time           // what the service keeps, when it was asked last for more
	width      width               // of a window
	stuck      map[time.Time]int   // where no window is small enough: rounds in a row
	licence    licence             // what its rounds learn of it

	held bool            // run by this process; guarded by Engine.holding, see Engine.apportion
	run  context.Context // of the commits, where they outlast that of the round; see lease

	mu     sync.Mutex
	status FeedStatus
}

// reader is what a partition needs of an [extract.Reader].
type reader interface {
	Probe(ctx context.Context, w extract.Window) (records int, err error)
	Read(ctx context.Context, w extract.Window, sink extract.Sink) error
	Subscribe(ctx context.Context, last time.Time, lost bool) (attempted time.Time, started bool, err error)
	Stats() extract.Stats
	Clock(ctx context.Context) (ahead time.Duration, known bool)
	Pace(begin func(context.Context) error, end func())
	Fallback() time.Time
}

// reader is what reads one partition of a feed.
func (e *Engine) reader(feed *definition.Feed, value string) (reader, error) {
	if e.read != nil {
		return e.read(feed, value), nil
	}
	return extract.NewReader(e.Client, feed, value, e.Settings)
}

func newPartition(e *Engine, feed *definition.Feed, value string, mappers *sync.Pool, shared *claims) (*partition, error) {
	reader, err := e.reader(feed, value)
	if err != nil {
		return nil, err
	}
	p := &partition{
		engine: e, feed: feed, value: value, kept: feed.Name, account: value, key: feed.Name, reader: reader, mappers: mappers, claims: shared,
		archive: e.archived(feed),
		inWork:  inWork{workers: e.Workers, tenant: e.Tenant},
		log:     e.Log.With("feed", feed.Name),
		status:  FeedStatus{Feed: feed.Name, Partition: value, State: Starting, Since: e.Now()},
	}
	if value != "" {
		p.key += "/" + value
		p.log = p.log.With(feed.ForEach.Variable, value)
	}
	p.inWork.waits = p.waits
	reader.Pace(p.inWork.begin, p.inWork.end)
	if feed.Window != nil {
		p.width.span = feed.Window.Max
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

// load reads the position of a partition, or sets the first one. The first is
// committed at once: a connector that fails for an hour must still begin where
// it first began.
func (p *partition) load(ctx context.Context, now time.Time) error {
	if p.loaded {
		return nil
	}
	position, ok, err := p.engine.Store.Position(p.kept, p.account)
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
	p.position, p.loaded, p.stuck = position, true, nil // another process may have counted to the end
	p.observe(func(s *FeedStatus) {
		s.Cursor = position.Cursor
		s.take(&position)
	})
	return nil
}

// commit writes c for this partition, and tries until the connector stops: a
// full disk must not make it forget, and hence repeat, what it delivered. Neither must a shared
// state that has no leader for longer than a session lasts: the partition is lost then, but
// as long as nobody else has claimed it, which the state tells, what was delivered can be committed.
func (p *partition) commit(ctx context.Context, c *checkpoint.Commit) error {
	c.Feed, c.Partition = p.kept, p.account
	p.observe(func(s *FeedStatus) { s.writingSince = time.Now() })
	defer p.observe(func(s *FeedStatus) { s.writingSince = time.Time{} })
	stop, lost := ctx.Done(), (<-chan struct{})(nil)
	if p.run != nil {
		stop, lost = p.run.Done(), ctx.Done()
	}
	waits := false
	defer func() {
		if waits {
			p.engine.unwritten.ends(p.engine.Log)
		}
	}()
	for wait, most := 100*time.Millisecond, 30*time.Second; ; wait = min(2*wait, most) {
		err := p.engine.Store.Commit(c)
		if err == nil || StoreError(err) || errors.Is(err, checkpoint.ErrFenced) {
			return err
		}
		if !waits {
			if closed(stop) { // nothing waits
				return err
			}
			waits = true
			p.engine.unwritten.begins(p.engine.Log, err)
		}
		p.log.Debug("state could not be written, trying again", "error", err, "wait", wait)
		select {
		case <-stop:
			return err
		case <-lost:
			lost, wait, most = nil, 50*time.Millisecond, time.Second
		case <-time.After(wait):
		}
	}
}

// unwritten tells that the state cannot be written, in one line for all that wait for it, and
// when it can again.
type unwritten struct {
	mu      sync.Mutex
	waiting int
	since   time.Time
	text    string // why, while one waits
}

// cause is why the state cannot be written, empty while it can, or where nobody has said.
func (u *unwritten) cause() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.text
}

func (u *unwritten) begins(log *slog.Logger, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.waiting++; u.waiting == 1 {
		u.since, u.text = time.Now(), err.Error()
		if errors.Is(err, checkpoint.ErrOlderReplica) { // as in the middle of any upgrade
			log.Warn("this feed waits for a replica to be upgraded, and goes on by itself then; nothing is lost", "reason", err)
			return
		}
		log.Error("state could not be written: it is tried until it can, and delivery waits; nothing is lost", "error", err)
	}
}

func (u *unwritten) ends(log *slog.Logger) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.waiting--; u.waiting == 0 {
		u.text = ""
		log.Info("state is no longer waited for", "after", time.Since(u.since).Round(time.Millisecond).String())
	}
}
