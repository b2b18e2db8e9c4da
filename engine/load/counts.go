package load

import (
	"sync"
	"sync/atomic"
)

// counts are what a destination counts of itself. Of the last hundred events it remembers what became of them: a
// destination that refuses most does not look well because it answers.
type counts struct {
	inFlight, requests, retries, events, refusals atomic.Int64

	mu      sync.Mutex
	refused [100]bool
	next, n int
}

// settle counts n events that were accepted, or refused.
func (c *counts) settle(n int, refused bool) {
	if refused {
		c.refusals.Add(int64(n))
	} else {
		c.events.Add(int64(n))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for range min(n, len(c.refused)) {
		c.refused[c.next] = refused
		c.next = (c.next + 1) % len(c.refused)
		c.n = min(c.n+1, len(c.refused))
	}
}

// state is how the destination does. Of fewer than ten events no share is told.
func (c *counts) state(b *breaker) State {
	s := b.state()
	s.InFlight, s.Requests, s.Retries = int(c.inFlight.Load()), c.requests.Load(), c.retries.Load()
	s.Events, s.Refused = c.events.Load(), c.refusals.Load()
	c.mu.Lock()
	defer c.mu.Unlock()
	refused := 0
	for _, r := range c.refused[:c.n] {
		if r {
			refused++
		}
	}
	if s.OK && c.n >= 10 && 2*refused > c.n {
		s.OK, s.LastError = false, "it refused more than half of the last events"
		s.Advice = "The refused events are kept as dead letters, each with the reason: correct what it says, then replay them"
	}
	return s
}
