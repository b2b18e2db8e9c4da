package engine

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
)

// wants is how many batches a destination wants at a time.
type wants int

func (w wants) Batches() int { return int(w) }

// TestInFlight plays which batches ask to depart (+) and which arrive (-), in order, and
// says which are in flight then. A batch is named by its engine, its window and a
// number (a.x1); each has 10 bytes, of 80 for all.
func TestInFlight(t *testing.T) {
	for _, c := range []struct {
		name    string
		wants   int
		windows int
		play    string
		want    string
	}{
		{"one at a time where order is kept", 1, 0, "+a.x1 +a.x2 -a.x1", "a.x2"},
		{"as many as the destination wants", 3, 0, "+a.x1 +a.x2 +a.y3 +a.x4", "a.x1 a.x2 a.y3"},
		{"half of the bytes for one engine alone", 9, 0, "+a.x1 +a.x2 +a.x3 +a.x4 +a.x5", "a.x1 a.x2 a.x3 a.x4"},
		{"and as much as is free for two", 9, 0, "+a.x1 +a.x2 +a.x3 +a.x4 +b.x1 +b.x2 +b.x3", "a.x1 a.x2 a.x3 a.x4 b.x1 b.x2"},
		{"one batch always", 9, 0, "+a.x1 +a.x2 +a.x3 +a.x4 +b.x1 +b.x2 +b.x3 +c.x1 +d.x1 +e.x1", "a.x1 a.x2 a.x3 a.x4 b.x1 b.x2 c.x1 d.x1 e.x1"},
		{"in the order of asking", 1, 0, "+a.x1 +a.y1 +a.x2 -a.x1 -a.y1", "a.x2"},
		{"engines do not wait for each other", 1, 0, "+a.x1 +a.x2 +b.x1", "a.x1 b.x1"},
		{"few windows where slots are shared", 9, 2, "+a.x1 +a.y1 +a.z1 +a.x2", "a.x1 a.y1"},
		{"until one has nothing in flight", 9, 2, "+a.x1 +a.y1 +a.z1 -a.y1 +a.x2", "a.x1 a.z1 a.x2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				all := NewInFlight(80)
				engines, windows, inFlight := map[string]*outbox{}, map[string]*outgoing{}, map[string]chan struct{}{}
				for op := range strings.FieldsSeq(c.play) {
					name := op[1:]
					engine, window := name[:1], name[:3]
					if engines[engine] == nil {
						engines[engine] = newOutbox(all, wants(c.wants), false)
						engines[engine].windows = c.windows
					}
					if windows[window] == nil {
						windows[window] = &outgoing{outbox: engines[engine]}
					}
					if op[0] == '-' {
						delete(inFlight, name)
						windows[window].arrived(10)
						continue
					}
					ready := make(chan struct{})
					inFlight[name] = ready
					go func() {
						if windows[window].wait(ctx, 10, nil) == nil {
							close(ready)
						}
					}()
					synctest.Wait()
				}
				synctest.Wait()
				var got []string
				for name := range strings.FieldsSeq(strings.NewReplacer("+", "", "-", "").Replace(c.play)) {
					if ready := inFlight[name]; ready != nil && closed(ready) && !strings.Contains(strings.Join(got, " "), name) {
						got = append(got, name)
					}
				}
				if got := strings.Join(got, " "); got != c.want {
					t.Errorf("in flight are %s, want %s", got, c.want)
				}
			})
		})
	}
}

// A batch that gives up leaves its place; one whose window has others in flight does not
// give up, as these would be sent again.
func TestInFlightGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutbox(nil, wants(1), false)
		busy, idle := &outgoing{outbox: o}, &outgoing{outbox: o}
		if !busy.try(1) || idle.try(1) {
			t.Fatal("of two batches not the first departs")
		}
		asked := make(chan struct{})
		close(asked)
		ctx, stop := context.WithCancel(t.Context())
		waits := make(chan error, 1)
		go func() { waits <- busy.wait(ctx, 1, asked) }()
		synctest.Wait()
		if err := idle.wait(t.Context(), 1, asked); err != errGaveUp {
			t.Errorf("a window that was asked to give up: %v", err)
		}
		select {
		case err := <-waits:
			t.Errorf("a window with a batch in flight gave up: %v", err)
		default:
		}
		if idle.try(1) {
			t.Error("a batch overtook one that waits")
		}
		stop()
		if err := <-waits; err != context.Canceled {
			t.Errorf("a wait that ended: %v", err)
		}
		busy.arrived(1)
		if o.n != 0 || o.bytes != 0 || o.active != 0 || o.InFlight.bytes != 0 || len(o.waiting) != 0 {
			t.Error("in the end something is left: " + fmt.Sprint(o.n, o.bytes, o.active, o.InFlight.bytes, len(o.waiting)))
		}
	})
}
