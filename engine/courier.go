package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/extract"
	"github.com/secure60/s60-m365-connector/engine/load"
)

// grace is how long batches in flight may take to be delivered and committed
// after the connector was told to stop.
const grace = 6 * time.Second

// courier brings the batches of one window to the destination, several at a time, and commits
// them in the order in which they were sent: an item counts as read once all batches
// with its records are committed. While the window is read, the position of the partition and
// the window's entry in the ledger are the courier's.
type courier struct {
	p     *partition
	how   pass
	round context.Context // ends when the connector is to stop
	ctx   context.Context // of the window
	end   context.CancelCauseFunc
	out   *outgoing
	tally *tally
	items *claims

	sent chan *delivery // nil: nothing was sent yet, as in most windows of many tenants
	done chan struct{}  // closed when all that was sent is committed or given up

	// Of the goroutine that commits; once it has ended, of finish.
	link     string // where a delta query goes on
	position checkpoint.Position
	entry    checkpoint.Entry // without what the tally counts
	failed   bool             // a batch was not delivered, or not committed
}

// delivery is a batch on its way.
type delivery struct {
	batch   *batch
	refused []load.Refused
	err     error
	at      time.Time     // when the destination answered
	over    chan struct{} // closed when refused and err are known
}

// mostBatches is more than a window ever has in flight.
const mostBatches = 1024

// send brings a batch to the destination. It does not block: the batch has departed, see
// [InFlight].
func (c *courier) send(b *batch) {
	if c.sent == nil {
		c.sent, c.done = make(chan *delivery, mostBatches), make(chan struct{})
		go c.commitAll()
	}
	d := &delivery{batch: b, over: make(chan struct{})}
	go func() {
		defer close(d.over)
		d.refused, d.err = c.deliver(b)
		d.at = c.p.now()
	}()
	c.sent <- d
}

// deliver returns once the destination has accepted the events, but for the refused ones.
func (c *courier) deliver(b *batch) ([]load.Refused, error) {
	if len(b.events) == 0 {
		return nil, nil
	}
	// When the connector is told to stop, what is in flight gets a moment: what
	// is accepted and not committed would be sent again.
	ctx, cancel := context.WithCancel(context.WithoutCancel(c.ctx))
	defer cancel()
	defer context.AfterFunc(c.ctx, func() {
		time.AfterFunc(grace, cancel)
	})()
	sent := load.Batch{Events: b.events, IDs: b.keys, Key: c.p.key}
	if c.how.resend {
		sent.IDs = nil // a destination that knows the events would leave them out
	}
	refused, err := c.p.engine.Destination.Deliver(ctx, sent)
	if err != nil {
		return nil, fmt.Errorf("deliver to %s: %w", c.p.engine.Destination.Name(), err)
	}
	return refused, nil
}

// commitAll commits what is delivered, in order. What is behind a batch that was not is
// remembered as far as it was delivered, so that it is not sent again.
func (c *courier) commitAll() {
	defer close(c.done)
	for d := range c.sent {
		<-d.over
		err := d.err
		if err == nil {
			err = c.commit(d)
		}
		if err != nil && !c.failed {
			c.failed = true
			c.end(err)
		}
		c.putDown(d.batch)
	}
}

// putDown ends what was done with a batch.
func (c *courier) putDown(b *batch) {
	c.p.claims.release(b.keys...)
	c.p.claims.release(b.also...)
	c.items.release(b.also...)
	c.out.arrived(b.weight())
	if len(b.events) > 0 {
		c.p.inWork.end()
	}
	b.free()
}

