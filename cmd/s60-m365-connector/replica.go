package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/lease"
)

// This file is for several replicas that share one state (STATE_URL).

func (s *settings) sharedOptions(log *slog.Logger) checkpoint.SharedOptions {
	return checkpoint.SharedOptions{
		URL: s.shared.url, Name: s.shared.name, Credentials: s.shared.credentials, Dir: s.stateDir, Replica: s.shared.replica,
		SessionTTL: lease.DefaultTTL, Logger: log,
	}
}

// openShared opens the shared state, and joins the replicas that work on it.
func openShared(ctx context.Context, s *settings, log *slog.Logger) (*checkpoint.Shared, *lease.Replica, error) {
	store, err := checkpoint.OpenShared(ctx, s.sharedOptions(log))
	if err != nil {
		return nil, nil, fmt.Errorf("STATE_URL: %w", err)
	}
	return store, lease.Join(lease.Options{
		Sessions: store.Sessions(), Claims: store, Name: s.shared.replica, TTL: lease.DefaultTTL, Log: log, Observer: s.shared.observer,
	}), nil
}

// lookAtState opens the state to read it. The state of a connector that runs here is
// [checkpoint.ErrLocked].
func lookAtState(ctx context.Context, s *settings) (checkpoint.Store, error) {
	if s.shared.url == "" {
		return checkpoint.Open(s.stateDir, checkpoint.Options{ReadOnly: true, LockWait: 100 * time.Millisecond})
	}
	store, err := checkpoint.OpenShared(ctx, s.sharedOptions(nil))
	if err != nil {
		return nil, err
	}
	return store, nil
}
