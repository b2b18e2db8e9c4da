package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/extract"
)

// TestWalk reads four hours, from 0 to 240 minutes, of a service that answers by the window. A
// read is written as from-to in minutes, with seconds where they count.
func TestWalk(t *testing.T) {
	const begin = "2026-03-10T00:00:00Z"
	zero, _ := time.Parse(time.RFC3339, begin)
	minute := func(t time.Time) string {
		d := t.Sub(zero)
		if d%time.Minute == 0 {
			return fmt.Sprint(int(d.Minutes()))
		}
		return fmt.Sprintf("%.0fs", d.Seconds())
	}
	narrow := func() error {
		return fmt.Errorf("feed f: %w", &extract.Narrow{Err: &extract.StatusError{Method: "GET", URL: "u", Status: 400, Message: "a null"}})
	}
	for _, c := range []struct {
		name   string
		answer func(reads int, w extract.Window) error
		probe  func(w extract.Window) error
		how    pass
		read   time.Time // the position's ReadAt
		reads  string
		err    string
		cursor string
		gaps   string
	}{
		{name: "window by window", reads: "0-60 60-120 120-180 180-240", cursor: "240"},
		{name: "no wider than asked", how: pass{most: 2 * time.Hour, keepCursor: true}, reads: "0-60 60-120 120-180 180-240", cursor: "0"},
		{name: "narrower if asked", how: pass{most: 90 * time.Minute}, reads: "0-60 60-120 120-180 180-240", cursor: "240"},
		{
			name: "one that cannot finish is halved, as the next are",
			answer: func(_ int, w extract.Window) error {
				if w.From.Equal(zero) && w.To.Sub(w.From) > 20*time.Minute {
					return narrow()
				}
				return nil
			},
			reads: "0-60 0-30 0-15 15-30 30-45 45-60 60-75 75-90 90-105 105-120 120-135 135-150 150-165 165-180 180-195 195-210 210-225 225-240", cursor: "240",
		},
		{
			name: "one that begins anew does, and is then halved",
			answer: func(n int, _ extract.Window) error {
				if n <= resets+1 {
					return &extract.ResetWindow{Err: errors.New("the link has expired")}
				}
				return nil
			},
			reads: "0-60 0-60 0-60 0-60 0-30 30-60 60-90 90-120 120-150 150-180 180-210 210-240", cursor: "240",
		},
		{
			name: "an error ends it, the cursor before",
			answer: func(n int, _ extract.Window) error {
				if n == 3 {
					return errors.New("503")
				}
				return nil
			},
			reads: "0-60 60-120 120-180", err: "503", cursor: "120",
		},
		{
			name: "a few items that fail do not hold up what comes after",
			answer: func(n int, _ extract.Window) error {
				if n == 2 {
					return &extract.Incomplete{Items: 1, Err: errors.New("item x")}
				}
				return nil
			},
			reads: "0-60 60-120 120-180 180-240", err: "item x", cursor: "60",
		},
		{
			name: "not subscribed once is subscribed",
			answer: func(n int, _ extract.Window) error {
				if n == 2 {
					return &extract.Subscribe{Err: errors.New("no subscription")}
				}
				return nil
			},
			reads: "0-60 60-120 60-120 120-180 180-240", cursor: "240",
		},
		{
			name: "not subscribed for good is an error",
			answer: func(int, extract.Window) error {
				return &extract.Subscribe{Err: errors.New("no subscription")}
			},
			reads: "0-60 0-60", err: "no subscription", cursor: "0",
		},
		{
			name: "a start too early moves to where the service says",
			answer: func(_ int, w extract.Window) error {
				if w.From.Before(zero.Add(100 * time.Minute)) {
					return &extract.TooEarly{At: zero.Add(100 * time.Minute), Err: errors.New("minimum allowed time")}
				}
				return nil
			},
			reads: "0-60 100-160 160-220 220-240", cursor: "240", gaps: "0-100 minimum allowed time",
		},
		{
			name: "or is searched for",
			answer: func(_ int, w extract.Window) error {
				if w.From.Before(zero.Add(100 * time.Minute)) {
					return &extract.TooEarly{Err: errors.New("minimum allowed time")}
				}
				return nil
			},
			reads: "0-60 100-160 160-220 220-240", cursor: "240", gaps: "0-100 minimum allowed time",
		},
		{
			name: "or is searched for, past a minute that cannot be read",
			answer: func(_ int, w extract.Window) error {
				switch {
				case w.From.Before(zero.Add(100 * time.Minute)):
					return &extract.TooEarly{Err: errors.New("minimum allowed time")}
				case w.From.Equal(zero.Add(2*time.Hour)) && w.To.Equal(zero.Add(121*time.Minute)):
					return &extract.Narrow{Err: errors.New("broken off")}
				}
				return nil
			},
			reads: "0-60 100-160 160-220 220-240", cursor: "240", gaps: "0-100 minimum allowed time",
		},
		{
			name: "what was read before is no gap",
			read: zero.Add(4 * time.Hour),
			answer: func(_ int, w extract.Window) error {
				if w.From.Before(zero.Add(10 * time.Minute)) {
					return &extract.TooEarly{At: zero.Add(10 * time.Minute), Err: errors.New("minimum allowed time")}
				}
				return nil
			},
			how: pass{keepCursor: true}, reads: "0-60 10-70 70-130 130-190 190-240", cursor: "0",
		},
		{
			name: "a service that refuses every start is an error, no gap",
			answer: func(int, extract.Window) error {
				return &extract.TooEarly{Err: errors.New("minimum allowed time")}
			},
			reads: "0-60", err: "refuses every start", cursor: "0",
		},
		{
			name:   "a probe that fails is the error",
			answer: func(int, extract.Window) error { return &extract.TooEarly{Err: errors.New("minimum")} },
			probe:  func(extract.Window) error { return errors.New("503") },
			reads:  "0-60", err: "503", cursor: "0",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			feed := feedOf("f")
			feed.Subscribe = &definition.Subscribe{}
			r := newRig(t, feed)
			r.position = checkpoint.Position{Start: zero, Cursor: zero, ReadAt: c.read}
			r.loaded, r.subscribed = true, true
			n := 0
			r.service.read = func(_ context.Context, w extract.Window, _ extract.Sink) error {
				n++
				if c.answer == nil {
					return nil
				}
				return c.answer(n, w)
			}
			probed := 0
			r.service.probe = c.probe
			if c.probe == nil && c.answer != nil {
				r.service.probe = func(w extract.Window) error { probed++; return c.answer(0, w) }
			}
			err := r.walk(t.Context(), zero, zero.Add(4*time.Hour), zero.Add(4*time.Hour), c.how, nil)
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("it ended with %v, want %q", err, c.err)
			}
			var reads, gaps []string
			for _, w := range r.service.windows {
				reads = append(reads, minute(w.From)+"-"+minute(w.To))
			}
			if got := strings.Join(reads, " "); got != c.reads {
				t.Errorf("it read  %s\nwant     %s", got, c.reads)
			}
			if got := minute(r.position.Cursor); got != c.cursor {
				t.Errorf("the cursor is at %s, want %s", got, c.cursor)
			}
			if g := r.status.LastGap; r.status.Gaps > 0 {
				gaps = append(gaps, minute(g.From)+"-"+minute(g.To)+strings.TrimPrefix(g.Reason, "the service does not keep them:"))
			}
			if got := strings.Join(gaps, ", "); got != c.gaps || len(r.taker.ids()) != len(gaps) {
				t.Errorf("gaps are %q, want %q; delivered were %v", got, c.gaps, r.taker.ids())
			}
			if probed > probes {
				t.Errorf("%d requests looked for where the records begin", probed)
			}
		})
	}
}

