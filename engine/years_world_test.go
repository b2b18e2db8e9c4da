package engine

import (
	"fmt"
	"hash"
	"hash/fnv"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
)

// record is one that the tenant has.
type record struct {
	feed, id string
	at       time.Time // its own time
	seen     time.Time // when it can be listed
	bad      bool      // the service cannot write it
	damaged  bool      // what the service writes of it is no JSON
	dead     bool      // the service lists it, and never gives it
}

// object is one of a state that changes, or a row of a delta query: there from its first change on,
// gone after each second removal.
type object struct {
	id      string
	changes []time.Time
	removes []bool // by change: it is gone from there to the next
}

// version is which change an object is at, and whether it is there.
func (o *object) version(at time.Time) (n int, there bool) {
	for n < len(o.changes) && !o.changes[n].After(at) {
		n++
	}
	return n, n > 0 && !o.removes[n-1]
}

// stretch is a span of time.
type stretch struct{ from, to time.Time }

// claim is a gap that was told.
type claim struct {
	feed, reason string
	stretch
	at time.Time
}

// world is the tenant and the destination, and who collects.
type world struct {
	t       *testing.T
	seed    uint64
	start   time.Time
	until   time.Time // no record is younger
	calm    time.Time // no fault after it
	letters string    // the folder of dead letters
	unfill  atomic.Bool
	log     slog.Handler // of the engines
	told    io.Writer    // what happens, in its order
	digest  hash.Hash64  // of it

	requests *atomic.Int64 // of all processes

	mu          sync.Mutex
	records     []*record            // by feed and time
	byFeed      map[string][]*record // the same
	objects     map[string][]*object // by feed
	got         map[string]int       // by id
	when        map[string]time.Time // a record was delivered first
	last        map[string]string    // what was told last of an object
	lastAt      map[string]time.Time
	unsure      map[string]bool // ids that a fault may have had delivered unnoticed
	uncommitted map[checkpoint.Key]string
	claims      []claim
	claimed     map[string]bool
	up          []stretch // processes
	off         []stretch // of the subscription
	started     bool      // the subscription, the first time
	age         int       // of the process: what one that was killed still sends finds nobody
	killed      time.Time // the last time
	faults      map[tenMinutes]string

	sums
}

func newWorld(t *testing.T, seed uint64) *world {
	digest := fnv.New64a()
	return &world{t: t, seed: seed, log: slog.DiscardHandler, told: digest, digest: digest, start: time.Now().UTC().Truncate(time.Second), byFeed: map[string][]*record{}, objects: map[string][]*object{},
		got: map[string]int{}, when: map[string]time.Time{}, last: map[string]string{}, lastAt: map[string]time.Time{}, unsure: map[string]bool{},
		uncommitted: map[checkpoint.Key]string{}, claimed: map[string]bool{}, faults: map[tenMinutes]string{}, letters: t.TempDir()}
}

// dice gives the same number for the same seed and names.
func (w *world) dice(names ...any) *rand.Rand {
	h := fnv.New64a()
	fmt.Fprint(h, names...)
	return rand.New(rand.NewPCG(w.seed, h.Sum64()))
}

// momentMost is how much longer than its least a moment may be: of pairs that begin at once, one in two hundred million ends at
// once, too. With a millisecond some world of ten years was not the same again, with a microsecond none was.
const momentMost = 200 * time.Millisecond

// moment takes a little longer than least: how much follows from the time and the names. Thus hardly two things
// happen at one moment, where their order would be the scheduler's, which no second run has.
func (w *world) moment(least time.Duration, names ...any) {
	time.Sleep(least + time.Duration(w.dice(fmt.Sprint(names...), time.Now().UnixNano()).Int64N(int64(momentMost))))
}

// note tells what happens. The caller holds the lock.
func (w *world) note(format string, args ...any) {
	fmt.Fprintf(w.told, time.Now().UTC().Format(time.RFC3339Nano)+" "+format+"\n", args...)
}

// fault says what is wrong with a part of the world at a time: "" most of the time. A fault lasts for
// the ten minutes that it begins in, and some for three hours.
func (w *world) fault(at time.Time, part string, kinds ...string) string {
	if at.After(w.calm) {
		return ""
	}
	now := tenMinutes{part, at.Unix() / 600}
	if kind, known := w.faults[now]; known {
		return kind
	}
	kind := ""
	if hours := w.dice(part, "hours", at.Unix()/(3*3600)); hours.IntN(120) == 0 {
		kind = kinds[hours.IntN(len(kinds))]
	} else if minutes := w.dice(part, now.n); minutes.IntN(12) == 0 {
		kind = kinds[minutes.IntN(len(kinds))]
	}
	w.faults[now] = kind
	return kind
}

