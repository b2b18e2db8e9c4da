package engine

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/extract"
)

// listObjects plays a listing of n objects from the first on, of which every hundredth has another value in each round.
func listObjects(first, n, round int, peak *uint64) func(context.Context, extract.Window, extract.Sink) error {
	return func(ctx context.Context, _ extract.Window, sink extract.Sink) error {
		s := sink.Open("", time.Time{})
		var raw []byte
		for i := first; i < first+n; i++ {
			changed := 0
			if i%100 == 0 {
				changed = round
			}
			raw = fmt.Appendf(raw[:0], `{"id":"%08d-0000-4000-8000-000000000000","displayName":"Application %d","appId":"%08x","changed":%d,"keyCredentials":[{"keyId":"%d","endDateTime":"2027-01-01T00:00:00Z","type":"AsymmetricX509Cert","usage":"Verify"}],"tags":["a","b"]}`, i, i, i, changed, i)
			if err := s.Record(ctx, raw); err != nil {
				return err
			}
			if peak != nil && i%20_000 == 0 {
				*peak = max(*peak, heap())
			}
		}
		return s.End()
	}
}

// heap is what is reachable.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// A snapshot holds little of its objects: what it knows of them is read by key.
func TestSnapshotIsFlat(t *testing.T) {
	if testing.Short() {
		t.Skip("100,000 objects, twice")
	}
	// The objects would be 36 MB. The state's cache and memory tables, up to 44 MB, are in Go's heap where there is no cgo.
	const objects, most = 100_000, 60 << 20
	r := newRig(t, snapshotOf(definition.FirstBaseline))
	r.taker.deliver = nil
	var before, peak uint64
	before = heap()
	for round := range 2 { // the first, and one with changes
		r.service.read = listObjects(0, objects, round, &peak)
		r.taker.got = nil
		if err := r.window(t.Context(), extract.Window{}, time.Now(), pass{}); err != nil {
			t.Fatal(err)
		}
		if want := objects / 100 * round; len(r.taker.ids()) != want {
			t.Errorf("round %d told of %d changes, want %d", round, len(r.taker.ids()), want)
		}
		r.store.commits = nil // that the test notes
	}
	t.Logf("%d objects: at most %d kB beside the %d kB at rest", objects, (int64(peak)-int64(before))/1024, before/1024)
	if grown := int64(peak) - int64(before); grown > most {
		t.Errorf("it held %d MB, more than %d", grown>>20, most>>20)
	}
}

// BenchmarkSnapshot compares, object by object and key by key, a poll of a snapshot, of which nothing or one object in a hundred has
// changed, with a poll of a feed with windows that lists as many records: all of them new, or all of them known.
func BenchmarkSnapshot(b *testing.B) {
	for _, objects := range []int{1_000, 100_000} {
		for _, kind := range []struct {
			name          string
			feed          *definition.Feed
			changes, anew bool
		}{
			{"snapshot/unchanged", snapshotOf(definition.FirstBaseline), false, false},
			{"snapshot/one-in-100-changed", snapshotOf(definition.FirstBaseline), true, false},
			{"windows/known", feedOf("f"), false, false},
			{"windows/new", feedOf("f"), false, true},
		} {
			b.Run(fmt.Sprintf("%d/%s", objects, kind.name), func(b *testing.B) {
				var committed, commits int
				r := newRig(b, kind.feed)
				round := 0
				read := func() {
					first, state := 0, 0
					if kind.anew {
						first = round * objects
					}
					if kind.changes {
						state = round
					}
					r.service.read = listObjects(first, objects, state, nil)
					r.taker.got, r.store.commits = nil, nil
					window := extract.Window{}
					if kind.feed.Window != nil {
						window = span()
					}
					if err := r.window(b.Context(), window, time.Now(), pass{}); err != nil {
						b.Fatal(err)
					}
					round++
				}
				read()
				r.store.fails = func(c *checkpoint.Commit) error {
					commits++
					committed += len(c.Keys) * (len(checkpoint.Key{}) + 4) // with its expiry
					for _, o := range c.Objects {
						committed += len(o.ID) + len(o.State)
					}
					return nil
				}
				for b.Loop() {
					read()
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(objects), "ns/object")
				b.ReportMetric(float64(committed)/float64(b.N), "committed-B")
				b.ReportMetric(float64(commits)/float64(b.N), "commits")
			})
		}
	}
}
