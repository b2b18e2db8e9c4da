package fleet

import (
	"context"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/engine/simulator"
)

// TestRatesOfTenants: whatever becomes of the files of TENANTS_DIR, no tenant is asked more often than
// Microsoft allows an app, five requests for reports in ten seconds. The simulator counts as the service does, by
// tenant.
func TestRatesOfTenants(t *testing.T) {
	if testing.Short() {
		t.Skip("it watches limits of ten seconds")
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
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sim, err := simulator.Start(simulator.Options{Tenants: 3, Records: 300, PageSize: 5})
			if err != nil {
				t.Fatal(err)
			}
			defer sim.Close() //nolint:errcheck // the test has ended
			dir := t.TempDir()
			tenants := filepath.Join(dir, "tenants")
			if err := sim.WriteTenants(tenants); err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(filepath.Join(tenants, "tenant-0001.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			env := map[string]string{"TENANTS_DIR": tenants, "STATE_DIR": filepath.Join(dir, "state"), "CONFIG_DIR": dir, "LISTEN_ADDR": "", "POLLING_INTERVAL_MINUTES": "0.02"}
			for _, line := range sim.SharedEnv() {
				name, value, _ := strings.Cut(line, "=")
				env[name] = value
			}
			s, err := settings.Read(maps.Clone(env), false)
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
			defer stop()
			f, err := Open(ctx, s, env, Options{Out: io.Discard, Err: io.Discard, Explain: error.Error})
			if err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- f.Run(ctx) }()
			second := sim.Tenant(1)
			for second.Report().Counts["requests.graph.signIns"] < 3 && ctx.Err() == nil {
				time.Sleep(50 * time.Millisecond)
			}
			change(t, tenants, text)
			if err := <-ended; err != nil {
				t.Error(err)
			}
			if err := f.Close(); err != nil {
				t.Error(err)
			}
			counts := sim.Report().Counts
			if n := counts["over-limit.reports"]; n > 0 {
				t.Errorf("%d requests beyond the limit", n)
			}
			if n := counts["requests.graph.signIns"] + counts["requests.graph.directoryAudits"]; n < 20 {
				t.Errorf("%d requests in all: this shows nothing", n)
			}
		})
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
