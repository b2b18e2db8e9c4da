package shared

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/secure60/s60-m365-connector/engine/checkpoint/natstest"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/checkpoint/storetest"
)

func subjectFilter(s *Store, partition string) jetstream.StreamInfoOpt {
	return jetstream.WithSubjectFilter(subjectOf(s.opts.Name, partitionName{"feed", partition}))
}

// TestSharedView opens a replica again on whatever may have become of its view.
func TestSharedView(t *testing.T) {
	url := natstest.URL(natstest.Start(t, nil))
	a := openShared(t, Options{URL: url})
	claim(t, a, "a", "one")
	commitShared(t, a, "a", 0, 10)
	total := 10
	dir := t.TempDir()
	var log bytes.Buffer
	reopen := func(t *testing.T) *Store {
		log.Reset()
		return openShared(t, Options{URL: url, Dir: dir, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	}
	if err := reopen(t).Close(); err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(dir, viewDir, "state")
	for _, c := range []struct {
		name string
		harm func(t *testing.T)
		keys int64 // read from the log; -1: all
		log  string
	}{
		{"nothing", func(*testing.T) {}, 0, ""},
		{"it lags", func(t *testing.T) { commitShared(t, a, "a", total, total+7); total += 7 }, 70, ""},
		{"it is deleted", func(t *testing.T) { remove(t, state) }, -1, ""},
		{"a table is damaged", func(t *testing.T) { damageTables(t, state) }, -1, "built anew"},
		{"its log is gone", func(t *testing.T) { removeLogs(t, state) }, -1, "built anew"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.harm(t)
			s := reopen(t)
			wantShared(t, s, "a", total)
			want := c.keys
			if want < 0 {
				want = int64(total) * 10
			}
			if got := s.keys.Load(); got != want {
				t.Errorf("%d keys were read from the log, want %d", got, want)
			}
			if !strings.Contains(log.String(), c.log) {
				t.Errorf("the log does not say %q: %s", c.log, &log)
			}
			if got := s.Owner("feed", "a"); got != "one" {
				t.Errorf("the owner is %q, want one", got)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			left, err := filepath.Glob(state + "-*")
			if err != nil || len(left) > 0 {
				t.Errorf("left behind: %v %v", left, err)
			}
		})
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

func files(t *testing.T, pattern string) []string {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil || len(names) == 0 {
		t.Fatalf("no %s: %v", pattern, err)
	}
	return names
}

// damageTables makes the view have tables only, and their files wrong.
func damageTables(t *testing.T, state string) {
	t.Helper()
	for _, name := range files(t, filepath.Join(state, "MANIFEST-*")) {
		if err := os.WriteFile(name, []byte("nonsense"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func removeLogs(t *testing.T, state string) {
	t.Helper()
	for _, name := range files(t, filepath.Join(state, "marker.*")) {
		remove(t, name)
	}
}

// TestSharedStreamReplaced deletes the stream under a replica that runs, and one that
// does not.
func TestSharedStreamReplaced(t *testing.T) {
	url := natstest.URL(natstest.Start(t, nil))
	quiet := slog.New(slog.DiscardHandler)
	dir := t.TempDir()
	a, b := openShared(t, Options{URL: url, Logger: quiet}), openShared(t, Options{URL: url, Logger: quiet, Dir: dir})
	claim(t, a, "a", "one")
	commitShared(t, a, "a", 0, 5)
	wantShared(t, b, "a", 5)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := a.js.DeleteStream(t.Context(), "state"); err != nil {
		t.Fatal(err)
	}
	err := a.Commit(storetest.Numbered("a", 5))
	wantError(t, err, checkpoint.ErrStopped, "deleted", "open it again", "state")
	b = openShared(t, Options{URL: url, Logger: quiet, Dir: dir})
	wantRestored(t, b, 5)
	if got := b.Owner("feed", "a"); got != "" {
		t.Errorf("the owner of another stream is %q", got)
	}
	claim(t, b, "a", "two")
	commitShared(t, b, "a", 5, 6)
	wantRestored(t, b, 6)
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if err := a.Commit(storetest.Numbered("a", 5)); !errors.Is(err, checkpoint.ErrClosed) {
		t.Errorf("after Close: %v, want checkpoint.ErrClosed", err)
	}
}

// TestSharedLeavesTheEmbeddedStateAlone opens a view where a store of one machine has its
// state.
func TestSharedLeavesTheEmbeddedStateAlone(t *testing.T) {
	dir := t.TempDir()
	e := openEmbedded(t, checkpoint.Options{}, dir)
	for n := range 5 {
		if err := e.Commit(storetest.Numbered("a", n)); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	s := openShared(t, Options{URL: natstest.URL(natstest.Start(t, nil)), Dir: dir})
	if all, err := s.Positions(""); len(all) != 0 || err != nil {
		t.Errorf("positions of the other state: %v %v", all, err)
	}
	if n, err := storetest.VerifyNumbered(openEmbedded(t, checkpoint.Options{}, dir), "a", 5); n != 5 || err != nil {
		t.Errorf("%d batches of the other state: %v", n, err)
	}
}

// TestSharedForeignMessages has others publish to the stream.
func TestSharedForeignMessages(t *testing.T) {
	url := natstest.URL(natstest.Start(t, nil))
	var log bytes.Buffer
	a := openShared(t, Options{URL: url, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	claim(t, a, "a", "one")
	commitShared(t, a, "a", 0, 2)
	for _, subject := range []string{"state.stray", "state.feed.b", "state.feed.a"} {
		if err := a.nc.Publish(subject, []byte("hello")); err != nil {
			t.Fatal(err)
		}
	}
	// What it did to the subject of a partition is as if another replica had written.
	if err := a.Commit(storetest.Numbered("a", 2)); !errors.Is(err, checkpoint.ErrFenced) {
		t.Fatalf("a commit behind a foreign message: %v, want checkpoint.ErrFenced", err)
	}
	for end := time.Now().Add(natstest.Forever); a.Claim(t.Context(), "feed", "a", a.Owner("feed", "a"), "one") != nil; {
		if time.Now().After(end) {
			t.Fatal("the partition cannot be claimed behind a foreign message")
		}
	}
	commitShared(t, a, "a", 2, 4)
	wantShared(t, a, "a", 4)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(log.String(), "passed over"); n != 3 {
		t.Errorf("%d messages reported as foreign, want 3:\n%s", n, &log)
	}

	// What a newer release wrote is not passed over.
	b := openShared(t, Options{URL: url})
	if err := b.nc.Publish("state.feed.a", headed(`{"v":3,"kind":"commit","feed":"feed","partition":"a"}`)); err != nil {
		t.Fatal(err)
	}
	<-b.Done()
	wantError(t, b.Err(), checkpoint.ErrStopped, "newer release")
}

func TestSharedBucketDeleted(t *testing.T) {
	s := openShared(t, Options{URL: natstest.URL(natstest.Start(t, nil)), Logger: slog.New(slog.DiscardHandler)})
	s.check(t.Context())
	if err := s.Err(); err != nil {
		t.Fatalf("all is there, and the store has ended: %v", err)
	}
	if err := s.js.DeleteKeyValue(t.Context(), s.bucketName()); err != nil {
		t.Fatal(err)
	}
	s.check(t.Context())
	<-s.Done()
	wantError(t, s.Err(), checkpoint.ErrStopped, "bucket", "deleted", s.bucketName())
}