// commit writes what was delivered.
func (c *courier) commit(d *delivery) error {
	p, b := c.p, d.batch
	delivered, kept := int64(len(b.events)-len(d.refused)), int64(len(d.refused))
	keys := b.keys
	objects := b.objects
	var unkept error
	if len(d.refused) > 0 {
		if err := p.engine.DeadLetters.AppendAll(p.feed.Name, b.events, d.refused); err != nil {
			unkept = fmt.Errorf("the destination refused %d events, and they cannot be set aside: %w", len(d.refused), err)
			// What was accepted is remembered all the same; the rest is read again.
			keys, objects, kept = b.accepted(d.refused), nil, 0
		} else {
			// Its words stay with the event: a destination may quote that in them.
			p.log.Error("the destination refused events for good; they are kept as dead letters: mend the reason, then run replay",
				"events", len(d.refused), "reason", d.refused[0].Brief(), "in", p.engine.DeadLetters.Dir())
		}
	}
	if !c.failed && unkept == nil {
		keys = append(keys, b.also...) // all that came before them is committed
	}
	c.p.inWork.moves.Add(1)
	c.entry.Delivered += delivered
	c.entry.DeadLettered += kept
	c.position.Forwarded += delivered
	entry := c.ledger()
	position := c.counted(entry)
	err := p.commit(c.round, &checkpoint.Commit{Position: &position, Entry: entry, Keys: keys, Objects: objects, Expires: p.expires()})
	if err != nil {
		return errors.Join(unkept, err)
	}
	p.engine.weights.add(p.engine.Now(), b.events, d.refused)
	latency := b.latency(d.at, d.refused)
	p.observe(func(s *FeedStatus) {
		s.Latency.Merge(&latency)
		s.take(&position)
		s.DeadLettered += kept
		s.Window = *entry
	})
	p.show(b.events, d.refused)
	return unkept
}

// job remembers a job that was started for the window, so that a restart goes on with it. It is
// called before the first record, while nothing is sent.
func (c *courier) job(id string) error {
	c.position.Job, c.position.JobAt = id, c.p.now()
	if c.p.feed.Window != nil {
		c.position.JobFor = checkpoint.Span{From: c.entry.From, To: c.entry.To}
	}
	position := c.position
	return c.p.commit(c.round, &checkpoint.Commit{Position: &position})
}

// ledger is the window's entry in the ledger, as far as it has come.
func (c *courier) ledger() *checkpoint.Entry {
	entry := c.entry
	counted := checkpoint.Entry{}
	c.tally.into(&counted)
	counted.Counts.Add(&entry.Counts)
	entry.Counts, entry.Reasons, entry.Filters = counted.Counts, counted.Reasons, counted.Filters
	return &entry
}

// counted is the position with the window's account, as far as it has come, in its counts.
func (c *courier) counted(entry *checkpoint.Entry) checkpoint.Position {
	position, settled := c.position, entry.Settled()
	position.Counts.Add(&settled)
	position.Filters = addFilters(position.Filters, entry.Filters)
	return position
}

// finish waits until all that was sent is committed, and, when the window was read to its
// end, moves the cursor. rest is what is left to commit, or nil; all says whether
// every batch was sent; readErr is how the read ended, and started when the round began. It
// gives back the position.
func (c *courier) finish(rest *batch, all bool, readErr error, started time.Time) (checkpoint.Position, error) {
	p := c.p
	if c.sent != nil {
		close(c.sent)
		<-c.done
	}
	if cause := context.Cause(c.ctx); cause != nil && !errors.Is(readErr, cause) {
		// What stopped the window explains what the reader met.
		readErr = cause
	}
	commit := checkpoint.Commit{Expires: p.expires()}
	if rest != nil {
		if all && !c.failed && context.Cause(c.ctx) == nil {
			commit.Keys, commit.Objects = rest.also, rest.objects
		}
		p.claims.release(rest.keys...)
		p.claims.release(rest.also...)
		defer rest.free()
	}
	entry := c.ledger()
	over := is[*extract.JobFailed](readErr)
	if readErr == nil || over {
		c.position.Job, c.position.JobAt, c.position.JobFor = "", time.Time{}, checkpoint.Span{}
	}
	if readErr == nil {
		entry.Complete = true
		c.advance(entry, started)
	}
	if readErr == nil || over || entry.Fetched > 0 || entry.Items > 0 {
		position := c.counted(entry)
		commit.Position, commit.Entry = &position, entry
		if err := p.commit(c.round, &commit); err != nil {
			return c.position, errors.Join(readErr, err)
		}
		c.position = position
	}
	late := c.tally.late()
	p.observe(func(s *FeedStatus) {
		s.Cursor = c.position.Cursor
		s.take(&c.position)
		s.Total.Add(&entry.Counts)
		s.Filters = addFilters(s.Filters, entry.Filters)
		s.Lateness.Merge(&late)
		s.Window = checkpoint.Entry{}
	})
	return c.position, readErr
}

