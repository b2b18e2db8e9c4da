package engine

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/extract"
	"github.com/secure60/s60-m365-connector/engine/load"
	"github.com/secure60/s60-m365-connector/engine/transform"
)

// Whole engines run in virtual time against a tenant and a destination that are functions:
// planning, requests, delivery and the embedded state are the real ones, the sockets and the disk are
// memory. What goes wrong follows from the seed, the time and the request, and no two things happen at one
// moment, so that the same happens again with the same seed. "make simulate-years" runs it for longer.
var (
	simulatedYears = flag.Float64("years", 5./365, "how long TestYears simulates")
	simulatedSeed  = flag.Uint64("seed", 1, "seed of the records and of the faults of TestYears")
	simulatedWall  = flag.Duration("years.wall", 0, "begin no further piece of TestYears after this time; 0: all of them")
	simulatedLog   = flag.String("years.log", "", "file for what happens in TestYears, and the log of its engines")
)

// simulatedPiece is how long one world goes on. Longer times are several worlds, each with a seed of its own:
// what goes wrong in a year goes wrong in the world of one seed of some weeks, which is found again quickly.
const simulatedPiece = 30 * 24 * time.Hour

// TestYears simulates, as many worlds at a time as there are processors. What it prints for a world that fails has the
// command that shows it again.
func TestYears(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // a world is small, and makes much that is short-lived
	begun := time.Now()
	total := time.Duration(*simulatedYears * 365 * 24 * float64(time.Hour)).Round(time.Minute)
	var mu sync.Mutex
	var all sums
	var planned time.Duration
	seed := *simulatedSeed
	next := func() (mine uint64, d time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		if d = min(simulatedPiece, total-planned); *simulatedWall > 0 && time.Since(begun) > *simulatedWall {
			d = 0
		}
		planned += d
		seed++
		return seed - 1, d
	}
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for mine, d := next(); d > 0; mine, d = next() {
				var w *world
				watched := watch(mine)
				ok := t.Run(fmt.Sprintf("seed %d", mine), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						w = newWorld(t, mine)
						w.requests = &watched.requests
						if *simulatedLog != "" {
							f, err := os.OpenFile(*simulatedLog, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
							w.must(err)
							defer f.Close()
							w.log, w.told = slog.NewTextHandler(f, nil), io.MultiWriter(w.digest, f)
						}
						w.run(d)
						w.verify()
						w.t.Logf("%s", w.sums)
					})
				})
				close(watched.over)
				mu.Lock()
				all.add(w)
				mu.Unlock()
				if !ok {
					t.Errorf("seed %d failed in its %v (%s): make simulate-years SEED=%d YEARS=%.7f shows it again", mine, d, w.sums, mine, inYears(d))
				}
			}
		})
	}
	workers.Wait()
	took := time.Since(begun)
	t.Logf("%.2f years in %v on %d processors (a day in %v); %s. The same again: make simulate-years SEED=%d YEARS=%.7f", inYears(all.simulated), took.Round(time.Millisecond),
		runtime.GOMAXPROCS(0), (time.Duration(float64(took) / max(1, all.simulated.Hours()/24))).Round(time.Millisecond), all, *simulatedSeed, inYears(all.simulated))
}

// TestYearsAgain simulates a world of one seed by itself, on one processor, and on several that others want, too: what happens
// in it, and when, is the same.
func TestYearsAgain(t *testing.T) {
	d := 3 * 24 * time.Hour
	if testing.Short() {
		d /= 4
	}
	simulate := func(processors, others int) (story []string) {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(processors))
		var over atomic.Bool
		defer over.Store(true)
		for range others {
			go func() {
				for !over.Load() {
					time.Sleep(10 * time.Microsecond)
				}
			}()
		}
		synctest.Test(t, func(t *testing.T) {
			var told strings.Builder
			w := newWorld(t, *simulatedSeed)
			w.requests, w.told = new(atomic.Int64), &told
			w.run(d)
			w.verify()
			if w.kills == 0 && !testing.Short() || w.tenantFaults == 0 || w.sinkFaults == 0 {
				t.Errorf("a calm world, which tells nothing: %s", w.sums)
			}
			story = strings.Split(told.String(), "\n")
		})
		return story
	}
	first := simulate(1, 0)
	again := simulate(4, 4)
	for i := range min(len(first), len(again)) {
		if first[i] != again[i] {
			t.Fatalf("what happens differs from line %d of %d on:\n%s\n%s", i, len(first), strings.Join(first[i:min(i+3, len(first))], "\n"), strings.Join(again[i:min(i+3, len(again))], "\n"))
		}
	}
	if len(first) != len(again) {
		t.Fatalf("%d things happened, and %d when it was simulated again", len(first), len(again))
	}
}

