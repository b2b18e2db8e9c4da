package lease_test

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/lease"
)

// memory is what replicas share without servers, and so in virtual time: the bucket of sessions, and the log of claims.
type memory struct {
	mu       sync.Mutex
	down     bool
	sessions map[string]session
	log      map[lease.Partition]claim
	changed  chan struct{}
}

type session struct {
	jetstream.KeyValueEntry
	id    string
	value []byte // nil: deleted
	until time.Time
}

func (s session) Key() string   { return s.id }
func (s session) Value() []byte { return s.value }

type claim struct {
	owner string
	at    time.Time
	rest  time.Duration
}

func newMemory() *memory {
	return &memory{sessions: map[string]session{}, log: map[lease.Partition]claim{}, changed: make(chan struct{})}
}

// stop and start are what a server does.
func (m *memory) stop()  { m.set(true) }
func (m *memory) start() { m.set(false) }

func (m *memory) set(down bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down = down
}

var errDown = errors.New("no server")

// begin is the way to the servers, which takes a moment.
func (m *memory) begin(ctx context.Context) (end func(), err error) {
	time.Sleep(time.Millisecond)
	m.mu.Lock()
	down := m.down
	if !down {
		maps.DeleteFunc(m.sessions, func(_ string, s session) bool { return !time.Now().Before(s.until) })
		return m.mu.Unlock, nil
	}
	m.mu.Unlock()
	<-ctx.Done()
	return nil, errors.Join(errDown, ctx.Err())
}

// bucket is the sessions' part of it.
type bucket struct {
	jetstream.KeyValue
	*memory
}

func (b bucket) put(ctx context.Context, id string, value []byte) error {
	end, err := b.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	b.sessions[id] = session{id: id, value: value, until: time.Now().Add(ttl)}
	return nil
}

func (b bucket) Put(ctx context.Context, id string, value []byte) (uint64, error) {
	return 0, b.put(ctx, id, value)
}

func (b bucket) Delete(ctx context.Context, id string, _ ...jetstream.KVDeleteOpt) error {
	return b.put(ctx, id, nil)
}

func (b bucket) Get(ctx context.Context, id string) (jetstream.KeyValueEntry, error) {
	end, err := b.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	if s := b.sessions[id]; s.value != nil {
		return s, nil
	}
	return nil, jetstream.ErrKeyNotFound
}

func (b bucket) History(ctx context.Context, id string, _ ...jetstream.WatchOpt) ([]jetstream.KeyValueEntry, error) {
	end, err := b.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	if s := b.sessions[id]; s.id != "" {
		return []jetstream.KeyValueEntry{s}, nil
	}
	return nil, jetstream.ErrKeyNotFound
}

// watcher has all that there are, and nil after them.
type watcher chan jetstream.KeyValueEntry

func (w watcher) Updates() <-chan jetstream.KeyValueEntry { return w }
func (watcher) Stop() error                               { return nil }

func (b bucket) WatchAll(ctx context.Context, _ ...jetstream.WatchOpt) (jetstream.KeyWatcher, error) {
	end, err := b.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	w := make(watcher, len(b.sessions)+1)
	for _, s := range b.sessions {
		if s.value != nil {
			w <- s
		}
	}
	w <- nil
	return w, nil
}

// claims is the log as one replica has it.
type claims struct {
	*memory
	held map[lease.Partition]string // by session
}

func (c *claims) Claim(ctx context.Context, feed, partition, owner, session string) error {
	end, err := c.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	p := lease.Partition{Feed: feed, Value: partition}
	if c.log[p].owner != owner {
		return errors.New("held by another")
	}
	c.held[p] = session
	c.append(p, claim{session, time.Now(), c.log[p].rest})
	return nil
}

func (c *claims) append(p lease.Partition, to claim) {
	c.log[p] = to
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *claims) Release(ctx context.Context, feed, partition string, rest time.Duration) error {
	end, err := c.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	p := lease.Partition{Feed: feed, Value: partition}
	if session := c.held[p]; session != "" && c.log[p].owner == session {
		c.append(p, claim{"", c.log[p].at, rest})
	}
	delete(c.held, p)
	return nil
}

// Commit writes to a partition, which the log refuses anybody but its owner.
func (c *claims) Commit(of *checkpoint.Commit) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	end, err := c.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	p := lease.Partition{Feed: of.Feed, Value: of.Partition}
	if session := c.held[p]; session == "" || c.log[p].owner != session {
		return checkpoint.ErrFenced
	}
	return nil
}

func (c *claims) about(feed, partition string) claim {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.log[lease.Partition{Feed: feed, Value: partition}]
}

func (c *claims) Forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.held)
}

func (c *claims) Reach() error { return nil }

func (c *claims) Changed() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed
}

func (c *claims) Owner(feed, partition string) string       { return c.about(feed, partition).owner }
func (c *claims) Claimed(feed, partition string) time.Time  { return c.about(feed, partition).at }
func (c *claims) Rest(feed, partition string) time.Duration { return c.about(feed, partition).rest }
func (*claims) Weight(string, string) int                   { return 1 }
func (*claims) Done() <-chan struct{}                       { return nil }
func (*claims) Err() error                                  { return nil }
