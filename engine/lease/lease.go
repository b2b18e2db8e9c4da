// Package lease shares the partitions of feeds among replicas of the
// connector: each partition is held by one replica at a time.
//
// A replica has a session: an entry with a time to live in a bucket that all
// see, which it renews. A partition is held by a claim: a message in the
// partition's own log, which names the session. The claim is the fencing token as
// well, because the log refuses what a former holder appends after it; so safety rests
// on the log alone, and sessions only tell whose claims are void:
//
//	tick    renew the session; see which sessions live
//	decide  from these and the claims: who is to hold what
//	hold    claim a partition that is this replica's part and that no living session holds; release
//	        it once it has become another's part
//	lose    a session that could not be renewed ends all work in good time before others see it expire
//
// Each claim costs one message, and staying alive one for each replica,
// however many partitions there are.
package lease

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// DefaultTTL is how long a session outlives its last renewal.
//
// Work ends after half of it, which leaves the batch in hand its moment before
// another replica takes over; that happens about two ticks after all of it.
const DefaultTTL = 15 * time.Second

const (
	ticks = 8 // in a TTL
	// patience is for how many ticks in a row a partition must be another's part
	// before it is given up: replicas do not see each other's claims at the same moment.
	patience = 2
)

// ErrElsewhere says that another replica, which lives, holds the partition or is about to.
var ErrElsewhere = errors.New("another replica runs it")

// Claims are the claims on partitions, in their logs. checkpoint.Shared
// implements it.
type Claims interface {
	// Claim makes the session the holder after owner. It returns once the state of every
	// earlier holder is known here, and fails where the owner is another by now.
	Claim(ctx context.Context, feed, partition, owner, session string) error
	// Release ends the claim.
	Release(ctx context.Context, feed, partition string) error
	// Forget ends all claims of this process, for itself alone.
	Forget()
	// Owner is the session that claimed last and has not released; "" for none.
	Owner(feed, partition string) string
	// Changed is closed when an owner changes.
	Changed() <-chan struct{}
	// Done is closed when the log can no longer be used; Err then says why.
	Done() <-chan struct{}
	Err() error
}

// Options of a replica.
type Options struct {
	Sessions jetstream.KeyValue // with a TTL for its entries
	Claims   Claims
	Name     string        // of this replica, for people
	TTL      time.Duration // of the entries in Sessions
	Log      *slog.Logger
	// Observer takes no part: it is assigned nothing, and holds only what nobody
	// who lives does.
	Observer bool
}

// Replica is this process among those that share the work. Its methods may be
// called from several goroutines.
type Replica struct {
	Options

	end  context.CancelFunc
	done sync.WaitGroup
	wake chan struct{} // something changed that decide looks at

	mu      sync.Mutex
	session *session
	names   map[string]string // of the living sessions; nil until they were seen
	members []string          // of them, those that take part
	wanted  map[Partition]*want
}

// session is one life of a replica.
type session struct {
	id    string
	ended context.Context
	lose  context.CancelCauseFunc
}

// want is a partition that somebody here waits for, or holds.
type want struct {
	wait   bool
	answer chan answer // while it is waited for

	giveUp context.CancelCauseFunc // while it is held
	others int                     // for how many ticks in a row it was another's part
}

// answer tells who waits for a partition that it is free, or runs elsewhere.
type answer struct {
	elsewhere string // the replica that runs it; "": claim it
	owner     string // whose claim is void; "": nobody's
}

var (
	errLost    = errors.New("the session of this replica could not be renewed")
	errUnknown = errors.New("whether a partition was claimed or given back is not known")
	errDone    = errors.New("its work is done")
	errGiveUp  = errors.New("the partition moves to another replica")
)

// entry is what a session tells the others.
type entry struct {
	Name     string    `json:"name"`
	Observer bool      `json:"observer,omitempty"`
	Started  time.Time `json:"started"`
}

