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
	s, err := loadSettings(false)
	if err != nil {
		return err
	}
	std, bar := terminalBar(std, s)
	c, err := open(s, std, nil)
	if err != nil {
		return err
	}
	defer c.Close()
	c.describe(ctx, r.Once)
	endProgress := c.catchUp(ctx, bar)
	defer endProgress()
	if r.Once {
		return credentialsExit(c.engine.Once(ctx))
	}
	stop, err := c.serve()
	if err != nil {
		return err
	}
	defer stop()
	go c.credential.run(ctx)
	go c.history.run(ctx, c.engine.Status)
	if err := c.engine.Run(ctx); err != nil {
		return err
	}
	c.log.Info("stopped")
	return nil
}

// credentialsExit gives refused credentials their own exit code.
func credentialsExit(err error) error {
	if auth, ok := errors.AsType[*extract.AuthError](err); ok && !auth.Temporary {
		return exit(exitCredentials, errors.New(explain(auth)))
	}
	return err
}
