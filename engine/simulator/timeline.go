package simulator

import (
	"math"
	"sort"
	"time"
)

// timeline says when each record of a feed comes into being: a history spread
// over a period before the simulator started, then live records at a steady
// rate. Times are non-decreasing in the index, and computed, not stored.
type timeline struct {
	seed  uint64
	start int64 // unix nanoseconds of the first live record's slot
	began int64 // of the history
	past  uint64
	step  float64       // nanoseconds between two records of the history
	live  float64       // nanoseconds between two live records; 0: none
	unit  time.Duration // times are cut to it
	end   int64         // no record comes into being after it; 0: open
}

func newTimeline(seed uint64, start time.Time, history, quiet time.Duration, v Volume, unit time.Duration) timeline {
	t := timeline{seed: seed, start: start.UnixNano(), began: start.Add(-history).UnixNano(), past: uint64(max(v.History, 0)), unit: unit}
	if t.past > 0 {
		t.step = float64(max(history-quiet, 0)) / float64(t.past)
	}
	if v.PerHour > 0 {
		t.live = float64(time.Hour) / v.PerHour
	}
	return t
}

// at is the time of record i.
func (t *timeline) at(i uint64) int64 {
	jitter := unit(mix(t.seed ^ i))
	var ns int64
	if i < t.past {
		ns = t.began + int64((float64(i)+jitter)*t.step)
	} else {
		ns = t.start + int64((float64(i-t.past)+jitter)*t.live)
	}
	return ns - ns%int64(t.unit)
}

// count is the number of records that have come into being at a time.
func (t *timeline) count(now int64) uint64 {
	if t.end != 0 {
		now = min(now, t.end)
	}
	high := t.past
	if t.live > 0 && now >= t.start {
		high += uint64(math.Ceil(float64(now-t.start)/t.live)) + 1
	}
	return t.search(high, now+1)
}

// search is the first of n records at or after a time.
func (t *timeline) search(n uint64, at int64) uint64 {
	return uint64(sort.Search(int(n), func(i int) bool { return t.at(uint64(i)) >= at }))
}
