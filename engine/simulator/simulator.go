package simulator

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Simulator is a running tenant and destination, or one of several tenants. Its
// methods may be called from several goroutines.
type Simulator struct {
	opts  Options
	start time.Time
	log   *slog.Logger
	world *world
	ids   *idCipher

	types   []*contentType
	streams []*stream
	tables  []*table
	tenants *tenants // all of several, in the first of them
	tallies []tally  // by feed number
	faults  faults
	tokens  skipTokens

	searches auditSearches

	signing  []byte
	revoked  atomic.Int64 // tokens issued until then are refused
	requests atomic.Int64
	plan     atomic.Value // string, a licence
	counts   sync.Map     // name -> *counter

	mu         sync.Mutex
	roles      []string
	known      map[string]map[string]bool // property names by endpoint
	limits     map[string]*slidingWindow
	violations map[string]int
	other      map[string]int64
	strangers  int64
	objectIDs  map[string]bool // of lists that are data alone, as far as they were served
	events     [][]byte

	listeners map[string]net.Listener
	servers   []*http.Server
	closing   chan struct{}
	closed    sync.Once
}

type counter struct{ atomic.Int64 }

// Start opens the listeners, on loopback unless told otherwise, and serves until Close.
func Start(o Options) (*Simulator, error) {
	o = o.withDefaults()
	if o.BlobMin < 1 || o.BlobMax < o.BlobMin {
		return nil, fmt.Errorf("simulator: blobs of %d to %d records; the least is 1, and the most not below the least", o.BlobMin, o.BlobMax)
	}
	if _, ok := plans[o.Licence]; !ok {
		return nil, fmt.Errorf("simulator: unknown licence %q; it is Free, P1 or P2", o.Licence)
	}
	for name := range o.Volumes {
		if !slices.Contains(feedNames, name) {
			return nil, fmt.Errorf("simulator: volume of an unknown feed %q; feeds are %s", name, strings.Join(feedNames, ", "))
		}
	}
	readFiles()
	s := newTenant(o, o.Now())
	s.listeners, s.closing = map[string]net.Listener{}, make(chan struct{})
	for _, name := range o.Subscribed {
		if !slices.Contains(ContentTypes, name) {
			return nil, fmt.Errorf("simulator: subscription to an unknown content type %q", name)
		}
	}
	s.populate(newWorld(o.Seed, o.TenantID))
	if o.Tenants > 1 {
		var err error
		if s.tenants, err = newTenants(s); err != nil {
			return nil, err
		}
	}
	// All listen before one answers: answers name the addresses of the others.
	if err := s.listen(); err != nil {
		for _, l := range s.listeners {
			_ = l.Close()
		}
		return nil, fmt.Errorf("simulator: %w", err)
	}
	for name, l := range s.listeners {
		server := &http.Server{
			Handler:           s.dated(s.service(name)),
			ReadHeaderTimeout: time.Minute,
			ErrorLog:          slog.NewLogLogger(o.Logger.Handler(), slog.LevelDebug),
		}
		s.servers = append(s.servers, server)
		go func() {
			if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				s.log.Error("the simulator stopped serving", "service", name, "error", err)
			}
		}()
	}
	return s, nil
}

// newTenant makes a tenant that nobody can reach yet, and whose feeds are still to be made.
func newTenant(o Options, start time.Time) *Simulator {
	s := &Simulator{
		opts: o, start: start, log: o.Logger, ids: newIDCipher(o.Seed),
		tallies: make([]tally, len(feedNames)),
		signing: appendHex(nil, mix(o.Seed^0x519), 16),
		roles:   o.Roles,
		known:   map[string]map[string]bool{}, objectIDs: map[string]bool{}, limits: map[string]*slidingWindow{}, violations: map[string]int{}, other: map[string]int64{},
	}
	s.faults.seed, s.faults.hits = o.Seed, map[Kind]int64{}
	s.plan.Store(o.Licence)
	s.tokens.known = map[string]walkState{}
	return s
}

// services are what listens, each with how a tenant serves a request.
var services = map[string]func(*Simulator, http.ResponseWriter, *http.Request){
	"login": (*Simulator).serveLogin, "manage": (*Simulator).serveManage, "graph": (*Simulator).serveGraph, "defender": (*Simulator).serveDefender,
	"ingest": (*Simulator).serveIngest, "collector": (*Simulator).serveCollector, "foreign": (*Simulator).serveForeign,
}

// service serves the requests of all tenants to one service.
func (s *Simulator) service(name string) http.Handler {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		services[name](s.tenantOf(name, r), w, r)
	})
	if name == "login" {
		return s.withControl(handler)
	}
	return handler
}

// Handler is what answers at one of the bases, such as GraphBase; nil for another host. Requests
// that are made of it without a socket are answered within virtual time.
func (s *Simulator) Handler(host string) http.Handler {
	for name, l := range s.listeners {
		if l.Addr().String() == host {
			return s.dated(s.service(name))
		}
	}
	return nil
}

// dated puts the simulator's own clock into answers, where clients read it.
func (s *Simulator) dated(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", s.now().UTC().Format(http.TimeFormat))
		next.ServeHTTP(w, r)
	})
}

