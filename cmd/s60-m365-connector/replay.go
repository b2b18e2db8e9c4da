package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/fleet"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/wording"
	"github.com/secure60/s60-m365-connector/engine/load"
)

type replayCommand struct {
	tenantFlag
	File string `arg:"" optional:"" help:"A file of STATE_DIR/deadletter (of several tenants: STATE_DIR/tenants/NAME/deadletter); all of them, oldest first, if not given."`
}

// Run sends dead letters again; a connector that runs on the same state does it.
func (r replayCommand) Run(ctx context.Context, std streams) error {
	keepHeapSmall()
	s, env, err := settings.Load(false, "")
	if err != nil {
		return err
	}
	process := s
	if s, err = r.settings(s, env, nil); err != nil {
		return err
	}
	file := r.File
	if file != "" {
		if file, err = filepath.Abs(file); err != nil {
			return err
		}
	}
	std, bar := terminalBar(std, s)
	show := &progress{name: "replay", bar: bar, log: fleet.NewLogger(s, std.err)}
	hear, end := show.heard(ctx)
	var done fleet.Replayed
	if fleet.Running(ctx, process) {
		var last fleet.Progress
		last, err = fleet.Request(ctx, process, tenantPath(s)+"/replay", url.Values{"file": {file}}, hear)
		if last.Replayed != nil {
			done = *last.Replayed
		}
	} else {
		done, err = r.alone(ctx, s, std, file, hear)
	}
	end()
	for _, line := range done.Unread {
		fmt.Fprintln(std.err, line)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(std.out, "%d dead letters sent, %d refused again and kept", done.Sent, done.Refused)
	if n := len(done.Unread); n > 0 {
		fmt.Fprintf(std.out, ", %d %s cannot be read and %s", n, wording.Plural(n, "line"), map[bool]string{true: "stays", false: "stay"}[n == 1])
	}
	fmt.Fprintln(std.out)
	if done.Nothing() {
		return program.Exit(program.Failed, errors.New("nothing was taken: the reasons stand beside the events in "+s.DeadLetters()))
	}
	return nil
}

// alone sends while no connector runs. One that starts meanwhile writes to files of its own.
func (replayCommand) alone(ctx context.Context, s *settings.Settings, std streams, file string, hear func(fleet.Progress)) (fleet.Replayed, error) {
	dead, err := load.OpenDeadLetters(s.DeadLetters())
	if err != nil {
		return fleet.Replayed{}, err
	}
	dest, err := fleet.OpenDestination(s, wording.TerminalJSON(std.out), nil, fleet.NewLogger(s, std.err))
	if err != nil {
		return fleet.Replayed{}, err
	}
	defer dest.Close()
	return fleet.Replay(ctx, s, dest, dead, file, hear)
}

// tenantPath is where the running connector answers for a tenant.
func tenantPath(s *settings.Settings) string {
	if s.Tenant == "" {
		return ""
	}
	return "/tenants/" + url.PathEscape(s.Tenant)
}
