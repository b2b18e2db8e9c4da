package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/extract"
	"github.com/secure60/s60-m365-connector/engine/load"
	"github.com/secure60/s60-m365-connector/engine/transform"
)

const (
	// linger is how long a batch waits for more events before it is delivered
	// as it is.
	linger = 500 * time.Millisecond
	// grace is how long a batch in hand may take to be delivered and committed
	// after the connector was told to stop.
	grace = 6 * time.Second
	// alsoKeys is how many keys a batch may hold that stand for no event of it.
	// A week of records that were all delivered before has no events, and would
	// gather keys without end.
	alsoKeys = 16 << 10
)

// pipeline takes one window from its records to its commits. The goroutines of
// the reader fill the batch in hand; one goroutine delivers full ones in turn,
// so that commits keep their order.
//
// It is the [extract.Sink] of the window.
type pipeline struct {
	p      *partition
	how    pass
	ctx    context.Context // ends when the pipeline failed, too
	cancel context.CancelCauseFunc
	ready  chan *batch
	opened chan struct{} // a batch began
	done   chan struct{} // the delivering goroutine has returned

	filling    sync.Mutex // held while a full batch waits to be taken: others wait for room
	filled     *batch     // the batch in hand; nil: none yet
	delivering bool       // the delivering goroutine runs: most windows of many tenants have nothing for it

	mu       sync.Mutex
	entry    checkpoint.Entry
	lateness Lateness
	live     bool // the round before was a moment ago, so that what is new now was not there then

	pages occurrences // of keyless records, over the pages of the window, which come one after the other
}

func newPipeline(ctx context.Context, p *partition, w extract.Window, how pass) *pipeline {
	pl := &pipeline{
		p: p, how: how, ready: make(chan *batch), opened: make(chan struct{}, 1), done: make(chan struct{}),
		live:  !p.position.ReadAt.IsZero() && p.engine.Now().Sub(p.position.ReadAt) < 2*p.engine.Poll+time.Minute,
		entry: checkpoint.Entry{Feed: p.feed.Name, Partition: p.account, From: w.From, To: w.To},
	}
	pl.ctx, pl.cancel = context.WithCancelCause(ctx)
	return pl
}

// Known implements [extract.Sink].
func (pl *pipeline) Known(key string) (bool, error) {
	_, known, err := pl.p.engine.Store.Seen(pl.p.itemKey(key))
	known = known && !pl.how.refetch
	pl.count(func(c *checkpoint.Counts) {
		c.Items++
		if known {
			c.ItemsDuplicate++
		}
	})
	return known, err
}

// Skipped implements [extract.Sink].
func (pl *pipeline) Skipped(key, reason string) {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	if key != "" {
		pl.entry.ItemsSkipped++
	}
	if pl.entry.Reasons == nil {
		pl.entry.Reasons = map[string]int64{}
	}
	pl.entry.Reasons[reason]++
	pl.p.log.Warn("skipped for good", "item", key, "reason", reason)
}

// Open implements [extract.Sink].
func (pl *pipeline) Open(key string) extract.Source {
	s := &source{pl: pl, item: key, mapper: pl.p.mappers.Get().(*transform.Mapper)}
	if key == "" {
		s.keyless.base = &pl.pages
	}
	s.keyless.scope = key
	return s
}

func (pl *pipeline) count(change func(*checkpoint.Counts)) {
	pl.p.moved.Add(1)
	pl.mu.Lock()
	defer pl.mu.Unlock()
	change(&pl.entry.Counts)
}

// source maps the records of one page or item into the batch in hand.
type source struct {
	pl      *pipeline
	item    string
	mapper  *transform.Mapper
	keyless occurrences
	event   []byte
}

