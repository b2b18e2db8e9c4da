package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/secure60/s60-m365-connector/engine"
)

// This file remembers the last hours for the plots of the status page.

const (
	sampleEvery = 30 * time.Second
	sampleSpan  = 6 * time.Hour
	// sampleSeldom is for one tenant of many: their samples together must not be the
	// greater part of what the process holds.
	sampleSeldom = 5 * time.Minute
	plotLeast    = 15 * time.Minute // what a plot spans at least, so that a young one is not a wall
)

// history is a ring of samples. Its zero value is ready for use, by several
// goroutines.
type history struct {
	every time.Duration // between two samples; 0: sampleEvery

	mu      sync.Mutex
	samples []sample
	oldest  int // index of the oldest, once the ring is full
}

// sample is the state of all feeds at one time, in the order of the status,
// which does not change while the program runs.
type sample struct {
	at    time.Time
	feeds []point
}

type point struct {
	delivered int64         // since the start
	lag       time.Duration // below 0: not known
}

// run samples the status until ctx ends.
func (h *history) run(ctx context.Context, status func() engine.Status) {
	for {
		h.add(sampleOf(status()))
		if !engine.Sleep(ctx, cmp.Or(h.every, sampleEvery)) {
			return
		}
	}
}

func sampleOf(s engine.Status) sample {
	taken := sample{at: s.Now, feeds: make([]point, len(s.Feeds))}
	for i, f := range s.Feeds {
		taken.feeds[i] = point{f.Delivered(), f.Lag(s.Now)}
		if f.Cursor.IsZero() {
			taken.feeds[i].lag = -1
		}
	}
	return taken
}

func (h *history) add(s sample) {
	h.mu.Lock()
	defer h.mu.Unlock()
	count := int(sampleSpan / cmp.Or(h.every, sampleEvery))
	if len(h.samples) < count {
		h.samples = append(h.samples, s)
		return
	}
	h.samples[h.oldest] = s
	h.oldest = (h.oldest + 1) % count
}

// until are the samples in order, and now as the last.
func (h *history) until(now sample) []sample {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := make([]sample, 0, len(h.samples)+1)
	list = append(append(list, h.samples[h.oldest:]...), h.samples[:h.oldest]...)
	return append(list, now)
}

// delivered is how many events all feeds had delivered at a sample, or one of
// them if feed is not below 0.
func (s sample) delivered(feed int) (n int64) {
	if feed >= 0 {
		return s.feeds[feed].delivered
	}
	for _, p := range s.feeds {
		n += p.delivered
	}
	return n
}

// perMinute is the throughput over the last five minutes, or since the sample
// before.
func perMinute(samples []sample, feed int) float64 {
	last := samples[len(samples)-1]
	first := last
	for i := len(samples) - 1; i >= 0 && last.at.Sub(first.at) < 5*time.Minute-sampleEvery/2; i-- {
		first = samples[i]
	}
	span := last.at.Sub(first.at)
	if span < time.Second {
		return 0
	}
	return float64(last.delivered(feed)-first.delivered(feed)) / span.Minutes()
}

// plot is a small line chart. Its paths are in a box of plotWidth by plotHeight.
type plot struct {
	Line, Area string // the d of SVG paths; empty: there is nothing to show
	Label      string // what a screen reader says
	Most       string // the value at the upper edge
}

const (
	plotWidth  = 240.0
	plotHeight = 40.0
	plotSteps  = 80
)

// plotSpan is the time that plots of these samples span.
func plotSpan(samples []sample) time.Duration {
	span := samples[len(samples)-1].at.Sub(samples[0].at)
	return min(max(span, plotLeast), sampleSpan)
}

// throughputPlot shows events a minute; feed -1 is all of them.
func throughputPlot(samples []sample, feed int) plot {
	last := samples[len(samples)-1].at
	span := plotSpan(samples)
	step := max(span/plotSteps, sampleEvery)
	var xs, ys []float64
	i := 0
	// Counts between two samples are taken to grow evenly.
	countAt := func(t time.Time) float64 {
		for i < len(samples)-2 && samples[i+1].at.Before(t) {
			i++
		}
		a, b := samples[i], samples[min(i+1, len(samples)-1)]
		whole := b.at.Sub(a.at)
		if whole <= 0 || !t.After(a.at) {
			return float64(a.delivered(feed))
		}
		share := min(float64(t.Sub(a.at))/float64(whole), 1)
		return float64(a.delivered(feed)) + share*float64(b.delivered(feed)-a.delivered(feed))
	}
	from := last.Add(-span)
	for at := from; at.Before(last); at = at.Add(step) {
		to := at.Add(step)
		if to.After(last) {
			to = last
		}
		if !to.After(samples[0].at) || to.Sub(at) < time.Second {
			continue // before the start
		}
		before := countAt(at)
		rate := (countAt(to) - before) / to.Sub(at).Minutes()
		xs = append(xs, plotX(at.Sub(from), span), plotX(to.Sub(from), span))
		ys = append(ys, rate, rate)
	}
	most := 0.0
	for _, y := range ys {
		most = max(most, y)
	}
	p := drawPlot(xs, ys, most)
	p.Most = rate(most)
	p.Label = fmt.Sprintf("events a minute over the last %s: %s now, at most %s", spanText(span), rate(perMinute(samples, feed)), rate(most))
	return p
}

// lagPlot shows how far the cursor of a feed was behind.
func lagPlot(samples []sample, feed int) plot {
	last := samples[len(samples)-1]
	span := plotSpan(samples)
	from := last.at.Add(-span)
	every := max(len(samples)/plotSteps, 1)
	var xs, ys []float64
	var most time.Duration
	for i, s := range samples {
		lag := s.feeds[feed].lag
		if lag < 0 || s.at.Before(from) || i%every != 0 && i != len(samples)-1 {
			continue
		}
		most = max(most, lag)
		xs, ys = append(xs, plotX(s.at.Sub(from), span)), append(ys, lag.Seconds())
	}
	p := drawPlot(xs, ys, most.Seconds())
	p.Most = spanText(most)
	p.Label = fmt.Sprintf("lag over the last %s: %s now, at most %s", spanText(span), spanText(max(last.feeds[feed].lag, 0)), spanText(most))
	return p
}

func plotX(at, span time.Duration) float64 {
	return max(0, min(plotWidth, plotWidth*float64(at)/float64(span)))
}

// drawPlot makes the paths. Values from 0 to most fill the height, less a
// margin for the width of the line.
func drawPlot(xs, ys []float64, most float64) plot {
	if len(xs) < 2 {
		return plot{}
	}
	const margin = 1.5
	var line strings.Builder
	for i := range xs {
		y := plotHeight - margin
		if most > 0 {
			y -= (plotHeight - 2*margin) * ys[i] / most
		}
		command := "L"
		if i == 0 {
			command = "M"
		}
		fmt.Fprintf(&line, "%s%.1f %.1f", command, xs[i], y)
	}
	return plot{
		Line: line.String(),
		Area: fmt.Sprintf("%sL%.1f %.1fL%.1f %.1fZ", line.String(), xs[len(xs)-1], plotHeight, xs[0], plotHeight),
	}
}
