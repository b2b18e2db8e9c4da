package shared

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/engine/checkpoint/natstest"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/checkpoint/storetest"
)

// openShared opens a replica of its own directory, unless o says which, and closes it
// with the test.
func openShared(t testing.TB, o Options) *Store {
	t.Helper()
	if o.Name == "" {
		o.Name = "state"
	}
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	var s *Store
	must(t, func() (err error) {
		s, err = Open(t.Context(), o)
		return err
	})
	t.Cleanup(func() {
		if err := s.Close(); err != nil && !errors.Is(err, checkpoint.ErrClosed) {
			t.Error(err)
		}
	})
	return s
}

func claim(t testing.TB, s *Store, partition, session string) {
	t.Helper()
	must(t, func() error { return s.Claim(t.Context(), "feed", partition, s.Owner("feed", partition), session) })
}

func commitShared(t testing.TB, s *Store, partition string, from, to int) {
	t.Helper()
	for n := from; n < to; n++ {
		must(t, func() error { return s.Commit(storetest.Numbered(partition, n)) })
	}
}

// must does what has to succeed, as the engine does: again where the server did not answer in time. A busy machine's
// does not always.
func must(t testing.TB, do func() error) {
	t.Helper()
	for end := time.Now().Add(natstest.Forever); ; {
		err := do()
		switch {
		case err == nil:
			return
		case !errors.Is(err, context.DeadlineExceeded) || time.Now().After(end):
			t.Fatal(err)
		}
		t.Log("again:", err)
	}
}

// atEnd waits until the view shows all that is in the log.
func atEnd(t testing.TB, s *Store) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), natstest.Forever)
	defer cancel()
	info, err := s.stream.Info(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.reached(ctx, info.State.LastSeq); err != nil {
		t.Fatal(err)
	}
}

func wantShared(t testing.TB, s *Store, partition string, n int) {
	t.Helper()
	atEnd(t, s)
	if have, err := storetest.VerifyNumbered(s.view, partition, n); err != nil || have != n {
		t.Fatalf("%d batches, want %d: %v", have, n, err)
	}
}

func wantOwner(t *testing.T, s *Store, partition, want string) {
	t.Helper()
	atEnd(t, s)
	if got := s.Owner("feed", partition); got != want {
		t.Errorf("the owner of %s is %q, want %q", partition, got, want)
	}
}

func TestSharedFences(t *testing.T) {
	url := natstest.URL(natstest.Start(t, nil))
	a, b := openShared(t, Options{URL: url}), openShared(t, Options{URL: url})
	if err := a.Commit(storetest.Numbered("a", 0)); !errors.Is(err, checkpoint.ErrFenced) {
		t.Fatalf("a commit without a claim: %v, want checkpoint.ErrFenced", err)
	}
	wantOwner(t, b, "a", "")
	change := b.Changed()
	claim(t, a, "a", "one")
	commitShared(t, a, "a", 0, 3)
	select {
	case <-change:
	case <-time.After(natstest.Forever):
		t.Error("b did not learn of the new owner")
	}
	wantOwner(t, b, "a", "one")

	claim(t, b, "a", "two")
	wantShared(t, b, "a", 3) // all that a wrote
	if err := a.Commit(storetest.Numbered("a", 3)); !errors.Is(err, checkpoint.ErrFenced) {
		t.Fatalf("a commit of the former owner: %v, want checkpoint.ErrFenced", err)
	}
	wantShared(t, a, "a", 3)
	wantShared(t, b, "a", 3)
	wantOwner(t, a, "a", "two")
	commitShared(t, b, "a", 3, 5)
	wantShared(t, a, "a", 5)

	// It stays fenced, until it claims again.
	if err := a.Commit(storetest.Numbered("a", 5)); !errors.Is(err, checkpoint.ErrFenced) {
		t.Fatalf("a commit of the former owner: %v, want checkpoint.ErrFenced", err)
	}
	claim(t, a, "a", "one")
	commitShared(t, a, "a", 5, 6)
	// One that does not know yet that it lost the partition does not take it for its own.
	wantOwner(t, b, "a", "one")
	claim(t, b, "a", "two")
	wantOwner(t, a, "a", "two")
	claim(t, a, "a", "one")
	if err := b.Commit(storetest.Numbered("a", 6)); !errors.Is(err, checkpoint.ErrFenced) {
		t.Fatalf("a commit of the former owner: %v, want checkpoint.ErrFenced", err)
	}
	wantShared(t, b, "a", 6)

	// A partition given up is nobody's; one that is forgotten still shows its owner.
	if err := a.Release(t.Context(), "feed", "a", -1); err != nil {
		t.Fatal(err)
	}
	wantOwner(t, b, "a", "")
	if err := a.Commit(storetest.Numbered("a", 6)); !errors.Is(err, checkpoint.ErrFenced) {
		t.Fatalf("a commit after the release: %v, want checkpoint.ErrFenced", err)
	}
	if err := a.Release(t.Context(), "feed", "a", -1); err != nil {
		t.Errorf("a second release: %v", err)
	}
	claim(t, a, "a", "one")
	a.Forget()
	if err := a.Commit(storetest.Numbered("a", 6)); !errors.Is(err, checkpoint.ErrFenced) {
		t.Fatalf("a commit after Forget: %v, want checkpoint.ErrFenced", err)
	}
	wantOwner(t, b, "a", "one")
	claim(t, b, "a", "two")
	claim(t, b, "a", "two") // changes nothing
	commitShared(t, b, "a", 6, 7)
	wantShared(t, a, "a", 7)
	if err := a.Claim(t.Context(), "feed", "a", "", ""); err == nil {
		t.Error("a claim of nobody was taken")
	}
}

