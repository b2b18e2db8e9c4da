package main

import (
	"context"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
	"github.com/secure60/s60-m365-connector/engine/simulator"
)

type simulateCommand struct {
	Args []string `arg:"" optional:"" help:"Options of the simulator; --help lists them."`
}

// Run runs the simulator until ctx ends.
func (s simulateCommand) Run(ctx context.Context, std streams) error {
	if code := simulator.Main(ctx, s.Args, std.out, std.err); code != program.Done {
		return program.Exit(code, nil)
	}
	return nil
}
