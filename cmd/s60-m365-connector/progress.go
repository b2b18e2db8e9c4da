package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/term"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/fleet"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/wording"
	"github.com/secure60/s60-m365-connector/engine"
)

// This file shows how far a long read is: a bar beneath the log where standard
// error is a terminal, a line of the log each minute elsewhere.

const (
	progressDraw = 250 * time.Millisecond // between two drawings of the bar
	progressLine = time.Minute            // between two lines of the log
	progressSoon = 2 * time.Second        // what is done by then needs no bar
)

// bar is the last line of a terminal. What others write through it appears
// above it, whole.
type bar struct {
	mu    sync.Mutex
	out   io.Writer
	shown string
	width func() int
}

// terminalBar gives std with a bar beneath its errors if they go to a terminal and events do
// not. Otherwise the bar is nil.
func terminalBar(std streams, s *settings.Settings) (streams, *bar) {
	errs, ok := std.err.(*os.File)
	if !ok || !term.IsTerminal(int(errs.Fd())) {
		return std, nil
	}
	if out, ok := std.out.(*os.File); ok && s.Output == "-" && term.IsTerminal(int(out.Fd())) {
		return std, nil
	}
	b := &bar{out: errs, width: func() int {
		width, _, err := term.GetSize(int(errs.Fd()))
		if err != nil || width <= 0 { // a terminal that does not know
			return 80
		}
		return width
	}}
	std.err = b
	return std, b
}

const eraseLine = "\r\x1b[K"

// Write puts whole lines above the bar.
func (b *bar) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.shown == "" {
		return b.out.Write(p)
	}
	text := append([]byte(eraseLine), p...)
	if bytes.HasSuffix(p, []byte("\n")) {
		text = append(text, b.shown...)
	} else {
		b.shown = "" // it would run into what follows; the next drawing brings it back
	}
	if _, err := b.out.Write(text); err != nil {
		return 0, err
	}
	return len(p), nil
}

// draw shows text in place of what was shown; "" removes the bar.
func (b *bar) draw(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r := []rune(text); len(r) >= b.width() {
		text = string(r[:max(b.width()-1, 0)])
	}
	if text == "" && b.shown == "" {
		return
	}
	io.WriteString(b.out, eraseLine+text) //nolint:errcheck // a terminal that has gone shows nothing
	b.shown = text
}

// progress is a long read that is shown.
type progress struct {
	name string // "catching up"
	bar  *bar   // nil: lines of the log
	log  *slog.Logger
	// measure is the share that is done, from 0 to 1, and how many events were
	// delivered for it.
	measure func() (done float64, events int64)

	began time.Time
	most  float64 // a share never falls: estimates may
	first float64 // the share at the beginning
}

// show follows the read until the returned function is called, or it is done.
func (p *progress) show(ctx context.Context) (end func()) {
	ctx, stop := context.WithCancel(ctx)
	var following sync.WaitGroup
	following.Go(func() { p.follow(ctx) })
	return func() {
		stop()
		following.Wait()
	}
}

func (p *progress) follow(ctx context.Context) {
	p.began = time.Now()
	p.first, _ = p.measure()
	p.most = p.first
	every := progressLine
	if p.bar != nil {
		defer p.bar.draw("")
		every = progressDraw
	}
	for engine.Sleep(ctx, every) {
		if !p.step(time.Now()) {
			return
		}
	}
}

// step shows where the read is, and reports whether there is more to come.
func (p *progress) step(now time.Time) bool {
	done, events := p.measure()
	p.most = min(max(p.most, done), 1)
	elapsed := now.Sub(p.began)
	perSecond := float64(events) / max(elapsed.Seconds(), 0.001)
	left, known := p.left(elapsed)
	switch {
	case p.most >= 1:
		return false
	case p.bar == nil:
		attrs := []any{"done", percent(p.most), "events", events, "per_second", math.Round(perSecond*10) / 10}
		if known {
			attrs = append(attrs, "left", left.String())
		}
		p.log.Info(p.name, attrs...)
	case elapsed >= progressSoon:
		p.bar.draw(p.text(events, perSecond, left, known))
	}
	return true
}

