package fleet

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"strings"
	"time"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/checkpoint/shared"
	"github.com/secure60/s60-m365-connector/engine/lease"
)

// Imported is what was carried over.
type Imported struct{ Partitions, Keys int }

// ImportState copies the state from STATE_DIR into STATE_URL. back copies the other way, and then waits until the
// requests of replicas that have just stopped no longer count; while one runs it is refused. A state that is in use
// is [checkpoint.ErrLocked].
func ImportState(ctx context.Context, s *settings.Settings, back bool, log *slog.Logger) (done Imported, err error) {
	own, err := checkpoint.Open(s.StateDir, checkpoint.Options{Logger: log, ReadOnly: !back})
	if err != nil {
		return done, fmt.Errorf("STATE_DIR: %w", err)
	}
	defer func() { err = errors.Join(err, own.Close()) }()
	if report := own.SetAside(); report != nil {
		log.Error("the state of STATE_DIR was set aside", "report", report.String())
	}
	store, err := shared.Open(ctx, sharedOptions(s, log))
	if err != nil {
		return done, fmt.Errorf("STATE_URL: %w", err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if back {
		who, err := lease.Living(ctx, store.Sessions())
		if err != nil {
			return done, fmt.Errorf("STATE_URL: asking which replicas run: %w", err)
		}
		if len(who) > 0 {
			return done, fmt.Errorf("replicas run, and what they deliver from now on would come twice: stop %s first; one that was killed counts for %v", strings.Join(who, ", "), lease.DefaultTTL)
		}
		if err = own.Import(done.counted(ctx, store.Export())); err == nil {
			letRest(ctx, store, log)
		}
	} else {
		err = store.Import(ctx, done.counted(ctx, own.Export()))
	}
	return done, err
}

// tellAlone tells of a state in STATE_DIR that nobody carried over into the shared one, which is new.
func tellAlone(dir string, log *slog.Logger) {
	own, err := checkpoint.Open(dir, checkpoint.Options{ReadOnly: true})
	if err != nil {
		return // there is none, or one that cannot be carried over
	}
	own.Close() //nolint:errcheck // nothing was written
	log.Warn("STATE_DIR holds the state of a connector that ran alone, and the replicas begin without it: stop them, run state import, and start them again; else what it delivered since INITIAL_LOOKBACK_MINUTES comes twice, and what it had not delivered before is missing")
}

// letRest waits until what replicas have sent no longer counts. The state is already copied, so an interrupted wait is
// logged and fails nothing.
func letRest(ctx context.Context, store *shared.Store, log *slog.Logger) {
	left, err := store.RestLeft(ctx)
	if err == nil {
		if left > time.Second {
			log.Info("the state is carried over; waiting until what replicas have just sent counts no more for the services' limits", "for", left.Round(time.Second).String())
		}
		select {
		case <-ctx.Done():
			err = ctx.Err()
		case <-time.After(left):
		}
	}
	if err != nil {
		log.Warn("the state is carried over, and only the wait for the services' limits was broken off: a connector that starts at once may be throttled for a moment, and loses nothing", "reason", err)
	}
}

// counted counts what passes, until ctx ends.
func (done *Imported) counted(ctx context.Context, exported iter.Seq2[*checkpoint.Commit, error]) iter.Seq2[*checkpoint.Commit, error] {
	return func(yield func(*checkpoint.Commit, error) bool) {
		for c, err := range exported {
			if err == nil {
				err = ctx.Err()
			}
			if !yield(c, err) || err != nil {
				return
			}
			if c.Position != nil {
				done.Partitions++
			}
			done.Keys += len(c.Keys)
		}
	}
}
