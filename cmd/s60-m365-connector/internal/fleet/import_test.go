package fleet

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/checkpoint/natstest"
	"github.com/secure60/s60-m365-connector/engine/checkpoint/shared"
	"github.com/secure60/s60-m365-connector/engine/checkpoint/storetest"
	"github.com/secure60/s60-m365-connector/engine/lease"
)

// on calls a function for each line that passes.
type on func(line []byte)

func (f on) Write(line []byte) (int, error) {
	f(line)
	return len(line), nil
}

// answered does what asks a NATS server, again where that did not answer in time: a busy machine's does not always.
func answered(t *testing.T, do func() error) {
	t.Helper()
	for end := time.Now().Add(natstest.Forever); ; {
		err := do()
		if err == nil {
			return
		}
		if !errors.Is(err, context.DeadlineExceeded) || time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// TestImportBackBrokenOff: who does not wait until the requests of replicas count no more has the state all the same, and is told so.
func TestImportBackBrokenOff(t *testing.T) {
	s := &settings.Settings{StateDir: t.TempDir()}
	s.Shared.URL, s.Shared.Name, s.Shared.Replica = natstest.URL(natstest.Start(t, nil)), "state", "one"
	var store *shared.Store
	want := storetest.Numbered("a", 0)
	answered(t, func() (err error) {
		store, err = shared.Open(t.Context(), sharedOptions(s, slog.New(slog.DiscardHandler)))
		return err
	})
	answered(t, func() error {
		return store.Claim(t.Context(), want.Feed, want.Partition, store.Owner(want.Feed, want.Partition), "session")
	})
	answered(t, func() error { return store.Commit(want) })
	answered(t, func() error { return store.Release(t.Context(), want.Feed, want.Partition, 24*time.Hour) })
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var told bytes.Buffer
	log := slog.New(slog.NewTextHandler(on(func(line []byte) {
		told.Write(line)
		if bytes.Contains(line, []byte("waiting until")) {
			stop()
		}
	}), nil))
	var done Imported
	answered(t, func() (err error) {
		done, err = ImportState(ctx, s, true, log)
		if err == nil && ctx.Err() == nil {
			return fmt.Errorf("it did not wait: %w:\n%s", context.DeadlineExceeded, told.String()) // the server did not tell the time
		}
		return err
	})
	if done.Partitions != 1 || done.Keys != len(want.Keys) {
		t.Errorf("%+v", done)
	}
	for _, want := range []string{"the state is carried over; waiting", " for=", "only the wait for the services' limits was broken off"} {
		if !strings.Contains(told.String(), want) {
			t.Errorf("nothing says %q:\n%s", want, told.String())
		}
	}
	own, err := checkpoint.Open(s.StateDir, checkpoint.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	if p, ok, err := own.Position(want.Feed, want.Partition); err != nil || !ok || !p.Cursor.Equal(want.Position.Cursor) {
		t.Errorf("%+v %v %v", p, ok, err)
	}
}

// TestImportBackWhileReplicasRun: what they deliver afterwards would come twice, so it is refused, and says who runs.
func TestImportBackWhileReplicasRun(t *testing.T) {
	s := &settings.Settings{StateDir: t.TempDir()}
	s.Shared.URL, s.Shared.Name, s.Shared.Replica = natstest.URL(natstest.Start(t, nil)), "state", "one"
	var store *shared.Store
	answered(t, func() (err error) {
		other := sharedOptions(s, slog.New(slog.DiscardHandler))
		other.Dir = t.TempDir()
		store, err = shared.Open(t.Context(), other)
		return err
	})
	defer store.Close() //nolint:errcheck // the test is over
	replica := lease.Join(lease.Options{Sessions: store.Sessions(), Claims: store, Name: "two", TTL: lease.DefaultTTL, Log: slog.New(slog.DiscardHandler)})
	for end := time.Now().Add(natstest.Forever); replica.Joined() != nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not join")
		}
	}
	back := func() (err error) {
		_, err = ImportState(t.Context(), s, true, slog.New(slog.DiscardHandler))
		return err
	}
	var err error
	answered(t, func() error {
		if err = back(); errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), "stop two first") {
		t.Errorf("while a replica runs: %v", err)
	}
	replica.Leave()
	answered(t, back)
}

// TestStateThatWasNotImported: replicas that begin anew beside the state of a connector that ran alone say how it is carried over; others
// say nothing of it.
func TestStateThatWasNotImported(t *testing.T) {
	server := natstest.URL(natstest.Start(t, nil))
	for _, alone := range []bool{true, false} {
		var s *settings.Settings
		told := func() (bool, error) {
			var log bytes.Buffer
			store, replica, _, _, err := openStore(t.Context(), s, slog.New(slog.NewTextHandler(on(func(line []byte) { log.Write(line) }), nil)))
			if err != nil {
				return false, err
			}
			replica.Leave()
			return strings.Contains(log.String(), "run state import"), store.Close()
		}
		check := func(when string, want bool, prepare func()) {
			answered(t, func() error {
				prepare() // anew: a first start that failed may have made the stream
				got, err := told()
				if err == nil && got != want {
					t.Errorf("alone before: %v, %s: told: %v", alone, when, got)
				}
				return err
			})
		}
		check("the first start", alone, func() {
			s = &settings.Settings{StateDir: t.TempDir()}
			s.Shared.URL, s.Shared.Name, s.Shared.Replica = server, rand.Text(), "one"
			if !alone {
				return
			}
			own, err := checkpoint.Open(s.StateDir, checkpoint.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(own.Commit(storetest.Numbered("a", 0)), own.Close()); err != nil {
				t.Fatal(err)
			}
		})
		check("another start", false, func() {})
	}
}
