package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/secure60/s60-m365-connector/engine"
)

// This file runs the tenants of one process: the one that the environment's settings
// name, or those of TENANTS_DIR, which come, change and go while it runs. What
// goes wrong with one holds up no other; only an error of the store that they share
// ends all.

const (
	tenantsEvery = 2 * time.Second  // between two looks into TENANTS_DIR
	tenantRetry  = 30 * time.Second // after a tenant could not be started
)

// fleet is all tenants of a process.
type fleet struct {
	*process
	dir  *tenantsDir // nil: the one tenant of the environment
	sole *connector  // that one

	mu      sync.Mutex
	members map[string]*member
	unread  error // why the folder could not be read when it was looked at last
	running sync.WaitGroup
	fatal   error
}

// member is a tenant and its run. Its fields are kept by the fleet's lock.
type member struct {
	tenant
	stop      context.CancelFunc // of the run; nil: it never began
	ended     chan struct{}      // closed when the run is over
	leaving   bool               // its file is gone
	connector *connector         // nil while it does not run
	failure   error              // why it does not
}

// openFleet opens what the tenants share, and the only tenant where s is that of
// one. env is what s was read from. The caller closes the fleet.
func openFleet(ctx context.Context, s *settings, env map[string]string, std streams, onEvent func(string, []byte)) (*fleet, error) {
	p, err := openProcess(ctx, s, std)
	if err != nil {
		return nil, err
	}
	f := &fleet{process: p, members: map[string]*member{}}
	if s.tenantsDir != "" {
		f.dir = &tenantsDir{path: s.tenantsDir, env: env, set: p.defs.set}
		return f, nil
	}
	if f.sole, err = p.connect(s, onEvent); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return f, nil
}

// Close releases everything, once no tenant runs.
func (f *fleet) Close() error {
	if f.sole != nil {
		return errors.Join(f.sole.Close(), f.process.Close())
	}
	return f.process.Close()
}

// describe tells the log what will be done, before it is done.
func (f *fleet) describe(ctx context.Context, once bool) {
	if f.sole != nil {
		f.sole.describe(ctx, once)
		return
	}
	f.log.Info(programName+" starts", "version", version, "tenants_dir", f.dir.path, "workers", f.settings.workers, "state", f.settings.stateDir)
}

