package fleet

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/wording"
	"github.com/secure60/s60-m365-connector/engine"
)

// This file polls all tenants once, for users who start the connector from cron.

// Once polls every tenant until it has caught up with now. The error names the
// tenants that failed.
func (f *Fleet) Once(ctx context.Context) error {
	tenants, err := f.roster.look()
	if err != nil {
		return fmt.Errorf("TENANTS_DIR: %w", wording.Underlying(err))
	}
	failures := map[string]error{}
	var mu sync.Mutex
	var running sync.WaitGroup
	for _, t := range tenants {
		running.Go(func() {
			if err := f.tenantOnce(ctx, t); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failures[t.Name] = err
			}
		})
	}
	running.Wait()
	f.sweepDaily()
	return allFailures(failures, len(tenants))
}

// sweepDaily sweeps the state if that was last done more than a day ago: started from cron,
// nobody else does it. An empty file's time says when it was done.
func (f *Fleet) sweepDaily() {
	stamp := filepath.Join(f.Settings.StateDir, "swept")
	if info, err := os.Stat(stamp); err == nil && time.Since(info.ModTime()).Abs() < 24*time.Hour {
		return
	}
	if !engine.SweepNow(f.store, f.skew, time.Now(), f.Log) {
		return
	}
	if err := os.WriteFile(stamp, nil, 0o600); err != nil {
		f.Log.Warn("when the state was swept cannot be noted: it is swept again in the next run", "error", err)
	}
}

func (f *Fleet) tenantOnce(ctx context.Context, t Tenant) error {
	if t.Settings == nil {
		return program.Exit(program.Usage, t.Problems)
	}
	end := f.start(ctx)
	defer end()
	c := f.ConnectorOf(t.Name)
	if c == nil {
		var err error
		if c, err = f.Connect(t.Settings); err != nil {
			return err
		}
		f.mu.Lock()
		f.members[t.Name] = &Member{Tenant: t, Connector: c} // for its progress; Close closes it
		f.mu.Unlock()
	}
	c.describe(ctx, true)
	defer c.whenStarted(ctx, end)()
	return f.CredentialsExit(c.Engine.Once(ctx))
}

// allFailures is the error that names the tenants that failed, nil if none did. Its
// exit code is theirs, if all have the same.
func allFailures(failures map[string]error, of int) error {
	if err, ok := failures[""]; ok || len(failures) == 0 {
		return err
	}
	lines := []string{fmt.Sprintf("%d of %d %s failed:", len(failures), of, wording.Plural(of, "tenant"))}
	codes := map[int]bool{}
	for _, name := range slices.Sorted(maps.Keys(failures)) {
		code := program.Failed
		if e, ok := errors.AsType[*program.Error](failures[name]); ok {
			code = e.Code
		}
		codes[code] = true
		lines = append(lines, "  "+name+": "+strings.ReplaceAll(failures[name].Error(), "\n", "\n    "))
	}
	code := program.Failed
	if len(codes) == 1 {
		for c := range codes {
			code = c
		}
	}
	return program.Exit(code, errors.New(strings.Join(lines, "\n")))
}
