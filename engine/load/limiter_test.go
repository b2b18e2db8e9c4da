package load

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// place is a destination in virtual time: requests are worked on side by side up to its
// capacity and wait behind that, or are refused.
type place struct {
	way      func() time.Duration // there and back
	work     time.Duration
	capacity int // 0: without bound
	refuses  int // more than so many at a time; 0: none

	mu                      sync.Mutex
	working                 chan struct{}
	busy, refusals, answers int
}

func (p *place) ask() outcome {
	way := p.way()
	time.Sleep(way / 2)
	p.mu.Lock()
	p.busy++
	over := p.refuses > 0 && p.busy > p.refuses
	if over {
		p.refusals++
	} else {
		p.answers++
	}
	p.mu.Unlock()
	if !over {
		if p.capacity > 0 {
			p.working <- struct{}{}
		}
		time.Sleep(p.work)
		if p.capacity > 0 {
			<-p.working
		}
	}
	p.mu.Lock()
	p.busy--
	p.mu.Unlock()
	time.Sleep(way / 2)
	if over {
		return overload
	}
	return answered
}

// press has so many callers send without pause for a time.
func press(t *testing.T, l *limiter, p *place, callers int, d time.Duration) {
	p.working = make(chan struct{}, p.capacity)
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for l.acquire(ctx) == nil {
				start := time.Now()
				o := p.ask()
				l.release(1800, time.Since(start), o)
				if o == overload {
					time.Sleep(500 * time.Millisecond)
				}
			}
		})
	}
	wg.Wait()
	if l.busy != 0 || len(l.waiting) != 0 {
		t.Errorf("%d places taken and %d waiting at the end", l.busy, len(l.waiting))
	}
}

func steady(d time.Duration) func() time.Duration { return func() time.Duration { return d } }

func TestLimiter(t *testing.T) {
	const ms = time.Millisecond
	tests := []struct {
		name        string
		place       *place
		callers     int
		d           time.Duration
		least, most int
	}{
		{"far away and strong", &place{way: steady(100 * ms), work: 2 * ms}, 300, 5 * time.Second, 250, 256},
		{"far, strong, for a long time", &place{way: steady(50 * ms), work: 2 * ms}, 300, 40 * time.Second, 230, 256},
		{"uneven by a third", &place{way: func() time.Duration { return 40*ms + rand.N(20*ms) }, work: 2 * ms}, 300, 20 * time.Second, 128, 256},
		{"near and strong", &place{way: steady(ms / 5), work: ms / 5}, 300, 300 * ms, 64, 256},
		{"works on 20 at a time", &place{way: steady(20 * ms), work: 40 * ms, capacity: 20}, 300, 3 * time.Minute, 16, 52},
		{"works on 20 at a time, and near", &place{way: steady(ms), work: 30 * ms, capacity: 20}, 300, 3 * time.Minute, 16, 40},
		{"works on one at a time", &place{way: steady(ms), work: 50 * ms, capacity: 1}, 300, 3 * time.Minute, 1, 6},
		{"refuses more than 20", &place{way: steady(50 * ms), work: 2 * ms, refuses: 20}, 300, 3 * time.Minute, 12, 30},
		{"little to do", &place{way: steady(50 * ms), work: 2 * ms}, 3, time.Minute, firstLimit, firstLimit},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLimiter(0)
				press(t, l, test.place, test.callers, test.d)
				if got := max(l.allowed(), l.full); got < test.least || got > test.most {
					t.Errorf("found %d good, want %d to %d", got, test.least, test.most)
				}
				// What refuses is not pressed: a few refusals a minute, however many answers.
				if p := test.place; p.refusals > 100 {
					t.Errorf("%d refusals beside %d answers", p.refusals, p.answers)
				}
			})
		})
	}
}

// TestLimiterFollows: a way that gets longer is no queue; a destination that gets weaker is given
// way to within moments.
func TestLimiterFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(0)
		press(t, l, &place{way: steady(20 * time.Millisecond)}, 300, 10*time.Second)
		press(t, l, &place{way: steady(100 * time.Millisecond)}, 300, 3*time.Minute)
		if got := max(l.allowed(), l.full); got < 200 {
			t.Errorf("%d three minutes after the way got longer", got)
		}
		press(t, l, &place{way: steady(20 * time.Millisecond), work: 80 * time.Millisecond, capacity: 8}, 300, time.Minute)
		if got := l.allowed(); got > 32 {
			t.Errorf("%d a minute after the destination became weak", got)
		}
	})
}

func TestLimiterFixed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(3)
		p := &place{way: steady(time.Millisecond), refuses: 1}
		press(t, l, p, 10, time.Second)
		if l.allowed() != 3 {
			t.Errorf("%d are allowed", l.allowed())
		}
	})
}

// TestLimiterGivesUp: who stops waiting takes no place with it.
func TestLimiterGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(1)
		for round := range 50 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			var wg sync.WaitGroup
			for range 5 {
				wg.Go(func() {
					if l.acquire(ctx) == nil {
						time.Sleep(time.Millisecond) // ends with the patience of the others
						l.release(1, time.Millisecond, untold)
					}
				})
			}
			wg.Wait()
			cancel()
			if l.busy != 0 || len(l.waiting) != 0 {
				t.Fatalf("round %d: %d places taken, %d waiting", round, l.busy, len(l.waiting))
			}
		}
	})
}
