package engine

import (
	"context"
	"maps"
	"strconv"
	"sync"
	"time"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/extract"
	"github.com/secure60/s60-m365-connector/engine/load"
	"github.com/secure60/s60-m365-connector/engine/transform"
)

// tally is what the records of one window came to, until they are in a batch. Its
// methods may be called from several goroutines.
type tally struct {
	mu       sync.Mutex
	counts   checkpoint.Counts
	reasons  map[string]int64               // of what was skipped
	filters  map[string]checkpoint.Filtered // by the name of the rule
	lateness Delays
}

func (t *tally) count(change func(*checkpoint.Counts)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change(&t.counts)
}

// into writes what was counted into an entry of the ledger. Where a listing holds
// the records themselves, what was listed was fetched with it.
func (t *tally) into(e *checkpoint.Entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e.Counts, e.Reasons, e.Filters = t.counts, maps.Clone(t.reasons), maps.Clone(t.filters)
	e.Listed = e.Fetched
}

// skip counts why something was skipped.
func (t *tally) skip(reason string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.reasons == nil {
		t.reasons = map[string]int64{}
	}
	t.reasons[reason]++
}

// filter counts an event that a rule of the mapping kept from delivery.
func (t *tally) filter(as string, bytes int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.filters == nil {
		t.filters = map[string]checkpoint.Filtered{}
	}
	f := t.filters[as]
	f.Records, f.Bytes = f.Records+1, f.Bytes+int64(bytes)
	t.filters[as] = f
}

func (t *tally) late() Delays {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lateness
}

// intake takes the records of one window in, counts them, and makes events of those that are
// new. It is the [extract.Sink] of the window.
type intake struct {
	p      *partition
	how    pass
	live   bool // the round before was a moment ago, so that what is new now was not there then
	tally  *tally
	packer *packer

	listing *listing // of a snapshot; nil for another feed
	anew    *listing // of a delta query without a link, which lists all that is there; nil for another

	rowsMu sync.Mutex
	rows   map[checkpoint.Key]checkpoint.Key // of a delta query, by id: as they were taken in this window

	items *claims // listed in this window, and not yet committed
	young *claims // of these, those that may have been incomplete when they are fetched
	link  string  // where a delta query goes on; of the reader's goroutine
	job   func(id string) error
	pages occurrences // of records without a key, over the pages, which come one after the other
}

// Known implements [extract.Sink].
func (in *intake) Known(item string, at time.Time) (bool, error) {
	if item == "" { // it has no key: it is fetched whenever it is listed
		in.count(func(c *checkpoint.Counts) { c.Items++ })
		return false, nil
	}
	key := in.p.itemKey(item)
	_, known, err := in.p.engine.Store.Seen(key)
	young := !at.IsZero() && in.p.now().Sub(at) < in.p.feed.Expand.Settle
	if err == nil && !known && young { // fetched once, and not to be fetched again yet
		_, known, err = in.p.engine.Store.Seen(in.p.youngKey(item))
	}
	if err != nil {
		return false, err
	}
	// Also what is listed twice, and on its way.
	known = known && !in.how.refetch || !in.items.claim(key)
	if !known && young {
		in.young.claim(key)
	}
	in.count(func(c *checkpoint.Counts) {
		c.Items++
		if known {
			c.ItemsDuplicate++
		}
	})
	return known, nil
}

// Gone implements [extract.Sink]. An item is given up once as many rounds as the feed says have
// found it gone; which did is remembered in the store. A second look tries it again.
func (in *intake) Gone(item, _ string) (giveUp bool, err error) {
	key := in.p.itemKey(item)
	for n := 1; n < in.p.feed.Expand.Gone; n++ {
		found := checkpoint.KeyOf(in.p.feed.Name, "gone", item, strconv.Itoa(n))
		_, seen, err := in.p.engine.Store.Seen(found)
		if err != nil {
			return false, err
		}
		if !seen {
			in.items.release(key)
			return false, in.packer.also(in.packer.ctx, nil, found)
		}
	}
	if item == "" {
		return true, nil
	}
	return true, in.packer.also(in.packer.ctx, nil, key)
}

// Job implements [extract.Sink].
func (in *intake) Job(id string) error { return in.job(id) }

// Delta implements [extract.Sink].
func (in *intake) Delta(position string) { in.link = position }

// Skipped implements [extract.Sink].
func (in *intake) Skipped(item, reason string) {
	in.listing.gaveUp()
	in.anew.gaveUp()
	in.tally.skip(reason)
	if item != "" {
		in.count(func(c *checkpoint.Counts) { c.ItemsSkipped++ })
		in.items.release(in.p.itemKey(item))
	}
	in.p.log.Warn("skipped for good", "item", item, "reason", reason)
}

// Open implements [extract.Sink].
func (in *intake) Open(item string, at time.Time) extract.Source {
	s := &source{in: in, item: item, listed: at}
	if item == "" {
		s.keyless.base = &in.pages
	}
	s.keyless.item = item
	return s
}

// mapper is what maps the record in hand.
func (s *source) mapper() *transform.Mapper {
	if s.maps == nil {
		s.maps = s.in.p.mappers.Get().(*transform.Mapper)
	}
	return s.maps
}

// mapped lets others map. No mapper waits with a source, for the network or the destination: so there are hardly
// more than processors, and what they learn and work on stays in the processor's cache.
func (s *source) mapped() {
	if s.maps != nil {
		s.in.p.mappers.Put(s.maps)
		s.maps = nil
	}
}

