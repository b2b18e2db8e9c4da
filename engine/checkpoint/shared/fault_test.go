package shared

import (
	"errors"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/engine/checkpoint/natstest"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/checkpoint/storetest"
)

// committing commits numbered batches side by side with what the test does, each again until it is
// acknowledged. A fence is an error: nobody else writes.
type committing struct {
	t           *testing.T
	partition   string
	n, repeated atomic.Int64
	stop        chan struct{}
	done        sync.WaitGroup
}

func startCommitting(t *testing.T, s *Store, partition string) *committing {
	c := &committing{t: t, partition: partition, stop: make(chan struct{})}
	c.done.Go(func() {
		for {
			select {
			case <-c.stop:
				return
			default:
			}
			n := c.n.Load()
			switch err := s.Commit(storetest.Numbered(partition, int(n))); {
			case err == nil:
				c.n.Add(1)
			case errors.Is(err, checkpoint.ErrFenced), errors.Is(err, checkpoint.ErrStopped), errors.Is(err, checkpoint.ErrClosed):
				t.Errorf("batch %d: %v", n, err)
				return
			default:
				c.repeated.Add(1)
				t.Logf("batch %d, again: %v", n, err)
			}
		}
	})
	t.Cleanup(c.end)
	return c
}

// some waits until so many more batches were acknowledged.
func (c *committing) some(more int64) {
	c.t.Helper()
	started, until := c.n.Load(), time.Now().Add(natstest.Forever)
	for ; c.n.Load() < started+more; time.Sleep(5 * time.Millisecond) {
		if c.t.Failed() || time.Now().After(until) {
			c.t.Fatalf("partition %s stands still at %d batches", c.partition, c.n.Load())
		}
	}
}

// end ends it, once the batch in hand was acknowledged or has failed.
func (c *committing) end() {
	select {
	case <-c.stop:
	default:
		close(c.stop)
	}
	c.done.Wait()
}

// messagesOf is how many messages a partition has in the log.
func messagesOf(t *testing.T, s *Store, partition string) int {
	t.Helper()
	info, err := s.stream.Info(t.Context(), subjectFilter(s, partition))
	if err != nil {
		t.Fatal(err)
	}
	return int(info.State.Subjects[subjectOf(s.opts.Name, partitionName{"feed", partition})])
}

// TestSharedAnswerLost has the network lose the server's answers, and then the
// connection, while a replica commits: each commit is stored once.
func TestSharedAnswerLost(t *testing.T) {
	server := natstest.Start(t, nil)
	proxy := natstest.NewProxy(t, server)
	quiet := slog.New(slog.DiscardHandler)
	a := openShared(t, Options{URL: proxy.URL(), Logger: quiet})
	claim(t, a, "a", "one")
	before := messagesOf(t, a, "a")
	commits := startCommitting(t, a, "a")
	random := rand.New(rand.NewPCG(1, 2))
	const cuts = 8
	for range cuts {
		commits.some(int64(1 + random.IntN(5)))
		proxy.Deafen(true)
		time.Sleep(time.Duration(5+random.IntN(100)) * time.Millisecond)
		proxy.Deafen(false)
		proxy.Cut()
	}
	commits.some(1)
	commits.end()
	n, repeated := int(commits.n.Load()), int(commits.repeated.Load())
	wantShared(t, a, "a", n)
	b := openShared(t, Options{URL: natstest.URL(server)})
	wantShared(t, b, "a", n)
	stored := messagesOf(t, b, "a") - before
	t.Logf("%d cuts, %d batches acknowledged, %d repeated, %d stored", cuts, n, repeated, stored)
	if stored < n || stored > n+repeated {
		t.Errorf("%d messages stored for %d batches, %d of them repeated", stored, n, repeated)
	}
}

// TestSharedAnswerLostForLong has a commit give up, though it was stored. Tried again it
// is neither taken for another's nor lost.
func TestSharedAnswerLostForLong(t *testing.T) {
	proxy := natstest.NewProxy(t, natstest.Start(t, nil))
	a := openShared(t, Options{URL: proxy.URL(), Logger: slog.New(slog.DiscardHandler)})
	claim(t, a, "a", "one")
	commitShared(t, a, "a", 0, 1)
	proxy.Deafen(true)
	err := a.Commit(storetest.Numbered("a", 1))
	if err == nil || errors.Is(err, checkpoint.ErrFenced) || errors.Is(err, checkpoint.ErrStopped) {
		t.Fatalf("a commit without an answer: %v, want an error that passes", err)
	}
	t.Log(err)
	proxy.Deafen(false)
	proxy.Cut()
	commitShared(t, a, "a", 1, 3)
	wantShared(t, a, "a", 3)
}

