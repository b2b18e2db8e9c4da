package engine

import (
	"testing"
	"time"
)

func TestDelays(t *testing.T) {
	var d Delays
	if d.Quantile(0.5) != 0 || d.Count() != 0 {
		t.Errorf("of none the median is %s", d.Quantile(0.5))
	}
	for _, delay := range []time.Duration{-time.Hour, time.Minute, time.Minute + 1, 2 * time.Hour, 48 * time.Hour} {
		d.add(delay)
	}
	if want := [...]int64{1, 0, 0, 1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 1}; d.Counts != want {
		t.Errorf("classes are %v, want %v", d.Counts, want)
	}
	for part, want := range map[float64]time.Duration{0.1: 5 * time.Second, 0.4: time.Minute, 0.5: 2 * time.Minute, 0.8: 2 * time.Hour, 1: 24 * time.Hour} {
		if got := d.Quantile(part); got != want {
			t.Errorf("quantile %v is at most %s, want %s", part, got, want)
		}
	}
	var sum Delays
	sum.Merge(&d)
	sum.Merge(&d)
	if sum.Counts[0] != 2 || sum.Sum != 2*d.Sum || sum.Count() != 10 {
		t.Errorf("merged twice: %v", sum)
	}
}
