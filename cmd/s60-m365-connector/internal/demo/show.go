package demo

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"text/tabwriter"
	"time"

	"golang.org/x/term"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/wording"
	"github.com/secure60/s60-m365-connector/engine"
	"github.com/secure60/s60-m365-connector/engine/simulator"
)

// showcase prints one event in full, and counts beneath it.
type showcase struct {
	mu     sync.Mutex
	out    io.Writer
	shown  bool
	alarms *alarms // nil: no attack is played
	lines  int     // of the table on the terminal, to be written over
}

// event takes an event that was delivered, and shows the first. Heartbeats belong to no feed.
func (s *showcase) event(feed string, event []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if feed != "" && s.alarms != nil {
		s.alarms.add(event)
	}
	if feed == "" || s.shown {
		return
	}
	s.shown = true
	var text bytes.Buffer
	if json.Indent(&text, event, "  ", "  ") == nil {
		s.erase()
		fmt.Fprintf(s.out, "An event of %s, as Secure60 receives it:\n  %s\n\n", feed, wording.Visible(text.String()))
	}
}

// counts shows how far the feeds are: as a table that is written over on a
// terminal, as a line now and then elsewhere.
func (s *showcase) counts(status engine.Status, since time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if file, ok := s.out.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		s.erase()
		var text bytes.Buffer
		fmt.Fprintf(&text, "After %d s:\n", int(since.Seconds()))
		feedTable(&text, status)
		s.lines = bytes.Count(text.Bytes(), []byte("\n"))
		s.out.Write(text.Bytes()) //nolint:errcheck // a terminal that has gone ends the program otherwise
		return
	}
	if n := int(since.Seconds()); n <= 5 || n%10 == 0 {
		ready, delivered, repeated := 0, int64(0), int64(0)
		feeds := status.ByFeed()
		for _, f := range feeds {
			delivered, repeated = delivered+f.Delivered(), repeated+f.Duplicate()
			if f.State == engine.OK {
				ready++
			}
		}
		fmt.Fprintf(s.out, "%3d s: %d delivered, %d repeated; %d of %d feeds are up to date\n", n, delivered, repeated, ready, len(feeds))
	}
}

func (s *showcase) erase() {
	if s.lines > 0 {
		fmt.Fprintf(s.out, "\x1b[%dA\x1b[J", s.lines)
		s.lines = 0
	}
}

func feedTable(w io.Writer, status engine.Status) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "FEED\tDELIVERED\tREPEATED\tLAG\tSTATE")
	for _, f := range status.ByFeed() {
		lag := "-"
		if !f.Cursor.IsZero() {
			lag = wording.Span(f.Lag(status.Now))
		}
		fmt.Fprintf(table, "%s\t%d\t%d\t%s\t%s\n", f.Feed, f.Delivered(), f.Duplicate(), lag, f.State)
	}
	table.Flush() //nolint:errcheck // what the terminal does not take is lost anyhow
}

// summary says in a few lines what came of it: the feeds, what the words mean, and what the
// two ends counted, each for itself.
func (d Demo) summary(status engine.Status, sim *simulator.Simulator, complete bool) {
	fmt.Fprintf(d.Out, "\nWhat came of it:\n")
	feedTable(d.Out, status)
	fmt.Fprintln(d.Out, `REPEATED: records that Microsoft listed again, as it does; each was delivered once.
LAG: how far behind now a feed has read. Some keep a distance on purpose, as the newest records come incomplete.`)
	if d.Break != "" {
		return // what waits is not lost
	}
	upTo := status.Now
	for _, f := range status.ByFeed() {
		if f.Cursor.Before(upTo) {
			upTo = f.Cursor
		}
	}
	if !complete {
		fmt.Fprintln(d.Out, "The time was over before all was read: Graph takes five requests in ten seconds. With --minutes 0 it goes on to the end.")
	}
	if !upTo.IsZero() {
		report := sim.ReportBetween(time.Time{}, upTo)
		fmt.Fprintf(d.Out, "Up to %s the tenant had %d records; the Secure60 endpoint received %d of them: %d lost, %d twice.\n",
			report.To.UTC().Format(time.RFC3339), report.Offered, report.Received, report.Lost, report.Duplicated)
	}
}
