// Package lease shares the partitions of feeds among replicas of the connector. It promises that each
// partition is worked on by one replica at a time, that one whose replica is gone has another within
// seconds, and that the work is spread evenly and moves seldom.
//
// How it works: a replica has a session, an entry with a time to live in a bucket that all see, which
// it renews. It holds a partition by a claim, a message in the partition's own log that names the
// session. The log refuses what a former holder appends after a claim. So safety rests on the log
// alone; sessions tell only whose claims are void:
//
//	tick    renew the session; see which sessions live
//	decide  from these and the claims: who is to hold what
//	hold    claim a partition that is this replica's part and that no living session holds; release
//	        it once it has become another's part
//	lose    a session that could not be renewed ends all work before others see it expire
//
// A claim costs one message, and staying alive one for each replica, however many partitions there are.
package lease

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
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
	// keep is for how many ticks who took another's part, which that one left alone, keeps it.
	keep = 20 * ticks
	// windUp is for how many TTLs the work of a session that was lost may wind up before there is
	// another one. It does in a moment, but while the servers have no leader.
	windUp = 4
)

// errElsewhere says that another replica, which lives, holds the partition or is about to.
var errElsewhere = errors.New("another replica runs it")

// Claims are the claims on partitions, in their logs. shared.Store
// implements it.
type Claims interface {
	// Claim makes the session the holder after owner. It returns once the state of every
	// earlier holder is known here, and fails where the owner is another by now.
	Claim(ctx context.Context, feed, partition, owner, session string) error
	// Release ends the claim. rest is for the next one's Rest.
	Release(ctx context.Context, feed, partition string, rest time.Duration) error
	// Rest is for how long after the last claim what an earlier holder did still counts, by what it
	// said when it released; below 0: not known.
	Rest(feed, partition string) time.Duration
	// Forget ends all claims of this process, for itself alone.
	Forget()
	// Owner is the session that claimed last and has not released; "" for none.
	Owner(feed, partition string) string
	// Claimed is when the last claim was made; the zero time where that is not known.
	Claimed(feed, partition string) time.Time
	// Weight of a partition, 1 at least, by how much work it was; the same for all who know the same
	// of the log.
	Weight(feed, partition string) int
	// Reach is nil while the log is in reach, and else says why it is not, and what to do.
	Reach() error
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
	Format   int           // the newest of messages that it reads, for those who write them
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
	out  bool          // the last attempt at a session failed; of the goroutine of the session

	mu      sync.Mutex
	session *session
	names   map[string]string // of the living sessions; nil until they were seen
	members []string          // of them, those that take part, in order
	peers   []string          // of these, those that share as this release does
	wanted  map[Partition]*want
}

// session is one life of a replica.
type session struct {
	id    string
	ended context.Context
	lose  context.CancelCauseFunc

	renewed atomic.Pointer[time.Time] // when that was begun
}

// want is a partition that somebody here waits for, or holds.
type want struct {
	wait   bool
	ruling chan ruling // while it is waited for

	giveUp context.CancelCauseFunc // while it is held
	others int                     // for how many ticks in a row it was another's part, held here or by nobody
}

// ruling tells who waits for a partition that it is free, or runs elsewhere.
type ruling struct {
	elsewhere string // the replica that runs it; "": claim it
	owner     string // whose claim is void; "": nobody's
}

var (
	errApart   = errors.New("the shared state is out of reach: NATS gives this replica no session. See that its servers run, a majority of them in a cluster")
	errLost    = errors.New("the session of this replica could not be renewed")
	errUnknown = errors.New("whether a partition was claimed or given back is not known")
	errDone    = errors.New("its work is done")
	errGiveUp  = errors.New("the partition moves to another replica")
	errTaken   = errors.New("somebody else has claimed the partition")
)

// entry is what a session tells the others.
type entry struct {
	Name     string    `json:"name"`
	Observer bool      `json:"observer,omitempty"`
	Format   int       `json:"format,omitempty"`
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
