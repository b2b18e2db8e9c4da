package main

import (
	"context"
	"errors"

	"github.com/secure60/s60-m365-connector/engine/extract"
)

type runCommand struct {
	Once bool `help:"Poll every enabled feed until it has caught up with now, then exit."`
}

// Run collects until ctx ends, or once.
func (r runCommand) Run(ctx context.Context, std streams) error {
	s, env, err := loadSettings(false)
	if err != nil {
		return err
	}
	std, bar := terminalBar(std, s)
	f, err := openFleet(ctx, s, env, std, nil)
	if err != nil {
		return err
	}
	defer f.Close()
	f.describe(ctx, r.Once)
	endProgress := f.catchUp(ctx, bar)
	defer endProgress()
	if r.Once {
		return f.once(ctx)
	}
	stop, err := f.serve()
	if err != nil {
		return err
	}
	defer stop()
	if err := f.run(ctx); err != nil {
		return err
	}
	f.log.Info("stopped")
	return nil
}

// credentialsExit gives refused credentials their own exit code.
func credentialsExit(err error) error {
	if auth, ok := errors.AsType[*extract.AuthError](err); ok && !auth.Temporary {
		return exit(exitCredentials, errors.New(explain(auth)))
	}
	return err
}