func TestSharedClaimOfWhatMovedIsHeld(t *testing.T) {
	url := natstest.URL(natstest.Start(t, nil))
	a, b := openShared(t, Options{URL: url}), openShared(t, Options{URL: url})
	claim(t, a, "a", "one")
	commitShared(t, a, "a", 0, 3)
	atEnd(t, b)
	// A view that has not seen the last commit yet.
	n := subjectOf("state", partitionName{"feed", "a"})
	b.mu.Lock()
	old := b.subjects[n]
	old.Last--
	b.subjects[n] = old
	b.mu.Unlock()
	if err := b.Claim(t.Context(), "feed", "a", b.Owner("feed", "a"), "two"); !errors.Is(err, ErrHeld) {
		t.Fatalf("claimed a partition that moved: %v, want ErrHeld", err)
	}
	if err := b.Commit(storetest.Numbered("a", 3)); !errors.Is(err, checkpoint.ErrFenced) {
		t.Fatalf("a commit after a claim that failed: %v, want checkpoint.ErrFenced", err)
	}
	commitShared(t, a, "a", 3, 4) // the owner does not notice
}

// TestSharedFencesItself has a replica claim anew, with a new session, while a commit of its
// old one is on its way.
func TestSharedFencesItself(t *testing.T) {
	a := openShared(t, Options{URL: natstest.URL(natstest.Start(t, nil))})
	claim(t, a, "a", "one")
	commitShared(t, a, "a", 0, 2)
	n := partitionName{"feed", "a"}
	old := a.holds(n)
	a.Forget()
	claim(t, a, "a", "two")
	late := &message{Kind: kindCommit, Feed: "feed", Partition: "a", Position: &checkpoint.Position{Forwarded: 99}}
	if err := a.publish(t.Context(), old, late, true); !errors.Is(err, checkpoint.ErrFenced) {
		t.Fatalf("a commit of the old session: %v, want checkpoint.ErrFenced", err)
	}
	wantShared(t, a, "a", 2)
	commitShared(t, a, "a", 2, 3)
	wantShared(t, a, "a", 3)
}