// Join makes this process a replica. The session begins in the background, and
// again whenever one was lost, until Leave.
func Join(o Options) *Replica {
	ctx, end := context.WithCancel(context.Background())
	r := &Replica{Options: o, end: end, wake: make(chan struct{}, 1), wanted: map[Partition]*want{}}
	r.done.Go(func() {
		for ctx.Err() == nil {
			r.live(ctx)
		}
	})
	r.done.Go(func() { r.watch(ctx) })
	return r
}

// Leave ends the session, so that others need not wait for its end. What is held
// should have been released. It takes some seconds at most.
func (r *Replica) Leave() {
	r.end()
	r.done.Wait()
}

// tick is the time between two renewals.
func (r *Replica) tick() time.Duration { return r.TTL / ticks }

// live is one session, from its first entry to its loss.
func (r *Replica) live(ctx context.Context) {
	id := rand.Text()
	value, err := json.Marshal(entry{Name: r.Name, Observer: r.Observer, Started: time.Now().UTC()})
	if err != nil {
		panic(err) // strings and a time
	}
	put := func() (time.Time, error) {
		ctx, cancel := context.WithTimeout(ctx, 2*r.tick())
		defer cancel()
		started := time.Now()
		// Nobody else writes this entry, so one that was written without an answer
		// coming back is as good.
		_, err := r.Sessions.Put(ctx, id, value)
		return started, err
	}
	renewed, err := put()
	if err != nil {
		if ctx.Err() == nil {
			r.Log.Warn("replica: no session, trying again; nothing is collected meanwhile", "error", err)
			sleep(ctx, r.tick())
		}
		return
	}
	s := &session{id: id}
	s.ended, s.lose = context.WithCancelCause(context.Background())
	r.mu.Lock()
	r.session = s
	r.mu.Unlock()
	r.Log.Info("replica: session begins", "replica", r.Name, "session", id)
	// Whatever holds up the loop below, a pause of the whole process too: half a TTL
	// after the last renewal the work of the session ends.
	deadline := time.AfterFunc(r.TTL/2-time.Since(renewed), func() { s.lose(errLost) })
	defer deadline.Stop()
	r.look(ctx)
	for sleep(ctx, r.tick()) && s.ended.Err() == nil {
		renewed, err := put()
		if err == nil && deadline.Stop() {
			deadline.Reset(r.TTL/2 - time.Since(renewed))
			r.look(ctx)
		} else if err != nil && ctx.Err() == nil {
			r.Log.Warn("replica: session not renewed, trying again", "error", err)
		}
	}
	if ctx.Err() == nil {
		r.Log.Error("replica: the session is over; the work on all partitions ends, and begins again with the next session", "session", id, "cause", context.Cause(s.ended))
	}
	s.lose(context.Canceled)
	// The work has its moment to end before the claims are forgotten. A log refuses
	// it anyhow once another has claimed.
	for last := time.Now().Add(r.TTL / 2); r.holding() && time.Now().Before(last); {
		time.Sleep(r.tick() / 8)
	}
	r.forget(context.WithoutCancel(ctx), id)
}

func (r *Replica) holding() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range r.wanted {
		if w.giveUp != nil {
			return true
		}
	}
	return false
}

// forget takes the session out of sight, of the others' too.
func (r *Replica) forget(ctx context.Context, id string) {
	r.Claims.Forget()
	r.mu.Lock()
	r.session, r.names, r.members = nil, nil, nil
	r.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	// Where this fails, the entry expires by itself.
	if err := r.Sessions.Delete(ctx, id); err != nil {
		r.Log.Debug("replica: ending the session", "error", err)
	}
}

// look sees who lives.
func (r *Replica) look(ctx context.Context) {
	names, members, err := r.living(ctx)
	if err != nil {
		if ctx.Err() == nil {
			r.Log.Warn("replica: cannot see the other replicas, trying again", "error", err)
		}
		return
	}
	r.mu.Lock()
	before := len(r.members)
	r.names, r.members = names, members
	r.mu.Unlock()
	if before != len(members) {
		r.Log.Info("replica: the number of replicas has changed", "replicas", len(members), "before", before)
	}
	r.decide(ctx, true)
}

