package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// engineLog takes what the engine says. Its Fatalf must not return, and by default ends the
// process; here it stops the store and parks the engine's goroutine, so that the
// connector can say why, and open the state again.
type engineLog struct{ s *Embedded }

func (l engineLog) Infof(format string, args ...any)  { l.debug(format, args) }
func (l engineLog) Errorf(format string, args ...any) { l.debug(format, args) }

func (l engineLog) debug(format string, args []any) {
	log := l.s.opts.Logger
	if log.Enabled(context.Background(), slog.LevelDebug) {
		log.Debug("state store: " + fmt.Sprintf(format, args...))
	}
}

func (l engineLog) Fatalf(format string, args ...any) {
	// Whether it is damage or the environment shows only in the cause, which is
	// among the arguments.
	fatal := &fatalError{text: fmt.Sprintf(format, args...)}
	for _, a := range args {
		if err, ok := a.(error); ok {
			fatal.cause = err
		}
	}
	l.s.stop(fatal)
	select {}
}

// fatalError is what the engine says with its last words, and their cause.
type fatalError struct {
	text  string
	cause error
}

func (e *fatalError) Error() string { return e.text }
func (e *fatalError) Unwrap() error { return e.cause }

// damageError is an [ErrDamaged] that says of what.
type damageError struct {
	dir   string
	cause error
}

func (e *damageError) Error() string {
	return fmt.Sprintf("%v: %s: %v; restart the connector, or open the state again: it is then set aside and built anew", ErrDamaged, e.dir, e.cause)
}

func (e *damageError) Unwrap() []error { return []error{ErrDamaged, e.cause} }

// stop ends the use of the store: calls in progress and later ones return the
// reason.
func (s *Embedded) stop(err error) {
	s.stopOnce.Do(func() {
		explained, environment := Explain(s.dir, err)
		var damage *damageError
		switch {
		case errors.As(err, &damage), errors.Is(err, ErrDamaged), pebble.IsCorruptionError(err):
			if damage == nil {
				damage = &damageError{cause: err}
			}
			damage.dir = s.dir
			s.cause = damage
			s.markDamaged(damage.cause)
		case environment:
			s.cause = fmt.Errorf("%w: %w", ErrStopped, explained)
		default:
			s.cause = fmt.Errorf("%w: %s: %w; open it again", ErrStopped, s.dir, err)
		}
		s.disk.abandoned.Store(true)
		close(s.stopped)
	})
}

// markDamaged leaves word for the next Open. Where it cannot, the next run
// finds the damage again.
func (s *Embedded) markDamaged(cause error) {
	if s.opts.ReadOnly {
		return
	}
	f, err := s.disk.Create(s.disk.PathJoin(s.state, damagedMark), vfs.WriteCategoryUnspecified)
	if err != nil {
		return
	}
	_, err = io.WriteString(f, cause.Error())
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		s.opts.Logger.Debug("state store: marking the state as damaged failed", "error", err)
	}
}

// guard runs work of the engine in a goroutine of its own: the engine may park it
// for ever in Fatalf, or panic over a failed write, and either stops the store. What work has set is
// there only where the error is nil.
func guard(s *Embedded, work func() error) error {
	select {
	case err := <-start(s, work):
		return err
	case <-s.stopped:
		return s.cause
	}
}

func start(s *Embedded, work func() error) <-chan error {
	done := make(chan error, 1)
	go func() {
		defer func() {
			if r := recover(); r != nil {
				err, ok := r.(error)
				if !ok {
					err = fmt.Errorf("%v", r)
				}
				s.stop(err)
				done <- s.cause
			}
		}()
		done <- work()
	}()
	return done
}

// failed makes of an error on reading what the caller gets; damage stops the store.
func (s *Embedded) failed(what string, err error) error {
	if err == nil {
		return nil
	}
	if isDamage(err) {
		s.stop(&damageError{cause: err})
		<-s.stopped
		return fmt.Errorf("%s: %w", what, s.cause)
	}
	explained, _ := Explain(s.dir, err)
	return fmt.Errorf("%s: %w", what, explained)
}