// tenMinutes are some of a part of the world.
type tenMinutes struct {
	part string
	n    int64
}

// The faults of the parts.
var (
	tenantKinds = []string{"500", "503", "429", "401", "reset", "cut", "html", "half", "empty", "nothing", "gone", "premium", "flapping", "expired", "unheard"}
	sinkKinds   = []string{"500", "429", "reset", "403", "404", "answer lost", "page"}
)

func (w *world) diskFull(at time.Time) bool {
	return !at.After(w.calm) && !w.unfill.Load() && w.dice("disk", at.Unix()/3600).IntN(120) == 0
}

// clockOff is how wrong the clock of a host is. (A clock that jumps while a process runs moves nothing: Go measures spans of
// time by another one.)
func (w *world) clockOff(life int) time.Duration {
	wrong := []time.Duration{0, 0, 0, 0, 12 * time.Minute, -12 * time.Minute, 3 * time.Hour, -3 * time.Hour, 26 * time.Hour, -26 * time.Hour}
	return wrong[w.dice("clock", life).IntN(len(wrong))]
}

// keeps is how far back the service has records; less than it should at times.
func (w *world) keeps(at time.Time) time.Duration {
	if !at.After(w.calm) && w.dice("keeps", at.Unix()/(6*3600)).IntN(40) == 0 {
		return 24 * time.Hour
	}
	return 7 * 24 * time.Hour
}

// populate makes the records: most can be listed within a minute, some late.
func (w *world) populate() {
	for _, feed := range []string{"list", "items", "subs"} {
		r := w.dice("records", feed)
		at := w.start
		for i := 0; at.Before(w.until); i++ {
			at = at.Add(time.Duration(r.Int64N(int64(40 * time.Minute)))).Truncate(time.Second)
			late := time.Duration(r.Int64N(int64(time.Minute)))
			if r.IntN(30) == 0 {
				late = time.Duration(r.Int64N(int64(40 * time.Minute)))
			}
			rec := &record{feed: feed, id: fmt.Sprintf("%s-%d", feed, i), at: at, seen: at.Add(late),
				bad: feed == "list" && r.IntN(300) == 0, damaged: feed == "items" && r.IntN(200) == 0}
			rec.dead = feed == "items" && w.dice("dead", rec.id).IntN(10_000) == 0 // rare: until it is gone, there is a round each minute
			w.records = append(w.records, rec)
			w.byFeed[feed], w.count = append(w.byFeed[feed], rec), w.count+1
		}
	}
	for _, feed := range []string{"state", "delta"} {
		for i := range 12 {
			r := w.dice("objects", feed, i)
			o := &object{id: fmt.Sprintf("%s-%d", feed, i)}
			for at := w.start.Add(-time.Hour); at.Before(w.until); at = at.Add(time.Duration(r.Int64N(int64(48 * time.Hour)))) {
				n := len(o.removes)
				o.changes, o.removes = append(o.changes, at), append(o.removes, n > 0 && !o.removes[n-1] && r.IntN(4) == 0)
			}
			w.objects[feed] = append(w.objects[feed], o)
		}
	}
}

// observedStore is the real state, at whose commits a process may be killed.
type observedStore struct {
	*checkpoint.Embedded
	w  *world
	fs *vfs.MemFS

	mu     sync.Mutex
	life   int
	before bool
	killed chan *vfs.MemFS // not nil: the next commit is the last
}

// killAt has the process end at its next commit, before it is written or after.
func (s *observedStore) killAt(w *world, life int, before bool) <-chan *vfs.MemFS {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.life, s.before, s.killed = life, before, make(chan *vfs.MemFS, 1)
	return s.killed
}

// Commit implements [checkpoint.Store].
func (s *observedStore) Commit(c *checkpoint.Commit) error {
	s.w.moment(time.Millisecond, "commit", c.Feed)
	s.mu.Lock()
	killed, before := s.killed, s.before
	if killed != nil && len(c.Keys) > 0 {
		s.killed = nil
	} else {
		killed = nil
	}
	s.mu.Unlock()
	if killed != nil && before {
		killed <- s.w.kill(s.fs, s.life)
		return s.Embedded.Commit(c)
	}
	if err := s.Embedded.Commit(c); err != nil {
		return err
	}
	s.w.mu.Lock()
	for _, key := range c.Keys {
		delete(s.w.uncommitted, key)
	}
	s.w.note("committed %s, %d keys", c.Feed, len(c.Keys))
	s.w.mu.Unlock()
	if killed != nil {
		killed <- s.w.kill(s.fs, s.life)
	}
	return nil
}
