package engine

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
)

func never() int64 { return 0 }

// TestWorkers plays who asks for a slot and who gives one back, in order, and
// says who holds one then. A window is named by its tenant and a number: a1. Two slots.
func TestWorkers(t *testing.T) {
	for _, c := range []struct{ name, play, want string }{
		{"there is room", "+a1 +b1", "a1 b1"},
		{"a full house", "+a1 +a2 +a3 +b1", "a1 a2"},
		{"the tenant with the fewest comes first", "+a1 +a2 +a3 +a4 +b1 -a1", "a2 b1"},
		{"and again", "+a1 +a2 +a3 +b1 +b2 -a1 -a2", "a3 b1"},
		{"among equals who asked first", "+a1 +b1 +c1 +d1 -b1", "a1 c1"},
		{"one that has none before one that asked earlier", "+a1 +b1 +a2 +c1 -b1", "a1 c1"},
		{"within a tenant who asked first", "+a1 +a2 +a3 +a4 -a2 -a1", "a3 a4"},
		{"one tenant alone takes all", "+a1 +a2 +a3 -a1", "a2 a3"},
		{"who gave up gets none", "+a1 +a2 +b1 +c1 -b1 -a1", "a2 c1"},
		{"nobody waits", "+a1 +a2 -a1 -a2", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := NewWorkers(2)
			slots := map[string]*slot{}
			for op := range strings.FieldsSeq(c.play) {
				if name := op[1:]; op[0] == '+' {
					slots[name] = w.enter(name[:1], never)
				} else {
					w.leave(slots[name])
					delete(slots, name)
				}
			}
			var holds []string
			for _, name := range strings.Fields("a1 a2 a3 a4 b1 b2 c1 d1") {
				if s := slots[name]; s != nil {
					select {
					case <-s.ready:
						holds = append(holds, name)
					default:
					}
				}
			}
			if got := strings.Join(holds, " "); got != c.want {
				t.Errorf("%s holds the slots, want %s", got, c.want)
			}
			if s := w.Status(); s.Busy != len(holds) || s.Waiting != len(slots)-len(holds) {
				t.Errorf("status %+v of %d windows, %d with a slot", s, len(slots), len(holds))
			}
			for _, s := range slots {
				w.leave(s)
			}
			if s := w.Status(); s.Busy != 0 || s.Waiting != 0 || len(w.lanes) != 0 {
				t.Errorf("in the end %+v, %d lanes", s, len(w.lanes))
			}
		})
	}
}

// TestWorkersCatchUp: while one tenant is hours behind, with as many windows as it likes,
// another waits for one window to end at most, each time.
func TestWorkersCatchUp(t *testing.T) {
	const slots = 4
	w := NewWorkers(slots)
	var behind []*slot // in the order in which they were granted
	for range 20 {
		behind = append(behind, w.enter("behind", never))
	}
	for round := range 100 {
		polls := w.enter("polls", never)
		w.leave(behind[0]) // the window ends, and the tenant asks for its next
		behind = append(behind[1:], w.enter("behind", never))
		select {
		case <-polls.ready:
		default:
			t.Fatalf("round %d: the slot that came free went to the tenant that holds the others", round)
		}
		w.leave(polls)
	}
}

// TestWorkersStill: windows that stand still lend their slots, as many as there are slots,
// and count again once they move.
func TestWorkersStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := NewWorkers(2)
		var moves [6]atomic.Int64
		var stuck []*slot
		for i := range moves {
			stuck = append(stuck, w.enter("stuck", moves[i].Load))
		}
		check := func(when string, want WorkersStatus) {
			t.Helper()
			got := w.Status()
			got.Waited = 0
			if want.Slots = 2; got != want {
				t.Errorf("%s: %+v, want %+v", when, got, want)
			}
		}
		check("at once", WorkersStatus{Busy: 2, Waiting: 4})
		time.Sleep(stillAfter/2 + lookEvery/2) // between two looks from here on
		moves[1].Add(1)
		time.Sleep(stillAfter/2 + lookEvery)
		check("once the first stood still", WorkersStatus{Busy: 2, Still: 1, Waiting: 3})
		time.Sleep(stillAfter)
		check("once as many stand still as may", WorkersStatus{Busy: 2, Still: 2, Waiting: 2})
		time.Sleep(10 * stillAfter)
		check("and no more", WorkersStatus{Busy: 2, Still: 2, Waiting: 2})
		moves[0].Add(1)
		time.Sleep(2 * lookEvery)
		check("one moves, and another takes its place", WorkersStatus{Busy: 2, Still: 2, Waiting: 2})
		w.leave(stuck[5])
		w.leave(stuck[1])
		w.leave(stuck[4])
		for i := range moves {
			moves[i].Add(1)
		}
		time.Sleep(lookEvery)
		check("all move: more than there are slots, for a while", WorkersStatus{Busy: 3})
		late := w.enter("late", never)
		check("and nobody else until fewer do", WorkersStatus{Busy: 3, Waiting: 1})
		for _, s := range []*slot{stuck[0], stuck[2]} {
			w.leave(s)
		}
		<-late.ready
		w.leave(late)
		w.leave(stuck[3])
		time.Sleep(lookEvery)
		check("at the end", WorkersStatus{})
	})
}

