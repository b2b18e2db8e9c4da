package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/fleet"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/wording"
)

type stateCommand struct {
	Import stateImportCommand `cmd:"" help:"Carry the state of STATE_DIR over into STATE_URL, so that replicas go on where one connector stopped; --back the other way."`
}

type stateImportCommand struct {
	Back bool `help:"From STATE_URL into STATE_DIR, so that one connector goes on where replicas stopped."`
}

// Run copies the state. It can be run again, and leaves what it reads as it is.
func (c stateImportCommand) Run(ctx context.Context, std streams) error {
	s, _, err := settings.Load(false, "")
	if err != nil {
		return err
	}
	if s.Shared.URL == "" {
		return program.Exit(program.Usage, errors.New("STATE_URL is not set: it says which state the replicas share, and is needed in both directions; stop the connectors first"))
	}
	done, err := fleet.ImportState(ctx, s, c.Back, fleet.NewLogger(s, std.err))
	if err != nil {
		return err
	}
	from, to := "STATE_DIR", "STATE_URL"
	if c.Back {
		from, to = to, from
	}
	_, err = fmt.Fprintf(std.out, "%d %s and %d keys of %s are in %s\n", done.Partitions, wording.Plural(done.Partitions, "partition"), done.Keys, from, to)
	return err
}