// TestSharedForgetsWhatItIsAboutToClaim ends the session while a claim waits for its answer.
func TestSharedForgetsWhatItIsAboutToClaim(t *testing.T) {
	server := natstest.Start(t, nil)
	proxy := natstest.NewProxy(t, server)
	a := openShared(t, Options{URL: proxy.URL(), Logger: slog.New(slog.DiscardHandler)})
	beside := openShared(t, Options{URL: natstest.URL(server)})
	proxy.Deafen(true)
	claimed := make(chan error)
	go func() { claimed <- a.Claim(t.Context(), "feed", "a", a.Owner("feed", "a"), "one") }()
	for messagesOf(t, beside, "a") == 0 {
		time.Sleep(time.Millisecond)
	}
	a.Forget()
	proxy.Deafen(false)
	proxy.Cut()
	if err := <-claimed; !errors.Is(err, checkpoint.ErrFenced) {
		t.Errorf("a claim of a session that ended: %v, want checkpoint.ErrFenced", err)
	}
	if err := a.Commit(storetest.Numbered("a", 0)); !errors.Is(err, checkpoint.ErrFenced) {
		t.Errorf("a commit of a session that ended: %v, want checkpoint.ErrFenced", err)
	}
	claim(t, a, "a", "two")
	commitShared(t, a, "a", 0, 1)
	wantShared(t, a, "a", 1)
}

func TestSharedServerRestarts(t *testing.T) {
	server := natstest.Start(t, nil)
	quiet := slog.New(slog.DiscardHandler)
	a, b := openShared(t, Options{URL: natstest.URL(server), Logger: quiet}), openShared(t, Options{URL: natstest.URL(server), Logger: quiet})
	var commits []*committing
	for i, s := range []*Store{a, b} {
		part := string(rune('a' + i))
		claim(t, s, part, part)
		commits = append(commits, startCommitting(t, s, part))
	}
	some := func() {
		t.Helper()
		for _, c := range commits {
			c.some(3)
		}
	}
	for range 3 {
		some()
		server.Stop()
		time.Sleep(200 * time.Millisecond) // so that they notice
		server.Start()
		server.Ready()
	}
	some()
	for _, c := range commits {
		c.end()
		t.Logf("%d batches of %s", c.n.Load(), c.partition)
	}
	for _, s := range []*Store{a, b} {
		for _, c := range commits {
			wantShared(t, s, c.partition, int(c.n.Load()))
		}
	}
}

// TestSharedLeaderLost takes the stream's leader from a cluster in the middle of commits.
func TestSharedLeaderLost(t *testing.T) {
	if testing.Short() {
		t.Skip("a cluster's elections take long")
	}
	cluster := natstest.StartCluster(t, 3)
	quiet := slog.New(slog.DiscardHandler)
	o := Options{URL: natstest.URL(cluster...), Logger: quiet}
	a, b := openShared(t, o), openShared(t, o)
	if copies := a.stream.CachedInfo().Config.Replicas; copies != 3 {
		t.Fatalf("the stream has %d copies in a cluster, want 3", copies)
	}
	claim(t, a, "a", "one")
	commits := startCommitting(t, a, "a")
	for range 2 {
		commits.some(5)
		var led *natstest.Server
		for ; led == nil; time.Sleep(5 * time.Millisecond) { // there may be an election still
			for _, server := range cluster {
				if server.LeadsStream("state") {
					led = server
				}
			}
		}
		led.Stop()
		commits.some(5) // of which the others have acknowledged
		led.Start()
		led.Ready()
	}
	commits.some(5)
	commits.end()
	n := int(commits.n.Load())
	t.Logf("%d batches, %d repeated", n, commits.repeated.Load())
	wantShared(t, a, "a", n)
	wantShared(t, b, "a", n)
	claim(t, b, "a", "two")
	commitShared(t, b, "a", n, n+3)
	wantShared(t, a, "a", n+3)
}

// TestSharedStreamLosesMessages puts back the files of the server as they were: what was
// acknowledged since is gone. A running replica stops, and one that opens builds
// its view anew.
func TestSharedStreamLosesMessages(t *testing.T) {
	server := natstest.Start(t, nil)
	quiet := slog.New(slog.DiscardHandler)
	dir := t.TempDir()
	a := openShared(t, Options{URL: natstest.URL(server), Logger: quiet})
	claim(t, a, "a", "one")
	commitShared(t, a, "a", 0, 5)
	server.Stop()
	old := filepath.Join(t.TempDir(), "old")
	copyDir(t, server.Dir(), old)
	server.Start()
	server.Ready()
	b := openShared(t, Options{URL: natstest.URL(server), Logger: quiet, Dir: dir})
	commitShared(t, a, "a", 5, 12)
	wantShared(t, b, "a", 12)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	server.Stop()
	if err := os.RemoveAll(server.Dir()); err != nil {
		t.Fatal(err)
	}
	copyDir(t, old, server.Dir())
	server.Start()
	server.Ready()
	<-a.Done()
	wantError(t, a.Err(), checkpoint.ErrStopped, "lost messages", "open it again")
	if err := a.Commit(storetest.Numbered("a", 12)); !errors.Is(err, checkpoint.ErrStopped) {
		t.Errorf("a commit: %v, want checkpoint.ErrStopped", err)
	}
	b = openShared(t, Options{URL: natstest.URL(server), Logger: quiet, Dir: dir})
	wantRestored(t, b, 12)
	claim(t, b, "a", "two")
	commitShared(t, b, "a", 12, 13)
	wantRestored(t, b, 13)
}

func copyDir(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}
