package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/extract"
)

// An item that the service says is gone is given up after as many rounds as the feed says,
// restarts between them or not.
func TestGone(t *testing.T) {
	feed := feedOf("f")
	feed.Expand = &definition.Expand{Gone: 3}
	r := newRig(t, feed)
	var fetched int
	r.service.read = func(ctx context.Context, _ extract.Window, sink extract.Sink) error {
		if known, err := sink.Known("x", time.Time{}); err != nil || known {
			return err
		}
		fetched++
		over, err := sink.Gone("x", "HTTP 404")
		if err != nil {
			return err
		}
		if !over {
			return &extract.Incomplete{Items: 1, Err: errors.New("gone")}
		}
		sink.Skipped("x", "HTTP 404")
		return nil
	}
	for round := 1; round <= 4; round++ {
		err := r.window(t.Context(), span(), time.Now(), pass{})
		if over := err == nil; over != (round >= 3) {
			t.Errorf("round %d ended with %v", round, err)
		}
	}
	if s := r.status; fetched != 3 || s.Total.ItemsSkipped != 1 || s.Difference != 0 {
		t.Errorf("it was fetched %d times; %+v, off by %d", fetched, s.Total, s.Difference)
	}
	if err := r.window(t.Context(), span(), time.Now(), pass{refetch: true, keepCursor: true}); err != nil || fetched != 4 {
		t.Errorf("a second look: %v, fetched %d times", err, fetched)
	}
}

// An item that was fetched young is fetched once more when it is older.
func TestSettle(t *testing.T) {
	feed := feedOf("f")
	feed.Expand = &definition.Expand{Settle: 10 * time.Minute}
	r := newRig(t, feed)
	now := time.Now()
	r.engine.Now = func() time.Time { return now }
	made := now.Add(-time.Minute)
	records := []string{"a"}
	var fetched int
	r.service.read = func(ctx context.Context, _ extract.Window, sink extract.Sink) error {
		known, err := sink.Known("x", made)
		if err != nil || known {
			return err
		}
		fetched++
		s := sink.Open("x", made)
		for _, id := range records {
			if err := s.Record(ctx, []byte(`{"id":"`+id+`"}`)); err != nil {
				return err
			}
		}
		return s.End()
	}
	for _, c := range []struct {
		after   time.Duration
		fetched int
	}{{0, 1}, {time.Minute, 1}, {10 * time.Minute, 2}, {20 * time.Minute, 2}} {
		now = made.Add(time.Minute + c.after)
		if c.after > 0 {
			records = []string{"a", "late"}
		}
		if err := r.window(t.Context(), span(), now, pass{}); err != nil || fetched != c.fetched {
			t.Errorf("after %v: %v, fetched %d times", c.after, err, fetched)
		}
	}
	if got := strings.Join(r.taker.ids(), " "); got != "a late" || r.status.Difference != 0 {
		t.Errorf("delivered were %s; the ledger is off by %d", got, r.status.Difference)
	}
}

// A delta query goes on from its link, and begins anew where the link has expired: what is
// as it was is not sent again, and what is not there any more is told as removed, once.
func TestDelta(t *testing.T) {
	feed := feedOf("f")
	feed.Window, feed.Paging = nil, definition.Paging{Style: definition.PagingOData, Delta: true}
	r := newRig(t, feed)
	r.loaded = true
	var asked []string
	for _, c := range []struct {
		link  string // that the service does not know any more
		rows  []string
		gives string
		want  string
		asked string
	}{
		{rows: []string{`{"id":"a","n":1}`, `{"id":"b","n":1}`}, gives: "1", want: "a b", asked: ""},
		{rows: []string{`{"id":"a","n":2}`}, gives: "2", want: "a", asked: "1"},
		{rows: []string{`{"id":"a","n":1}`}, gives: "3", want: "a", asked: "2"},
		{rows: []string{`{"id":"b","@removed":{"reason":"deleted"}}`}, gives: "4", want: "b", asked: "3"},
		{link: "4", rows: []string{`{"n":1,"id":"a"}`, `{"id":"c"}`}, gives: "5", want: "c", asked: "4 "},
		{link: "5", rows: []string{`{"n":1,"id":"a"}`}, gives: "6", want: "c", asked: "5 "}, // c was removed meanwhile
		{link: "6", rows: []string{`{"n":1,"id":"a"}`}, gives: "7", want: "", asked: "6 "},
		{link: "7", rows: nil, gives: "8", want: "", asked: "7 "}, // a query that lists what changes from now on
		{rows: []string{`{"id":"c"}`}, gives: "9", want: "c", asked: "8"},
	} {
		asked = nil
		r.service.read = func(ctx context.Context, w extract.Window, sink extract.Sink) error {
			asked = append(asked, w.Delta)
			if c.link != "" && w.Delta == c.link {
				return &extract.ResetWindow{Err: errors.New("410")}
			}
			sink.Delta(c.gives)
			return list(ctx, sink, c.rows...)
		}
		r.taker.got = nil
		if err := r.catchUp(t.Context()); err != nil {
			t.Fatal(err)
		}
		got := r.taker.ids()
		slices.Sort(got)
		if got := strings.Join(got, " "); got != c.want || strings.Join(asked, " ") != c.asked {
			t.Errorf("asked from %q and delivered %q, want %q and %q", asked, got, c.asked, c.want)
		}
		if kept, _, err := r.store.Position("f", ""); err != nil || kept.Link != c.gives {
			t.Errorf("remembered is %q, %v", kept.Link, err)
		}
	}
}