func (in *intake) count(change func(*checkpoint.Counts)) {
	in.p.inWork.moves.Add(1)
	in.tally.count(change)
}

// source takes the records of one page or item in.
type source struct {
	in      *intake
	item    string
	listed  time.Time         // when the service made the item; zero for a page
	maps    *transform.Mapper // while a record is mapped
	keyless occurrences
	event   []byte
}

// Record implements [extract.Source].
func (s *source) Record(ctx context.Context, raw []byte) error {
	in := s.in
	defer s.mapped()
	switch {
	case in.listing != nil:
		return s.object(ctx, raw)
	case in.p.feed.Paging.Delta:
		return s.changed(ctx, raw)
	}
	key := in.p.recordKey(raw, &s.keyless)
	if !in.p.claims.claim(key) {
		in.count(func(c *checkpoint.Counts) { c.Fetched++; c.Duplicate++ })
		return nil
	}
	expires, seen, err := in.p.engine.Store.Seen(key)
	if err == nil && seen && !in.how.resend {
		in.p.claims.release(key)
		return in.again(ctx, key, expires)
	}
	if err == nil {
		err = s.row(ctx, key, raw)
	}
	if err != nil {
		in.p.claims.release(key)
	}
	return err
}

// row takes a record that is new. One of a row that was delivered before with another content,
// which the key's further parts tell, says so in a field of its event.
func (s *source) row(ctx context.Context, key checkpoint.Key, raw []byte) error {
	in := s.in
	row, ok := in.p.rowKey(raw)
	if !ok || in.how.resend {
		return s.take(ctx, key, raw, nil)
	}
	_, known, err := in.p.engine.Store.Seen(row)
	if err != nil {
		return err
	}
	first := in.p.claims.claim(row)
	if known || !first {
		raw = told(raw, updated, nil, nil)
	}
	err = s.take(ctx, key, raw, nil, row)
	if err != nil && first {
		in.p.claims.release(row)
	}
	return err
}

// take makes an event of a record, and hands it on with what is committed with it.
func (s *source) take(ctx context.Context, key checkpoint.Key, raw []byte, object *checkpoint.Object, with ...checkpoint.Key) error {
	in := s.in
	event, failed := s.mapper().Append(s.event[:0], raw)
	s.event = event
	for _, f := range failed {
		in.p.failedField(f)
	}
	if news := s.mapper().Unknown(); len(news) > 0 {
		in.p.drift.note(news)
	}
	rule := s.mapper().Filtered(key[:])
	at, timed := s.time()
	s.mapped()
	in.count(func(c *checkpoint.Counts) {
		c.Fetched++
		if rule != nil {
			c.Filtered++
		}
		if timed {
			in.tally.lateness.add(in.p.now().Sub(at))
		}
	})
	if rule != nil {
		in.tally.filter(rule.As, len(event))
		return in.packer.also(ctx, object, append(with, key)...)
	}
	since := at
	if in.live && !s.listed.IsZero() { // the service had it from then on, however old it was
		since = s.listed
	}
	return in.packer.add(ctx, key, event, since, object, with...)
}

// Damaged implements [extract.Source]. What was kept is remembered by its bytes: the service
// shows it again in every round.
func (s *source) Damaged(ctx context.Context, raw []byte, reason string) error {
	in := s.in
	key := in.p.itemKey("no JSON: " + string(raw))
	expires, seen, err := in.p.engine.Store.Seen(key)
	if err != nil {
		return err
	}
	if seen {
		return in.again(ctx, key, expires)
	}
	defer s.mapped()
	kept := raw
	if s.mapper().Redacts() {
		kept = []byte(transform.Digest(raw))
	}
	if err := in.p.engine.DeadLetters.Append(in.p.feed.Name, kept, load.Refused{Reason: "the record is no JSON: " + reason}); err != nil {
		return err
	}
	in.p.log.Error("a record is no JSON; it is kept as a dead letter, and the rest goes on", "reason", reason, "bytes", len(raw), "item", s.item)
	in.count(func(c *checkpoint.Counts) { c.Fetched++; c.DeadLettered++ })
	in.p.observe(func(f *FeedStatus) { f.DeadLettered++ })
	return in.packer.also(ctx, nil, key)
}

// time is the time of the record just mapped, for its lateness. A backlog tells
// nothing of that.
func (s *source) time() (time.Time, bool) {
	if !s.in.live {
		return time.Time{}, false
	}
	return s.mapper().Time()
}

// again counts a record that was delivered before. One that comes back late
// in the life of its key is remembered anew: the service may repeat it once more.
func (in *intake) again(ctx context.Context, key checkpoint.Key, expires time.Time) error {
	in.count(func(c *checkpoint.Counts) { c.Fetched++; c.Duplicate++ })
	if expires.Before(in.p.now().Add(in.p.retention() / 2)) {
		return in.packer.also(ctx, nil, key)
	}
	return nil
}

// End implements [extract.Source]. All records of an item are in the batch in
// hand or in earlier ones, so its key may be committed with this one.
func (s *source) End() error {
	in := s.in
	s.keyless.settle()
	if s.item == "" {
		return nil
	}
	in.count(func(c *checkpoint.Counts) { c.ItemsFetched++ })
	key := in.p.itemKey(s.item)
	if !in.items.holds(key) { // it has no key of its own, by which it would be known again
		return nil
	}
	if in.young.holds(key) { // it is fetched once more, when it is older
		return in.packer.also(in.packer.ctx, nil, in.p.youngKey(s.item))
	}
	return in.packer.also(in.packer.ctx, nil, key)
}