// A feed whose windows are refused while they are wide, round after round, is asked for those that are answered: not for
// each as a whole first. Once they are answered, they are wide again.
func TestWidthIsRemembered(t *testing.T) {
	r := newRig(t, feedOf("f"))
	at := time.Now().UTC().Truncate(time.Second).Add(-6 * 24 * time.Hour)
	r.position, r.loaded = checkpoint.Position{Start: at, Cursor: at}, true
	limit := 20 * time.Minute
	refused := 0
	r.service.read = func(_ context.Context, w extract.Window, _ extract.Sink) error {
		if w.To.Sub(w.From) > limit {
			refused++
			return &extract.Narrow{Err: errors.New("truncated"), Rule: true}
		}
		return nil
	}
	rounds := func(n int) (requests, refusals int) {
		refused, r.service.windows = 0, nil
		for range n {
			if err := r.walk(t.Context(), at, at.Add(35*time.Minute), at.Add(35*time.Minute), pass{}, nil); err != nil {
				t.Fatal(err)
			}
			at = at.Add(35 * time.Minute)
		}
		return len(r.service.windows), refused
	}
	// 35 minutes are answered in two parts.
	if requests, refusals := rounds(64); refusals < 2 || refusals > 1+2*64/steady || requests != 2*64+refusals {
		t.Errorf("%d requests in 64 rounds, %d of them refused", requests, refusals)
	}
	limit = time.Hour
	rounds(steady)
	if requests, refusals := rounds(8); requests != 8 || refusals != 0 {
		t.Errorf("%d requests in 8 rounds once all are answered, %d of them refused", requests, refusals)
	}
}

