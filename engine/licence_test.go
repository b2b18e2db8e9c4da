package engine

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/extract"
)

// A gate closes after as many rounds as the feed says, unless another feed of the same licence works
// meanwhile; it is tried again soon at first, and opens by itself.
func TestLicence(t *testing.T) {
	feed := feedOf("f")
	feed.Licence = &definition.Licence{Requires: "P1", Confirm: 3, Recheck: time.Hour}
	r := newRig(t, feed)
	now := time.Now()
	r.engine.Now = func() time.Time { now = now.Add(time.Millisecond); return now }
	missing := &extract.Gated{Requires: "P1", Reason: "no premium licence", Licence: true, Err: errors.New("403")}
	r.service.read = func(context.Context, extract.Window, extract.Sink) error { return missing }
	for range 2 {
		if err := r.round(t.Context()); !errors.Is(err, errUnconfirmed) || r.status.State != Starting {
			t.Fatalf("an answer that is not confirmed: %v, %s", err, r.status.State)
		}
	}
	r.engine.licensed.Store("P1", now) // another feed that requires it
	for range 9 {
		if err := r.round(t.Context()); !errors.Is(err, errFlapping) || r.status.State != Failing {
			t.Errorf("a service that contradicts itself: %v, %s", err, r.status.State)
		}
	}
	if err := r.round(t.Context()); err != nil { // it does so steadily: the other feed may need less
		t.Fatal(err)
	}
	var waits []time.Duration
	for range 6 {
		if r.status.State != Gated {
			t.Fatalf("the feed is %s", r.status.State)
		}
		waits = append(waits, r.pause(nil).Round(time.Minute))
		if err := r.round(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range []time.Duration{5, 10, 20, 40, 60, 60} {
		if waits[i] != want*time.Minute {
			t.Errorf("it is tried again after %v", waits)
			break
		}
	}
	r.service.read = nil
	if err := r.round(t.Context()); err != nil || r.status.State != OK || r.status.GateReason != "" {
		t.Errorf("with the licence: %v, %s, %q", err, r.status.State, r.status.GateReason)
	}
}

// A gate that was open in between, be it for another failure, is tried again as soon as the first time, and closes
// after as many rounds.
func TestLicenceAnew(t *testing.T) {
	feed := feedOf("f")
	feed.Licence = &definition.Licence{Requires: "P1", Confirm: 2, Recheck: 6 * time.Hour}
	r := newRig(t, feed)
	missing := func(context.Context, extract.Window, extract.Sink) error {
		return &extract.Gated{Requires: "P1", Licence: true, Err: errors.New("403")}
	}
	r.service.read = missing
	for range 7 {
		_ = r.round(t.Context())
	}
	if wait := r.pause(nil).Round(time.Minute); r.status.State != Gated || wait != 160*time.Minute {
		t.Fatalf("%s, tried again in %v", r.status.State, wait)
	}
	r.service.read = func(context.Context, extract.Window, extract.Sink) error { return errors.New("503") }
	if err := r.round(t.Context()); err == nil || r.status.State != Failing {
		t.Fatalf("another failure: %v, %s", err, r.status.State)
	}
	r.service.read = missing
	if err := r.round(t.Context()); !errors.Is(err, errUnconfirmed) {
		t.Errorf("the first answer since: %v", err)
	}
	if err := r.round(t.Context()); err != nil || r.pause(nil).Round(time.Minute) != recheckFirst {
		t.Errorf("closed anew: %v, tried again in %v", err, r.pause(nil))
	}
}

// A closed gate is tried before its time once another feed is served that requires the same licence; one that is closed
// for another reason, as a cloud that lacks the endpoint, is not.
func TestLicenceElsewhere(t *testing.T) {
	for licence, want := range map[bool]time.Duration{true: 15 * time.Minute, false: 20 * time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			feed := feedOf("f")
			feed.Licence = &definition.Licence{Requires: "P1", Confirm: 1, Recheck: time.Hour}
			r := newRig(t, feed, func(c *Config) { c.Poll = 3 * time.Minute })
			defer r.store.Close()
			r.service.read = func(context.Context, extract.Window, extract.Sink) error {
				return &extract.Gated{Requires: "P1", Licence: licence, Err: errors.New("403")}
			}
			for range 3 {
				if err := r.round(t.Context()); err != nil || r.status.State != Gated {
					t.Fatalf("%v, %s", err, r.status.State)
				}
			}
			begun := time.Now()
			time.AfterFunc(14*time.Minute, func() { r.engine.licensed.Store("P1", time.Now()) })
			if !r.rest(t.Context(), r.pause(nil)) || time.Since(begun) != want {
				t.Errorf("licence gate %t: tried again after %v, want %v", licence, time.Since(begun), want)
			}
			if !licence {
				return
			}
			if err := r.round(t.Context()); err != nil || r.status.State != Gated {
				t.Errorf("refused again, and served elsewhere: %v, %s", err, r.status.State)
			}
			begun = time.Now()
			if !r.rest(t.Context(), r.pause(nil)) || time.Since(begun) < 40*time.Minute {
				t.Errorf("refused, and served elsewhere no more: tried again after %v", time.Since(begun))
			}
		})
	}
}

