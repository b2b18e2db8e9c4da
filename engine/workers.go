package engine

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// stillAfter is how long a window stands still before it lends its slot.
	stillAfter = 10 * time.Second
	// lone is for how many tenants to each slot the only window may stand still and lend its slot.
	lone = 4
	// lookEvery is how often somebody looks for windows that stand still, while others wait.
	lookEvery = time.Second
)

// Workers are the slots of a process for what its tenants read. A window holds one while it has anything in hand, be it
// a request that is being answered or a batch: so they bound the memory of a process of many tenants. A window that waits
// for a budget of requests, or because the service throttles, has nothing in hand once its batch is delivered.
//
// A free slot goes to the tenant that has the fewest, and among equals to who asked first. A tenant that is hours behind
// takes what the others leave.
//
// A window that stands still, because the destination takes nothing or an answer does not come, lends its slot after a
// while, and keeps what it has in hand. As many do as there are slots, and several times as many that are their tenant's
// only one. Beyond that, windows that stand still are asked to give up: those do whose batch waits behind another one of
// the tenant, and of which no event was sent. So a tenant whose destination takes nothing keeps one slot, and not one for
// each of its feeds. A window that moves again counts again.
//
// The methods may be called from several goroutines, and of a nil *Workers, which bounds nothing.
type Workers struct {
	slots int
	now   func() time.Time

	mu      sync.Mutex
	lanes   map[string]*lane // of the tenants that hold or want a slot
	waiting []*lane          // of these, those that want one
	held    map[*slot]struct{}
	still   int // of those held, how many are lent
	tickets uint64
	waited  time.Duration
	looking *time.Timer // nil: nobody waits
}

// WorkersStatus is how the slots of a process are used.
type WorkersStatus struct {
	Slots   int           `json:"slots"`
	Busy    int           `json:"busy"`    // windows being read; may be above Slots for a moment
	Still   int           `json:"still"`   // windows that stand still with something in hand, and have lent their slot
	Waiting int           `json:"waiting"` // windows that wait for a slot; for long: too few slots
	Waited  time.Duration `json:"waited"`  // by all windows since the start, of those that wait now the wait so far left out
}

// lane is what one tenant has of the slots.
type lane struct {
	tenant  string
	used    int     // lent ones too
	waiting []*slot // first come first
}

// slot is held by one window, or wanted by one.
type slot struct {
	lane   *lane
	ticket uint64 // in the order of asking
	asked  time.Time
	ready  chan struct{} // closed when it is held

	moved func() int64 // grows as long as the window moves
	count int64        // of moved, when it was looked at last
	since time.Time    // it has not moved
	still bool         // it is lent

	giveUp chan struct{} // closed when the window is asked to give up
}

// NewWorkers makes n slots, at least one.
func NewWorkers(n int) *Workers {
	return &Workers{slots: max(n, 1), now: time.Now, lanes: map[string]*lane{}, held: map[*slot]struct{}{}}
}

// Status is a snapshot; the zero value where nothing is bounded.
func (w *Workers) Status() WorkersStatus {
	if w == nil {
		return WorkersStatus{}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	s := WorkersStatus{Slots: w.slots, Busy: len(w.held) - w.still, Still: w.still, Waited: w.waited}
	for _, l := range w.waiting {
		s.Waiting += len(l.waiting)
	}
	return s
}

// inWork is what a partition has in hand: for anything of it, it holds one slot.
type inWork struct {
	workers *Workers
	tenant  string
	waits   func(bool)   // told when it begins to wait for a slot, and when it has it
	moves   atomic.Int64 // grows as long as the partition moves

	mu   sync.Mutex // held while the first waits for a slot: the others need it, too
	n    int
	slot *slot
}

// errGaveUp is why a window ended that was asked to give up.
var errGaveUp = errors.New("the destination takes nothing, and other tenants need the worker: the window is read again later")

// givesUp is closed once the window is asked to give up. It is for those who have something in hand.
func (k *inWork) givesUp() <-chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.slot == nil {
		return nil
	}
	return k.slot.giveUp
}

