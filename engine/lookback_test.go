package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/engine/extract"
	"github.com/secure60/s60-m365-connector/engine/load"
)

// The look-back counts from the first poll, and what it names is kept: while the destination is down, and over a
// restart, its oldest record stays within, and one of a second before stays outside.
func TestLookbackCountsFromTheFirstPoll(t *testing.T) {
	begun := time.Now().UTC().Truncate(time.Second)
	now := begun
	var config Config
	r := newRig(t, feedOf("f"), func(c *Config) {
		c.Now = func() time.Time { return now }
		config = *c
	})
	r.service.read = func(ctx context.Context, w extract.Window, sink extract.Sink) error {
		var records []string
		for id, at := range map[string]time.Time{"before": begun.Add(-config.Lookback - time.Second), "oldest": begun.Add(-config.Lookback), "newest": begun.Add(-time.Second)} {
			if !at.Before(w.From) && at.Before(w.To) {
				records = append(records, fmt.Sprintf(`{"id":%q}`, id))
			}
		}
		return list(ctx, sink, records...)
	}
	down := errors.New("down")
	r.taker.deliver = func(context.Context, []string) ([]load.Refused, error) { return nil, down }
	for range 3 {
		if err := r.round(t.Context()); !errors.Is(err, down) && err != nil {
			t.Fatal(err)
		}
		now = now.Add(20 * time.Minute)
	}
	if got := r.taker.ids(); len(got) > 0 {
		t.Fatalf("delivered while the destination was down: %q", got)
	}
	r.taker.deliver = nil
	again, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	p := again.partitions[0]
	p.reader = r.service
	if err := p.round(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := r.taker.ids(); !slices.Equal(got, []string{"oldest", "newest"}) {
		t.Errorf("delivered %q", got)
	}
}

// A record that appears late, just when an outage begins, is delivered or lies in a gap that is told, however long the
// outage is; and no gap is told where the look back reaches all that may have appeared.
func TestLateAsAnOutageBegins(t *testing.T) {
	begun := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	const overlap, retention = 10 * time.Minute, 7 * 24 * time.Hour // of feedOf
	late := begun.Add(-8 * time.Minute)                             // its time; it appears when the first round is over
	for shorter, gap := range map[time.Duration]bool{
		-time.Hour: true, 0: true, 6 * time.Minute: true, 15 * time.Minute: true, // by which the next round comes sooner than the retention, less a minute
		16 * time.Minute: false, time.Hour: false, 3 * 24 * time.Hour: false,
	} {
		t.Run(shorter.String(), func(t *testing.T) {
			now, appeared := begun, false
			r := newRig(t, feedOf("f"), func(c *Config) { c.Now = func() time.Time { return now } })
			r.service.read = func(ctx context.Context, w extract.Window, sink extract.Sink) error {
				if !appeared || late.Before(w.From) || !late.Before(w.To) || late.Before(now.Add(-retention)) {
					return page(ctx, sink)
				}
				return page(ctx, sink, "late")
			}
			for range 3 { // the second and third tell and deliver nothing again
				if err := r.round(t.Context()); err != nil {
					t.Fatal(err)
				}
				if !appeared {
					appeared, now = true, now.Add(retention-shorter)
				}
				now = now.Add(time.Minute)
			}
			told := strings.Count(strings.Join(r.taker.ids(), " "), "connector-gap")
			if covers := !late.Before(r.status.LastGap.From) && late.Before(r.status.LastGap.To); !slices.Contains(r.taker.ids(), "late") && !covers {
				t.Errorf("neither delivered nor in a gap that was told: %v, the gap %+v", r.taker.ids(), r.status.LastGap)
			}
			if told > 1 || told == 1 != gap {
				t.Errorf("%d gaps told (%+v), want one: %v", told, r.status.LastGap, gap)
			}
		})
	}
}

// Likewise at a service that keeps less than the feed says, which it tells when it is asked for more.
func TestLateAtAServiceThatKeepsLess(t *testing.T) {
	begun := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	const kept = 24 * time.Hour
	late := begun.Add(-8 * time.Minute) // its time; it appears when the first round is over
	for outage, gap := range map[time.Duration]bool{time.Hour: false, 23 * time.Hour: false, 25 * time.Hour: true, 3 * 24 * time.Hour: true} {
		t.Run(outage.String(), func(t *testing.T) {
			now, appeared := begun, false
			r := newRig(t, feedOf("f"), func(c *Config) { c.Now, c.Lookback = func() time.Time { return now }, time.Hour })
			r.service.read = func(ctx context.Context, w extract.Window, sink extract.Sink) error {
				begins := now.Add(-kept)
				switch {
				case w.From.Before(begins):
					return &extract.TooEarly{At: begins, Err: errors.New("minimum allowed time")}
				case !appeared || late.Before(w.From) || !late.Before(w.To):
					return page(ctx, sink)
				}
				return page(ctx, sink, "late")
			}
			for range 30 { // the later ones tell and deliver nothing again
				if err := r.round(t.Context()); err != nil {
					t.Fatal(err)
				}
				if !appeared {
					appeared, now = true, now.Add(outage)
				}
				now = now.Add(time.Minute)
			}
			told := strings.Count(strings.Join(r.taker.ids(), " "), "connector-gap")
			if covers := !late.Before(r.status.LastGap.From) && late.Before(r.status.LastGap.To); !slices.Contains(r.taker.ids(), "late") && !covers {
				t.Errorf("neither delivered nor in a gap that was told: %v, the gap %+v", r.taker.ids(), r.status.LastGap)
			}
			if told > 1 || told == 1 != gap {
				t.Errorf("%d gaps told (%+v), want one: %v", told, r.status.LastGap, gap)
			}
		})
	}
}
