package fleet

import (
	"cmp"
	"context"
	"sync"
	"time"

	"github.com/secure60/s60-m365-connector/engine"
)

// This file remembers the last hours for the plots of the status page.

const (
	SampleEvery = 30 * time.Second
	SampleSpan  = 6 * time.Hour
	// sampleSeldom is for one tenant of many: their samples together must not be the
	// greater part of what the process holds.
	sampleSeldom = 5 * time.Minute
	PlotLeast    = 15 * time.Minute // what a plot spans at least, so that a young one is not a wall
)

// History is a ring of samples. Its zero value is ready for use, by several
// goroutines.
type History struct {
	every time.Duration // between two samples; 0: sampleEvery

	mu      sync.Mutex
	samples []Sample
	oldest  int // index of the oldest, once the ring is full
}

// Sample is the state of all feeds at one time, in the order of the status,
// which does not change while the program runs.
type Sample struct {
	At    time.Time
	Feeds []point
}

type point struct {
	Delivered int64         // since the start
	Lag       time.Duration // below 0: not known
}

// run samples the status until ctx ends.
func (h *History) run(ctx context.Context, status func() engine.Status) {
	for {
		h.Add(SampleOf(status()))
		if !engine.Sleep(ctx, cmp.Or(h.every, SampleEvery)) {
			return
		}
	}
}

func SampleOf(s engine.Status) Sample {
	taken := Sample{At: s.Now, Feeds: make([]point, len(s.Feeds))}
	for i, f := range s.Feeds {
		taken.Feeds[i] = point{f.Delivered(), f.Lag(s.Now)}
		if f.Cursor.IsZero() {
			taken.Feeds[i].Lag = -1
		}
	}
	return taken
}

func (h *History) Add(s Sample) {
	h.mu.Lock()
	defer h.mu.Unlock()
	count := int(SampleSpan / cmp.Or(h.every, SampleEvery))
	if len(h.samples) < count {
		h.samples = append(h.samples, s)
		return
	}
	h.samples[h.oldest] = s
	h.oldest = (h.oldest + 1) % count
}

// Until are the samples in order, and now as the last.
func (h *History) Until(now Sample) []Sample {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := make([]Sample, 0, len(h.samples)+1)
	list = append(append(list, h.samples[h.oldest:]...), h.samples[:h.oldest]...)
	return append(list, now)
}

// Delivered is how many events all feeds had delivered at a sample, or one of
// them if feed is not below 0.
func (s Sample) Delivered(feed int) (n int64) {
	if feed >= 0 {
		return s.Feeds[feed].Delivered
	}
	for _, p := range s.Feeds {
		n += p.Delivered
	}
	return n
}
