package engine

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/extract"
	"github.com/secure60/s60-m365-connector/engine/load"
)

// Batches are with the destination side by side, and committed in the order in which they
// were filled, however they end.
func TestCommitsKeepTheirOrder(t *testing.T) {
	r := newRig(t, feedOf("f"))
	r.taker.events, r.taker.batches = 1, 3
	var mu sync.Mutex
	waiting := map[string]chan struct{}{}
	arrived := make(chan string, 3)
	r.taker.deliver = func(_ context.Context, ids []string) ([]load.Refused, error) {
		mu.Lock()
		done := make(chan struct{})
		waiting[ids[0]] = done
		mu.Unlock()
		arrived <- ids[0]
		<-done
		return nil, nil
	}
	r.service.read = func(ctx context.Context, _ extract.Window, sink extract.Sink) error {
		return page(ctx, sink, "a", "b", "c", "d")
	}
	ended := make(chan error)
	w := span()
	go func() { ended <- r.window(t.Context(), w, time.Now(), pass{}) }()
	let := func(id string) {
		mu.Lock()
		defer mu.Unlock()
		close(waiting[id])
	}
	var first []string
	for range 3 {
		first = append(first, <-arrived)
	}
	slices.Sort(first)
	if got := strings.Join(first, " "); got != "a b c" {
		t.Fatalf("in flight are %s", got)
	}
	let("c")
	let("b")
	time.Sleep(20 * time.Millisecond)
	if known := r.remembers("a", "b", "c"); len(known) != 0 {
		t.Errorf("%v are remembered before a", known)
	}
	let("a")
	<-arrived
	let("d")
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	for i, id := range []string{"a", "b", "c", "d"} {
		if c := r.store.commits[i]; len(c.Keys) != 1 || c.Keys[0] != checkpoint.KeyOf("f", "record", id) || c.Entry.Delivered != int64(i+1) || c.Position.Forwarded != int64(i+1) || c.Entry.Complete {
			t.Errorf("commit %d: %d keys, %+v, forwarded %d", i, len(c.Keys), c.Entry, c.Position.Forwarded)
		}
	}
	last := r.store.commits[4]
	if !last.Entry.Complete || !last.Position.Cursor.Equal(w.To) || last.Entry.Listed != 4 || last.Entry.Fetched != 4 {
		t.Errorf("the last commit: %+v, cursor %v", last.Entry, last.Position.Cursor)
	}
	if s := r.engine.Status().Feeds[0]; s.Total.Delivered != 4 || s.Forwarded != 4 || s.Window.Delivered != 0 || r.claims.keys == nil || len(r.claims.keys) != 0 {
		t.Errorf("in the end: %+v, %d claims", s, len(r.claims.keys))
	}
}

// Behind a batch that was not delivered nothing counts as read; what was delivered is
// remembered all the same, so that it is not sent again.
func TestABatchThatFails(t *testing.T) {
	r := newRig(t, feedOf("f"))
	r.taker.events, r.taker.batches = 1, 9
	gone := errors.New("a closed pipe")
	r.taker.deliver = func(_ context.Context, ids []string) ([]load.Refused, error) {
		if ids[0] == "b" {
			time.Sleep(10 * time.Millisecond)
			return nil, gone
		}
		return nil, nil
	}
	r.service.read = func(ctx context.Context, _ extract.Window, sink extract.Sink) error {
		if err := document(ctx, sink, "one", "a"); err != nil {
			return err
		}
		if err := document(ctx, sink, "two", "b", "c"); err != nil {
			return err
		}
		return document(ctx, sink, "three", "d", "e")
	}
	err := r.window(t.Context(), span(), time.Now(), pass{})
	if !errors.Is(err, gone) {
		t.Errorf("the window ended with %v", err)
	}
	// The item "one" was read to its end before "b" was packed; its key travels with b.
	known := strings.Join(r.remembers("a", "b", "c", "d", "one", "two", "three"), " ")
	if !strings.HasPrefix(known, "a c") || strings.Contains(known, "b") || strings.Contains(known, "two") || strings.Contains(known, "three") {
		t.Errorf("remembered are %s", known)
	}
	if !r.position.Cursor.IsZero() {
		t.Errorf("the cursor moved to %v", r.position.Cursor)
	}
	// The next round delivers the rest, once.
	r.taker.deliver = nil
	if err := r.window(t.Context(), span(), time.Now(), pass{}); err != nil {
		t.Fatal(err)
	}
	got := r.taker.ids()
	slices.Sort(got)
	if all := strings.Join(slices.Compact(slices.Clone(got)), " "); all != "a b c d e" || len(got) != 5 {
		t.Errorf("delivered were %v", got)
	}
	if known := r.remembers("one", "two", "three"); len(known) != 3 {
		t.Errorf("items read: %v", known)
	}
}