// advance moves the cursor behind a window that was read to its end, and sees whether the
// ledger adds up.
func (c *courier) advance(entry *checkpoint.Entry, started time.Time) {
	p := c.p
	if c.link != "" {
		c.position.Link = c.link
	}
	switch {
	case c.how.archive:
		p.markRead(&c.position, checkpoint.Span{From: entry.From, To: entry.To})
	case c.how.keepCursor:
	case p.feed.Window == nil:
		c.position.Cursor, c.position.ReadAt = started, started
	default:
		if entry.To.After(c.position.Cursor) {
			c.position.Cursor = entry.To
		}
		c.position.ReadAt = started
	}
	if items, records := entry.Difference(); items != 0 || records != 0 {
		p.log.Error("the ledger does not add up: please report this",
			"from", entry.From, "to", entry.To, "items", items, "records", records)
		p.observe(func(s *FeedStatus) { s.Difference += abs(items) + abs(records) })
	}
}

func abs(n int64) int64 { return max(n, -n) }

// show tells who watches of what was delivered.
func (p *partition) show(events [][]byte, refused []load.Refused) {
	if p.engine.OnEvent == nil {
		return
	}
	out := indexes(refused)
	for i, event := range events {
		if !out[i] {
			p.engine.OnEvent(p.feed.Name, event)
		}
	}
}

// window reads one window to its end and moves the cursor. started is when the
// round began: the next round looks back from there for records that appear
// late.
//
//	reader -> intake -> packer -> courier -> destination, store
//
// The intake takes records in, the packer fills batches, the courier delivers and commits them.
func (p *partition) window(round context.Context, w extract.Window, started time.Time, how pass) error {
	ctx, end := context.WithCancelCause(round)
	defer end(nil)
	counts, items, out := &tally{}, newClaims(), &outgoing{outbox: p.engine.outbox}
	courier := &courier{
		p: p, how: how, round: round, ctx: ctx, end: end, out: out, tally: counts, items: items, position: p.position,
		entry: checkpoint.Entry{Feed: p.kept, Partition: p.account, From: w.From, To: w.To},
	}
	if how.look {
		courier.entry.Looked = started
	}
	if p.feed.Window == nil { // each round has its own account
		courier.entry.From, courier.entry.To = started, started
	}
	packer := newPacker(ctx, end, p.engine.Destination, out, &p.inWork, courier.send)
	live := !p.position.ReadAt.IsZero() && p.now().Sub(p.position.ReadAt) < 2*p.engine.Poll+time.Minute
	in := &intake{p: p, how: how, live: live, tally: counts, packer: packer, items: items,
		young: newClaims(), job: courier.job, listing: p.newListing()}
	if p.feed.Paging.Delta && w.Delta == "" {
		in.anew = &listing{listed: map[checkpoint.Key]struct{}{}}
	}
	if f := p.position.JobFor; p.position.Job != "" && f.From.Equal(w.From) && f.To.Equal(w.To) {
		w.Job, w.JobAt = p.position.Job, p.position.JobAt
	}
	err := p.reader.Read(ctx, w, in)
	if err == nil {
		err = errors.Join(in.takeRemoved(ctx), in.takeUnlisted(ctx))
	}
	rest, all := packer.finish()
	courier.link = in.link
	p.position, err = courier.finish(rest, all, err, started)
	if err != nil {
		return err
	}
	return p.tellDrift(round)
}