// populate makes the feeds, of what happens in a world.
func (s *Simulator) populate(w *world) {
	s.world = w
	w.calm = s.opts.Calm
	volumes := s.opts.volumes()
	for i, f := range feeds {
		feed := uint8(i)
		times := newTimeline(mix(s.opts.Seed^uint64(feed)<<32), s.start, s.opts.History, s.opts.Quiet, volumes[feed], f.unit)
		switch {
		case f.clock == "":
			s.types = append(s.types, &contentType{name: f.name, feed: feed, sim: s, kinds: w.kindsOf(f.name), times: times})
		case f.table:
			s.tables = append(s.tables, &table{name: f.name, feed: feed, sim: s, clock: f.clock, times: times, row: named[f.name],
				perUser: f.name == RiskyUsers, perRobot: f.name == RiskyServicePrincipals})
		default:
			s.streams = append(s.streams, &stream{name: f.name, feed: feed, sim: s, clock: f.clock, times: times})
		}
	}
	for _, name := range s.opts.Subscribed {
		s.typeOf(name).enable(s.start, retention)
	}
}

func (s *Simulator) typeOf(name string) *contentType {
	return first(s.types, func(c *contentType) bool { return c.name == name })
}

func (s *Simulator) streamOf(name string) *stream {
	return first(s.streams, func(st *stream) bool { return st.name == name })
}

func (s *Simulator) tableOf(name string) *table {
	return first(s.tables, func(t *table) bool { return t.name == name })
}

// first is the first of a list that is what is asked for; nil, if there is none.
func first[T any](list []*T, is func(*T) bool) *T {
	if i := slices.IndexFunc(list, is); i >= 0 {
		return list[i]
	}
	return nil
}

// Close ends all services at once; answers under way are cut off.
func (s *Simulator) Close() error {
	var err error
	s.closed.Do(func() {
		close(s.closing)
		for _, server := range s.servers {
			err = errors.Join(err, server.Close())
		}
	})
	return err
}

func (s *Simulator) now() time.Time { return s.opts.Now() }

func (s *Simulator) guid(id recordID) (text [36]byte) {
	hi, lo := s.ids.seal(id)
	appendGUID(text[:0], hi, lo)
	return text
}

func (s *Simulator) count(name string) { s.countN(name, 1) }

func (s *Simulator) countN(name string, n int64) {
	c, ok := s.counts.Load(name)
	if !ok {
		c, _ = s.counts.LoadOrStore(name, &counter{})
	}
	c.(*counter).Add(n)
}

// violate notes something that a well-behaved client does not do.
func (s *Simulator) violate(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	s.log.Warn("a violation", "what", text)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.violations) < 10*maxListed || s.violations[text] > 0 {
		s.violations[text]++
	}
}

func (s *Simulator) licence() string { return s.plan.Load().(string) }

// SetLicence changes the tenant's licence: Free, P1 or P2.
func (s *Simulator) SetLicence(plan string) error {
	if _, ok := plans[plan]; !ok {
		return fmt.Errorf("simulator: unknown licence %q; it is Free, P1 or P2", plan)
	}
	s.plan.Store(plan)
	return nil
}

// SetRoles changes the granted permissions; tokens issued before keep theirs,
// as at Microsoft.
func (s *Simulator) SetRoles(roles ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.roles = roles
}

// StopLive ends the stream of new records, of all tenants: what exists by now is all there will
// be, but for what is still to become visible.
func (s *Simulator) StopLive() {
	if s.tenants != nil {
		s.tenants.mu.Lock()
		s.tenants.stopped = true
		s.tenants.mu.Unlock()
		for i, t := range s.tenants.all() {
			if i > 0 {
				t.StopLive()
			}
		}
	}
	now := s.now().UnixNano()
	stop := func(mu *sync.Mutex, t *timeline) {
		mu.Lock()
		defer mu.Unlock()
		if t.end == 0 {
			t.end = now
		}
	}
	for _, c := range s.types {
		stop(&c.mu, &c.times)
	}
	for _, st := range s.streams {
		stop(&st.mu, &st.times)
	}
	for _, t := range s.tables {
		stop(&t.mu, &t.times)
	}
}

// Publish makes n new records of a feed available at once, with a place in time
// that long ago: records that a client sees late. In a feed of changing rows it
// changes n rows now.
func (s *Simulator) Publish(feed string, n int, age time.Duration) error {
	if c := s.typeOf(feed); c != nil {
		c.publish(n, age, false)
		return nil
	}
	if st := s.streamOf(feed); st != nil {
		st.publish(n, age)
		return nil
	}
	if t := s.tableOf(feed); t != nil {
		t.rewrite(n)
		return nil
	}
	return fmt.Errorf("simulator: unknown feed %q", feed)
}

// Repeat lists a new blob of a content type that holds n records again that
// were offered before, with other key order.
func (s *Simulator) Repeat(contentTypeName string, n int) error {
	c := s.typeOf(contentTypeName)
	if c == nil {
		return fmt.Errorf("simulator: unknown content type %q", contentTypeName)
	}
	if c.publish(n, 0, true) == 0 {
		return fmt.Errorf("simulator: %s has no records to repeat", contentTypeName)
	}
	return nil
}

func (s *Simulator) serveForeign(w http.ResponseWriter, r *http.Request) {
	s.count("requests.foreign")
	if r.Header.Get("Authorization") != "" {
		s.violate("a token was sent to a foreign host: %s", r.URL.Path)
	} else {
		s.violate("a link to a foreign host was followed: %s", r.URL.Path)
	}
	writeJSON(w, 200, []any{})
}