// begin takes something in hand. Where it is the first, it waits for a slot until ctx ends,
// whose error it returns.
func (k *inWork) begin(ctx context.Context) error {
	k.moves.Add(1)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.n == 0 && k.workers != nil {
		s, err := k.acquire(ctx)
		if err != nil {
			return err
		}
		k.slot = s
	}
	k.n++
	return nil
}

// end puts something down. The last gives the slot back.
func (k *inWork) end() {
	k.moves.Add(1)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.n--; k.n == 0 && k.workers != nil {
		k.workers.leave(k.slot)
		k.slot = nil
	}
}

func (k *inWork) acquire(ctx context.Context) (*slot, error) {
	s := k.workers.enter(k.tenant, k.moves.Load)
	select {
	case <-s.ready:
		return s, nil
	default:
	}
	k.waits(true)
	defer k.waits(false)
	select {
	case <-s.ready:
		return s, nil
	case <-ctx.Done():
		k.workers.leave(s)
		return nil, ctx.Err()
	}
}

// enter asks for a slot, which is held once ready is closed. Whoever asked calls leave in the end.
func (w *Workers) enter(tenant string, moved func() int64) *slot {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.lanes[tenant]
	if l == nil {
		l = &lane{tenant: tenant}
		w.lanes[tenant] = l
	}
	w.tickets++
	s := &slot{lane: l, ticket: w.tickets, asked: w.now(), ready: make(chan struct{}), giveUp: make(chan struct{}), moved: moved}
	if len(l.waiting) == 0 {
		w.waiting = append(w.waiting, l)
	}
	l.waiting = append(l.waiting, s)
	if w.still > 0 {
		w.look()
	}
	w.grant()
	if len(w.waiting) > 0 && w.looking == nil {
		w.looking = time.AfterFunc(lookEvery, w.lookAgain)
	}
	return s
}

// leave gives a slot back, or ends the wait for it.
func (w *Workers) leave(s *slot) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, held := w.held[s]; held {
		delete(w.held, s)
		s.lane.used--
		if s.still {
			w.still--
		}
	} else {
		w.withdraw(s)
	}
	if s.lane.used == 0 && len(s.lane.waiting) == 0 {
		delete(w.lanes, s.lane.tenant)
	}
	w.grant()
}

// withdraw takes s out of its lane, and the lane out of those that wait with its last.
func (w *Workers) withdraw(s *slot) {
	l := s.lane
	l.waiting = slices.DeleteFunc(l.waiting, func(o *slot) bool { return o == s })
	if len(l.waiting) == 0 {
		w.waiting = slices.DeleteFunc(w.waiting, func(o *lane) bool { return o == l })
	}
	w.waited += w.now().Sub(s.asked)
}

// grant hands out what is free.
func (w *Workers) grant() {
	for len(w.held)-w.still < w.slots && len(w.waiting) > 0 {
		s := slices.MinFunc(w.waiting, func(a, b *lane) int {
			return cmp.Or(cmp.Compare(a.used, b.used), cmp.Compare(a.waiting[0].ticket, b.waiting[0].ticket))
		}).waiting[0]
		w.withdraw(s)
		s.lane.used++
		s.count, s.since = s.moved(), w.now()
		w.held[s] = struct{}{}
		close(s.ready)
	}
}

// look finds out which windows stand still, and which of those move again. Where too many do,
// it asks them to give up.
func (w *Workers) look() {
	now := w.now()
	for s := range w.held {
		count := s.moved()
		switch {
		case count != s.count:
			s.count, s.since = count, now
			if s.still {
				s.still = false
				w.still--
			}
		case !s.still && now.Sub(s.since) >= stillAfter && (w.still < w.slots || s.lane.used == 1 && w.still < lone*w.slots):
			s.still = true
			w.still++
		}
	}
	if w.still < w.slots || len(w.waiting) == 0 {
		return
	}
	for s := range w.held {
		if now.Sub(s.since) >= stillAfter && !closed(s.giveUp) {
			close(s.giveUp)
		}
	}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// lookAgain looks as long as somebody waits.
func (w *Workers) lookAgain() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.look()
	w.grant()
	if len(w.waiting) == 0 {
		w.looking = nil
		return
	}
	w.looking.Reset(lookEvery)
}
