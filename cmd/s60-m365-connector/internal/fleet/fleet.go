// Package fleet runs the tenants of a process: the one that the environment names, or
// those of TENANTS_DIR. A tenant in trouble holds up no other, and a file that is added, changed or
// removed takes effect while the process runs. Only an error of the store, which all share, ends all.
//
// How it works: a [Process] holds what tenants share: definitions, state, connections and budgets.
// [Process.Connect] builds one tenant's connector from that, for any command. A [Fleet] follows the
// tenants and runs a connector for each.
package fleet

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/engine"
	"github.com/secure60/s60-m365-connector/engine/extract"
)

const (
	tenantRetry = 30 * time.Second // after a tenant could not be started
	// startsPerWorker is how many tenants for each worker catch up for the first time, at a time.
	startsPerWorker = 4
)

// Fleet is all tenants of a process.
type Fleet struct {
	*Process
	roster roster
	watch  *folderWatch  // of the roster; nil: there is one tenant
	starts chan struct{} // a place for each tenant that catches up for the first time; nil: any number may

	mu      sync.Mutex
	members map[string]*Member
	unread  error // why the folder could not be read when it was looked at last
	running sync.WaitGroup
	fatal   error
}

// roster says which tenants there are, by name. As long as a tenant's settings do not change,
// each look gives the same pointer.
type roster interface {
	look() ([]Tenant, error)
	// wait waits until there may be others, and reports whether ctx still lives.
	wait(ctx context.Context) bool
}

// one is the roster of a process with one tenant, that of the environment. It has no name.
type one struct{ settings *settings.Settings }

func (o one) look() ([]Tenant, error) { return []Tenant{{Settings: o.settings}}, nil }

func (one) wait(ctx context.Context) bool { <-ctx.Done(); return false }

// Member is a tenant and its run. The fleet's lock guards its fields.
type Member struct {
	Tenant
	stop      context.CancelFunc // of the run; nil: it never began
	ended     context.Context    // ends when the run is over
	leaving   bool               // its file is gone
	Connector *Connector         // nil while it does not run
	failure   error              // why it does not
}

// Open opens what the tenants share and, if there is only one, its connector. env is
// what s was read from. The caller closes the fleet.
func Open(ctx context.Context, s *settings.Settings, env map[string]string, o Options) (*Fleet, error) {
	p, err := OpenProcess(ctx, s, o)
	if err != nil {
		return nil, err
	}
	f := &Fleet{Process: p, members: map[string]*Member{}}
	if s.TenantsDir != "" {
		p.Log.Info(program.Name+" starts", "version", program.Version, "tenants_dir", s.TenantsDir, "workers", s.Workers, "state", s.StateDir)
		f.watch = newFolderWatch(p.Log)
		f.roster = &tenantsDir{path: s.TenantsDir, env: env, set: p.Defs.Set, watch: f.watch}
		f.starts = make(chan struct{}, startsPerWorker*s.Workers)
		return f, nil
	}
	f.roster = one{s}
	c, err := p.Connect(s)
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	f.members[""] = &Member{Connector: c}
	return f, nil
}

// Many reports whether there can be several tenants, each with a name.
func (f *Fleet) Many() bool { return f.Settings.TenantsDir != "" }

// Close releases everything, once no tenant runs.
func (f *Fleet) Close() error {
	var err error
	for _, m := range f.members {
		if m.Connector != nil { // it was not run
			err = errors.Join(err, m.Connector.Close())
		}
	}
	return errors.Join(err, f.watch.close(), f.Process.Close())
}

// Run collects for all tenants until ctx ends, and then until each has stopped.
// The error is of the state store.
func (f *Fleet) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	if f.Many() { // an engine that has the store to itself sweeps it
		go engine.Sweep(ctx, f.store, f.skew, time.Now, f.Log)
	}
	for {
		f.follow(ctx, stop)
		if !f.roster.wait(ctx) {
			break
		}
	}
	f.running.Wait()
	return f.fatal
}

// follow looks which tenants there are, and starts, restarts and stops them accordingly.
func (f *Fleet) follow(ctx context.Context, fail func()) {
	tenants, err := f.roster.look()
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil && (f.unread == nil || f.unread.Error() != err.Error()) {
		f.Log.Error("TENANTS_DIR cannot be read: the tenants run on as they are", "error", err)
	}
	f.unread = err
	here, changed := map[string]bool{}, false
	for _, t := range tenants {
		here[t.Name] = true
		m := f.members[t.Name]
		if m == nil {
			m = &Member{}
			f.members[t.Name] = m
		}
		f.report(m.Tenant, t)
		begin := t.Settings != nil && (m.Settings != t.Settings || m.leaving)
		m.Tenant, m.leaving = t, false
		if begin {
			f.begin(ctx, m, fail)
		}
		changed = changed || begin
	}
	for name, m := range f.members {
		if here[name] {
			continue
		}
		if !m.leaving {
			f.Log.Info("tenant removed: it stops, and its state is kept", "tenant", name)
			m.leaving = true
			if m.stop != nil {
				m.stop()
			}
		}
		if m.ended == nil || m.ended.Err() != nil {
			delete(f.members, name)
			changed = true
		}
	}
	if changed {
		f.dropBuckets()
	}
}

