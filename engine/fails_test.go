package engine

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secure60/s60-m365-connector/engine/extract"
)

// An item that fails for as long as the service keeps it, in what is new or in what appeared late, is told once it is
// gone, as one gap that has hardly more in it: all that lies beside it was delivered. The next rounds are well.
func TestFailsForGood(t *testing.T) {
	for name, late := range map[string]time.Duration{"what is new": 0, "what appeared a little late": 8 * time.Minute, "what appeared late": 45 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				feed := feedOf("f")
				feed.Window.Max, feed.Window.Overlap, feed.Window.Retention = 2*time.Hour, time.Hour, 6*time.Hour
				r := newRig(t, feed, func(c *Config) { c.Lookback = 5 * time.Hour })
				item := time.Now().UTC().Truncate(time.Second).Add(-2*time.Hour + 37*time.Minute)
				if late > 0 {
					item = item.Add(4 * time.Hour)
				}
				lastFailed := time.Time{}
				r.service.read = func(ctx context.Context, w extract.Window, sink extract.Sink) error {
					if item.Before(w.From) || !item.Before(w.To) || time.Now().Before(item.Add(late)) {
						return nil
					}
					lastFailed = time.Now()
					return &extract.Incomplete{Items: 1, At: item, Err: errors.New("a blob answers 500")}
				}
				ctx, stop := context.WithTimeout(t.Context(), 10*time.Hour)
				defer stop()
				if err := r.engine.Run(ctx); err != nil {
					t.Fatal(err)
				}
				if gap := r.status.LastGap; r.status.Gaps != 1 || item.Before(gap.From) || !item.Before(gap.To) || gap.To.Sub(gap.From) > 10*time.Minute {
					t.Errorf("%d gaps, the last %+v; the item is of %v", r.status.Gaps, gap, item)
				}
				if held := lastFailed.Sub(item); held < 5*time.Hour+45*time.Minute || r.status.State != OK || time.Since(r.position.Cursor) > time.Hour {
					t.Errorf("it was tried for %v; then the feed is %s, and its cursor at %v", held, r.status.State, r.position.Cursor)
				}
				r.store.Close()
			})
		})
	}
}

// A service that keeps less than the feed says, after an outage that was longer than either: one gap for the whole of it,
// which the state remembers, so that the account of the day tells it and an archive can fill it.
func TestKeepsLessAfterAnOutage(t *testing.T) {
	for name, keeps := range map[string]time.Duration{"as long as the feed says": 24 * time.Hour, "less": 6 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				feed := feedOf("f")
				feed.Window.Retention = 24 * time.Hour
				r := newRig(t, feed, func(c *Config) { c.Lookback = time.Hour })
				begun := time.Now().UTC()
				down := begun.Add(3 * time.Hour)
				again := down.Add(30 * time.Hour)
				refuses := func(w extract.Window) error {
					switch now := time.Now(); {
					case now.After(down) && now.Before(again):
						return errors.New("503")
					case w.From.Before(now.Add(-keeps)):
						return &extract.TooEarly{Err: errors.New("minimum allowed time")}
					}
					return nil
				}
				r.service.probe = refuses
				r.service.read = func(_ context.Context, w extract.Window, _ extract.Sink) error { return refuses(w) }
				ctx, stop := context.WithDeadline(t.Context(), again.Add(2*time.Hour))
				defer stop()
				if err := r.engine.Run(ctx); err != nil {
					t.Fatal(err)
				}
				gap := r.status.LastGap
				if r.status.Gaps != 1 || gap.From.After(down) || gap.From.Before(down.Add(-20*time.Minute)) || gap.To.Sub(again.Add(-keeps)).Abs() > 20*time.Minute {
					t.Errorf("%d gaps, the last %+v; it was down from %v to %v", r.status.Gaps, gap, down, again)
				}
				if g := r.position.Gaps; len(g) != 1 || !g[0].From.Equal(gap.From) || !g[0].To.Equal(gap.To) || !r.position.Start.Before(begun) {
					t.Errorf("remembered are %v, it began at %v", g, r.position.Start)
				}
				r.store.Close()
			})
		})
	}
}
