package lease_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/checkpoint/natstest"
	"github.com/secure60/s60-m365-connector/engine/checkpoint/shared"
	"github.com/secure60/s60-m365-connector/engine/lease"
)

const (
	ttl   = 2 * time.Second
	parts = 7

	forever = 5 * time.Minute // longer than anything takes on the slowest machine, and shorter than tests may
)

// worker is a replica that works on whatever it holds.
type worker struct {
	*lease.Replica
	stop context.CancelFunc
	done sync.WaitGroup

	mu   sync.Mutex
	held map[string]bool
}

// replicas work on one state: in memory, in virtual time; or on a real server, which takes as long as it takes.
type replicas struct {
	t      *testing.T
	memory *memory
	server *natstest.Server
	claims func(lease.Claims) lease.Claims // nil: as they are
	format int                             // of who joins

	mu    sync.Mutex
	works map[string]work // who works on a partition
}

// log is where a worker writes.
type log interface {
	lease.Claims
	Commit(*checkpoint.Commit) error
}

func (r *replicas) open(name string) (jetstream.KeyValue, log) {
	r.t.Helper()
	if r.memory != nil {
		return bucket{memory: r.memory}, &claims{memory: r.memory, held: map[lease.Partition]string{}}
	}
	store := openShared(r.t, r.server, name, ttl)
	return store.Sessions(), store
}

// openShared opens the state of a server for a replica, and closes it with the test.
func openShared(t *testing.T, server *natstest.Server, name string, ttl time.Duration) *shared.Store {
	t.Helper()
	store, err := shared.Open(t.Context(), shared.Options{
		URL: natstest.URL(server), Name: "test", Dir: t.TempDir(), Replica: name, SessionTTL: ttl,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() }) //nolint:errcheck // the test has ended
	return store
}

// join adds a replica, with partitions that only it has.
func (r *replicas) join(name string, observer bool, own ...string) *worker {
	r.t.Helper()
	sessions, log := r.open(name)
	claims := lease.Claims(log)
	if r.claims != nil {
		claims = r.claims(claims)
	}
	w := &worker{held: map[string]bool{}, Replica: lease.Join(lease.Options{
		Sessions: sessions, Claims: claims, Name: name, TTL: ttl, Log: slog.New(slog.DiscardHandler), Observer: observer, Format: r.format,
	})}
	ctx, stop := context.WithCancel(context.Background())
	w.stop = stop
	r.t.Cleanup(w.leave)
	for i := range parts {
		if observer {
			break
		}
		own = append(own, fmt.Sprint(i))
	}
	for _, p := range own {
		w.done.Go(func() {
			for {
				held, _, release, err := w.Hold(ctx, "feed", p, true)
				if err != nil {
					return
				}
				r.workOn(w, p, held, log)
				release(-1)
			}
		})
	}
	return w
}

// workOn works on a partition until it must not any more.
func (r *replicas) workOn(w *worker, p string, held context.Context, log log) {
	mine := work{w, held}
	r.mu.Lock()
	if other := r.works[p]; other.on() && mine.on() {
		r.t.Errorf("%s and %s work on partition %s at once", w.Name, other.Name, p)
	}
	r.works[p] = mine
	r.mu.Unlock()
	if err := log.Commit(&checkpoint.Commit{Feed: "feed", Partition: p, Position: &checkpoint.Position{Forwarded: 1}}); err != nil && mine.on() {
		r.t.Errorf("%s holds partition %s and cannot commit: %v", w.Name, p, err)
	}
	w.mu.Lock()
	w.held[p] = true
	w.mu.Unlock()
	<-held.Done()
	w.mu.Lock()
	delete(w.held, p)
	w.mu.Unlock()
}

func (w *worker) leave() {
	w.stop()
	w.done.Wait()
	w.Leave()
}

func (w *worker) holds() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.held)
}

type work struct {
	*worker
	held context.Context
}

// on reports whether it goes on: also where a machine that is busy is late with ending it.
func (w work) on() bool { return w.worker != nil && w.held.Err() == nil && w.MayWork() }

