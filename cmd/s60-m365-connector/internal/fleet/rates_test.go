package fleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/engine/extract"
	"github.com/secure60/s60-m365-connector/engine/simulator"
)

// TestRatesOfTenants: whatever becomes of the files of TENANTS_DIR and of the process, no tenant is asked more often than
// Microsoft allows an app, five requests for reports in ten seconds. The simulator counts as the service does, by
// tenant. The time is virtual, so that no request is late; nobody tells of changes of the folder, which are found.
func TestRatesOfTenants(t *testing.T) {
	if testing.Short() {
		t.Skip("two minutes of three tenants, and again")
	}
	// The second tenant's file is changed as soon as it has begun.
	for name, change := range map[string]func(t *testing.T, dir string, text []byte){
		"several": func(*testing.T, string, []byte) {},
		"changed": func(t *testing.T, dir string, text []byte) {
			write(t, filepath.Join(dir, "tenant-0001.yaml"), string(text)+"ENVIRONMENT: Test\n")
		},
		"renamed": func(t *testing.T, dir string, text []byte) {
			if err := os.Rename(filepath.Join(dir, "tenant-0001.yaml"), filepath.Join(dir, "other.yaml")); err != nil {
				t.Fatal(err)
			}
		},
		"two files of one tenant": func(t *testing.T, dir string, text []byte) {
			credentials, _, _ := strings.Cut(string(text), "PROJECT_ID:")
			write(t, filepath.Join(dir, "other.yaml"), credentials+"OUTPUT: other.ndjson\n")
		},
		"started again and again": nil,
	} {
		t.Run(name, func(t *testing.T) {
			sim, start := virtually(t, simulator.Options{Tenants: 3, Records: 300, PageSize: 5})
			dir := t.TempDir()
			tenants := filepath.Join(dir, "tenants")
			if err := sim.WriteTenants(tenants); err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(filepath.Join(tenants, "tenant-0001.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			asked := func() int64 { return sim.Tenant(1).Report().Counts["requests.graph.signIns"] }
			live := func(t *testing.T) {
				ctx, stop := context.WithTimeout(t.Context(), 2*lookAnyway)
				defer stop()
				f, begun := open(t, ctx, sim, dir, map[string]string{"POLLING_INTERVAL_MINUTES": "0.1"}), asked()
				f.roster.(*tenantsDir).watch = nil
				f.requests, f.delivers = direct{sim}, direct{sim}
				ended := make(chan error, 1)
				go func() { ended <- f.Run(ctx) }()
				for asked() < begun+3 && ctx.Err() == nil {
					time.Sleep(50 * time.Millisecond)
				}
				if change == nil {
					stop()
				} else {
					change(t, tenants, text)
				}
				if err := errors.Join(<-ended, f.Close()); err != nil {
					t.Error(err)
				}
			}
			synctest.Test(t, func(t *testing.T) {
				start()
				live(t)
				if change == nil {
					live(t)
					live(t)
				}
				counts := sim.Report().Counts
				if n := counts["over-limit.reports"]; n > 0 {
					t.Errorf("%d requests beyond the limit", n)
				}
				if n := counts["requests.graph.signIns"] + counts["requests.graph.directoryAudits"]; n < 20 {
					t.Errorf("%d requests in all: this shows nothing", n)
				}
			})
		})
	}
}

// direct is the way to a simulated tenant without sockets, where answers alone take time, which is virtual.
type direct struct{ sim *simulator.Simulator }

// RoundTrip implements [http.RoundTripper].
func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	time.Sleep(answersAfter(r.URL.Path))
	answer, _ := directly(d.sim, r)
	return answer, nil
}

// open opens a fleet of the tenants in dir, in the folder tenants.
func open(t *testing.T, ctx context.Context, sim *simulator.Simulator, dir string, more map[string]string) *Fleet {
	t.Helper()
	env := map[string]string{"TENANTS_DIR": filepath.Join(dir, "tenants"), "STATE_DIR": filepath.Join(dir, "state"), "CONFIG_DIR": dir, "LISTEN_ADDR": "", "POLLING_INTERVAL_MINUTES": "0.02"}
	maps.Copy(env, more)
	for _, line := range sim.SharedEnv() {
		name, value, _ := strings.Cut(line, "=")
		env[name] = value
	}
	s, err := settings.Read(maps.Clone(env), false)
	if err != nil {
		t.Fatal(err)
	}
	f, err := Open(ctx, s, env, Options{Out: io.Discard, Err: io.Discard, Explain: error.Error})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestFewStart: of many tenants few catch up for the first time at once, and those that cannot deliver keep no
// other one from it.
func TestFewStart(t *testing.T) {
	t.Parallel()
	const many = startsPerWorker + 2
	sim, err := simulator.Start(simulator.Options{Tenants: many, Records: 20})
	if err != nil {
		t.Fatal(err)
	}
	defer sim.Close() //nolint:errcheck // the test has ended
	dir := t.TempDir()
	if err := sim.WriteTenants(filepath.Join(dir, "tenants")); err != nil {
		t.Fatal(err)
	}
	for i := range startsPerWorker {
		name := filepath.Join(dir, "tenants", fmt.Sprintf("tenant-%04d.yaml", i))
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		credentials, _, _ := strings.Cut(string(text), "PROJECT_ID:")
		write(t, name, credentials+fmt.Sprintf("S60_COLLECTOR_BASE: http://127.0.0.1:1/%d\n", i))
	}
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute)
	defer stop()
	f := open(t, ctx, sim, dir, map[string]string{"WORKERS": "1", "ENABLE_GRAPH": "false", "MGMT_CONTENT_TYPES": "Audit.General"})
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	last, most := sim.Tenant(many-1), 0
	for last.Report().Received == 0 && ctx.Err() == nil {
		most = max(most, len(f.starts))
		time.Sleep(10 * time.Millisecond)
	}
	if ctx.Err() != nil {
		t.Error("the tenant that can deliver did not")
	}
	stop()
	if err := errors.Join(<-ended, f.Close()); err != nil {
		t.Error(err)
	}
	if most != startsPerWorker || len(f.starts) > 0 {
		t.Errorf("%d tenants started at a time, and %d places are taken at the end", most, len(f.starts))
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestBucketsOfTenantsThatWent: budgets are kept for who is there, or has not stopped yet, and for nobody else.
func TestBucketsOfTenantsThatWent(t *testing.T) {
	of := func(id string) *settings.Settings { return &settings.Settings{TenantID: id} }
	f := &Fleet{Process: &Process{}, members: map[string]*Member{
		"a":       {Tenant: Tenant{Settings: of("A")}},
		"changed": {Tenant: Tenant{Settings: of("c")}, Connector: &Connector{Settings: of("Before")}},
		"wrong":   {},
	}}
	for _, id := range []string{"a", "b", "c", "before"} {
		f.buckets.Store(id, &extract.Buckets{})
	}
	f.dropBuckets()
	for id, want := range map[string]bool{"a": true, "b": false, "c": true, "before": true} {
		if _, kept := f.buckets.Load(id); kept != want {
			t.Errorf("%s is kept: %v", id, kept)
		}
	}
}