// TestWorkersOfADestinationThatHangs: of its windows, those that only wait for their turn to
// deliver give up, so that another tenant gets a slot, however many there are.
func TestWorkersOfADestinationThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const slots = 2
		w := NewWorkers(slots)
		ctx, stop := context.WithCancel(t.Context())
		out := newOutbox(nil, many{}, true)
		for range crowded {
			if !(&outgoing{outbox: out}).try(1) { // batches that do not get through
				t.Fatal("a batch may not depart")
			}
			w.enter("hangs", never)
		}
		var windows sync.WaitGroup
		var gaveUp atomic.Int64
		for range 10 {
			windows.Go(func() {
				h := &inWork{workers: w, tenant: "hangs", waits: func(bool) {}}
				for ctx.Err() == nil {
					window, end := context.WithCancelCause(ctx)
					p := newPacker(window, end, many{}, &outgoing{outbox: out}, h, func(*batch) { t.Error("a batch departed") })
					err := p.add(ctx, checkpoint.Key{}, make([]byte, 1000), time.Time{}, nil) // it is full
					if _, all := p.finish(); err == nil && all {
						t.Error("a batch was sent")
					}
					if context.Cause(window) == errGaveUp {
						gaveUp.Add(1)
					}
					end(nil)
					Sleep(ctx, time.Minute)
				}
			})
		}
		time.Sleep(5 * time.Minute)
		for round := range 10 {
			other := w.enter("works", never)
			select {
			case <-other.ready:
			case <-time.After(3 * stillAfter):
				t.Fatalf("round %d: the other tenant waits for ever: %+v", round, w.Status())
			}
			w.leave(other)
			time.Sleep(time.Minute)
		}
		if gaveUp.Load() == 0 {
			t.Error("no window gave up")
		}
		stop()
		windows.Wait()
	})
}

// TestWorkersOfManyDestinationsThatHang: twice as many as there are slots, and more, do not keep another
// tenant from getting one.
func TestWorkersOfManyDestinationsThatHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const slots = 3
		w := NewWorkers(slots)
		still := func() int64 { return 0 }
		var dead []*slot
		for i := range lone * slots {
			dead = append(dead, w.enter(fmt.Sprint("dead ", i), still))
		}
		other := w.enter("other", still)
		select {
		case <-other.ready:
		case <-time.After(time.Minute + lone*slots*stillAfter):
			t.Fatalf("another tenant waits: %+v", w.Status())
		}
		for _, s := range append(dead, other) {
			w.leave(s)
		}
		if s := w.Status(); s.Busy != 0 || s.Still != 0 || s.Waiting != 0 {
			t.Errorf("left is %+v", s)
		}
	})
}

// TestWorkersStress: never more windows than slots, and whoever gives up, at whatever moment,
// leaves nothing behind.
func TestWorkersStress(t *testing.T) {
	const slots = 5
	w := NewWorkers(slots)
	var busy, most atomic.Int64
	var got [4]atomic.Int64
	var wg sync.WaitGroup
	for i := range 60 {
		tenant := i % len(got)
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), 0))
			k := inWork{workers: w, tenant: fmt.Sprint(tenant), waits: func(bool) {}}
			for range 50 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(random.IntN(2000))*time.Microsecond)
				var fetchers sync.WaitGroup
				var inHand atomic.Int64
				for range 3 { // of one window
					fetchers.Go(func() {
						if k.begin(ctx) != nil {
							return
						}
						if inHand.Add(1) == 1 {
							most.Store(max(most.Load(), busy.Add(1)))
							got[tenant].Add(1)
						}
						time.Sleep(50 * time.Microsecond)
						if inHand.Add(-1) == 0 {
							busy.Add(-1)
						}
						k.end()
					})
				}
				fetchers.Wait()
				cancel()
			}
		})
	}
	wg.Wait()
	if n := most.Load(); n > slots {
		t.Errorf("%d windows at a time, of %d slots", n, slots)
	}
	for tenant := range got {
		if got[tenant].Load() == 0 {
			t.Errorf("tenant %d got no slot", tenant)
		}
	}
	if s := w.Status(); s.Busy != 0 || s.Waiting != 0 || len(w.lanes) != 0 {
		t.Errorf("in the end %+v, %d lanes", s, len(w.lanes))
	}
}

// TestNoWorkers: without a bound nobody waits.
func TestNoWorkers(t *testing.T) {
	var w *Workers
	k := inWork{workers: w, waits: func(bool) { t.Error("it waits") }}
	for range 3 {
		if err := k.begin(t.Context()); err != nil {
			t.Error(err)
		}
	}
	k.end()
	if s := w.Status(); s != (WorkersStatus{}) {
		t.Errorf("%+v", s)
	}
}

// TestWork: a window holds one slot for all that it has in hand, and none without.
func TestHold(t *testing.T) {
	w := NewWorkers(1)
	var waits []bool
	k := inWork{workers: w, tenant: "a", waits: func(on bool) { waits = append(waits, on) }}
	hold := func(n int) {
		t.Helper()
		if got := w.Status().Busy; got != n {
			t.Errorf("it holds %d slots, want %d", got, n)
		}
	}
	for range 2 { // a request, and the batch that it fills
		if err := k.begin(t.Context()); err != nil {
			t.Fatal(err)
		}
		hold(1)
	}
	k.end()
	hold(1)
	k.end()
	hold(0)
	other := w.enter("b", never)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := k.begin(ctx); err == nil || len(waits) != 2 || !waits[0] || waits[1] {
		t.Errorf("without a free slot: %v, waits %v", err, waits)
	}
	w.leave(other)
	if err := k.begin(t.Context()); err != nil {
		t.Error(err)
	}
	k.end()
	hold(0)
}

// many is a destination that wants many small batches.
type many struct{}

func (many) Batches() int     { return 100 }
func (many) BatchEvents() int { return 1 }
func (many) BatchBytes() int  { return 1000 }