// TestSharedHandOver has three replicas take one partition from each other as fast as they can. Each
// batch is acknowledged to one of them, and no two of one number.
func TestSharedHandOver(t *testing.T) {
	url := natstest.URL(natstest.Start(t, nil))
	const replicas = 3
	var mu sync.Mutex
	acknowledged := map[int]int{}
	var taken, held int
	began := time.Now()
	// A few seconds, and on a machine that is busy until enough has happened.
	ended := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return time.Since(began) > natstest.Forever || time.Since(began) > 3*time.Second && taken >= 10 && len(acknowledged) >= 10
	}
	all := make([]*Store, replicas)
	for i := range all {
		all[i] = openShared(t, Options{URL: url, Replica: fmt.Sprint(i)})
	}
	var wg sync.WaitGroup
	for i, s := range all {
		wg.Go(func() {
			for !ended() {
				err := s.Claim(t.Context(), "feed", "a", s.Owner("feed", "a"), fmt.Sprint(i))
				if errors.Is(err, ErrHeld) {
					mu.Lock()
					held++
					mu.Unlock()
					continue
				}
				p, ok, err2 := s.Position("feed", "a")
				if err = errors.Join(err, err2); err != nil {
					t.Error(err)
					return
				}
				n := 0
				if ok {
					n = int(p.Forwarded) + 1
				}
				mu.Lock()
				taken++
				mu.Unlock()
				for ; !ended(); n++ {
					err := s.Commit(storetest.Numbered("a", n))
					if errors.Is(err, checkpoint.ErrFenced) {
						break
					}
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					acknowledged[n]++
					mu.Unlock()
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	wg.Wait()
	for n := range len(acknowledged) {
		if acknowledged[n] != 1 {
			t.Fatalf("batch %d was acknowledged %d times", n, acknowledged[n])
		}
	}
	for _, s := range all {
		wantShared(t, s, "a", len(acknowledged))
	}
	t.Logf("%d batches, taken over %d times, %d claims came too late", len(acknowledged), taken, held)
	if taken < 10 || len(acknowledged) < 10 {
		t.Error("too little happened")
	}
}

func TestSharedSessionsExpire(t *testing.T) {
	url := natstest.URL(natstest.Start(t, nil))
	a, b := openShared(t, Options{URL: url, SessionTTL: time.Hour}), openShared(t, Options{URL: url, SessionTTL: time.Hour})
	if _, err := a.Sessions().Put(t.Context(), "one", []byte("here")); err != nil {
		t.Fatal(err)
	}
	if e, err := b.Sessions().Get(t.Context(), "one"); err != nil || !bytes.Equal(e.Value(), []byte("here")) {
		t.Fatalf("b does not see the session of a: %v", err)
	}
	// Another time to live takes the place of the first.
	c := openShared(t, Options{URL: url, SessionTTL: time.Second})
	status, err := c.Sessions().Status(t.Context())
	if err != nil || status.TTL() != time.Second {
		t.Errorf("the time to live is %v, want 1s: %v", status.TTL(), err)
	}
	for end := time.Now().Add(natstest.Forever); ; time.Sleep(50 * time.Millisecond) {
		if _, err := b.Sessions().Get(t.Context(), "one"); err != nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the session lives for ever")
		}
	}
}

// TestSharedLargeCommit commits more keys than a message of the server may hold.
func TestSharedLargeCommit(t *testing.T) {
	payloads := []int32{64 << 10, 1 << 20}
	if testing.Short() {
		payloads = payloads[:1]
	}
	for _, payload := range payloads {
		t.Run(fmt.Sprint(payload), func(t *testing.T) {
			server := natstest.Start(t, natstest.MaxPayload(payload))
			a := openShared(t, Options{URL: natstest.URL(server)})
			claim(t, a, "a", "one")
			c := storetest.Numbered("a", 0)
			keys := 2 * min(int(payload), messageLimit) / 16
			c.Keys = make([]checkpoint.Key, keys)
			for i := range c.Keys {
				c.Keys[i] = storetest.NumberedKey("large", i)
			}
			must(t, func() error { return a.Commit(c) })
			info, err := a.stream.Info(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if least := uint64(keys*16/min(int(payload), messageLimit)) + 1; info.State.Msgs < least {
				t.Errorf("%d messages, want %d at least", info.State.Msgs, least)
			}
			b := openShared(t, Options{URL: natstest.URL(server)})
			for i := range keys {
				if i%101 != 0 && i != keys-1 {
					continue
				}
				if _, ok, err := b.Seen(storetest.NumberedKey("large", i)); !ok || err != nil {
					t.Fatalf("key %d: seen %v, %v", i, ok, err)
				}
			}
			if p, ok, err := b.Position("feed", "a"); !ok || err != nil || !reflect.DeepEqual(p, *c.Position) {
				t.Errorf("position %v %v %v, want %v", p, ok, err, *c.Position)
			}
			if l, err := storetest.Chronological(b.Ledger("")); len(l) != 1 || err != nil {
				t.Errorf("ledger %v %v, want one entry", l, err)
			}
		})
	}
}
