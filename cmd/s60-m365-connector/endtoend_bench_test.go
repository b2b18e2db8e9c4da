package main

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

var endToEndRecords = flag.Int("endtoend.records", 60_000, "records of the simulated tenant in BenchmarkEndToEnd")

// BenchmarkEndToEnd is the first catch-up of a large tenant: the real binary, with the
// simulator in a process of its own, into a file and over HTTP. One iteration is
// one catch-up. Besides records/s, which include what the simulator costs on
// the same machine, it reports the connector's own processor time per million
// records and its peak resident memory.
func BenchmarkEndToEnd(b *testing.B) {
	binary := buildProgram(b)
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

// catchUp runs one catch-up of the Management Activity API, which is what large
// tenants have most of.
func catchUp(b *testing.B, binary string, env []string) (wall, processor time.Duration, peak, records int64) {
	dir := b.TempDir()
	sim := exec.Command(binary, "simulate", "-records", fmt.Sprint(*endToEndRecords), "-history", "20h",
		"-blob-min", "100", "-blob-max", "5000", "-no-gzip")
	out, err := sim.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := sim.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() {
		sim.Process.Kill()       //nolint:errcheck // it has ended
		io.Copy(io.Discard, out) //nolint:errcheck // nothing of it is wanted
		sim.Wait()               //nolint:errcheck // it was killed
	}()
	settings := append([]string{"STATE_DIR=" + dir, "CONFIG_DIR=" + dir, "LISTEN_ADDR=", "ENABLE_GRAPH=false", "PATH=" + os.Getenv("PATH")}, env...)
	for lines := bufio.NewScanner(out); lines.Scan() && lines.Text() != ""; {
		settings = append(settings, lines.Text())
	}
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
	os.RemoveAll(filepath.Join(dir, "state"))
	return wall, connector.ProcessState.UserTime() + connector.ProcessState.SystemTime(), usage.Maxrss << 10, records
}
