package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"text/tabwriter"
	"time"

	"golang.org/x/term"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/doctor"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/fleet"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/web"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/wording"
	"github.com/secure60/s60-m365-connector/engine"
	"github.com/secure60/s60-m365-connector/engine/simulator"
)

type demoCommand struct {
	configFlag
	Events  int     `default:"3000" help:"How many records the simulated tenant has in its last hours."`
	Minutes float64 `default:"0.5" help:"How long to go on with live records, after what the tenant had; 0 stops when that is collected."`
}

const (
	demoHistory   = 5 * time.Hour   // one window of each feed
	demoPoll      = 5 * time.Second // so that live records are seen soon
	demoHeartbeat = 2 * time.Second
	demoSamples   = 3     // events shown in full
	demoLive      = 240.0 // records a minute
)

// Run runs the main job against a simulated tenant and destination.
func (d demoCommand) Run(ctx context.Context, std streams) error {
	if d.Events < 1 || d.Events > 10_000_000 || d.Minutes < 0 || d.Minutes > 10_000 {
		return program.Exit(program.Usage, fmt.Errorf("--events is from 1 to 10000000, --minutes from 0 to 10000"))
	}
	perMinute := 0.0
	if d.Minutes > 0 {
		perMinute = demoLive
	}
	sim, err := simulator.Start(simulator.Options{
		Seed: 1, Records: d.Events, History: demoHistory, PerMinute: perMinute,
		Repeated: 0.03, Odd: 0.01, Throttle: true,
	})
	if err != nil {
		return fmt.Errorf("the simulated tenant cannot start: %w", err)
	}
	defer sim.Close()
	state, err := os.MkdirTemp("", program.Name+"-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(state)

	env := sim.EnvMap()
	env["STATE_DIR"], env["CONFIG_DIR"] = state, cmp.Or(d.Config, os.Getenv("CONFIG_DIR"))
	env["LISTEN_ADDR"] = os.Getenv("LISTEN_ADDR") // for who wants to see the status page
	env["LOG_LEVEL"] = os.Getenv("LOG_LEVEL")
	env["HEARTBEAT_INTERVAL_MINUTES"] = fmt.Sprint(demoHeartbeat.Minutes())
	env["POLLING_INTERVAL_MINUTES"] = fmt.Sprint(demoPoll.Minutes())
	env["INITIAL_LOOKBACK_MINUTES"] = fmt.Sprint(demoHistory.Minutes())
	s, err := settings.Read(env, false)
	if err != nil {
		return err
	}
	fmt.Fprintf(std.out, `A simulated Microsoft 365 tenant and a Secure60 endpoint now run on this machine (%s);
the connector itself is the real one. Nothing leaves this machine. Ctrl-C ends it.

`, s.IngestBase)
	show := &showcase{out: std.out, seen: map[string]bool{}}
	quiet := streams{in: std.in, out: std.out, err: io.Discard}
	if s.LogLevel == "DEBUG" {
		quiet.err = std.err
	}
	f, err := fleet.Open(ctx, s, env, fleet.Options{Out: terminalJSON(quiet.out), Err: quiet.err, Explain: doctor.InWords, OnEvent: show.event})
	if err != nil {
		return err
	}
	defer f.Close()
	stopServer, err := web.Serve(f)
	if err != nil {
		return err
	}
	defer stopServer()
	e := f.ConnectorOf("").Engine
	run, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- f.Run(run) }()
	d.watch(run, stop, e, show)
	if err := <-ended; err != nil {
		return err
	}
	if len(show.heartbeat) > 0 {
		show.print("The last heartbeat", show.heartbeat)
	}
	status := e.Status()
	settled := status.Now
	for _, f := range status.ByFeed() {
		if f.Cursor.Before(settled) {
			settled = f.Cursor
		}
	}
	return d.account(std.out, status, sim.ReportBetween(time.Time{}, settled))
}