// until waits for what must be within some time, where it is virtual.
func (r *replicas) until(what string, within time.Duration, is func() bool) time.Duration {
	r.t.Helper()
	if r.memory == nil {
		within = forever
	}
	started := time.Now()
	for !is() {
		if time.Since(started) > within {
			r.t.Fatalf("not within %s: %s", within, what)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return time.Since(started)
}

// inMemory runs a test in virtual time.
func inMemory(t *testing.T, run func(r *replicas)) {
	synctest.Test(t, func(t *testing.T) { run(&replicas{t: t, memory: newMemory(), works: map[string]work{}}) })
}

// TestReplicasShare: everybody who joins gets a part, and what one gives back is taken before its session would have ended.
func TestReplicasShare(t *testing.T) {
	inMemory(t, func(r *replicas) {
		a := r.join("a", false)
		r.until("a holds all", ttl, func() bool { return a.holds() == parts })
		b := r.join("b", false)
		r.until("a and b hold halves", 2*ttl, func() bool { return a.holds() == 4 && b.holds() == 3 })
		c := r.join("c", false)
		r.until("a, b and c hold thirds", 2*ttl, func() bool { return a.holds()+b.holds()+c.holds() == parts && c.holds() >= 2 })
		if name, since := c.Holder("feed", "0"); name != "a" && name != "b" && name != "c" || since.IsZero() {
			t.Errorf("partition 0 is held by %q since %v", name, since)
		}
		if all, here := c.Replicas(); !slices.Equal(all, []string{"a", "b", "c"}) || here != "c" {
			t.Errorf("%s knows of %q", here, all)
		}
		a.leave()
		took := r.until("b and c hold all once a has left", ttl, func() bool { return b.holds()+c.holds() == parts })
		t.Logf("what a gave back was taken after %s", took)
	})
}

// lateClaims is a log in which a claim of this session, whose answer never came, arrives once
// the partition was given back.
type lateClaims struct {
	lease.Claims
	late sync.Map
}

func (c *lateClaims) Release(ctx context.Context, feed, partition string, rest time.Duration) error {
	session := c.Owner(feed, partition)
	if err := c.Claims.Release(ctx, feed, partition, rest); err != nil {
		return err
	}
	if _, again := c.late.LoadOrStore(partition, true); again {
		return nil
	}
	return c.Claim(ctx, feed, partition, "", session)
}

// TestLateClaim: a partition that a replica owns without knowing it comes to the one whose
// part it is.
func TestLateClaim(t *testing.T) {
	inMemory(t, func(r *replicas) {
		r.claims = func(c lease.Claims) lease.Claims { return &lateClaims{Claims: c} }
		a := r.join("a", false)
		r.until("a holds all", ttl, func() bool { return a.holds() == parts })
		b := r.join("b", false)
		r.until("a and b hold halves", 4*ttl, func() bool { return a.holds() == 4 && b.holds() == 3 })
	})
}

// TestServerGone: work ends before others could take over, and begins again by
// itself once the server is back.
func TestServerGone(t *testing.T) {
	inMemory(t, func(r *replicas) { r.serverGone(r.memory.stop, r.memory.start) })
}

// TestOnAServer is the same on a real one.
func TestOnAServer(t *testing.T) {
	r := &replicas{t: t, server: natstest.Start(t, nil), works: map[string]work{}}
	r.serverGone(r.server.Stop, r.server.Start)
}

func (r *replicas) serverGone(stop, start func()) {
	a, b := r.join("a", false), r.join("b", false)
	halves := func() bool { return a.holds()+b.holds() == parts && a.holds() >= 3 && b.holds() >= 3 }
	r.until("a and b hold halves", 2*ttl, halves)
	stop()
	r.until("nobody works without the server", ttl/2, func() bool { return a.holds()+b.holds() == 0 })
	if a.Joined() == nil || b.Joined() == nil {
		r.t.Error("a replica without the server says that it takes part")
	}
	start()
	r.until("a and b work again, and say so", 4*ttl, func() bool { return halves() && a.Joined() == nil && b.Joined() == nil })
	a.leave()
	r.until("b holds all once a has left", ttl, func() bool { return b.holds() == parts })
}

func TestObserver(t *testing.T) {
	inMemory(t, testObserver)
}

func testObserver(r *replicas) {
	t := r.t
	a := r.join("a", false)
	r.until("a holds all", ttl, func() bool { return a.holds() == parts })
	look := r.join("look", true)
	ctx, cancel := context.WithTimeout(t.Context(), forever)
	defer cancel()
	if _, _, _, err := look.Hold(ctx, "feed", "0", false); err == nil || err.Error() != "another replica runs it: a" {
		t.Errorf("holding what a holds: %v, want that a runs it", err)
	}
	if err := lease.Try(ctx, a.Sessions); err != nil {
		t.Errorf("beginning a session on trial: %v", err)
	}
	_, _, release, err := look.Hold(ctx, "feed", "of its own", false)
	if err != nil {
		t.Fatalf("an observer cannot hold what nobody does: %v", err)
	}
	release(-1)
	time.Sleep(ttl)
	if a.holds() != parts {
		t.Errorf("a holds %d of %d partitions: an observer takes part", a.holds(), parts)
	}
}

// killed is a replica's way to the servers that lets nothing of its end through, but that of its session
// where that is told.
type killed struct {
	jetstream.KeyValue
	lease.Claims
	told bool
}

func (k *killed) Delete(ctx context.Context, id string, o ...jetstream.KVDeleteOpt) error {
	if !k.told {
		return nil
	}
	return k.KeyValue.Delete(ctx, id, o...)
}

func (*killed) Release(context.Context, string, string, time.Duration) error { return nil }

// TestRestOfTheKilled: of a replica whose session expired is known that it has not worked for half of a
// session; of one that ended it without giving its partition back nothing is, for as long as the bucket has a mark of it.
func TestRestOfTheKilled(t *testing.T) {
	for _, c := range []struct {
		told bool
		ttl  time.Duration
		want time.Duration
	}{
		{false, ttl, -ttl / 2},
		{true, time.Minute, -1},
	} {
		t.Run(fmt.Sprint(c.told), func(t *testing.T) {
			t.Parallel()
			server := natstest.Start(t, nil)
			join := func(name string, way *killed) *lease.Replica {
				store := openShared(t, server, name, c.ttl)
				o := lease.Options{Sessions: store.Sessions(), Claims: store, Name: name, TTL: ttl, Log: slog.New(slog.DiscardHandler)}
				if way != nil {
					way.KeyValue, way.Claims = o.Sessions, o.Claims
					o.Sessions, o.Claims = way, way
				}
				return lease.Join(o)
			}
			ctx, cancel := context.WithTimeout(t.Context(), forever)
			defer cancel()
			a := join("a", &killed{told: c.told})
			_, _, release, err := a.Hold(ctx, "feed", "0", true)
			if err != nil {
				t.Fatal(err)
			}
			if !c.told {
				time.Sleep(ttl) // its claim is older than what is known
			}
			release(-1)
			a.Leave()
			b := join("b", nil)
			defer b.Leave()
			_, rest, release, err := b.Hold(ctx, "feed", "0", true)
			if err != nil {
				t.Fatal(err)
			}
			defer release(-1)
			if rest != c.want {
				t.Errorf("rest is %v, want %v", rest, c.want)
			}
		})
	}
}

// TestStateGone: a replica that waits, and can have no session any more, learns that the
// state was deleted.
func TestStateGone(t *testing.T) {
	server := natstest.Start(t, nil)
	store := openShared(t, server, "a", ttl)
	a := lease.Join(lease.Options{Sessions: store.Sessions(), Claims: store, Name: "a", TTL: ttl, Log: slog.New(slog.DiscardHandler)})
	defer a.Leave()
	ctx, cancel := context.WithTimeout(t.Context(), forever)
	defer cancel()
	held, _, release, err := a.Hold(ctx, "feed", "0", true)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := nats.Connect(natstest.URL(server), nats.Timeout(forever))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	for _, stream := range []string{"KV_test-replicas", "test"} {
		if err := js.DeleteStream(ctx, stream); err != nil {
			t.Fatal(err)
		}
	}
	<-held.Done()
	release(-1)
	if _, _, _, err := a.Hold(ctx, "feed", "0", true); !errors.Is(err, checkpoint.ErrStopped) {
		t.Errorf("waiting for a partition of a state that was deleted: %v, want %v", err, checkpoint.ErrStopped)
	}
}