// left is the time that remains if it goes on as it went so far. It is not
// known before some of the read is done.
func (p *progress) left(elapsed time.Duration) (time.Duration, bool) {
	gone := p.most - p.first
	if gone < 0.01 || elapsed < progressSoon {
		return 0, false
	}
	left := time.Duration(float64(elapsed) * (1 - p.most) / gone)
	if left > 10*time.Minute {
		return left.Round(time.Minute), true
	}
	return left.Round(time.Second), true
}

func percent(share float64) string { return fmt.Sprintf("%d%%", int(share*100)) }

func (p *progress) text(events int64, perSecond float64, left time.Duration, known bool) string {
	const cells = 24
	full := int(p.most * cells)
	remaining := "time left not known yet"
	if known {
		remaining = "about " + wording.Span(left) + " left"
	}
	return fmt.Sprintf("%s [%s%s] %s  %d events  %.0f/s  %s", p.name,
		strings.Repeat("=", full), strings.Repeat(" ", cells-full), percent(p.most), events, perSecond, remaining)
}

// showCatchUp shows the first catch-up of a run, of all tenants.
func showCatchUp(ctx context.Context, f *fleet.Fleet, b *bar) (end func()) {
	from := map[string]map[[2]string]time.Time{} // by tenant
	target := time.Now()
	var before int64 = -1
	p := &progress{name: "catching up", bar: b, log: f.Log, measure: func() (float64, int64) {
		var events int64
		share, tenants := 0.0, 0
		for _, m := range f.List() {
			if m.Settings != nil || m.Connector != nil {
				tenants++
			}
			if m.Connector == nil {
				continue
			}
			if from[m.Name] == nil {
				from[m.Name] = map[[2]string]time.Time{}
			}
			status := m.Connector.Engine.Status()
			for _, f := range status.Feeds {
				events += f.Delivered()
			}
			share += caughtUp(status, from[m.Name], target)
		}
		if before < 0 {
			before = events
		}
		return share / float64(max(tenants, 1)), events - before
	}}
	return p.show(ctx)
}

// caughtUp is the share of the feeds' time up to target that was read. from are
// the cursors as they were seen first; new ones are noted there.
func caughtUp(status engine.Status, from map[[2]string]time.Time, target time.Time) float64 {
	done, all := 0.0, 0.0
	for _, f := range status.Feeds {
		if f.State == engine.Disabled {
			continue
		}
		all++
		if f.State != engine.Starting {
			done++
			continue
		}
		if f.Cursor.IsZero() {
			continue
		}
		name := [2]string{f.Feed, f.Partition}
		first, seen := from[name]
		if !seen {
			first = f.Cursor
			from[name] = first
		}
		if whole := target.Sub(first); whole > 0 {
			at := f.Cursor.Sub(first)
			// Of the window in hand, the documents that were fetched count.
			if w := f.Window; w.Items > 0 && w.To.After(f.Cursor) {
				read := float64(w.ItemsFetched+w.ItemsDuplicate+w.ItemsSkipped) / float64(w.Items)
				at += time.Duration(read * float64(w.To.Sub(f.Cursor)))
			}
			// 1 is only for a round that ended.
			done += min(max(float64(at)/float64(whole), 0), 0.99)
		}
	}
	if all == 0 {
		return 1
	}
	return done / all
}

// heard shows the progress that is passed to hear. end returns the last one, and how long it took.
func (p *progress) heard(ctx context.Context) (hear func(fleet.Progress), end func() (fleet.Progress, time.Duration)) {
	began := time.Now()
	var last atomic.Pointer[fleet.Progress]
	last.Store(&fleet.Progress{})
	p.measure = func() (float64, int64) { return last.Load().Done, last.Load().Events }
	stop := p.show(ctx)
	return func(now fleet.Progress) { last.Store(&now) }, func() (fleet.Progress, time.Duration) {
		stop()
		return *last.Load(), time.Since(began)
	}
}
