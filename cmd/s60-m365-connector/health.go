package main

import (
	"context"
	"fmt"
	"net/http"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/fleet"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
)

type healthCommand struct{}

// Run asks the connector that runs on this host.
func (healthCommand) Run(ctx context.Context, std streams) error {
	s, _, err := settings.Load(true, "")
	if err != nil {
		return err
	}
	status, body, err := fleet.Ask(ctx, s, "/healthz")
	if err != nil {
		return program.Exit(program.Failed, err)
	}
	fmt.Fprint(std.out, body)
	if status != http.StatusOK {
		return program.Exit(program.Failed, nil)
	}
	return nil
}
