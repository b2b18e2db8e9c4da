package main

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
)

var endToEndRecords = flag.Int("endtoend.records", 60_000, "records of the simulated tenant in BenchmarkEndToEnd")

// BenchmarkEndToEnd is the first catch-up of a large tenant: the real binary, with the
// simulator in a process of its own, into a file and over HTTP. One iteration is
// one catch-up. Besides records/s, which include what the simulator costs on
// the same machine, it reports the connector's own processor time per million
// records and its peak resident memory.
func BenchmarkEndToEnd(b *testing.B) {
	binary := buildShipped(b)
	for _, to := range []struct {
		name string
		env  []string
	}{
		{"file", []string{"OUTPUT=events.ndjson"}},
		{"ndjson", []string{"DELIVERY_FORMAT=ndjson"}},
		{"array", []string{"DELIVERY_FORMAT=array"}},
		{"object", []string{"DELIVERY_FORMAT=object"}},
	} {
		b.Run(to.name, func(b *testing.B) {
			var wall, processor time.Duration
			var peak, records int64
			for range b.N {
				w, p, m, n := catchUp(b, binary, to.env)
				wall, processor, peak, records = wall+w, processor+p, max(peak, m), records+n
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(records)/wall.Seconds(), "records/s")
			b.ReportMetric(processor.Seconds()/float64(records)*1e6, "cpu-s/Mrecords")
			b.ReportMetric(float64(peak)/(1<<20), "peak-MiB")
		})
	}
}

// buildShipped builds the program as it is shipped.
func buildShipped(b *testing.B) string {
	binary := filepath.Join(b.TempDir(), programName)
	if out, err := exec.Command("make", "-s", "-C", "../..", "build", "BINARY="+binary).CombinedOutput(); err != nil {
		b.Fatalf("build: %v\n%s", err, out)
	}
	return binary
}

// simulated starts the simulator in a process of its own, until the benchmark
// ends, and gives the settings of a connector that reads it.
func simulated(b *testing.B, binary, dir string, records int) (settings []string, stop func()) {
	sim := exec.Command(binary, "simulate", "-records", fmt.Sprint(records), "-history", "20h",
		"-blob-min", "100", "-blob-max", "5000", "-no-gzip")
	out, err := sim.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := sim.Start(); err != nil {
		b.Fatal(err)
	}
	settings = []string{"STATE_DIR=" + dir, "CONFIG_DIR=" + dir, "LISTEN_ADDR=", "PATH=" + os.Getenv("PATH")}
	for lines := bufio.NewScanner(out); lines.Scan() && lines.Text() != ""; {
		settings = append(settings, lines.Text())
	}
	return settings, func() {
		sim.Process.Kill()       //nolint:errcheck // it has ended
		io.Copy(io.Discard, out) //nolint:errcheck // nothing of it is wanted
		sim.Wait()               //nolint:errcheck // it was killed
	}
}

// catchUp runs one catch-up of the Management Activity API, which is what large
// tenants have most of.
func catchUp(b *testing.B, binary string, env []string) (wall, processor time.Duration, peak, records int64) {
	dir := b.TempDir()
	settings, stop := simulated(b, binary, dir, *endToEndRecords)
	defer stop()
	settings = append(append(settings, "ENABLE_GRAPH=false"), env...)
	connector := exec.Command(binary, "run", "--once")
	var log strings.Builder
	connector.Dir, connector.Env, connector.Stderr = dir, settings, &log
	started := time.Now()
	if err := connector.Run(); err != nil {
		b.Fatalf("%v\n%s", err, log.String())
	}
	wall = time.Since(started)
	usage := connector.ProcessState.SysUsage().(*syscall.Rusage)
	for line := range strings.SplitSeq(log.String(), "\n") {
		var n int64
		if _, after, ok := strings.Cut(line, `msg="Forwarded `); ok {
			fmt.Sscan(after, &n) //nolint:errcheck // then it counts for nothing, and the rate shows it
			records += n
		}
	}
	return wall, connector.ProcessState.UserTime() + connector.ProcessState.SystemTime(), usage.Maxrss << 10, records
}

var tenantKeys = flag.Int("tenant.keys", 700_000, "remembered keys in BenchmarkTenant: 7 days at 100,000 records a day")

