package engine

import (
	"context"
	"slices"
	"sync"
	"time"
)

// InFlightBytes is how many bytes of events a process has in flight, unless told otherwise.
const InFlightBytes = 16 << 20

// InFlight bounds the events that the engines of a process have in flight: handed
// to a destination and not yet committed. They are what a kill repeats.
//
// Each engine may always have one batch in flight. More it may have as long as its destination
// wants more at a time, and its bytes are no more than what is left free: so one
// engine alone takes half, and one whose destination takes nothing leaves room to the others.
// Batches of an engine depart in the order of asking.
//
// Its methods may be called from several goroutines.
type InFlight struct {
	most int64

	mu      sync.Mutex
	bytes   int64
	waiting []*departure // first come first
}

// NewInFlight bounds the events in flight to so many bytes.
func NewInFlight(bytes int64) *InFlight { return &InFlight{most: bytes} }

// outbox is what one engine has in flight.
type outbox struct {
	*InFlight
	batches func() int // how many the destination wants at a time
	windows int        // how many windows may have batches in flight at a time; 0: no bound

	// Guarded by InFlight.mu.
	n      int
	bytes  int64
	active int       // windows with batches in flight
	events int64     // that the destination had accepted when that was looked at last
	since  time.Time // neither has that changed, nor has a batch departed first or arrived
}

// standsStill is since when batches are in flight of which nothing arrives; now where none are.
func (o *outbox) standsStill(events int64, now time.Time) time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.n == 0 || events != o.events {
		o.events, o.since = events, now
	}
	return o.since
}

// crowded is how many windows of one engine may have batches in flight where engines share
// slots: a destination that takes nothing holds up no more of them.
const crowded = 2

func newOutbox(f *InFlight, d interface{ Batches() int }, shared bool) *outbox {
	if f == nil {
		f = NewInFlight(InFlightBytes)
	}
	o := &outbox{InFlight: f, batches: d.Batches}
	if shared {
		o.windows = crowded
	}
	return o
}

// outgoing is what one window has in flight.
type outgoing struct {
	*outbox
	n int // guarded by InFlight.mu
}

// departure is a batch that waits to depart.
type departure struct {
	from  *outgoing
	bytes int64
	ready chan struct{} // closed when it may depart; then it is in flight
}

// may reports whether a batch may depart now. The caller holds the lock.
func (o *outgoing) may(bytes int64) bool {
	switch {
	case o.outbox.n == 0:
		return true
	case o.n == 0 && o.windows > 0 && o.active >= o.windows:
		return false
	}
	return o.outbox.n < o.batches() && o.outbox.bytes+bytes <= o.most-o.InFlight.bytes
}

// depart counts a batch. The caller holds the lock.
func (o *outgoing) depart(bytes int64) {
	if o.n == 0 {
		o.active++
	}
	if o.outbox.n == 0 {
		o.since = time.Now()
	}
	o.n++
	o.outbox.n++
	o.outbox.bytes += bytes
	o.InFlight.bytes += bytes
}

// try lets a batch depart if that needs no wait.
func (o *outgoing) try(bytes int64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, d := range o.waiting {
		if d.from.outbox == o.outbox {
			return false
		}
	}
	if !o.may(bytes) {
		return false
	}
	o.depart(bytes)
	return true
}

// wait lets a batch depart when its turn comes. Its error is that of ctx, or errGaveUp: the
// window was asked to, and has nothing in flight that would be sent again.
func (o *outgoing) wait(ctx context.Context, bytes int64, giveUp <-chan struct{}) error {
	d := &departure{from: o, bytes: bytes, ready: make(chan struct{})}
	o.mu.Lock()
	o.waiting = append(o.waiting, d)
	o.grant()
	o.mu.Unlock()
	for {
		select {
		case <-d.ready:
			return nil
		case <-giveUp:
			if o.withdraw(d, true) {
				return errGaveUp
			}
			giveUp = nil
		case <-ctx.Done():
			if o.withdraw(d, false) {
				return ctx.Err()
			}
			return nil // it may depart after all
		}
	}
}

// withdraw ends the wait of a departure; with idle only that of a window that has
// nothing in flight. It reports false where it goes on, or is over.
func (o *outgoing) withdraw(d *departure, idle bool) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	i := slices.Index(o.waiting, d)
	if i < 0 || idle && o.n > 0 {
		return false
	}
	o.waiting = slices.Delete(o.waiting, i, i+1)
	o.grant()
	return true
}

// arrived ends a departure: its batch is committed, or given up.
func (o *outgoing) arrived(bytes int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.n--; o.n == 0 {
		o.active--
	}
	o.since = time.Now()
	o.outbox.n--
	o.outbox.bytes -= bytes
	o.InFlight.bytes -= bytes
	o.grant()
}

// grant lets depart what may. The caller holds the lock.
func (f *InFlight) grant() {
	held := map[*outbox]bool{} // whose first has to wait
	f.waiting = slices.DeleteFunc(f.waiting, func(d *departure) bool {
		if held[d.from.outbox] || !d.from.may(d.bytes) {
			held[d.from.outbox] = true
			return false
		}
		d.from.depart(d.bytes)
		close(d.ready)
		return true
	})
}
