package main

import (
	"context"

	"github.com/secure60/s60-m365-connector/engine/simulator"
)

type simulateCommand struct {
	Args []string `arg:"" optional:"" help:"Options of the simulator; --help lists them."`
}

// Run runs the simulator until ctx ends.
func (s simulateCommand) Run(ctx context.Context, std streams) error {
	if code := simulator.Main(ctx, s.Args, std.out, std.err); code != exitDone {
		return exit(code, nil)
	}
	return nil
}
