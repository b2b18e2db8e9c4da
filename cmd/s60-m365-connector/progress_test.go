package main

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/engine"
	"github.com/secure60/s60-m365-connector/engine/checkpoint"
)

// screen is what a terminal shows of a stream of lines, returns and erasures.
func screen(stream string) (lines []string) {
	line := ""
	for i := 0; i < len(stream); i++ {
		switch {
		case strings.HasPrefix(stream[i:], eraseLine):
			line = ""
			i += len(eraseLine) - 1
		case stream[i] == '\n':
			lines = append(lines, line)
			line = ""
		default:
			line += stream[i : i+1]
		}
	}
	return append(lines, line)
}

func TestLogAndBarDoNotGarbleEachOther(t *testing.T) {
	var out bytes.Buffer
	b := &bar{out: &out, width: func() int { return 40 }}
	log := slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for i := range 50 {
				log.Info("Forwarded", "worker", worker, "batch", i)
				b.draw(fmt.Sprintf("worker %d is at %d", worker, i))
			}
		})
	}
	wg.Wait()
	b.draw(strings.Repeat("é", 100))
	lines := screen(out.String())
	if last := lines[len(lines)-1]; last != strings.Repeat("é", 39) {
		t.Errorf("the bar is %q: it has to fit the width, and be the last line", last)
	}
	b.draw("")
	lines = screen(out.String())
	if len(lines) != 4*50+1 || lines[len(lines)-1] != "" {
		t.Errorf("%d lines, the last %q: want a line for each of the log, and nothing after them", len(lines), lines[len(lines)-1])
	}
	for _, line := range lines[:len(lines)-1] {
		var worker, batch int
		if n, err := fmt.Sscanf(line, "level=INFO msg=Forwarded worker=%d batch=%d", &worker, &batch); n != 2 || err != nil {
			t.Errorf("garbled: %q", line)
		}
	}
	out.Reset()
	b.draw("bar")
	io.WriteString(b, "part of a line, ") //nolint:errcheck // it is memory
	io.WriteString(b, "and its end\n")    //nolint:errcheck
	if got := screen(out.String()); got[0] != "part of a line, and its end" {
		t.Errorf("a line in two parts: %q", got)
	}
}

func TestProgressText(t *testing.T) {
	clock := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var done float64
	var events int64
	var out bytes.Buffer
	p := &progress{name: "backfill", began: clock,
		measure: func() (float64, int64) { return done, events }}
	shown := func() string {
		out.Reset()
		p.bar = &bar{out: &out, width: func() int { return 200 }}
		more := p.step(clock)
		lines := screen(out.String())
		return fmt.Sprintf("%v %s", more, lines[len(lines)-1])
	}
	logged := func() string {
		out.Reset()
		p.bar, p.log = nil, slog.New(slog.NewTextHandler(&out, nil))
		p.step(clock)
		_, text, _ := strings.Cut(strings.TrimSpace(out.String()), "level=")
		return text
	}
	for _, step := range []struct {
		after  time.Duration
		done   float64
		events int64
		bar    string
		line   string
	}{
		{time.Second, 0, 0, "true ", "INFO msg=backfill done=0% events=0 per_second=0"},
		{9 * time.Second, 0, 500, "true backfill [                        ] 0%  500 events  50/s  time left not known yet", "INFO msg=backfill done=0% events=500 per_second=50"},
		{10 * time.Second, 0.25, 1000, "true backfill [======                  ] 25%  1000 events  50/s  about 1 min left", "INFO msg=backfill done=25% events=1000 per_second=50 left=1m0s"},
		{10 * time.Second, 0.2, 1000, "true backfill [======                  ] 25%  1000 events  33/s  about 1 min 30 s left", "INFO msg=backfill done=25% events=1000 per_second=33.3 left=1m30s"},
		{time.Second, 1, 2000, "false ", ""},
	} {
		clock = clock.Add(step.after)
		done, events = step.done, step.events
		if got := shown(); got != step.bar {
			t.Errorf("after %v: %q, want %q", step.after, got, step.bar)
		}
		if got := logged(); got != step.line {
			t.Errorf("after %v: the log says %q, want %q", step.after, got, step.line)
		}
	}
}

func TestCaughtUp(t *testing.T) {
	target := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	from := map[[2]string]time.Time{}
	share := func(feeds ...engine.FeedStatus) float64 { return caughtUp(engine.Status{Feeds: feeds}, from, target) }
	a := engine.FeedStatus{Feed: "a", State: engine.Starting, Cursor: target.Add(-10 * time.Hour)}
	b := engine.FeedStatus{Feed: "b", State: engine.Starting}
	off := engine.FeedStatus{Feed: "c", State: engine.Disabled}
	check := func(what string, got, want float64) {
		t.Helper()
		if math.Abs(got-want) > 1e-9 {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	check("nothing read", share(a, b, off), 0)
	a.Cursor = target.Add(-5 * time.Hour)
	check("half of one of two", share(a, b, off), 0.25)
	a.Window = checkpoint.Entry{To: target, Counts: checkpoint.Counts{Items: 10, ItemsFetched: 3, ItemsDuplicate: 1, ItemsSkipped: 1}}
	check("and half of the window", share(a, b, off), 0.375)
	a.Window, a.Cursor = checkpoint.Entry{}, target
	check("all read, but the round has not ended", share(a, b, off), 0.495)
	a.State, b.State = engine.OK, engine.Gated
	check("all settled", share(a, b, off), 1)
	check("no feed", share(off), 1)
}