// nudge has the decisions made anew.
func (r *Replica) nudge() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// watch decides anew when somebody wants a partition, or a claim has
// changed; all that happens within a moment, in one go.
func (r *Replica) watch(ctx context.Context) {
	for changed := r.Claims.Changed(); ; {
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-r.wake:
		}
		if !sleep(ctx, r.tick()/16) {
			return
		}
		changed = r.Claims.Changed() // before the decision, so that no change falls between the two
		r.decide(ctx, false)
	}
}

// decide sees who is to hold what, tells those who wait for a partition that is free, and
// gives up what has been another's part for several ticks.
func (r *Replica) decide(ctx context.Context, tick bool) {
	void, err := r.void(ctx)
	if err != nil {
		if ctx.Err() == nil {
			r.Log.Warn("replica: cannot tell whose claims are void, trying again", "error", err)
		}
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.session == nil || r.session.ended.Err() != nil || r.names == nil {
		return
	}
	list := make([]Partition, 0, len(r.wanted))
	for p := range r.wanted {
		list = append(list, p)
	}
	target := assign(list, r.members, r.owner)
	for p, w := range r.wanted {
		mine := r.Observer || target[p] == r.session.id
		owner := r.owner(p)
		held := owner != "" && owner != r.session.id && !void[owner]
		switch {
		case w.giveUp != nil && mine:
			w.others = 0
		case w.giveUp != nil:
			if tick {
				w.others++
			}
			if w.others >= patience {
				w.giveUp(errGiveUp)
			}
		case mine && !held, owner == r.session.id:
			// The latter: a claim that was taken for failed. Nobody else may claim what a living
			// session owns, so it is held first, and given up like any other.
			w.tell(answer{owner: owner})
		case !w.wait && held:
			w.tell(answer{elsewhere: r.name(owner)})
		case !w.wait && !mine:
			w.tell(answer{elsewhere: r.name(target[p])})
		}
	}
}

func (r *Replica) owner(p Partition) string { return r.Claims.Owner(p.Feed, p.Value) }

// tell answers who waits. One that was not taken yet may be out of date; then the
// claim fails, and there is another.
func (w *want) tell(a answer) {
	select {
	case w.answer <- a:
	default:
	}
}

// void are the owners of wanted partitions that do not live. One that was not seen at the
// last tick may have begun since, so it is asked for by name.
func (r *Replica) void(ctx context.Context) (map[string]bool, error) {
	unseen := map[string]bool{}
	r.mu.Lock()
	for p := range r.wanted {
		if owner := r.owner(p); owner != "" && r.names != nil && r.names[owner] == "" {
			unseen[owner] = true
		}
	}
	r.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, 2*r.tick())
	defer cancel()
	for id := range unseen {
		switch _, err := r.Sessions.Get(ctx, id); {
		case err == nil:
			delete(unseen, id)
		case !errors.Is(err, jetstream.ErrKeyNotFound):
			return nil, err
		}
	}
	return unseen, nil
}

// living are the sessions whose entries have not expired: the names of all, and those that take part.
func (r *Replica) living(ctx context.Context) (names map[string]string, members []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*r.tick())
	defer cancel()
	watch, err := r.Sessions.WatchAll(ctx, jetstream.IgnoreDeletes())
	if err != nil {
		return nil, nil, err
	}
	defer watch.Stop() //nolint:errcheck // it is read to its end
	names = map[string]string{}
	for {
		select {
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		case e, ok := <-watch.Updates():
			if !ok {
				return nil, nil, errors.New("the list of sessions broke off")
			}
			if e == nil { // all that there are
				return names, members, nil
			}
			var told entry
			if err := json.Unmarshal(e.Value(), &told); err != nil {
				return nil, nil, fmt.Errorf("session %s: %w", e.Key(), err)
			}
			names[e.Key()] = cmp.Or(told.Name, e.Key())
			if !told.Observer {
				members = append(members, e.Key())
			}
		}
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
