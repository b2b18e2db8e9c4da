package fleet

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/checkpoint/shared"
	"github.com/secure60/s60-m365-connector/engine/lease"
)

// This file is for several replicas that share one state (STATE_URL).

func sharedOptions(s *settings.Settings, log *slog.Logger) shared.Options {
	return shared.Options{
		URL: s.Shared.URL, Name: s.Shared.Name, Credentials: s.Shared.Credentials, Dir: s.StateDir, Replica: s.Shared.Replica,
		SessionTTL: lease.DefaultTTL, Logger: log,
	}
}

func openShared(ctx context.Context, s *settings.Settings, log *slog.Logger) (*shared.Store, *lease.Replica, error) {
	store, err := shared.Open(ctx, sharedOptions(s, log))
	if err != nil {
		return nil, nil, fmt.Errorf("STATE_URL: %w", err)
	}
	return store, lease.Join(lease.Options{
		Sessions: store.Sessions(), Claims: store, Name: s.Shared.Replica, TTL: lease.DefaultTTL, Log: log, Format: shared.Format, Observer: s.Shared.Observer,
	}), nil
}

// LookAtState opens the state to read it; nil, where there is none yet. The state of a connector that runs here is
// [checkpoint.ErrLocked].
func LookAtState(ctx context.Context, s *settings.Settings) (checkpoint.Store, error) {
	if s.Shared.URL != "" {
		store, err := shared.Open(ctx, sharedOptions(s, nil))
		if err != nil {
			return nil, err // not a store that holds a nil
		}
		return store, nil
	}
	store, err := checkpoint.Open(s.StateDir, checkpoint.Options{ReadOnly: true, LockWait: 100 * time.Millisecond})
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return store, nil
}
