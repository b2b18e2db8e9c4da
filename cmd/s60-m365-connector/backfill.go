package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/doctor"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/fleet"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/wording"
)

type backfillCommand struct {
	configFlag
	tenantFlag
	Feed string `required:"" help:"The feed to read."`
	From string `required:"" help:"Where the period begins: 2026-03-01T10:00:00Z, or 2026-03-01."`
	To   string `required:"" help:"Where it ends."`

	Again bool `help:"Deliver also what was delivered before."`
}

// Run reads a period of one feed again; cursors stay where they are.
func (b backfillCommand) Run(ctx context.Context, std streams) error {
	from, err1 := parseTime("--from", b.From)
	to, err2 := parseTime("--to", b.To)
	if err := errors.Join(err1, err2); err != nil {
		return program.Exit(program.Usage, err)
	}
	if !from.Before(to) {
		return program.Exit(program.Usage, fmt.Errorf("--from %s is not before --to %s", b.From, b.To))
	}
	keepHeapSmall()
	s, env, err := settings.Load(false, b.Config)
	if err != nil {
		return err
	}
	std, bar := terminalBar(std, s)
	log := fleet.NewLogger(s, std.err)
	if b.Tenant != "" {
		log = log.With("tenant", b.Tenant)
	}
	show := &progress{name: "backfill", bar: bar, log: log}
	hear, end := show.heard(ctx)
	if fleet.Running(ctx, s) {
		err = b.ask(ctx, s, env, from, to, hear)
	} else {
		err = b.alone(ctx, s, env, std, from, to, hear)
	}
	last, took := end()
	if err == nil {
		log.Info("backfill done", "feed", b.Feed, "events", last.Events, "repeated", last.Repeated, "took", took.Round(time.Second).String())
		if last.Events == 0 && last.Repeated > 0 {
			log.Info("every record of the period was delivered before and is not sent again: --again does that", "records", last.Repeated)
		}
	}
	return err
}

// ask lets the connector that runs on the same state read the period.
func (b backfillCommand) ask(ctx context.Context, process *settings.Settings, env map[string]string, from, to time.Time, hear func(fleet.Progress)) error {
	s, err := b.settings(process, env, nil)
	if err != nil {
		return err
	}
	_, err = fleet.Request(ctx, process, tenantPath(s)+"/backfill", url.Values{
		"feed": {b.Feed}, "from": {from.Format(time.RFC3339Nano)}, "to": {to.Format(time.RFC3339Nano)}, "again": {strconv.FormatBool(b.Again)},
	}, hear)
	return err
}

// alone reads the period while no connector runs here.
func (b backfillCommand) alone(ctx context.Context, s *settings.Settings, env map[string]string, std streams, from, to time.Time, hear func(fleet.Progress)) error {
	s.Shared.Observer = true
	p, err := fleet.OpenProcess(ctx, s, fleet.Options{Out: wording.TerminalJSON(std.out), Err: std.err, Explain: doctor.InWords})
	if err != nil {
		return err
	}
	defer p.Close()
	if s, err = b.settings(s, env, p.Defs.Set); err != nil {
		return err
	}
	c, err := p.Connect(s)
	if err != nil {
		return err
	}
	defer c.Close()
	return p.CredentialsExit(c.Backfill(ctx, b.Feed, from, to, b.Again, false, hear))
}

func parseTime(flag, text string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%s is %q: write a time such as 2026-03-01T10:00:00Z, or a day such as 2026-03-01", flag, text)
}