// Record implements [extract.Source].
func (s *source) Record(ctx context.Context, raw []byte) error {
	pl := s.pl
	key := pl.p.recordKey(raw, &s.keyless)
	if !pl.p.flight.claim(key) {
		pl.count(func(c *checkpoint.Counts) { c.Fetched++; c.Duplicate++ })
		return nil
	}
	expires, seen, err := pl.p.engine.Store.Seen(key)
	seen = seen && !pl.how.resend
	if err != nil || seen {
		pl.p.flight.release(key)
		if err != nil {
			return err
		}
		return pl.again(ctx, key, expires)
	}
	event, failed := s.mapper.Append(s.event[:0], raw)
	s.event = event
	for _, f := range failed {
		pl.p.failedField(f)
	}
	if at, ok := s.time(); ok {
		late := pl.p.engine.Now().Sub(at)
		pl.mu.Lock()
		pl.lateness.add(late)
		pl.mu.Unlock()
	}
	if err := pl.add(ctx, key, event); err != nil {
		pl.p.flight.release(key)
		return err
	}
	return nil
}

// time is the time of the record just mapped, for its lateness. A backlog tells
// nothing of that.
func (s *source) time() (time.Time, bool) {
	if !s.pl.live {
		return time.Time{}, false
	}
	return s.mapper.Time()
}

// again counts a record that was delivered before. One that comes back late
// in the life of its key is remembered anew: the service may repeat it once more.
func (pl *pipeline) again(ctx context.Context, key checkpoint.Key, expires time.Time) error {
	pl.count(func(c *checkpoint.Counts) { c.Fetched++; c.Duplicate++ })
	if expires.Before(pl.p.engine.Now().Add(pl.p.retention() / 2)) {
		return pl.also(ctx, key)
	}
	return nil
}

// also adds a key to what is committed with the batch in hand, and hands over a
// batch that holds enough of them, with or without events.
func (pl *pipeline) also(ctx context.Context, key checkpoint.Key) error {
	pl.filling.Lock()
	defer pl.filling.Unlock()
	if err := pl.failure(ctx); err != nil {
		return err
	}
	b := pl.inHand()
	b.also = append(b.also, key)
	if len(b.also) >= alsoKeys {
		pl.hand(ctx)
	}
	return nil
}

// inHand is the batch in hand, of which one begins if need be. The caller holds the lock.
func (pl *pipeline) inHand() *batch {
	if pl.filled == nil {
		pl.filled = batches.Get().(*batch)
	}
	return pl.filled
}

// begin sees to it that the delivering goroutine runs. The caller holds the lock.
func (pl *pipeline) begin() {
	if !pl.delivering {
		pl.delivering = true
		go pl.deliverAll()
	}
}

// putDown ends what was done with a batch.
func (pl *pipeline) putDown(b *batch) {
	pl.p.flight.release(b.keys...)
	if len(b.ends) > 0 {
		pl.p.work.end()
	}
	b.reset()
	batches.Put(b)
}

// End implements [extract.Source]. All records of an item are in the batch in
// hand or in earlier ones, so its key may be committed with this one.
func (s *source) End() error {
	pl := s.pl
	pl.p.mappers.Put(s.mapper)
	s.keyless.settle()
	if s.item == "" {
		return nil
	}
	pl.count(func(c *checkpoint.Counts) { c.ItemsFetched++ })
	return pl.also(pl.ctx, pl.p.itemKey(s.item))
}

// add puts an event into the batch in hand, and hands a full batch over. The
// lock is held meanwhile: whoever else has an event must wait for room anyhow,
// and batches stay in order.
func (pl *pipeline) add(ctx context.Context, key checkpoint.Key, event []byte) error {
	pl.filling.Lock()
	defer pl.filling.Unlock()
	if err := pl.failure(ctx); err != nil {
		return err
	}
	b := pl.inHand()
	if len(b.ends) == 0 {
		// No wait: the page or item that the event comes from is in hand.
		if err := pl.p.work.begin(ctx); err != nil {
			return err
		}
		b.opened = time.Now()
		pl.begin()
		select {
		case pl.opened <- struct{}{}:
		default:
		}
	}
	b.room(len(event), pl.p.engine.Destination.BatchBytes())
	b.arena = append(b.arena, event...)
	b.ends = append(b.ends, len(b.arena))
	b.keys = append(b.keys, key)
	pl.count(func(c *checkpoint.Counts) { c.Fetched++ })
	d := pl.p.engine.Destination
	if len(b.ends) < d.BatchEvents() && len(b.arena) < d.BatchBytes() {
		return nil
	}
	pl.hand(ctx)
	return nil
}