// run collects for all tenants until ctx ends, and then until each has stopped.
// The error is of the state store.
func (f *fleet) run(ctx context.Context) error {
	if f.sole != nil {
		return f.sole.run(ctx)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go engine.Sweep(ctx, f.store, f.skew, time.Now, f.log)
	for {
		f.follow(ctx, stop)
		if !engine.Sleep(ctx, tenantsEvery) {
			break
		}
	}
	f.running.Wait()
	return f.fatal
}

// follow looks into the folder, and starts, restarts and stops tenants by it.
func (f *fleet) follow(ctx context.Context, fail func()) {
	tenants, err := f.dir.look()
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil && (f.unread == nil || f.unread.Error() != err.Error()) {
		f.log.Error("TENANTS_DIR cannot be read: the tenants run on as they are", "error", err)
	}
	f.unread = err
	here := map[string]bool{}
	for _, t := range tenants {
		here[t.name] = true
		m := f.members[t.name]
		if m == nil {
			m = &member{}
			f.members[t.name] = m
		}
		f.report(m.tenant, t)
		begin := t.settings != nil && (m.settings != t.settings || m.leaving)
		m.tenant, m.leaving = t, false
		if begin {
			f.begin(ctx, m, fail)
		}
	}
	for name, m := range f.members {
		if here[name] {
			continue
		}
		if !m.leaving {
			f.log.Info("tenant removed: it stops, and its state is kept", "tenant", name)
			m.leaving = true
			if m.stop != nil {
				m.stop()
			}
		}
		if m.ended == nil || closed(m.ended) {
			delete(f.members, name)
		}
	}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// report says in the log what is new about a file.
func (f *fleet) report(before, now tenant) {
	switch {
	case now.problems != nil && !slices.Equal(before.problems, now.problems):
		for _, problem := range now.problems {
			if now.settings != nil {
				f.log.Error("tenant's file: the tenant runs on with its last good settings", "tenant", now.name, "problem", problem)
			} else {
				f.log.Error("tenant's file: the tenant does not run until that is mended", "tenant", now.name, "problem", problem)
			}
		}
	case before.settings != nil && now.settings != before.settings:
		f.log.Info("tenant changed: it starts again with the new settings", "tenant", now.name)
	case before.problems != nil && now.problems == nil:
		f.log.Info("tenant's file is in order again", "tenant", now.name)
	}
}

// begin starts a tenant, after the run before of the same name has ended. The
// caller holds the lock.
func (f *fleet) begin(ctx context.Context, m *member, fail func()) {
	ctx, stop := context.WithCancel(ctx)
	before, end := m.ended, make(chan struct{})
	if m.stop != nil {
		m.stop()
	}
	m.stop, m.ended = stop, end
	s := m.settings
	f.running.Go(func() {
		defer close(end)
		defer stop()
		if before != nil {
			<-before
		}
		for {
			err := f.runTenant(ctx, m, s)
			if ctx.Err() != nil {
				return
			}
			if engine.StoreError(err) {
				f.log.Error("the state store that all tenants share has failed", "error", err)
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
				f.log.Error("tenant does not run, will be tried again", "tenant", s.tenant, "error", err)
			}
			if !engine.Sleep(ctx, tenantRetry) {
				return
			}
		}
	})
}

// runTenant runs a tenant with these settings until ctx ends.
func (f *fleet) runTenant(ctx context.Context, m *member, s *settings) error {
	c, err := f.connect(s, nil)
	if err != nil {
		return err
	}
	c.describe(ctx, false)
	f.mu.Lock()
	m.connector, m.failure = c, nil
	f.mu.Unlock()
	err = c.run(ctx)
	f.mu.Lock()
	m.connector = nil
	f.mu.Unlock()
	if err := c.Close(); err != nil {
		c.log.Error("the destination could not be closed", "error", err)
	}
	if err == nil {
		c.log.Info("tenant stopped")
	}
	return err
}

// once polls every tenant until it has caught up with now. The error names the
// tenants that failed.
func (f *fleet) once(ctx context.Context) error {
	if f.sole != nil {
		return credentialsExit(f.sole.engine.Once(ctx))
	}
	tenants, err := f.dir.look()
	if err != nil {
		return fmt.Errorf("TENANTS_DIR: %w", underlying(err))
	}
	failures := map[string]error{}
	var mu sync.Mutex
	var running sync.WaitGroup
	for _, t := range tenants {
		running.Go(func() {
			if err := f.tenantOnce(ctx, t); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failures[t.name] = err
			}
		})
	}
	running.Wait()
	return allFailures(failures, len(tenants))
}

func (f *fleet) tenantOnce(ctx context.Context, t tenant) error {
	if t.settings == nil {
		return exit(exitUsage, t.problems)
	}
	c, err := f.connect(t.settings, nil)
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // what it took is synced
	c.describe(ctx, true)
	f.mu.Lock()
	f.members[t.name] = &member{tenant: t, connector: c} // for its progress
	f.mu.Unlock()
	return credentialsExit(c.engine.Once(ctx))
}

// allFailures is the error that names the tenants that failed, nil if none did. Its
// exit code is theirs, if all have the same.
func allFailures(failures map[string]error, of int) error {
	if len(failures) == 0 {
		return nil
	}
	lines := []string{fmt.Sprintf("%d of %d %s failed:", len(failures), of, plural(of, "tenant"))}
	codes := map[int]bool{}
	for _, name := range slices.Sorted(maps.Keys(failures)) {
		code := exitFailed
		if e, ok := errors.AsType[*exitError](failures[name]); ok {
			code = e.code
		}
		codes[code] = true
		lines = append(lines, "  "+name+": "+strings.ReplaceAll(failures[name].Error(), "\n", "\n    "))
	}
	code := exitFailed
	if len(codes) == 1 {
		for c := range codes {
			code = c
		}
	}
	return exit(code, errors.New(strings.Join(lines, "\n")))
}

// skew is how far the services' clocks are ahead, as some tenant learned it.
func (f *fleet) skew() (ahead time.Duration, known bool) {
	for _, m := range f.list() {
		if m.connector == nil {
			continue
		}
		if ahead, known := m.connector.client.Skew(); known {
			return ahead, true
		}
	}
	return 0, false
}

// list are the tenants by name, as they are now. The only one of the environment has
// no name.
func (f *fleet) list() []member {
	if f.sole != nil {
		return []member{{connector: f.sole}}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	list := make([]member, 0, len(f.members))
	for _, name := range slices.Sorted(maps.Keys(f.members)) {
		if m := f.members[name]; !m.leaving {
			list = append(list, *m)
		}
	}
	return list
}
