package web

import (
	"fmt"
	"strings"
	"time"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/fleet"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/wording"
)

// rateSpan is what a rate is the mean of.
const rateSpan = 5 * time.Minute

// perMinute is the throughput over the last five minutes, or since the sample
// before.
func perMinute(samples []fleet.Sample, feed int) float64 {
	last := samples[len(samples)-1]
	first := last
	for i := len(samples) - 1; i >= 0 && last.At.Sub(first.At) < rateSpan-fleet.SampleEvery/2; i-- {
		first = samples[i]
	}
	span := last.At.Sub(first.At)
	if span < time.Second {
		return 0
	}
	return float64(last.Delivered(feed)-first.Delivered(feed)) / span.Minutes()
}

type plotRange struct {
	Name string
	Span time.Duration
}

// plotRanges are the spans to choose from; the second is shown if none is chosen.
var plotRanges = []plotRange{{"1h", time.Hour}, {"6h", 6 * time.Hour}, {"24h", 24 * time.Hour}}

// chosenRange is the span that a request asks for.
func chosenRange(name string) time.Duration {
	for _, r := range plotRanges {
		if r.Name == name {
			return r.Span
		}
	}
	return plotRanges[1].Span
}

// axis are the times below a plot, from its left edge to its right one.
func axis(samples []fleet.Sample) []string {
	const marks = 4
	last, span := samples[len(samples)-1].At.UTC(), plotSpan(samples)
	var list []string
	for i := range marks + 1 {
		list = append(list, last.Add(-span*time.Duration(marks-i)/marks).Format("15:04"))
	}
	return list
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
func plotSpan(samples []fleet.Sample) time.Duration {
	span := samples[len(samples)-1].At.Sub(samples[0].At)
	return min(max(span, fleet.PlotLeast), fleet.SampleSpan)
}

// throughputPlot shows events a minute, in so many steps; feed -1 is all of them.
func throughputPlot(samples []fleet.Sample, feed, steps int) plot {
	last := samples[len(samples)-1].At
	span := plotSpan(samples)
	step := max(span/time.Duration(steps), fleet.SampleEvery)
	var xs, ys []float64
	i := 0
	// Counts between two samples are taken to grow evenly.
	countAt := func(t time.Time) float64 {
		for i < len(samples)-2 && samples[i+1].At.Before(t) {
			i++
		}
		a, b := samples[i], samples[min(i+1, len(samples)-1)]
		whole := b.At.Sub(a.At)
		if whole <= 0 || !t.After(a.At) {
			return float64(a.Delivered(feed))
		}
		share := min(float64(t.Sub(a.At))/float64(whole), 1)
		return float64(a.Delivered(feed)) + share*float64(b.Delivered(feed)-a.Delivered(feed))
	}
	from := last.Add(-span)
	for at := from; at.Before(last); at = at.Add(step) {
		to := at.Add(step)
		if to.After(last) {
			to = last
		}
		if !to.After(samples[0].At) || to.Sub(at) < time.Second {
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
	p.Label = fmt.Sprintf("events a minute over the last %s: %s now, at most %s", wording.Span(span), rate(perMinute(samples, feed)), rate(most))
	return p
}

// lagPlot shows how far the cursor of a feed was behind.
func lagPlot(samples []fleet.Sample, feed int) plot {
	last := samples[len(samples)-1]
	span := plotSpan(samples)
	from := last.At.Add(-span)
	every := max(len(samples)/plotSteps, 1)
	var xs, ys []float64
	var most time.Duration
	for i, s := range samples {
		lag := s.Feeds[feed].Lag
		if lag < 0 || s.At.Before(from) || i%every != 0 && i != len(samples)-1 {
			continue
		}
		most = max(most, lag)
		xs, ys = append(xs, plotX(s.At.Sub(from), span)), append(ys, lag.Seconds())
	}
	p := drawPlot(xs, ys, most.Seconds())
	p.Most = wording.Span(most)
	p.Label = fmt.Sprintf("lag over the last %s: %s now, at most %s", wording.Span(span), wording.Span(max(last.Feeds[feed].Lag, 0)), wording.Span(most))
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