// hand gives the batch in hand to the delivering goroutine, when it is this
// pipeline's turn. When the pipeline ends first, the batch stays in hand and is
// released as a whole; so it is when others need the worker, see [Workers]. The caller holds the lock.
func (pl *pipeline) hand(ctx context.Context) {
	pl.begin()
	sending := pl.p.engine.sending
	select {
	case sending <- struct{}{}:
	case <-pl.p.work.givesUp():
		pl.cancel(errGaveUp)
		return
	case <-pl.ctx.Done():
		return
	case <-ctx.Done():
		return
	}
	select {
	case pl.ready <- pl.filled:
		pl.filled = nil
	case <-pl.ctx.Done():
		<-sending
	case <-ctx.Done():
		<-sending
	}
}

func (pl *pipeline) failure(ctx context.Context) error {
	if err := context.Cause(pl.ctx); err != nil {
		return err
	}
	return ctx.Err()
}

// deliverAll delivers batches until ready is closed or one fails.
func (pl *pipeline) deliverAll() {
	defer close(pl.done)
	late := time.NewTimer(linger)
	defer late.Stop()
	for {
		var b *batch
		select {
		case full, ok := <-pl.ready:
			if !ok {
				return
			}
			b = full
		case <-pl.opened:
			late.Reset(linger)
		case now := <-late.C:
			var again bool
			if b, again = pl.lingering(now); again {
				late.Reset(linger)
			}
		}
		if b != nil && !pl.deliver(b) {
			return
		}
	}
}

// lingering takes the batch in hand, if it has waited long enough and it is this pipeline's
// turn. again says to look again later.
func (pl *pipeline) lingering(now time.Time) (b *batch, again bool) {
	// A lock that is taken belongs to somebody who is about to hand over.
	if !pl.filling.TryLock() {
		return nil, true
	}
	defer pl.filling.Unlock()
	b = pl.filled
	if b == nil || len(b.ends) == 0 {
		return nil, false
	}
	if now.Sub(b.opened) < linger || !pl.turn() {
		return nil, true
	}
	pl.filled = nil
	return b, false
}

// turn reports whether it is this pipeline's turn to deliver, and takes it.
func (pl *pipeline) turn() bool {
	select {
	case pl.p.engine.sending <- struct{}{}:
		return true
	default:
		return false
	}
}

// deliver brings one batch to the destination and commits it. It reports
// whether the pipeline may go on. The turn was taken for it, and is given back.
//
// One batch at a time of all partitions is between its first request and its commit. It keeps
// what a kill repeats to one batch, and costs little: the requests of the batch
// use all the connections there are. A batch is handed over in its turn, so that a
// partition holds one that is being filled and none that waits.
func (pl *pipeline) deliver(b *batch) bool {
	defer func() {
		<-pl.p.engine.sending
		pl.putDown(b)
	}()
	if err := pl.deliverBatch(b); err != nil {
		pl.cancel(err)
		return false
	}
	return true
}

