package fleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/definitions"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/engine"
	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/extract"
	"github.com/secure60/s60-m365-connector/engine/lease"
	"github.com/secure60/s60-m365-connector/engine/load"
)

// temporaryCode reports whether a refusal, by its AADSTS code, passes by itself.
func temporaryCode(code int) bool {
	switch code {
	case 90055, 90033, 90025, 50000:
		return true
	}
	return false
}

// Process is what the tenants of one process share.
type Process struct {
	Settings *settings.Settings // of the process, and its only tenant's where there is one
	out      io.Writer          // for events
	Log      *slog.Logger
	explain  func(error) string
	onEvent  func(string, []byte)
	only     map[string]bool // feeds on or off, whatever the settings say
	inFlight *engine.InFlight
	Defs     *definitions.Compiled
	store    checkpoint.Store
	opened   time.Time
	rebuild  bool           // all feeds must be read again: the state could not be used
	restored string         // what was done where the state was lost
	replica  *lease.Replica // nil: it works alone

	// Of several tenants; nil where there is one.
	Workers   *engine.Workers
	requests  http.RoundTripper // to Microsoft
	delivers  http.RoundTripper // to destinations
	appBudget *extract.Budget   // nil: no limit, of one tenant too
	buckets   sync.Map          // of *extract.Buckets, by TENANT_ID in lower case: two files may name one tenant
	shown     atomic.Int64      // bytes of events for the pages
}

func NewLogger(s *settings.Settings, w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: slog.LevelInfo}
	if s.LogLevel == "DEBUG" {
		options.Level = slog.LevelDebug
	}
	if s.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

func budget(l settings.RateLimit) *extract.Budget {
	if l.Requests == 0 {
		return nil
	}
	return extract.NewBudget(l.Requests, l.Per)
}

// requestsDir is the folder in STATE_DIR that remembers, over restarts, how much of each limit was used.
const requestsDir = "requests"

// connections is how many idle connections to a host are kept for each worker: about as many as
// a window uses at a time.
const connections = 4

// Options are what a command adds to the settings.
type Options struct {
	Out, Err io.Writer            // for events that go to standard output; for the log
	Explain  func(error) string   // what an error means and what to do, for a log line
	OnEvent  func(string, []byte) // sees each event that was delivered, by its feed; may be nil
	Only     []string             // feeds to run, whatever the settings say; none: as they say
}

// OpenProcess opens what tenants share. The caller closes it, after them.
func OpenProcess(ctx context.Context, s *settings.Settings, o Options) (_ *Process, err error) {
	p := &Process{Settings: s, out: o.Out, Log: NewLogger(s, o.Err), explain: o.Explain, onEvent: o.OnEvent, appBudget: budget(s.AppRate)}
	if p.Defs, err = definitions.LoadValid(s, s.ConfigDir, o.Err); err != nil {
		return nil, err
	}
	for _, warning := range s.Warnings {
		p.Log.Warn(warning)
	}
	if len(o.Only) > 0 {
		p.only = map[string]bool{}
		for _, f := range p.Defs.Set.Feeds {
			p.only[f.Name] = slices.Contains(o.Only, f.Name)
		}
		for _, name := range o.Only {
			if p.Defs.Set.Feed(name) == nil {
				return nil, program.Exit(program.Usage, errors.New("--feed: "+noFeed(name, p.Defs.Set)))
			}
			if of := p.Defs.Set.ArchiveOf(name); of != nil {
				return nil, program.Exit(program.Usage, fmt.Errorf("--feed: %s is the archive of %s, and is read by a backfill of that feed only", name, of.Name))
			}
		}
	}
	if p.store, p.replica, p.rebuild, p.restored, err = openStore(ctx, s, p.Log); err != nil {
		return nil, err
	}
	p.opened = time.Now()
	if p.appBudget != nil {
		p.appBudget.Keep(filepath.Join(s.StateDir, requestsDir), "app", p.Log)
	}
	if s.TenantsDir != "" {
		p.out = &inTurn{out: p.out}
		p.Workers, p.inFlight = engine.NewWorkers(s.Workers), engine.NewInFlight(engine.InFlightBytes)
		p.requests, p.delivers = extract.NewTransport(0, connections*s.Workers), load.NewTransport(connections*s.Workers)
	}
	return p, nil
}

// Close releases what the tenants shared.
func (p *Process) Close() error {
	if p.replica != nil {
		p.replica.Leave()
	}
	return p.store.Close()
}

// inTurn lets several tenants write to one output, one at a time.
type inTurn struct {
	mu  sync.Mutex
	out io.Writer
}

// Write takes whole lines.
func (t *inTurn) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.out.Write(p)
}

// openStore opens the state; with STATE_URL, the one that replicas share, and joins
// them. rebuild: the state was unusable, so all feeds must be read again.
func openStore(ctx context.Context, s *settings.Settings, log *slog.Logger) (_ checkpoint.Store, replica *lease.Replica, rebuild bool, restored string, err error) {
	if s.Shared.URL != "" {
		store, replica, err := openShared(ctx, s, log)
		if err != nil {
			return nil, nil, false, "", err // not a store that holds a nil
		}
		if store.New() {
			tellAlone(s.StateDir, log)
		}
		return store, replica, store.Rebuild(), store.Restored(), nil
	}
	store, err := checkpoint.Open(s.StateDir, checkpoint.Options{Logger: log})
	if err != nil {
		return nil, nil, false, "", fmt.Errorf("STATE_DIR: %w", err)
	}
	report := store.SetAside()
	if report != nil {
		restored = "the state could not be used and was set aside; it is rebuilt from what the services keep, and records may be delivered again"
		log.Error("the state was set aside and is rebuilt from what the services keep; events of that time may be delivered again",
			"report", report.String())
	}
	return store, nil, report != nil, restored, nil
}
