package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