// A job that was started is gone on with after a restart, for the window that it was started for, and
// forgotten once that is read, or the job has failed.
func TestJob(t *testing.T) {
	r := newRig(t, feedOf("f"))
	begin := time.Now().UTC().Truncate(time.Second).Add(-90 * time.Minute)
	killed := errors.New("killed")
	started := 0
	r.service.read = func(ctx context.Context, w extract.Window, sink extract.Sink) error {
		if w.Job == "" {
			started++
			if err := sink.Job("7"); err != nil {
				return err
			}
			return killed
		}
		return page(ctx, sink, "a"+w.From.String())
	}
	r.position.Start, r.position.Cursor, r.loaded = begin, begin, true
	if err := r.catchUp(t.Context()); !errors.Is(err, killed) {
		t.Fatal(err)
	}
	kept, _, err := r.store.Position("f", "")
	if err != nil || kept.Job != "7" || !kept.JobFor.From.Equal(begin) || kept.JobAt.IsZero() {
		t.Fatalf("remembered is %+v, %v", kept, err)
	}
	r.loaded = false // as after a restart
	if err := r.catchUp(t.Context()); !errors.Is(err, killed) {
		t.Fatal(err)
	}
	w := r.service.windows[1]
	if w.Job != "7" || !w.From.Equal(kept.JobFor.From) || !w.To.Equal(kept.JobFor.To) || len(r.taker.ids()) != 1 {
		t.Errorf("it went on with %+v; delivered were %v", w, r.taker.ids())
	}
	if kept, _, _ := r.store.Position("f", ""); !kept.Cursor.Equal(w.To) || kept.Job != "7" || started != 2 {
		t.Errorf("then: %+v, %d jobs", kept, started)
	}
	r.service.read = func(_ context.Context, w extract.Window, _ extract.Sink) error {
		return &extract.JobFailed{ID: w.Job, Err: errors.New("failed")}
	}
	if err := r.catchUp(t.Context()); err == nil {
		t.Error("a job that failed is no error")
	}
	if kept, _, _ := r.store.Position("f", ""); kept.Job != "" {
		t.Errorf("a job that failed is remembered: %+v", kept)
	}
}

// TestLatency counts from when the service listed an item; a backlog does not count.
func TestLatency(t *testing.T) {
	feed := feedOf("f")
	feed.Expand = &definition.Expand{}
	r := newRig(t, feed)
	now := time.Now()
	r.engine.Now = func() time.Time { return now }
	n := 0
	r.service.read = func(ctx context.Context, _ extract.Window, sink extract.Sink) error {
		n++
		item := fmt.Sprint("item", n)
		if _, err := sink.Known(item, now.Add(-50*time.Second)); err != nil {
			return err
		}
		s := sink.Open(item, now.Add(-50*time.Second))
		if err := s.Record(ctx, fmt.Appendf(nil, `{"id":"%d"}`, n)); err != nil {
			return err
		}
		return s.End()
	}
	for round, want := range []int64{0, 1, 2} {
		if err := r.window(t.Context(), span(), now, pass{}); err != nil {
			t.Fatal(err)
		}
		d := r.status.Latency
		if d.Count() != want || want > 0 && (d.Quantile(0.5) != time.Minute || d.Sum != 50*float64(want)) {
			t.Errorf("after round %d: %+v, median at most %s", round+1, d, d.Quantile(0.5))
		}
	}
}