// A second that can never be read is stepped over after three rounds: one gap with its bounds
// and the service's words, all else delivered, and no further request for it but those of a second look.
func TestStepOver(t *testing.T) {
	r := newRig(t, feedOf("f"))
	now := time.Now().UTC().Truncate(time.Second)
	bad := now.Add(-3*time.Hour - 7*time.Second)
	begin := now.Add(-4 * time.Hour)
	r.position = checkpoint.Position{Start: begin, Cursor: begin}
	r.loaded = true
	hits := 0
	r.service.read = func(ctx context.Context, w extract.Window, sink extract.Sink) error {
		if bad.Before(w.From) || !bad.Before(w.To) {
			return page(ctx, sink, w.To.String())
		}
		hits++
		if w.To.Sub(w.From) == time.Second { // what stands before the record that breaks
			s := sink.Open("", time.Time{})
			if err := s.Record(ctx, []byte(`{"id":"before"}`)); err != nil {
				return err
			}
		}
		return &extract.Narrow{Err: errors.New("BadRequest: Value cannot be null")}
	}
	for round := 1; round <= 3; round++ {
		err := r.walk(t.Context(), begin, now, now, pass{}, nil)
		if stepped := err == nil; stepped != (round == 3) {
			t.Fatalf("round %d ended with %v", round, err)
		}
	}
	gap := r.status.LastGap
	if r.status.Gaps != 1 || !gap.From.Equal(bad) || !gap.To.Equal(bad.Add(time.Second)) || !strings.Contains(gap.Reason, "Value cannot be null") {
		t.Errorf("%d gaps, the last %+v", r.status.Gaps, gap)
	}
	got := r.taker.ids()
	if n := strings.Count(strings.Join(got, " "), "before"); n != 1 || !r.position.Cursor.Equal(now) {
		t.Errorf("what could be read came %d times; the cursor is at %v of %v", n, r.position.Cursor, now)
	}
	hits = 0
	if err := r.walk(t.Context(), begin, now, now, pass{}, nil); err != nil || hits != 0 || r.status.Gaps != 1 {
		t.Errorf("the next round: %v, %d requests for it, %d gaps", err, hits, r.status.Gaps)
	}
	// It is remembered over a restart, and tried by a second look.
	kept, _, err := r.store.Position("f", "")
	if err != nil || len(kept.Unreadable) != 1 || !kept.Unreadable[0].From.Equal(bad) {
		t.Errorf("remembered is %+v, %v", kept.Unreadable, err)
	}
	if err := r.walk(t.Context(), begin, now, now, pass{keepCursor: true, refetch: true}, nil); err != nil || hits == 0 || r.status.Gaps != 1 {
		t.Errorf("a second look: %v, %d requests, %d gaps", err, hits, r.status.Gaps)
	}
}

