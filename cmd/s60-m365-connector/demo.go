package main

import (
	"context"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/demo"
)

type demoCommand struct {
	configFlag
	Events  int     `default:"3000" help:"How many records the simulated tenant has in its last hours."`
	Break   string  `placeholder:"WHAT" help:"Break something from the start, to see how that looks and what to do: expired-secret, no-p2, no-consent, sink-down, throttled or audit-off."`
	Story   string  `placeholder:"NAME" help:"Play an attack in the tenant, and show the rules of docs/detections.md that fire: bec, consent, insider or ransomware."`
	Minutes float64 `default:"0.5" help:"After how long it ends at the latest, with live records until then; 0 ends it when what the tenant had is collected."`
}

// Run runs the main job against a simulated tenant and destination.
func (d demoCommand) Run(ctx context.Context, std streams) error {
	keepHeapSmall()
	return demo.Demo{Config: d.Config, Events: d.Events, Minutes: d.Minutes, Break: d.Break, Story: d.Story, Out: std.out, Err: std.err}.Run(ctx)
}
