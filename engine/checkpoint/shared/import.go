package shared

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
)

// importFeed has the keys of an import, by session.
const importFeed = "\x00import"

// Import takes over what an embedded store has exported. A partition that is here already keeps its
// ledger and objects, and gets the position that covers what both delivered; who holds it is
// fenced and reads that. It can be done again after it was interrupted.
func (s *Store) Import(ctx context.Context, exported iter.Seq2[*checkpoint.Commit, error]) error {
	session := "import-" + s.writer
	known, err := s.Positions("")
	if err != nil {
		return err
	}
	for c, err := range exported {
		if err != nil {
			return err
		}
		own := *c
		if len(c.Keys) > 0 {
			own.Feed, own.Partition = importFeed, s.writer
		} else if _, ok := known[[2]string{c.Feed, c.Partition}]; ok && c.Position == nil {
			continue
		}
		if err := s.importOne(ctx, session, &own); err != nil {
			return fmt.Errorf("taking over %s %s: %w", c.Feed, c.Partition, err)
		}
	}
	return s.Release(ctx, importFeed, s.writer, -1)
}

func (s *Store) importOne(ctx context.Context, session string, c *checkpoint.Commit) (err error) {
	const attempts = 20 // while others write
	for range attempts {
		if err = s.Claim(ctx, c.Feed, c.Partition, s.Owner(c.Feed, c.Partition), session); err == nil {
			own := *c
			here, ok, readErr := s.Position(c.Feed, c.Partition)
			if readErr != nil {
				return readErr
			}
			if ok && c.Position != nil {
				both := here.Union(*c.Position)
				own.Position, own.Objects = &both, nil
			}
			if err = s.Commit(&own); err == nil {
				if c.Feed == importFeed {
					return nil // more of it will follow
				}
				return s.Release(ctx, c.Feed, c.Partition, -1)
			}
		}
		if !errors.Is(err, ErrHeld) && !errors.Is(err, checkpoint.ErrFenced) {
			return err
		}
	}
	return err
}

// RestLeft is how long something counts yet that the last holders of partitions had sent, by what they said
// when they released them: who goes on without this store knows nothing of that.
func (s *Store) RestLeft(ctx context.Context) (time.Duration, error) {
	info, err := s.stream.Info(ctx)
	if err != nil {
		return 0, s.failed("asking for the time", err)
	}
	var free time.Time
	s.mu.Lock()
	for _, one := range s.subjects {
		if one.Free.After(free) {
			free = one.Free
		}
	}
	s.mu.Unlock()
	return max(free.Sub(clock(info)), 0), nil
}

// clock is the servers' time, by which messages are dated. An old server does not tell it: the last message's then,
// before which nobody released anything, so that no wait is longer than a holder said.
func clock(info *jetstream.StreamInfo) time.Time {
	if info.TimeStamp.IsZero() {
		return info.State.LastTime
	}
	return info.TimeStamp
}

// formerDir is where a view of a log that is lost waits until it was taken over.
const formerDir = "view-former"

// takeOver imports a former view into the log that has taken the place of its own: nobody else may
// know any more what was delivered.
func (s *Store) takeOver(ctx context.Context, dir string) error {
	if _, err := os.Stat(dir); err != nil {
		return nil
	}
	began := time.Now()
	former, err := checkpoint.Open(dir, checkpoint.Options{Logger: s.log})
	if err != nil {
		return err
	}
	if report := former.SetAside(); report != nil {
		s.rebuild = true
		s.restored = "the shared state was lost, and so was what this replica knew of it; everything is read again from as far back as the services keep it, and records may be delivered again"
		s.log.Error("shared state: it was lost, and so was what this replica knew of it; everything is read again from as far back as the services keep it, so records may be delivered again", "reason", report.Reason)
	} else {
		s.log.Warn("shared state: it was lost, or lost messages; it is restored from the view that this replica had of it")
		if err := s.Import(ctx, former.Export()); err != nil {
			return errors.Join(fmt.Errorf("shared state: restoring it from the former view in %s; it is tried again at the next start: %w", dir, err), former.Close())
		}
		s.restored = "the shared state was lost, or lost messages; it is restored from the view that this replica had of it, and what other replicas had delivered since then may be delivered again"
		s.log.Warn("shared state: restored; what other replicas had delivered since this one last saw the log may be delivered again", "took", time.Since(began).Round(time.Millisecond).String())
	}
	if err := former.Close(); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

// Rebuild reports that the state was lost with all that was known of it here: every feed must be
// read again from as far back as its source keeps records.
func (s *Store) Rebuild() bool { return s.rebuild }

// Restored says what happened where the state was lost and this replica took over what its view knew, or
// must begin anew; "" else.
func (s *Store) Restored() string { return s.restored }

// New reports that this replica made the log, and knows of none before it.
func (s *Store) New() bool { return s.made && s.restored == "" }

// Export is what the view shows of the state; see [checkpoint.Embedded.Export].
func (s *Store) Export() iter.Seq2[*checkpoint.Commit, error] { return s.view.Export() }