// Seconds in a row that can never be read, each within a minute of the next, hold up nothing: all else comes in the first
// round, and after three each of them is a gap. A service that breaks off every answer has none, nor is it asked for
// ever smaller windows of all the time there is.
func TestStepOverInARow(t *testing.T) {
	now := time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)
	begin := now.Add(-4 * time.Hour)
	cannot := func(w extract.Window, bad ...time.Time) error {
		for _, at := range bad {
			if !at.Before(w.From) && at.Before(w.To) {
				return &extract.Narrow{Err: errors.New("Value cannot be null")}
			}
		}
		return nil
	}
	var row []time.Time
	for i := range 20 {
		row = append(row, begin.Add(time.Hour+time.Duration(i)*50*time.Second))
	}
	good := row[0].Add(25 * time.Second) // among them
	for name, c := range map[string]struct {
		unreadable func(w extract.Window) error
		gaps       int
	}{
		"in a row":   {func(w extract.Window) error { return cannot(w, row...) }, len(row)},
		"everything": {func(extract.Window) error { return &extract.Narrow{Err: errors.New("broken off")} }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, feedOf("f"))
			r.position, r.loaded = checkpoint.Position{Start: begin, Cursor: begin}, true
			r.service.probe = c.unreadable
			r.service.read = func(ctx context.Context, w extract.Window, sink extract.Sink) error {
				if err := c.unreadable(w); err != nil {
					return err
				}
				var records []string
				for _, at := range []time.Time{begin, good, now.Add(-time.Second)} {
					if !at.Before(w.From) && at.Before(w.To) {
						records = append(records, at.Format("15:04:05"))
					}
				}
				return page(ctx, sink, records...)
			}
			const all = "08:00:00 09:00:25 11:59:59"
			for round := 1; round <= stuckRounds; round++ {
				r.service.windows = nil
				err := r.walk(t.Context(), r.position.Cursor, now, now, pass{}, nil)
				if done := err == nil; done != (c.gaps > 0 && round == stuckRounds) {
					t.Errorf("round %d ended with %v", round, err)
				}
				if got := strings.Join(r.taker.ids(), " "); c.gaps > 0 && round == 1 && got != all {
					t.Errorf("the first round delivered %q, want %q", got, all)
				}
				if n := len(r.service.windows); c.gaps == 0 && n > 13 {
					t.Errorf("round %d: %d windows were asked for", round, n)
				}
			}
			if n := int(r.status.Gaps); n != c.gaps || len(r.position.Unreadable) != c.gaps || r.position.Cursor.Equal(now) != (c.gaps > 0) {
				t.Errorf("%d gaps are told and %d remembered, want %d; the cursor is at %v", n, len(r.position.Unreadable), c.gaps, r.position.Cursor)
			}
			if n := len(r.stuck); n > 0 {
				t.Errorf("%d seconds are still counted", n)
			}
		})
	}
}

// More seconds in one row than are counted at once are each told once, however often what lies behind them is read again, and one
// round asks once whether anything behind them can be read. Who had a part of them when another process took the partition
// over begins to count anew.
func TestStepOverALongRow(t *testing.T) {
	r := newRig(t, feedOf("f"))
	now := time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)
	begin, row := now.Add(-time.Hour), (mostStuck+mostStuck/2)*time.Second
	r.position = checkpoint.Position{Start: begin, Cursor: begin, ReadAt: begin}
	if err := r.store.Commit(&checkpoint.Commit{Feed: "f", Position: &r.position}); err != nil {
		t.Fatal(err)
	}
	r.stuck = map[time.Time]int{}
	for i := range mostStuck {
		r.stuck[begin.Add(-time.Duration(i+1)*time.Hour)] = 1
	}
	if err := r.load(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	cannot := func(w extract.Window) error {
		if w.From.Before(begin.Add(row)) {
			return &extract.Narrow{Err: errors.New("Value cannot be null")}
		}
		return nil
	}
	probed := 0
	r.service.probe = func(w extract.Window) error { probed++; return cannot(w) }
	r.service.read = func(_ context.Context, w extract.Window, _ extract.Sink) error { return cannot(w) }
	for round := 1; round <= 4*stuckRounds; round++ {
		probed = 0
		from := begin // as if all were looked at again
		if round <= 2*stuckRounds {
			from = r.position.Cursor
		}
		err := r.walk(t.Context(), from, now, now, pass{}, nil)
		if most := 3; probed > most {
			t.Errorf("round %d asked %d times whether the service can be read, want %d at most", round, probed, most)
		}
		if round >= 2*stuckRounds && (err != nil || r.status.Gaps != int64(row/time.Second) || len(r.position.Unreadable) != 1 || !r.position.Cursor.Equal(now)) {
			t.Fatalf("round %d: %v, %d gaps, %d spans are remembered, the cursor is at %v", round, err, r.status.Gaps, len(r.position.Unreadable), r.position.Cursor)
		}
	}
}
