package load

import "sync"

// tally counts what became of the last hundred events, so that a destination that refuses most of
// them does not look well because it answers.
type tally struct {
	mu      sync.Mutex
	refused [100]bool
	next, n int
}

// add counts n events.
func (t *tally) add(n int, refused bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for range min(n, len(t.refused)) {
		t.refused[t.next] = refused
		t.next = (t.next + 1) % len(t.refused)
		t.n = min(t.n+1, len(t.refused))
	}
}

// over says of a destination that is well whether it is, in view of what it refuses. Of fewer than ten
// events no share is told.
func (t *tally) over(s State) State {
	t.mu.Lock()
	defer t.mu.Unlock()
	refused := 0
	for _, r := range t.refused[:t.n] {
		if r {
			refused++
		}
	}
	if s.OK && t.n >= 10 && 2*refused > t.n {
		s.OK, s.LastError = false, "it refused more than half of the last events"
		s.Advice = "The refused events are kept as dead letters, each with the reason: correct what it says, then replay them"
	}
	return s
}