// What the destination refuses is set aside, counted and remembered; where it cannot be set
// aside, it is read again.
func TestRefusedEvents(t *testing.T) {
	r := newRig(t, feedOf("f"))
	r.taker.deliver = func(_ context.Context, ids []string) ([]load.Refused, error) {
		if i := slices.Index(ids, "b"); i >= 0 {
			return []load.Refused{{Index: i, Status: 400, Reason: "no"}}, nil
		}
		return nil, nil
	}
	r.service.read = func(ctx context.Context, _ extract.Window, sink extract.Sink) error {
		return page(ctx, sink, "a", "b", "c", "a")
	}
	seen := map[string]bool{}
	r.engine.OnEvent = func(feed string, event []byte) { seen[feed] = true }
	if err := r.window(t.Context(), span(), time.Now(), pass{}); err != nil {
		t.Fatal(err)
	}
	s := r.engine.Status()
	if c := s.Feeds[0].Total; c.Fetched != 4 || c.Delivered != 2 || c.Duplicate != 1 || c.DeadLettered != 1 || s.Feeds[0].Difference != 0 || s.DeadLetters != 1 {
		t.Errorf("counted %+v, %d dead letters", c, s.DeadLetters)
	}
	if known := r.remembers("a", "b", "c"); len(known) != 3 || !seen["f"] {
		t.Errorf("remembered are %v; shown were %v", known, seen)
	}
}

// A state that cannot be written is written once it can be: what was delivered is not sent again.
func TestACommitIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, feedOf("f"))
		full := time.Now().Add(time.Minute)
		r.store.fails = func(*checkpoint.Commit) error {
			if time.Now().Before(full) {
				return checkpoint.ErrDiskFull
			}
			return nil
		}
		r.service.read = func(ctx context.Context, _ extract.Window, sink extract.Sink) error {
			return page(ctx, sink, "a")
		}
		if err := r.window(t.Context(), span(), time.Now(), pass{}); err != nil {
			t.Fatal(err)
		}
		if ids := r.taker.ids(); len(ids) != 1 || len(r.remembers("a")) != 1 || time.Now().Before(full) {
			t.Errorf("delivered %v, remembered %v", ids, r.remembers("a"))
		}
		r.store.Close()
	})
}

// Told to stop, what is in flight gets a moment, and no more.
func TestStopWithABatchInFlight(t *testing.T) {
	for _, c := range []struct {
		name  string
		takes time.Duration
		want  int
	}{{"it arrives in time", grace / 2, 1}, {"it does not", 10 * grace, 0}} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, feedOf("f"))
				r.taker.deliver = func(ctx context.Context, _ []string) ([]load.Refused, error) {
					select {
					case <-time.After(c.takes):
						return nil, nil
					case <-ctx.Done():
						return nil, ctx.Err()
					}
				}
				ctx, stop := context.WithCancel(t.Context())
				r.service.read = func(ctx context.Context, _ extract.Window, sink extract.Sink) error {
					if err := page(ctx, sink, "a"); err != nil {
						return err
					}
					time.Sleep(2 * linger)
					stop()
					return ctx.Err()
				}
				begun := time.Now()
				if err := r.window(ctx, span(), time.Now(), pass{}); !errors.Is(err, context.Canceled) {
					t.Errorf("the window ended with %v", err)
				}
				if took := time.Since(begun); took > 2*linger+grace || len(r.remembers("a")) != c.want {
					t.Errorf("after %v are remembered %v", took, r.remembers("a"))
				}
				r.store.Close()
			})
		})
	}
}