// Once polls until the feed has caught up, asks again where a missing licence is not confirmed, and
// tells of a feed that failed; the heartbeat says how it went.
func TestOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		feed := feedOf("f")
		feed.Licence = &definition.Licence{Requires: "P1", Confirm: 2}
		var failures []string
		r := newRig(t, feed, func(c *Config) {
			c.Heartbeat = time.Hour
			c.OnFailure = func(feed, partition string, _ time.Time, text string) {
				failures = append(failures, feed+partition+": "+text)
			}
		})
		r.service.read = func(context.Context, extract.Window, extract.Sink) error {
			return &extract.Gated{Licence: true, Err: errors.New("403")}
		}
		if err := r.engine.Once(t.Context()); err != nil || r.status.State != Gated || len(r.service.windows) != 2 {
			t.Errorf("gated: %v, %s after %d reads", err, r.status.State, len(r.service.windows))
		}
		if e := r.engine.heartbeatEvent(); e["outcome"] != "success" || e["event_feeds_gated"] != 1 {
			t.Errorf("heartbeat %v", e)
		}
		r.service.read = func(context.Context, extract.Window, extract.Sink) error { return errors.New("503") }
		if err := r.engine.Once(t.Context()); err == nil || r.engine.heartbeatEvent()["outcome"] != "failure" {
			t.Errorf("failing: %v, %v", err, r.engine.heartbeatEvent()["outcome"])
		}
		r.service.read = func(ctx context.Context, _ extract.Window, sink extract.Sink) error { return page(ctx, sink, "a") }
		if err := r.engine.Once(t.Context()); err != nil || !r.engine.Status().Healthy() || r.engine.Status().Waiting() != "" {
			t.Errorf("it works: %v, %+v", err, r.engine.Status())
		}
		if len(failures) != 1 || failures[0] != "f: 503" {
			t.Errorf("the rounds that failed are %q", failures)
		}
		r.store.Close()
	})
}

// A period is read again without moving the cursor.
func TestBackfill(t *testing.T) {
	r := newRig(t, feedOf("f"))
	now := time.Now().UTC().Truncate(time.Second)
	r.service.read = func(ctx context.Context, w extract.Window, sink extract.Sink) error {
		return page(ctx, sink, w.From.String())
	}
	var done float64
	progress := func(part float64, _ int64) { done = part }
	from := now.Add(-100 * time.Hour)
	if err := r.engine.Backfill(t.Context(), "f", from, from.Add(5*time.Hour), false, progress); err != nil || done != 1 || len(r.taker.ids()) != 5 {
		t.Errorf("%v, %v done, %d events", err, done, len(r.taker.ids()))
	}
	if err := r.engine.Backfill(t.Context(), "f", from, from.Add(5*time.Hour), false, nil); err != nil || len(r.taker.ids()) != 5 {
		t.Errorf("again: %v, %d events", err, len(r.taker.ids()))
	}
	if err := r.engine.Backfill(t.Context(), "f", from, from.Add(5*time.Hour), true, nil); err != nil || len(r.taker.ids()) != 10 {
		t.Errorf("sent again: %v, %d events", err, len(r.taker.ids()))
	}
	if p, _, _ := r.store.Position("f", ""); p.Cursor.After(now.Add(-23 * time.Hour)) {
		t.Errorf("the cursor moved to %v", p.Cursor)
	}
	for _, c := range []struct {
		feed     string
		from, to time.Time
	}{{"nobody", from, now}, {"f", now.Add(time.Hour), now.Add(2 * time.Hour)}} {
		if err := r.engine.Backfill(t.Context(), c.feed, c.from, c.to, false, nil); err == nil {
			t.Errorf("%+v is no error", c)
		}
	}
}
