package main

import (
	"context"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/doctor"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/fleet"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/web"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/wording"
)

type runCommand struct {
	configFlag
	Feed []string `placeholder:"NAME" help:"Run this feed alone, whatever the settings say; can be given several times."`
	Once bool     `help:"Poll every enabled feed until it has caught up with now, then exit."`
}

// Run collects until ctx ends, or once.
func (r runCommand) Run(ctx context.Context, std streams) error {
	s, env, err := settings.Load(false, r.Config)
	if err != nil {
		return err
	}
	std, bar := terminalBar(std, s)
	f, err := fleet.Open(ctx, s, env, fleet.Options{Out: wording.TerminalJSON(std.out), Err: std.err, Explain: doctor.InWords, Only: r.Feed})
	if err != nil {
		return err
	}
	defer f.Close()
	keepHeapSmall() // not sooner: what a start makes is garbage soon
	endProgress := showCatchUp(ctx, f, bar)
	defer endProgress()
	if r.Once {
		err := f.Once(ctx)
		endProgress()
		out := std.out
		if s.Output == "-" { // which is for events
			out = std.err
		}
		f.Summary(out)
		return err
	}
	stop, err := web.Serve(f)
	if err != nil {
		return err
	}
	defer stop()
	if err := f.Run(ctx); err != nil {
		return err
	}
	f.Log.Info("stopped")
	return nil
}
