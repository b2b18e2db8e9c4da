package engine

import (
	"context"
	"time"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
)

const (
	// linger is how long a batch waits for more events before it is sent as it is.
	linger = 500 * time.Millisecond
	// alsoKeys is how many keys a batch may hold that stand for no event of it.
	// A week of records that were all delivered before has no events, and would
	// gather keys without end.
	alsoKeys = 16 << 10
	// alsoBytes is how much states of objects may take in a batch.
	alsoBytes = 1 << 20
)

// packer fills the batches of one window, one after the other, and waits until each
// may depart: when it is full, or has waited long enough for more. Its methods may be
// called from several goroutines; while a full batch waits, they wait with it.
type packer struct {
	ctx    context.Context // of the window
	end    context.CancelCauseFunc
	limits limits
	out    *outgoing
	inWork *inWork      // a batch with events is something in hand
	send   func(*batch) // takes a batch that has departed; called in order, and does not block

	turn  chan struct{} // holds a token while somebody packs, or waits with a full batch
	batch *batch        // the batch in hand; nil: none yet
	late  *time.Timer
	over  bool
}

func newPacker(ctx context.Context, end context.CancelCauseFunc, l limits, out *outgoing, k *inWork, send func(*batch)) *packer {
	p := &packer{ctx: ctx, end: end, limits: l, out: out, inWork: k, send: send, turn: make(chan struct{}, 1)}
	p.late = time.AfterFunc(time.Hour, p.lingered)
	p.late.Stop()
	return p
}

// limits are how much one batch should hold, see [load.Destination].
type limits interface {
	BatchEvents() int
	BatchBytes() int
}

// add puts an event into the batch in hand, and what is committed with it. since is when it
// could be had first; zero: that is not known, or long ago.
func (p *packer) add(ctx context.Context, key checkpoint.Key, event []byte, since time.Time, object *checkpoint.Object, with ...checkpoint.Key) error {
	if err := p.enter(ctx); err != nil {
		return err
	}
	defer p.leave()
	most := p.limits.BatchBytes()
	if b := p.batch; b != nil && len(b.events) > 0 && b.size()+len(event)+1 > most {
		p.hand(ctx)
	}
	if err := p.failure(ctx); err != nil {
		return err
	}
	b := p.inHand()
	if len(b.events) == 0 {
		// No wait: the page or item that the event comes from is in hand.
		if err := p.inWork.begin(ctx); err != nil {
			return err
		}
		b.opened = time.Now()
		p.late.Reset(linger)
	}
	b.put(key, event, since)
	b.with(object, with...)
	if len(b.events) >= p.limits.BatchEvents() || b.size() >= most || b.objectBytes >= alsoBytes {
		p.hand(ctx)
	}
	return nil
}

// also adds to what is committed with the batch in hand.
func (p *packer) also(ctx context.Context, object *checkpoint.Object, keys ...checkpoint.Key) error {
	if err := p.enter(ctx); err != nil {
		return err
	}
	defer p.leave()
	b := p.inHand()
	b.with(object, keys...)
	if len(b.also) >= alsoKeys || b.objectBytes >= alsoBytes {
		p.hand(ctx)
	}
	return nil
}

// finish sends what is in hand. It returns a batch that holds no event, for the last
// commit of the window, or nil; and whether every batch was sent.
func (p *packer) finish() (rest *batch, all bool) {
	p.turn <- struct{}{} // whoever waits with a full batch ends with the window
	defer p.leave()
	if p.batch != nil && len(p.batch.events) > 0 {
		p.hand(p.ctx)
	}
	p.over = true
	p.late.Stop()
	b := p.batch
	p.batch = nil
	if b == nil || len(b.events) == 0 {
		return b, true
	}
	p.inWork.end()
	return b, false
}

// enter waits until nobody else packs.
func (p *packer) enter(ctx context.Context) error {
	select {
	case p.turn <- struct{}{}:
		if err := p.failure(ctx); err != nil {
			p.leave()
			return err
		}
		return nil
	case <-p.ctx.Done():
	case <-ctx.Done():
	}
	return p.failure(ctx)
}

func (p *packer) leave() { <-p.turn }

func (p *packer) failure(ctx context.Context) error {
	if err := context.Cause(p.ctx); err != nil {
		return err
	}
	return ctx.Err()
}

// inHand is the batch in hand, of which one begins if need be. The caller has the turn.
func (p *packer) inHand() *batch {
	if p.batch == nil {
		p.batch = batches.Get().(*batch)
	}
	return p.batch
}

// hand sends the batch in hand, when it may depart. When the window ends first, the batch
// stays in hand; so it does when others need the slot, see [Workers]. The caller has the turn.
func (p *packer) hand(ctx context.Context) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(p.ctx, stop)()
	if err := p.out.wait(ctx, p.batch.weight(), p.inWork.givesUp()); err != nil {
		if err == errGaveUp {
			p.end(err)
		}
		return
	}
	p.depart()
}

// depart sends the batch in hand, which may depart. The caller has the turn.
func (p *packer) depart() {
	p.send(p.batch)
	p.batch = nil
}

// lingered sends the batch in hand, if it has waited long enough and may depart.
func (p *packer) lingered() {
	select {
	case p.turn <- struct{}{}:
		defer p.leave()
	default: // it belongs to somebody who is about to send
		p.late.Reset(linger)
		return
	}
	b := p.batch
	if p.over || b == nil || len(b.events) == 0 {
		return
	}
	if time.Since(b.opened) < linger || !p.out.try(b.weight()) {
		p.late.Reset(linger)
		return
	}
	p.depart()
}
