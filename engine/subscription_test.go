package engine

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/extract"
)

// A start that took effect while its answer was lost ends a time without a subscription: what was not collected is told
// once, also when the process ends in between; of the time before the first subscription nothing is.
func TestStartWithoutAnAnswer(t *testing.T) {
	for name, read := range map[string]bool{"of one that somebody had stopped": true, "of the first": false} {
		t.Run(name, func(t *testing.T) {
			now := time.Date(2026, 3, 1, 12, 0, 0, 5e8, time.UTC)
			feed := feedOf("f")
			feed.Subscribe = &definition.Subscribe{}
			r := newRig(t, feed, func(c *Config) { c.Now = func() time.Time { return now } })
			r.service.read = func(ctx context.Context, _ extract.Window, sink extract.Sink) error { return page(ctx, sink) }
			if read {
				if err := r.round(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			lastRead := now
			now = now.Add(time.Hour)
			lost := errors.New("connection reset by peer")
			r.service.subscribe = func(time.Time) (time.Time, error) { return now, lost }
			r.subscribed = false
			if err := r.round(t.Context()); !errors.Is(err, lost) {
				t.Fatalf("the round ended with %v", err)
			}
			r.loaded, r.subscribed = false, false // another process goes on
			r.service.subscribe = nil             // it is listed as active
			for range 3 {
				now = now.Add(time.Minute)
				if err := r.round(t.Context()); err != nil {
					t.Fatal(err)
				}
				r.subscribed = false
			}
			told, gap := strings.Count(strings.Join(r.taker.ids(), " "), "connector-gap"), r.status.LastGap
			if told > 1 || told == 1 != read {
				t.Errorf("%d gaps told: %+v", told, gap)
			}
			if read && (gap.From.After(lastRead) || gap.To.Before(lastRead.Add(time.Hour+time.Minute)) || gap.Reason != gapSubscription) {
				t.Errorf("the gap is %+v", gap)
			}
		})
	}
}

// TestSubscriptionLostBehindAnOutage: a subscription that is listed as active, and is not, is started where the
// service says so to a probe, before anything is read: behind an outage longer than records are kept, and where their
// beginning is searched for.
func TestSubscriptionLostBehindAnOutage(t *testing.T) {
	for name, keeps := range map[string]time.Duration{"as long as the feed says": 0, "less": 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
			feed := feedOf("f")
			feed.Subscribe = &definition.Subscribe{}
			r := newRig(t, feed, func(c *Config) { c.Now = func() time.Time { return now } })
			if err := r.round(t.Context()); err != nil {
				t.Fatal(err)
			}
			now = now.Add(8 * 24 * time.Hour)
			active := false
			refused := func(w extract.Window) error {
				if keeps > 0 && w.From.Before(now.Add(-keeps)) {
					return &extract.TooEarly{Err: errors.New("minimum allowed time")}
				}
				if !active {
					return &extract.Subscribe{Err: errors.New("the subscription was disabled")}
				}
				return nil
			}
			r.service.probe = refused
			r.service.read = func(_ context.Context, w extract.Window, _ extract.Sink) error { return refused(w) }
			r.service.subscribe = func(time.Time) (time.Time, error) { active = true; return now, nil }
			var err error
			for range 2 {
				err = r.round(t.Context())
				now = now.Add(time.Minute)
			}
			if err != nil || !active {
				t.Errorf("two rounds ended with %v; the subscription was started: %v", err, active)
			}
		})
	}
}