func inYears(d time.Duration) float64 { return d.Hours() / 24 / 365 }

// watched is a world as the real time sees it.
type watched struct {
	requests atomic.Int64
	over     chan struct{}
}

// watch ends the test, with all its goroutines shown, where nothing happens in a world any more: time stands still in it
// while somebody waits for a mutex whose holder waits for time.
func watch(seed uint64) *watched {
	w := &watched{over: make(chan struct{})}
	go func() {
		for before := int64(-1); ; {
			select {
			case <-w.over:
				return
			case <-time.After(3 * time.Minute):
			}
			now := w.requests.Load()
			if now == before {
				debug.SetTraceback("all")
				panic(fmt.Sprintf("seed %d: time stands still", seed))
			}
			before = now
		}
	}()
	return w
}

// simulatedFeeds are the feeds of the simulation but for their own part.
const simulatedFeeds = `
name: %s
description: simulated
enabled: "true"
auth: {scope: https://service.example/.default}
%s
cursor: {field: at}
window: {max: 6h, delay: 0s, overlap: 1h, retention: 7d}
key: id
errors:
  - {when: 'error.code == "gone"', then: skip}
  - {when: 'error.code == "early"', then: too_early}
%smapping: m
`

const statefulFeeds = `
name: %s
description: simulated
enabled: "true"
auth: {scope: https://service.example/.default}
%s
mapping: m
`

const (
	simulatedLicence = "\nlicence: {requires: P1, missing: 'status == 403 && error.code == \"premium\"', confirm: 3, recheck: 6h}"
	simulatedWindow  = "request: {url: https://service.example/%s, query: {from: '${window.from}', to: '${window.to}'}}\npaging: {style: odata}\nrecords: value"
	simulatedItems   = "\nexpand: {url: url, key: id, records: '@this', concurrency: 4, gone: 3}"
	simulatedStarts  = "\nsubscribe:\n  list: {url: https://service.example/subscriptions}\n  active: status == \"enabled\"\n  start: {method: POST, url: https://service.example/start}\n  already: error.code == \"on\"\n  wait: 15m"
)

var simulatedMappings = fstest.MapFS{"m.yaml": {Data: []byte("name: m\ndescription: simulated\nfields:\n  timestamp: time(event_at)\n  operation: '\"act\"'\n")}}

func simulatedDefinitions() fstest.MapFS {
	feed := func(form, name string, own ...any) *fstest.MapFile {
		return &fstest.MapFile{Data: fmt.Appendf(nil, form, append([]any{name}, own...)...)}
	}
	return fstest.MapFS{
		"list.yaml":  feed(simulatedFeeds, "list", fmt.Sprintf(simulatedWindow, "list")+simulatedLicence, ""),
		"items.yaml": feed(simulatedFeeds, "items", fmt.Sprintf(simulatedWindow, "items")+simulatedItems, ""),
		"subs.yaml":  feed(simulatedFeeds, "subs", fmt.Sprintf(simulatedWindow, "subs")+simulatedStarts, "  - {when: 'error.code == \"unsubscribed\"', then: subscribe}\n"),
		"state.yaml": feed(statefulFeeds, "state", "request: {url: https://service.example/state}\npaging: {style: odata}\nrecords: value\nsnapshot: {id: id, first: emit}"+simulatedLicence),
		"delta.yaml": feed(statefulFeeds, "delta", "request: {url: https://service.example/delta}\npaging: {style: odata, delta: true}\nrecords: value\nkey: id"),
	}
}

