package engine

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
)

// bodies are the limits of a destination.
type bodies struct{ events, bytes int }

func (b bodies) BatchEvents() int { return b.events }
func (b bodies) BatchBytes() int  { return b.bytes }

// packing is a packer with what it sent.
type packing struct {
	*packer
	out *outgoing
	ctx context.Context
	end context.CancelCauseFunc

	mu   sync.Mutex // a timer sends, too
	log  [][2]int   // events and keys without an event, of each batch
	size []int
}

func newPacking(t *testing.T, l limits, batches int) *packing {
	p := &packing{out: &outgoing{outbox: newOutbox(nil, wants(batches), false)}}
	p.ctx, p.end = context.WithCancelCause(t.Context())
	h := &inWork{waits: func(bool) {}}
	p.packer = newPacker(p.ctx, p.end, l, p.out, h, func(b *batch) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.log, p.size = append(p.log, [2]int{len(b.events), len(b.also)}), append(p.size, b.size())
	})
	return p
}

// sent are the batches so far.
func (p *packing) sent() [][2]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.log)
}

func (p *packing) event(t *testing.T, size int) {
	t.Helper()
	if err := p.add(p.ctx, checkpoint.Key{}, make([]byte, size), time.Time{}, nil); err != nil {
		t.Fatal(err)
	}
}

func TestPackerClosesBatches(t *testing.T) {
	for _, c := range []struct {
		name   string
		limits bodies
		events []int // their sizes
		want   []int // events of the batches
	}{
		{"by their number", bodies{3, 1000}, []int{1, 1, 1, 1, 1, 1, 1}, []int{3, 3, 1}},
		{"before the bytes are too many, each event with its separator", bodies{100, 100}, []int{49, 49, 49, 50, 1}, []int{2, 1, 2}},
		{"as soon as they are full", bodies{100, 100}, []int{49, 49}, []int{2}},
		{"an event that is larger travels alone", bodies{100, 100}, []int{10, 500, 10}, []int{1, 1, 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPacking(t, c.limits, 100)
			for _, size := range c.events {
				p.event(t, size)
			}
			if rest, all := p.finish(); !all || rest != nil && len(rest.events) > 0 {
				t.Errorf("the end: %+v, all sent %v", rest, all)
			}
			if len(p.sent()) != len(c.want) {
				t.Fatalf("batches of %v events, want %v", p.sent(), c.want)
			}
			for i := range c.want {
				if p.sent()[i][0] != c.want[i] || p.size[i] > c.limits.bytes && c.want[i] > 1 {
					t.Errorf("batch %d has %d events, %d bytes; want %d", i, p.sent()[i][0], p.size[i], c.want[i])
				}
			}
		})
	}
}

func TestPackerLingers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPacking(t, bodies{100, 1000}, 1)
		p.event(t, 1)
		time.Sleep(linger - 1)
		p.event(t, 1)
		if len(p.sent()) != 0 {
			t.Error("a batch was sent at once")
		}
		time.Sleep(2 * time.Nanosecond)
		synctest.Wait()
		if len(p.sent()) != 1 || p.sent()[0] != [2]int{2, 0} {
			t.Fatalf("after the time to linger: %v", p.sent())
		}
		// The next waits until that one has arrived, and grows meanwhile.
		p.event(t, 1)
		time.Sleep(10 * linger)
		p.event(t, 1)
		if len(p.sent()) != 1 {
			t.Errorf("a batch overtook the one in flight: %v", p.sent())
		}
		p.out.arrived(4)
		time.Sleep(2 * linger)
		synctest.Wait()
		if len(p.sent()) != 2 || p.sent()[1] != [2]int{2, 0} {
			t.Errorf("once there was room: %v", p.sent())
		}
		// Keys alone do not make a batch linger: they wait for the window's end.
		if err := p.also(p.ctx, nil, checkpoint.Key{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * linger)
		if rest, all := p.finish(); len(p.sent()) != 2 || !all || rest == nil || len(rest.also) != 1 {
			t.Errorf("keys without events: sent %v, left %+v", p.sent(), rest)
		}
	})
}

func TestPackerBoundsKeys(t *testing.T) {
	p := newPacking(t, bodies{100, 1000}, 100)
	for range 2*alsoKeys + 1 {
		if err := p.also(p.ctx, nil, checkpoint.Key{}); err != nil {
			t.Fatal(err)
		}
	}
	if len(p.sent()) != 2 || p.sent()[0] != [2]int{0, alsoKeys} {
		t.Errorf("sent %v", p.sent())
	}
}

// While a full batch waits, others wait with it; when the window ends, all of them learn why.
func TestPackerEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPacking(t, bodies{1, 1000}, 1)
		p.event(t, 1) // in flight
		errs := make(chan error, 3)
		for range cap(errs) {
			go func() { errs <- p.add(p.ctx, checkpoint.Key{}, []byte("x"), time.Time{}, nil) }()
		}
		synctest.Wait()
		if len(errs) != 0 || len(p.sent()) != 1 {
			t.Fatalf("%d events were taken, %v sent", len(errs), p.sent())
		}
		why := errors.New("a batch failed")
		p.end(why)
		synctest.Wait()
		failed := 0
		for range cap(errs) {
			if err := <-errs; errors.Is(err, why) {
				failed++
			}
		}
		if failed != cap(errs)-1 { // the first was taken in hand
			t.Errorf("%d of %d events told why", failed, cap(errs))
		}
		if rest, all := p.finish(); all || rest == nil || len(rest.events) != 1 {
			t.Errorf("the batch in hand: %+v, all sent %v", rest, all)
		}
		if err := p.also(t.Context(), nil, checkpoint.Key{}); !errors.Is(err, why) {
			t.Errorf("a key after the end: %v", err)
		}
	})
}
