package lease_test

import (
	"slices"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/engine/lease"
)

// weighted is the log as it is seen by who takes one partition for much heavier than the others.
type weighted struct {
	lease.Claims
	heavy string
}

func (w weighted) Weight(_, partition string) int {
	if partition == w.heavy {
		return 100
	}
	return 1
}

// idle is for how long, from now on, fewer than all partitions were worked on: at most, and in all.
func (r *replicas) idle(watch time.Duration, all int, workers ...*worker) (most, sum time.Duration) {
	const step = 10 * time.Millisecond
	for now := time.Duration(0); watch > 0; watch -= step {
		held := 0
		for _, w := range workers {
			held += w.holds()
		}
		if now += step; held == all {
			now = 0
		} else {
			sum += step
		}
		most = max(most, now)
		time.Sleep(step)
	}
	return most, sum
}

// tick is the time between two looks of a replica.
const tick = ttl / 8

// TestReplicasDiffer: one of two has a heavy partition that the other knows nothing of, so each leaves the other what only one of
// them can have. It is taken all the same, and shared as it should be once they are alike.
func TestReplicasDiffer(t *testing.T) {
	inMemory(t, func(r *replicas) {
		r.claims = func(c lease.Claims) lease.Claims { return weighted{c, "own"} }
		a := r.join("a", false)
		r.until("a holds all", ttl, func() bool { return a.holds() == parts })
		b := r.join("b", false, "own")
		const watch = 10 * time.Minute
		if idle, all := r.idle(watch, parts+1, a, b); idle > 8*tick || all > watch/20 {
			t.Errorf("something was nobody's for %v, and for %v of %v, want %v and %v at most", idle, all, watch, 8*tick, watch/20)
		}
		b.leave()
		r.until("a holds all of its own", 4*ttl, func() bool { return a.holds() == parts })
		c := r.join("c", false)
		r.until("a and c hold halves", 2*ttl, func() bool { return a.holds() == 4 && c.holds() == 3 })
	})
}

// TestOlderRelease: one that shares by another rule is given nothing, and all that it leaves is taken at once, whoever should have it by
// either rule.
func TestOlderRelease(t *testing.T) {
	inMemory(t, func(r *replicas) {
		a := r.join("a", false)
		r.until("a holds all", ttl, func() bool { return a.holds() == parts })
		r.claims = func(c lease.Claims) lease.Claims { return weighted{c, "0"} }
		r.format = 1
		b := r.join("b", false)
		if idle, _ := r.idle(10*time.Minute, parts, a, b); idle > tick {
			t.Errorf("something was nobody's for %v, want %v at most", idle, tick)
		}
		if all, _ := b.Replicas(); a.holds() != 4 || b.holds() != 3 || !slices.Equal(all, []string{"a", "b"}) {
			t.Errorf("the older one holds %d, the newer one %d, which knows of %v", a.holds(), b.holds(), all)
		}
		a.leave()
		r.until("b holds all once a has left", ttl, func() bool { return b.holds() == parts })
		c := r.join("c", false)
		r.until("b and c share by weight", 2*ttl, func() bool {
			return b.holds()+c.holds() == parts && min(b.holds(), c.holds()) == 1
		})
	})
}
