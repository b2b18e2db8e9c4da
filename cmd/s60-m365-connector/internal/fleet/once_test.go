package fleet

import (
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/simulator"
)

// TestOnceSweeps: runs that a clock starts keep no key for ever, and do not sweep each time.
func TestOnceSweeps(t *testing.T) {
	sim, err := simulator.Start(simulator.Options{Seed: 7, Records: 20, Subscribed: simulator.ContentTypes})
	if err != nil {
		t.Fatal(err)
	}
	defer sim.Close()
	env := sim.EnvMap()
	env["STATE_DIR"], env["CONFIG_DIR"], env["LISTEN_ADDR"] = t.TempDir(), t.TempDir(), ""
	env["ENABLE_GRAPH"], env["MGMT_CONTENT_TYPES"] = "false", "Audit.General"
	s, err := settings.Read(env, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, run := range []struct {
		name  string
		since time.Duration // the last sweep, before this run
		key   string        // has expired before it
		swept bool
	}{
		{"the first", 0, "a", true},
		{"an hour later", time.Hour, "b", false},
		{"the next day", 25 * time.Hour, "c", true},
	} {
		key := checkpoint.KeyOf("old", run.key)
		inStore(t, s, func(store checkpoint.Store) error {
			return store.Commit(&checkpoint.Commit{Feed: "old", Keys: []checkpoint.Key{key}, Expires: time.Now().Add(-240 * time.Hour)})
		})
		if stamp := filepath.Join(s.StateDir, "swept"); run.since > 0 {
			at := time.Now().Add(-run.since)
			if err := os.Chtimes(stamp, at, at); err != nil {
				t.Fatal(err)
			}
		}
		f, err := Open(t.Context(), s, env, Options{Out: io.Discard, Err: t.Output()})
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Once(t.Context()); err != nil {
			t.Error(err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		inStore(t, s, func(store checkpoint.Store) error {
			_, kept, err := store.Seen(key)
			if kept == run.swept {
				t.Errorf("%s: the expired key is kept: %t", run.name, kept)
			}
			return err
		})
	}
}

// inStore does something with the state of a connector that does not run.
func inStore(t *testing.T, s *settings.Settings, do func(checkpoint.Store) error) {
	t.Helper()
	store, err := checkpoint.Open(s.StateDir, checkpoint.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := do(store); err != nil {
		t.Error(err)
	}
	if err := store.Close(); err != nil {
		t.Error(err)
	}
}