func (pl *pipeline) deliverBatch(b *batch) error {
	// When the connector is told to stop, the batch in hand gets a moment: what
	// is accepted and not committed would be sent again.
	ctx, cancel := context.WithCancel(context.WithoutCancel(pl.ctx))
	defer cancel()
	defer context.AfterFunc(pl.ctx, func() {
		time.AfterFunc(grace, cancel)
	})()
	p := pl.p
	events := b.events()
	sent := load.Batch{Events: events, IDs: b.keys, Key: p.key}
	if pl.how.resend {
		sent.IDs = nil // a destination that knows the events would leave them out
	}
	refused, err := p.engine.Destination.Deliver(ctx, sent)
	if err != nil {
		return fmt.Errorf("deliver to %s: %w", p.engine.Destination.Name(), err)
	}
	delivered, kept := int64(len(events)-len(refused)), int64(len(refused))
	keys := append(b.keys, b.also...)
	var unkept error
	if len(refused) > 0 {
		if err := p.engine.DeadLetters.AppendAll(p.feed.Name, events, refused); err != nil {
			unkept = fmt.Errorf("the destination refused %d events, and they cannot be set aside: %w", len(refused), err)
			// What was accepted is remembered all the same; the rest is read again.
			keys, kept = b.accepted(refused), 0
		} else {
			// The reason stays with the event: a destination may quote the event in it.
			p.log.Error("the destination refused events for good; they are kept as dead letters, with the reason",
				"events", len(refused), "status", refused[0].Status)
		}
	}
	p.moved.Add(1)
	pl.mu.Lock()
	pl.entry.Delivered += delivered
	pl.entry.DeadLettered += kept
	entry := pl.snapshot()
	pl.mu.Unlock()
	p.position.Forwarded += delivered
	position := p.position
	err = p.commit(&checkpoint.Commit{
		Position: &position, Entry: entry, Expires: p.expires(),
		Keys: keys,
	})
	if err != nil {
		return errors.Join(unkept, err)
	}
	p.observe(func(s *FeedStatus) {
		s.Forwarded = position.Forwarded
		s.DeadLettered += kept
		s.Window = *entry
	})
	p.show(events, refused)
	return unkept
}

func (p *partition) show(events [][]byte, refused []load.Refused) {
	if p.engine.OnEvent == nil {
		return
	}
	out := make(map[int]bool, len(refused))
	for _, r := range refused {
		out[r.Index] = true
	}
	for i, event := range events {
		if !out[i] {
			p.engine.OnEvent(p.feed.Name, event)
		}
	}
}

// snapshot copies the ledger entry. The caller holds the lock. Where a listing
// holds the records themselves, what was listed was fetched with it.
func (pl *pipeline) snapshot() *checkpoint.Entry {
	entry := pl.entry
	entry.Listed = entry.Fetched
	entry.Reasons = maps.Clone(entry.Reasons)
	return &entry
}

// finish delivers what is left and, when the window was read to its end,
// moves the cursor. readErr is how the read ended.
func (pl *pipeline) finish(readErr error, started time.Time) error {
	p := pl.p
	pl.filling.Lock()
	if pl.filled != nil && len(pl.filled.ends) > 0 {
		pl.hand(pl.ctx)
	}
	left, delivering := pl.filled, pl.delivering
	pl.filling.Unlock()
	if delivering {
		close(pl.ready)
		<-pl.done
	}
	var also []checkpoint.Key
	// Behind a batch that was not delivered stand items whose records are in it.
	if left != nil && len(left.ends) == 0 && context.Cause(pl.ctx) == nil {
		also = append(also, left.also...)
	}
	if left != nil {
		pl.putDown(left)
	}
	if cause := context.Cause(pl.ctx); cause != nil && !errors.Is(readErr, cause) {
		// What stopped the pipeline explains what the reader met.
		readErr = cause
	}
	pl.cancel(context.Canceled)

	entry := pl.snapshot()
	commit := checkpoint.Commit{Keys: also, Expires: p.expires(), Entry: entry}
	if readErr == nil {
		entry.Complete = true
		switch {
		case pl.how.keepCursor:
		case p.feed.Window == nil:
			p.position.Cursor, p.position.ReadAt = started, started
		default:
			if entry.To.After(p.position.Cursor) {
				p.position.Cursor = entry.To
			}
			p.position.ReadAt = started
		}
		if items, records := entry.Difference(); items != 0 || records != 0 {
			p.log.Error("the ledger does not add up: please report this",
				"from", entry.From, "to", entry.To, "items", items, "records", records)
			p.observe(func(s *FeedStatus) { s.Difference += abs(items) + abs(records) })
		}
	}
	if readErr == nil || entry.Fetched > 0 || entry.Items > 0 {
		position := p.position
		commit.Position = &position
		if err := p.commit(&commit); err != nil {
			return errors.Join(readErr, err)
		}
	}
	p.observe(func(s *FeedStatus) {
		s.Cursor = p.position.Cursor
		s.Total.Add(&entry.Counts)
		s.Lateness.merge(&pl.lateness)
		s.Window = checkpoint.Entry{}
	})
	return readErr
}

func abs(n int64) int64 { return max(n, -n) }
