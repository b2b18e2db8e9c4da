package fleet

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/secure60/s60-m365-connector/engine/extract"
)

// This file remembers, in memory only, what happened lately to each feed: what was asked, what failed and,
// with SHOW_EVENTS, what was delivered.

// How much is remembered of a feed; of a tenant of many a quarter of it.
const (
	recentAsked    = 20
	recentFailures = 8
	recentEvents   = 8
	aQuarter       = 4
	// largestShown is the size of the largest event that is remembered.
	largestShown = 16 << 10
	// mostShown is the size of the events that all tenants of many remember together.
	mostShown = 32 << 20
)

// Recent is what happened lately. Its zero value is ready for use, by several goroutines.
type Recent struct {
	together *atomic.Int64 // bytes of the events of all tenants; nil: there is one

	mu    sync.Mutex
	feeds map[string]*recentFeed
}

type recentFeed struct {
	asked    ring[extract.Asked]
	failures ring[Failure]
	events   ring[Delivered]
}

// Failure is a round that failed; with others in which the same was said.
type Failure struct {
	Partition   string
	First, Last time.Time
	Times       int
	Text        string
}

// Delivered is an event as the destination accepted it.
type Delivered struct {
	At    time.Time
	Event []byte
}

// ring holds the last things that were put into it.
type ring[T any] struct {
	list []T
	next int // the oldest, once it is full
}

// place is where the next element goes: over the oldest, once there are so many.
func (r *ring[T]) place(most int) *T {
	if len(r.list) < most {
		r.list = append(r.list, *new(T))
		return &r.list[len(r.list)-1]
	}
	at := &r.list[r.next]
	r.next = (r.next + 1) % most
	return at
}

// newest are the things, the last one first.
func (r *ring[T]) newest() []T {
	list := append(slices.Clone(r.list[r.next:]), r.list[:r.next]...)
	slices.Reverse(list)
	return list
}

// with works on what is remembered of a feed.
func (r *Recent) with(feed string, work func(*recentFeed)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	of := r.feeds[feed]
	if of == nil {
		if r.feeds == nil {
			r.feeds = map[string]*recentFeed{}
		}
		of = &recentFeed{}
		r.feeds[feed] = of
	}
	work(of)
}

func (r *Recent) most(n int) int {
	if r.together != nil {
		return max(n/aQuarter, 1)
	}
	return n
}

// SawAsked remembers an attempt at a request.
func (r *Recent) SawAsked(a extract.Asked) {
	r.with(a.Feed, func(f *recentFeed) { *f.asked.place(r.most(recentAsked)) = a })
}

// SawFailure remembers a round that failed.
func (r *Recent) SawFailure(feed, partition string, at time.Time, text string) {
	r.with(feed, func(f *recentFeed) {
		for i := range f.failures.list {
			if again := &f.failures.list[i]; again.Partition == partition && again.Text == text {
				again.Last, again.Times = at, again.Times+1
				return
			}
		}
		*f.failures.place(r.most(recentFailures)) = Failure{partition, at, at, 1, text}
	})
}

// SawEvent remembers a delivered event, if it is not large and those of other tenants leave room for it.
func (r *Recent) SawEvent(feed string, at time.Time, event []byte) {
	if len(event) > largestShown {
		return
	}
	r.with(feed, func(f *recentFeed) {
		to := f.events.place(r.most(recentEvents))
		r.room(-len(to.Event))
		if *to = (Delivered{At: at}); r.room(len(event)) {
			to.Event = slices.Clone(event)
		}
	})
}

// room takes bytes for an event, or gives them back.
func (r *Recent) room(bytes int) bool {
	if r.together == nil || r.together.Add(int64(bytes)) <= mostShown || bytes <= 0 {
		return true
	}
	r.together.Add(-int64(bytes))
	return false
}

func (r *Recent) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.feeds {
		for _, e := range f.events.list {
			r.room(-len(e.Event))
		}
	}
	r.feeds = nil
}

// Of is what is remembered of a feed, the newest first.
func (r *Recent) Of(feed string) (asked []extract.Asked, failures []Failure, events []Delivered) {
	r.with(feed, func(f *recentFeed) {
		asked, failures, events = f.asked.newest(), f.failures.newest(), f.events.newest()
	})
	events = slices.DeleteFunc(events, func(d Delivered) bool { return d.Event == nil }) // there was no room
	slices.SortStableFunc(failures, func(a, b Failure) int { return cmp.Compare(b.Last.UnixNano(), a.Last.UnixNano()) })
	return asked, failures, events
}