// watch shows counts until the demo is over.
func (d demoCommand) watch(ctx context.Context, stop func(), e *engine.Engine, show *showcase) {
	defer stop()
	began := time.Now()
	var caughtUp time.Time
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		status := e.Status()
		show.counts(status, time.Since(began))
		if caughtUp.IsZero() && settled(status) {
			caughtUp = time.Now()
		}
		if !caughtUp.IsZero() && time.Since(caughtUp).Minutes() >= d.Minutes {
			return
		}
	}
}

// settled reports whether every feed has ended its first round.
func settled(s engine.Status) bool {
	for _, f := range s.Feeds {
		if f.State == engine.Starting {
			return false
		}
	}
	return true
}

// account prints what was offered and what arrived.
func (d demoCommand) account(w io.Writer, status engine.Status, report simulator.Report) error {
	fmt.Fprintf(w, "\nWhat the tenant listed, and what became of it:\n\n")
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "FEED\tLISTED\tDELIVERED\tREPEATED\tSET ASIDE\tDIFFERENCE\t")
	for _, f := range status.ByFeed() {
		listed := f.Listed()
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\t%d\t\n", f.Feed, listed, f.Delivered(), f.Duplicate(), f.DeadLettered,
			listed-f.Delivered()-f.Duplicate()-f.DeadLettered)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "\nUp to %s the tenant had %d records; the Secure60 endpoint received %d of them: %d lost, %d twice.\n",
		report.To.UTC().Format(time.RFC3339), report.Offered, report.Received, report.Lost, report.Duplicated)
	fmt.Fprintf(w, "Now for a real tenant: see \"%s help\".\n", program.Name)
	return nil
}

// showcase prints some events in full, and counts beneath them.
type showcase struct {
	mu        sync.Mutex
	out       io.Writer
	seen      map[string]bool // feeds of which an event was shown
	heartbeat []byte
	lines     int // of the table on the terminal, to be written over
}

// event shows the first event of some feeds, and keeps the last heartbeat.
func (s *showcase) event(feed string, event []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	title := "An event of " + feed
	switch {
	case feed == "":
		s.heartbeat = append(s.heartbeat[:0], event...)
		return
	case s.seen[feed] || len(s.seen) >= demoSamples:
		return
	}
	s.seen[feed] = true
	s.print(title, event)
}

// print shows an event in full.
func (s *showcase) print(title string, event []byte) {
	s.erase()
	var text bytes.Buffer
	if json.Indent(&text, event, "  ", "  ") == nil {
		fmt.Fprintf(s.out, "%s, as Secure60 receives it:\n  %s\n\n", title, wording.Visible(text.String()))
	}
}

// counts shows how far the feeds are: as a table that is written over on a
// terminal, as a line now and then elsewhere.
func (s *showcase) counts(status engine.Status, since time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	file, ok := s.out.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		if n := int(since.Seconds()); n <= 5 || n%10 == 0 {
			fmt.Fprintf(s.out, "%3ds ", n)
			for _, f := range status.ByFeed() {
				fmt.Fprintf(s.out, " %s=%d", f.Feed, f.Delivered())
			}
			fmt.Fprintln(s.out)
		}
		return
	}
	s.erase()
	var text bytes.Buffer
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(table, "FEED (%ds)\tSTATE\tDELIVERED\tREPEATED\tREQUESTS\t\n", int(since.Seconds()))
	for _, f := range status.ByFeed() {
		fmt.Fprintf(table, "%s\t%s\t%d\t%d\t%d\t\n", f.Feed, f.State, f.Delivered(), f.Duplicate(), f.Requests.Requests)
	}
	table.Flush() //nolint:errcheck // it writes to memory
	s.lines = bytes.Count(text.Bytes(), []byte("\n"))
	s.out.Write(text.Bytes()) //nolint:errcheck // a terminal that has gone ends the program otherwise
}

// erase takes the table off the terminal.
func (s *showcase) erase() {
	if s.lines > 0 {
		fmt.Fprintf(s.out, "\x1b[%dA\x1b[J", s.lines)
		s.lines = 0
	}
}