// run lets connectors live, one after the other: each is killed, at any moment or at the moment of a commit, but for the last.
func (w *world) run(d time.Duration) {
	w.until = w.start.Add(d)
	w.calm = w.until
	w.populate()
	fs := vfs.NewCrashableMem()
	for life := 0; ; life++ {
		w.mu.Lock()
		w.age, w.up = life, append(w.up, stretch{from: time.Now()})
		w.mu.Unlock()
		for w.diskFull(time.Now()) { // nobody starts on a full disk
			time.Sleep(time.Minute)
		}
		e, store := w.connector(fs, life)
		ctx, stop := context.WithCancel(w.t.Context())
		ended := make(chan error, 1)
		go func() { ended <- e.Run(ctx) }()
		r := w.dice("life", life)
		alive := time.Duration(r.Int64N(int64(6 * 24 * time.Hour)))
		last := time.Now().Add(alive).After(w.until)
		if last {
			alive = time.Until(w.until) + 12*time.Hour // the faults are over: what is left is caught up with
		}
		time.Sleep(alive)
		next := fs
		switch atCommit := r.IntN(2) == 0; {
		case last:
		case atCommit:
			select {
			case next = <-store.killAt(w, life, r.IntN(2) == 0):
			case <-time.After(24 * time.Hour): // there is none while a disk is full
				next = w.kill(fs, life)
			}
		default:
			next = w.kill(fs, life)
		}
		dead := time.Now()
		stop()
		if err := <-ended; err != nil {
			w.t.Errorf("life %d ended with %v", life, err)
		}
		w.mu.Lock()
		w.up[len(w.up)-1].to = dead
		w.mu.Unlock()
		w.unfill.Store(true)
		time.Sleep(time.Second) // what waits for room goes on
		if err := store.Close(); err != nil && !errors.Is(err, checkpoint.ErrClosed) {
			w.t.Logf("life %d: closing the state: %v", life, err)
		}
		w.unfill.Store(false)
		if last {
			return
		}
		fs = next
		down := time.Duration(r.Int64N(int64(2 * time.Hour)))
		if r.IntN(10) == 0 {
			down = time.Duration(r.Int64N(int64(9 * 24 * time.Hour))) // longer than the service keeps records, sometimes
		}
		// By when it died, and not by when the last of it had noticed.
		time.Sleep(time.Until(dead.Add(time.Minute + min(down, max(0, w.until.Sub(dead)-24*time.Hour)))))
	}
}

// kill ends a process: what was not synced is partly on the disk, and nothing that it does counts any more.
func (w *world) kill(fs *vfs.MemFS, life int) *vfs.MemFS {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.age = -1
	w.kills++
	w.note("killed")
	w.killed = time.Now()
	for _, id := range w.uncommitted {
		w.unsure[id] = true
	}
	clear(w.uncommitted)
	return w.crash(fs, life)
}

// connector is a process of the connector.
func (w *world) connector(fs *vfs.MemFS, life int) (*Engine, *observedStore) {
	w.t.Helper()
	set, problems := definition.Load(definition.Options{Feeds: simulatedDefinitions(), Mappings: simulatedMappings, Settings: map[string]any{}})
	if len(problems) > 0 {
		w.t.Fatal(problems)
	}
	mapping, problems := transform.Compile(set.Mappings()[0], transform.Options{})
	if len(problems) > 0 {
		w.t.Fatal(problems)
	}
	embedded, err := checkpoint.Open("state", checkpoint.Options{FS: fullFS{fs, w}})
	if err != nil {
		w.t.Fatalf("life %d: %v", life, err)
	}
	if embedded.SetAside() != nil {
		w.t.Errorf("life %d: the state was set aside: %v", life, embedded.SetAside())
	}
	store := &observedStore{Embedded: embedded, w: w, fs: fs}
	letters, err := load.OpenDeadLetters(w.letters)
	if err != nil {
		w.t.Fatal(err)
	}
	credential, err := extract.NewCredential(extract.ClientSecret, "s")
	if err != nil {
		w.t.Fatal(err)
	}
	log := slog.New(w.log)
	destination, err := load.Open(load.Config{Kind: load.KindCollector, URL: "https://sink.example/", Format: load.FormatNDJSON, Logger: log, Transport: part(func(r *http.Request) (*http.Response, error) { return w.sink(r, life) })})
	if err != nil {
		w.t.Fatal(err)
	}
	off := w.clockOff(life)
	now := func() time.Time { return time.Now().Add(off) }
	e, err := New(Config{
		Name: "connector", Version: "1", Feeds: set.Feeds, Mappings: compiled(mapping), Settings: map[string]any{},
		Client: extract.NewClient(extract.ClientOptions{
			TokenURL: "https://login.example/token", ClientID: "c", Credential: credential, Log: log, Now: now,
			Transport: part(func(r *http.Request) (*http.Response, error) { return w.tenant(r, life) }),
		}),
		Destination: destination, DeadLetters: letters, Store: store, Now: now,
		Poll: simulatedPoll, Lookback: 6 * time.Hour, Heartbeat: 3 * time.Hour, Log: log,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return e, store
}

const simulatedPoll = 30 * time.Minute
