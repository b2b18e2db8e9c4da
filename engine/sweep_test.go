package engine

import (
	"log/slog"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
)

// sweptStore notes when it was told that it is.
type sweptStore struct {
	checkpoint.Store
	at time.Time
}

func (s *sweptStore) Sweep(now time.Time) error { s.at = now; return nil }

// TestWrongClockForgetsNothing: keys end, and the state is swept, by the service's clock.
func TestWrongClockForgetsNothing(t *testing.T) {
	for _, ahead := range []time.Duration{-26 * time.Hour, 0, 26 * time.Hour} {
		now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
		var store sweptStore
		if !SweepNow(&store, func() (time.Duration, bool) { return ahead, true }, now, slog.New(slog.DiscardHandler)) || !store.at.Equal(now.Add(ahead)) {
			t.Errorf("services %v ahead: swept as of %v, want %v", ahead, store.at, now.Add(ahead))
		}
		r := newRig(t, feedOf("f"), func(c *Config) { c.Now = func() time.Time { return now } })
		right := r.expires()
		r.ahead.Store(int64(ahead))
		if got := r.expires(); !got.Equal(right.Add(ahead)) {
			t.Errorf("services %v ahead: a key ends at %v, want %v", ahead, got, right.Add(ahead))
		}
	}
	var store sweptStore
	if SweepNow(&store, func() (time.Duration, bool) { return 0, false }, time.Now(), slog.New(slog.DiscardHandler)) || !store.at.IsZero() {
		t.Error("swept before any service told the time")
	}
}
