package shared

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/checkpoint/natstest"
	"github.com/secure60/s60-m365-connector/engine/checkpoint/storetest"
)

// wantRestored checks that a store knows batches 0 to n-1 as delivered, and no more.
func wantRestored(t *testing.T, s checkpoint.Store, n int) {
	t.Helper()
	want := *storetest.Numbered("a", n-1).Position
	p, ok, err := s.Position("feed", "a")
	if err != nil || !ok || !p.Cursor.Equal(want.Cursor) || p.Forwarded != want.Forwarded {
		t.Errorf("the position is %+v %v %v, want %+v", p, ok, err, want)
	}
	for i := range (n + 1) * 10 {
		if _, ok, err := s.Seen(storetest.NumberedKey("a", i)); err != nil || ok != (i < n*10) {
			t.Fatalf("key %d of %d: %v %v", i, n*10, ok, err)
		}
	}
	if all, err := s.Positions(""); err != nil || len(all) != 1 {
		t.Errorf("positions: %v %v", all, err)
	}
}

func listed(t *testing.T, s checkpoint.Store) (n int64) {
	t.Helper()
	for e, err := range s.Ledger("") {
		if err != nil {
			t.Fatal(err)
		}
		n += e.Listed
	}
	return n
}

// TestImport carries a state of one machine to the replicas, and back, with everything in it.
func TestImport(t *testing.T) {
	from := openEmbedded(t, checkpoint.Options{}, t.TempDir())
	for n := range 300 {
		c := storetest.Numbered("a", n)
		if n%50 == 0 {
			c.Objects = []checkpoint.Object{{ID: c.Position.Cursor.String(), State: make([]byte, 200<<10)}}
		}
		if err := from.Commit(c); err != nil {
			t.Fatal(err)
		}
	}
	check := func(s checkpoint.Store, n int) {
		t.Helper()
		wantRestored(t, s, n)
		if got, want := listed(t, s), listed(t, from); got != want {
			t.Errorf("the ledger counts %d, want %d", got, want)
		}
		objects := 0
		for o, err := range s.Objects("feed", "a") {
			if err != nil || len(o.State) != 200<<10 {
				t.Errorf("object %q: %d bytes, %v", o.ID, len(o.State), err)
			}
			objects++
		}
		if objects != 6 {
			t.Errorf("%d objects, want 6", objects)
		}
	}
	url := natstest.URL(natstest.Start(t, nil))
	s, other := openShared(t, Options{URL: url}), openShared(t, Options{URL: url})
	for range 2 { // again changes nothing
		must(t, func() error { return s.Import(t.Context(), from.Export()) })
		atEnd(t, other)
		check(other, 300)
	}
	if owner := other.Owner("feed", "a"); owner != "" {
		t.Errorf("the import left the partition to %q", owner)
	}
	back := openEmbedded(t, checkpoint.Options{}, t.TempDir())
	if err := back.Import(other.Export()); err != nil {
		t.Fatal(err)
	}
	check(back, 300)
}

// TestRestLeft: who goes on alone with what replicas knew can do so once their last requests count no more.
func TestRestLeft(t *testing.T) {
	url := natstest.URL(natstest.Start(t, nil))
	s, other := openShared(t, Options{URL: url}), openShared(t, Options{URL: url})
	left := func() time.Duration {
		t.Helper()
		var left time.Duration
		must(t, func() (err error) {
			left, err = other.RestLeft(t.Context())
			return err
		})
		return left
	}
	if left := left(); left != 0 {
		t.Errorf("%s are left of nothing", left)
	}
	for partition, rest := range map[string]time.Duration{"a": time.Hour, "b": 0, "c": -1, "d": time.Minute} {
		claim(t, s, partition, "one")
		must(t, func() error { return s.Release(t.Context(), "feed", partition, rest) })
	}
	atEnd(t, other)
	free := other.about("feed", "a").Free // the server has the clock of this machine
	most := time.Until(free)
	if left := left(); left > most || left < time.Until(free) {
		t.Errorf("%s are left, want %s, or a little less", left, most)
	}
}