// dropBuckets forgets the budgets of the TENANT_IDs that no tenant has any more. The caller holds the lock.
func (f *Fleet) dropBuckets() {
	used := map[any]bool{}
	for _, m := range f.members {
		if m.Settings != nil {
			used[strings.ToLower(m.Settings.TenantID)] = true
		}
		if m.Connector != nil { // which may not have stopped yet
			used[strings.ToLower(m.Connector.Settings.TenantID)] = true
		}
	}
	f.buckets.Range(func(id, _ any) bool {
		if !used[id] {
			f.buckets.Delete(id)
		}
		return true
	})
}

func (f *Fleet) report(before, now Tenant) {
	switch {
	case now.Problems != nil && !slices.Equal(before.Problems, now.Problems):
		for _, problem := range now.Problems {
			if now.Settings != nil {
				f.Log.Error("tenant's file: the tenant runs on with its last good settings", "tenant", now.Name, "problem", problem)
			} else {
				f.Log.Error("tenant's file: the tenant does not run until that is mended", "tenant", now.Name, "problem", problem)
			}
		}
	case before.Settings != nil && now.Settings != before.Settings:
		f.Log.Info("tenant changed: it starts again with the new settings", "tenant", now.Name)
	case before.Problems != nil && now.Problems == nil:
		f.Log.Info("tenant's file is in order again", "tenant", now.Name)
	}
}

// begin starts a tenant, after the run before of the same name has ended. The
// caller holds the lock.
func (f *Fleet) begin(ctx context.Context, m *Member, fail func()) {
	ctx, stop := context.WithCancel(ctx)
	before := m.ended
	ended, end := context.WithCancel(context.Background())
	if m.stop != nil {
		m.stop()
	}
	m.stop, m.ended = stop, ended
	s := m.Settings
	f.running.Go(func() {
		defer end()
		defer stop()
		if before != nil {
			<-before.Done()
		}
		for {
			err := f.runTenant(ctx, m, s)
			if ctx.Err() != nil {
				return
			}
			if err == nil {
				err = errors.New("it stopped by itself")
			}
			// What keeps the tenant of the environment from running cannot be mended
			// while the process lives.
			if engine.StoreError(err) || !f.Many() {
				f.mu.Lock()
				f.fatal = err
				f.mu.Unlock()
				fail()
				return
			}
			f.mu.Lock()
			told := m.failure != nil && m.failure.Error() == err.Error()
			m.failure = err
			f.mu.Unlock()
			if !told {
				f.Log.Error("tenant does not run, will be tried again", "tenant", s.Tenant, "error", err)
			}
			if !engine.Sleep(ctx, tenantRetry) {
				return
			}
		}
	})
}

// start waits for a place among the tenants that catch up for the first time, which is when each
// needs most memory. end gives the place back.
func (f *Fleet) start(ctx context.Context) (end func()) {
	if f.starts == nil {
		return func() {}
	}
	select {
	case f.starts <- struct{}{}:
		return sync.OnceFunc(func() { <-f.starts })
	case <-ctx.Done():
		return func() {}
	}
}

// whenStarted calls end once the first round of every feed has ended, or after one polling interval: a
// tenant that is hours behind, or cannot deliver, must not keep others from starting. stop ends the wait.
func (c *Connector) whenStarted(ctx context.Context, end func()) (stop func()) {
	ctx, stop = context.WithTimeout(ctx, c.Settings.Poll)
	starting := func(s engine.FeedStatus) bool { return s.State == engine.Starting }
	go func() {
		defer end()
		for engine.Sleep(ctx, min(time.Second, c.Settings.Poll)) && slices.ContainsFunc(c.Engine.Status().Feeds, starting) {
		}
	}()
	return stop
}

func (f *Fleet) runTenant(ctx context.Context, m *Member, s *settings.Settings) error {
	end := f.start(ctx)
	defer end()
	f.mu.Lock()
	c := m.Connector
	f.mu.Unlock()
	if c == nil {
		var err error
		if c, err = f.Connect(s); err != nil {
			return err
		}
	}
	c.describe(ctx, false)
	f.mu.Lock()
	m.Connector, m.failure = c, nil
	f.mu.Unlock()
	defer c.whenStarted(ctx, end)()
	err := c.run(ctx)
	f.mu.Lock()
	m.Connector = nil
	f.mu.Unlock()
	if err := c.Close(); err != nil {
		c.Log.Error("the destination could not be closed", "error", err)
	}
	if err == nil && f.Many() {
		c.Log.Info("tenant stopped")
	}
	return err
}

// skew is how far the services' clocks are ahead, as the first tenant that knows it says.
func (f *Fleet) skew() (ahead time.Duration, known bool) {
	for _, m := range f.List() {
		if m.Connector == nil {
			continue
		}
		if ahead, known := m.Connector.client.Skew(); known {
			return ahead, true
		}
	}
	return 0, false
}

// List are the tenants by name, as they are now. The only one of the environment has
// no name.
func (f *Fleet) List() []Member {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := make([]Member, 0, len(f.members))
	for _, name := range slices.Sorted(maps.Keys(f.members)) {
		if m := f.members[name]; !m.leaving {
			list = append(list, *m)
		}
	}
	return list
}

// CredentialsExit gives refused credentials their own exit code.
func (p *Process) CredentialsExit(err error) error {
	if auth, ok := errors.AsType[*extract.AuthError](err); ok && !auth.Temporary {
		return program.Exit(program.Credentials, errors.New(p.explain(auth)))
	}
	return err
}
