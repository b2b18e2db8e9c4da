package engine

import (
	"context"
	"log/slog"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secure60/s60-m365-connector/engine/definition"
)

// A partition that never moved does not hide how far another is behind.
func TestLagOfAFeedWithAnEmptyCursor(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	empty := FeedStatus{Feed: "a", Partition: "x", State: Starting}
	behind := FeedStatus{Feed: "a", Partition: "y", State: OK, Cursor: now.Add(-5 * 24 * time.Hour)}
	near := FeedStatus{Feed: "a", Partition: "z", State: OK, Cursor: now.Add(-time.Minute)}
	for _, feeds := range [][]FeedStatus{{empty, behind, near}, {behind, empty, near}, {near, behind, empty}} {
		list := Status{Now: now, Feeds: feeds}.ByFeed()
		if len(list) != 1 || list[0].Lag(now) != 5*24*time.Hour {
			t.Errorf("%v: lag %s", feeds, list[0].Lag(now))
		}
	}
}

// failing leases refuse for a reason that passes.
type failing struct{ asked int }

func (l *failing) Hold(context.Context, string, string, bool) (context.Context, func(), error) {
	l.asked++
	return nil, nil, syscall.EMFILE
}
func (l *failing) Holder(string, string) string { return "" }
func (l *failing) Joined() bool                 { return true }

// What keeps a partition from being held is tried again, for as long as the program runs.
func TestHoldingIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leases := &failing{}
		e := &Engine{Config: Config{Leases: leases, Now: time.Now, Log: slog.New(slog.DiscardHandler), Tenant: "one"}}
		e.partitions = []*partition{{engine: e, feed: &definition.Feed{Name: "a"}, log: e.Log}}
		ctx, stop := context.WithTimeout(t.Context(), 95*time.Second)
		defer stop()
		began := time.Now()
		if err := e.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if lasted := time.Since(began); lasted != 95*time.Second || leases.asked != 10 {
			t.Errorf("it ran for %s and asked %d times", lasted, leases.asked)
		}
	})
}