// TestClock: a server that tells no time is taken to be at its last message.
func TestClock(t *testing.T) {
	last := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	info := &jetstream.StreamInfo{State: jetstream.StreamState{LastTime: last}}
	if got := clock(info); !got.Equal(last) {
		t.Errorf("without its time it is %s, want %s", got, last)
	}
	info.TimeStamp = last.Add(time.Minute)
	if got := clock(info); !got.Equal(info.TimeStamp) {
		t.Errorf("it is %s, want %s", got, info.TimeStamp)
	}
}

// TestRestoredFromTheViewThatIsBehind: the stream is lost, and a replica without a view begins anew
// before one that knows the cursors is back. Nothing between the two is left out.
func TestRestoredFromTheViewThatIsBehind(t *testing.T) {
	url := natstest.URL(natstest.Start(t, nil))
	dir := t.TempDir()
	a := openShared(t, Options{URL: url, Dir: dir})
	claim(t, a, "a", "one")
	commitShared(t, a, "a", 0, 5)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	b := openShared(t, Options{URL: url})
	if err := errors.Join(b.js.DeleteStream(t.Context(), "state"), b.Close()); err != nil {
		t.Fatal(err)
	}
	b = openShared(t, Options{URL: url})
	claim(t, b, "a", "fresh")
	late := storetest.Numbered("a", 1000)
	late.Position.Start = late.Position.Cursor.Add(-time.Minute)
	if err := b.Commit(late); err != nil {
		t.Fatal(err)
	}
	a = openShared(t, Options{URL: url, Dir: dir})
	p, ok, err := a.Position("feed", "a")
	if want := storetest.Numbered("a", 4).Position.Cursor; err != nil || !ok || !p.Cursor.Equal(want) {
		t.Errorf("the position is %+v %v %v, want the cursor %v", p, ok, err, want)
	}
	for _, key := range []checkpoint.Key{storetest.NumberedKey("a", 0), late.Keys[0]} {
		if _, ok, err := a.Seen(key); !ok || err != nil {
			t.Errorf("a key that was delivered: %v %v", ok, err)
		}
	}
	if err := b.Commit(storetest.Numbered("a", 1001)); !errors.Is(err, checkpoint.ErrFenced) {
		t.Errorf("the one that began anew goes on: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, formerDir)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the former view is left: %v", err)
	}
}

// TestOlderReplica: what an older release cannot read is not written while one of it lives.
func TestOlderReplica(t *testing.T) {
	s := openShared(t, Options{URL: natstest.URL(natstest.Start(t, nil))})
	claim(t, s, "a", "one")
	for _, told := range []string{`{"name":"old one"}`, `{"name":"looks on","observer":true}`} {
		if _, err := s.Sessions().Put(t.Context(), told[9:12], []byte(told)); err != nil {
			t.Fatal(err)
		}
	}
	c := &checkpoint.Commit{Feed: "feed", Partition: "a", Objects: []checkpoint.Object{{ID: "o", State: []byte("s")}}}
	wantError(t, s.Commit(c), checkpoint.ErrOlderReplica, "old one", "older release")
	commitShared(t, s, "a", 0, 1) // which it reads
	ctx, stop := context.WithCancel(t.Context())
	var renewing sync.WaitGroup
	renewing.Go(func() { // its session, while the other looks
		for ctx.Err() == nil {
			s.Sessions().Put(ctx, "old", []byte(`{"name":"old one"}`)) //nolint:errcheck // it is there already
		}
	})
	for range 100 {
		if s.understood(t.Context()) == nil {
			t.Error("the old one is overlooked")
			break
		}
	}
	stop()
	renewing.Wait()
	if err := s.Sessions().Delete(context.Background(), "old"); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(c); err != nil {
		t.Error(err)
	}
}
