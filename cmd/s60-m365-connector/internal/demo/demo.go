// Package demo shows the real connector at work, against a simulated tenant and destination on
// loopback. Nothing leaves the machine, and nothing stays on it.
//
// How it works: a simulator starts with some hours of records, and perhaps a fault (break.go) or an attack
// (story.go). The settings point to it, and fleet and web run as always, with their state in a
// temporary folder. In the end the simulator's own count shows what was lost or came twice (show.go).
package demo

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/doctor"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/fleet"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/web"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/wording"
	"github.com/secure60/s60-m365-connector/engine"
	"github.com/secure60/s60-m365-connector/engine/simulator"
)

// Demo is one demonstration.
type Demo struct {
	Config   string  // folder of definitions; empty: CONFIG_DIR
	Events   int     // records of the tenant's last hours
	Minutes  float64 // the longest it goes on; 0: until the tenant's records are collected
	Break    string  // what is broken from the start: one of breaks; empty: nothing
	Story    string  // an attack to play: one of simulator.Attacks; empty: none
	Out, Err io.Writer
}

const (
	history   = 5 * time.Hour   // one window of each feed
	poll      = 5 * time.Second // so that live records are seen soon
	heartbeat = 2 * time.Second
	live      = 240.0 // records a minute
)

// Run shows it until it is over, or ctx ends.
func (d Demo) Run(ctx context.Context) error {
	if d.Events < 1 || d.Events > 10_000_000 || d.Minutes < 0 || d.Minutes > 10_000 {
		return program.Exit(program.Usage, fmt.Errorf("--events is from 1 to 10000000, --minutes from 0 to 10000"))
	}
	broken, err := breakageOf(d.Break)
	if err != nil {
		return program.Exit(program.Usage, err)
	}
	o := simulator.Options{Seed: 1, Records: d.Events, History: history, Repeated: 0.03, Odd: 0.01, Throttle: true, Calm: d.Story != ""}
	if o.Calm {
		o.Volumes = map[string]simulator.Volume{simulator.RiskDetections: {}} // each is an alarm
	}
	if d.Minutes > 0 {
		o.PerMinute = live
	}
	if broken != nil && broken.build != nil {
		broken.build(&o)
	}
	sim, err := simulator.Start(o)
	if err != nil {
		return fmt.Errorf("the simulated tenant cannot start: %w", err)
	}
	defer sim.Close()
	if broken != nil {
		for _, fault := range broken.fault {
			if err := sim.Inject(fault); err != nil {
				return err
			}
		}
	}
	title := ""
	show := &showcase{out: d.Out}
	if d.Story != "" {
		if title, err = sim.Attack(d.Story, attackBegan); err != nil {
			return program.Exit(program.Usage, fmt.Errorf("--story %s: write one of %s", d.Story, strings.Join(simulator.Attacks, ", ")))
		}
		if show.alarms, err = newAlarms(); err != nil {
			return err
		}
	}
	state, err := os.MkdirTemp("", program.Name+"-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(state)
	env := d.environment(sim, state)
	s, err := settings.Read(env, false)
	if err != nil {
		return err
	}
	status, complete, err := d.play(ctx, s, env, show)
	if err != nil {
		return err
	}
	d.summary(status, sim, complete)
	if d.Story != "" {
		show.alarms.print(d.Out, title)
	}
	if broken != nil {
		d.diagnosis(ctx, broken, s)
	}
	_, err = fmt.Fprintf(d.Out, "Now for a real tenant: %s help\n", command())
	return err
}

// play runs the connector, and gives its last status, and whether it collected all of the
// tenant's history.
func (d Demo) play(ctx context.Context, s *settings.Settings, env map[string]string, show *showcase) (_ engine.Status, complete bool, err error) {
	log := io.Discard
	if s.LogLevel == "DEBUG" || d.Break != "" {
		log = d.Err
	}
	f, err := fleet.Open(ctx, s, env, fleet.Options{Out: wording.TerminalJSON(d.Out), Err: log, Explain: doctor.InWords, OnEvent: show.event})
	if err != nil {
		return engine.Status{}, false, err
	}
	defer f.Close()
	stopServer, err := web.Serve(f)
	if err != nil {
		return engine.Status{}, false, err
	}
	defer stopServer()
	fmt.Fprintf(d.Out, `%s

A simulated Microsoft 365 tenant and a Secure60 endpoint now run on this machine; the connector
itself is the real one. Nothing leaves this machine. Ctrl-C ends it.

`, link(s.Listen))
	e := f.ConnectorOf("").Engine
	run, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() {
		ended <- f.Run(run)
		stop()
	}()
	complete = d.watch(run, e, show)
	stop()
	err = <-ended
	if d.Break != "" && err != nil && ctx.Err() == nil {
		fmt.Fprintf(d.Out, "The connector gave up: %v\n", err)
		err = nil
	}
	return e.Status(), complete, err
}

// environment is that of the connector: the simulated tenant, and what the person
// who looks has set for the page, the log and definitions.
func (d Demo) environment(sim *simulator.Simulator, state string) map[string]string {
	env := sim.EnvMap()
	env["STATE_DIR"], env["CONFIG_DIR"] = state, cmp.Or(d.Config, os.Getenv("CONFIG_DIR"))
	env["LISTEN_ADDR"] = "127.0.0.1:0"
	if listen, set := os.LookupEnv("LISTEN_ADDR"); set {
		env["LISTEN_ADDR"] = listen
	}
	env["SHOW_EVENTS"] = "true" // nobody is in them
	env["LOG_LEVEL"] = os.Getenv("LOG_LEVEL")
	env["HEARTBEAT_INTERVAL_MINUTES"] = fmt.Sprint(heartbeat.Minutes())
	env["POLLING_INTERVAL_MINUTES"] = fmt.Sprint(poll.Minutes())
	// Longer than the history, whose oldest records a slow start would leave behind.
	env["INITIAL_LOOKBACK_MINUTES"] = fmt.Sprint((history + 10*time.Minute).Minutes())
	return env
}

// link is the first line: where the page is.
func link(listen string) string {
	url, err := fleet.URL(listen)
	if err != nil {
		return "There is no status page: LISTEN_ADDR is set to nothing."
	}
	return url + "\nis the status page, with the mapping workbench, for as long as this runs."
}

// watch shows counts until the demo is over, and reports whether all of the tenant's
// history was collected.
func (d Demo) watch(ctx context.Context, e *engine.Engine, show *showcase) (complete bool) {
	began := time.Now()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return complete
		case <-tick.C:
		}
		status := e.Status()
		show.counts(status, time.Since(began))
		complete = complete || settled(status)
		over := complete
		switch {
		case d.Minutes > 0:
			over = time.Since(began).Minutes() >= d.Minutes
		case d.Break != "":
			over = complete || time.Since(began) >= brokenFor
		}
		if over {
			return complete
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

// command is how the person who looks can call this program.
func command() string {
	path, err := os.Executable()
	if err == nil && strings.Contains(path, "go-build") { // where "go run" puts what it runs
		return "go run ./cmd/" + program.Name
	}
	if strings.ContainsAny(os.Args[0], " \t") {
		return `"` + os.Args[0] + `"`
	}
	return os.Args[0]
}
