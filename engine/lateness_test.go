package engine

import (
	"testing"
	"time"
)

func TestLateness(t *testing.T) {
	var l Lateness
	for _, d := range []time.Duration{-time.Hour, time.Minute, time.Minute + 1, 2 * time.Hour, 48 * time.Hour} {
		l.add(d)
	}
	if want := [...]int64{2, 1, 0, 0, 0, 1, 0, 0, 1}; l.Counts != want {
		t.Errorf("classes are %v, want %v", l.Counts, want)
	}
	var sum Lateness
	sum.merge(&l)
	sum.merge(&l)
	if sum.Counts[0] != 4 || sum.Sum != 2*l.Sum {
		t.Errorf("merged twice: %v", sum)
	}
}