// BenchmarkTenant runs the connector on a normal tenant for a few seconds: all
// feeds, a day of 100,000 records to catch up with, then a round every second, with the keys
// of a week in the state. It reports the peak of the resident memory, and that
// at the end. "down" is the same while nobody answers at the destination.
func BenchmarkTenant(b *testing.B) {
	binary := buildShipped(b)
	for _, run := range []struct {
		name string
		env  []string
	}{
		{"object", nil},
		{"ndjson", []string{"DELIVERY_FORMAT=ndjson"}},
		{"down", []string{"PROJECT_ID=", "TOKEN=", "S60_COLLECTOR_BASE=http://127.0.0.1:1/"}},
	} {
		b.Run(run.name, func(b *testing.B) {
			var peak, end int64
			for range b.N {
				dir := b.TempDir()
				remember(b, dir, *tenantKeys)
				settings, stop := simulated(b, binary, dir, 100_000)
				connector := exec.Command(binary, "run")
				connector.Env = append(append(settings, "POLLING_INTERVAL_MINUTES=0.02"), run.env...)
				if err := connector.Start(); err != nil {
					b.Fatal(err)
				}
				time.Sleep(15 * time.Second)
				status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", connector.Process.Pid))
				if err != nil {
					b.Skip("resident memory is read from /proc:", err)
				}
				connector.Process.Signal(syscall.SIGTERM) //nolint:errcheck // it is waited for
				if err := connector.Wait(); err != nil {
					b.Fatal(err)
				}
				stop()
				peak, end = max(peak, kilobytes(b, status, "VmHWM:")), max(end, kilobytes(b, status, "VmRSS:"))
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(peak)/1024, "peak-MiB")
			b.ReportMetric(float64(end)/1024, "resident-MiB")
		})
	}
}

// remember fills a state with keys that no record has.
func remember(b *testing.B, dir string, n int) {
	store, err := checkpoint.Open(dir, checkpoint.Options{})
	if err != nil {
		b.Fatal(err)
	}
	expires := time.Now().Add(7 * 24 * time.Hour)
	keys := make([]checkpoint.Key, 5000)
	for from := 0; from < n; from += len(keys) {
		for i := range keys {
			keys[i] = checkpoint.KeyOf("of earlier days", fmt.Sprint(from+i))
		}
		if err := store.Commit(&checkpoint.Commit{Feed: "of earlier days", Keys: keys, Expires: expires}); err != nil {
			b.Fatal(err)
		}
	}
	if err := store.Close(); err != nil {
		b.Fatal(err)
	}
}

func kilobytes(b *testing.B, status []byte, name string) (n int64) {
	_, rest, ok := strings.Cut(string(status), name)
	if _, err := fmt.Sscan(rest, &n); !ok || err != nil {
		b.Fatalf("no %s in %s", name, status)
	}
	return n
}

// BenchmarkStart measures from exec to the first request of a connector whose state holds
// the keys of a week.
func BenchmarkStart(b *testing.B) {
	binary := buildShipped(b)
	asked := make(chan time.Time, 100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked <- time.Now()
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer server.Close()
	dir := b.TempDir()
	remember(b, dir, *tenantKeys)
	var took []time.Duration
	for b.Loop() {
		connector := exec.Command(binary, "run", "--once")
		connector.Dir = dir
		connector.Env = []string{"TENANT_ID=11111111-2222-4333-8444-555555555555", "CLIENT_ID=11111111-2222-4333-8444-666666666666", "CLIENT_SECRET=s", "OUTPUT=events.ndjson", "STATE_DIR=" + dir, "CONFIG_DIR=" + dir, "LISTEN_ADDR=",
			"MS_LOGIN_BASE=" + server.URL, "MS_MANAGE_BASE=" + server.URL, "MS_GRAPH_BASE=" + server.URL}
		started := time.Now()
		var log strings.Builder
		connector.Stderr = &log
		if err := connector.Start(); err != nil {
			b.Fatal(err)
		}
		select {
		case at := <-asked:
			took = append(took, at.Sub(started))
		case <-time.After(5 * time.Second):
			b.Fatalf("no request within 5 seconds: %s", log.String())
		}
		connector.Process.Kill() //nolint:errcheck // it has ended
		connector.Wait()         //nolint:errcheck // it was killed
		for len(asked) > 0 {
			<-asked
		}
	}
	slices.Sort(took)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "ms-to-first-request")
}
