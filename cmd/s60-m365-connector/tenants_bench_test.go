package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/fleet"
	"github.com/secure60/s60-m365-connector/engine"
	"github.com/secure60/s60-m365-connector/engine/simulator"
)

var (
	tenantsNumber  = flag.Int("tenants.number", 20, "tenants in BenchmarkTenants")
	tenantsRecords = flag.Int("tenants.records", 100, "records of the history of each")
	tenantsLive    = flag.Float64("tenants.live", 1, "live records a minute of each")
	tenantsPoll    = flag.Duration("tenants.poll", 30*time.Second, "between two rounds of a feed")
	tenantsSteady  = flag.Duration("tenants.steady", 30*time.Second, "how long the tenants are watched once all have caught up")
)

// BenchmarkTenants is one process for many tenants, the simulator in another: the first
// catch-up of all, then some time of polling. It reports how long the catch-up
// took and the peak of the resident memory then; of the time after it the
// processor time and the resident memory, all and for each tenant, and how far the feed of a tenant that is
// furthest behind lies behind now: the median and the most of all tenants. What a feed
// keeps as its distance to now, five minutes for blobs, and the time between two rounds are
// part of that.
func BenchmarkTenants(b *testing.B) {
	binary := buildShipped(b)
	for b.Loop() {
		manyTenants(b, binary)
	}
	b.ReportMetric(0, "ns/op")
}

func manyTenants(b *testing.B, binary string) {
	dir := b.TempDir()
	sim := simulated(b, binary, dir, "-tenants", fmt.Sprint(*tenantsNumber), "-tenants-dir", filepath.Join(dir, "tenants"),
		"-records", fmt.Sprint(*tenantsRecords), "-per-minute", fmt.Sprint(*tenantsLive), "-history", "20h", "-throttle")
	settings, login := sim.settings, sim.setting("MS_LOGIN_BASE")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	listen := listener.Addr().String()
	listener.Close() //nolint:errcheck // the connector takes it over
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		b.Fatal(err)
	}
	connector := exec.Command(binary, "run")
	connector.Stderr = log
	connector.Env = append(settings, "PATH="+os.Getenv("PATH"), "STATE_DIR="+filepath.Join(dir, "state"), "CONFIG_DIR="+dir, "LISTEN_ADDR="+listen,
		"POLLING_INTERVAL_MINUTES="+strconv.FormatFloat(tenantsPoll.Minutes(), 'f', -1, 64), "DELIVERY_FORMAT=ndjson")
	started := time.Now()
	if err := connector.Start(); err != nil {
		b.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- connector.Wait() }()
	defer connector.Process.Kill() //nolint:errcheck // it has ended

	for caughtUp := false; !caughtUp; {
		select {
		case err := <-ended:
			b.Fatalf("the connector ended: %v; its log is %s", err, tail(log.Name()))
		case <-time.After(time.Second):
		}
		caughtUp, _ = allOK(b, "http://"+listen+"/status.json")
	}
	catchUp := time.Since(started)
	pid := connector.Process.Pid
	peak, before, began := resident(b, pid, "VmHWM:"), processorTime(b, pid), time.Now()
	time.Sleep(*tenantsSteady)
	used, over := processorTime(b, pid)-before, time.Since(began)
	rest := resident(b, pid, "VmRSS:")
	_, lags := allOK(b, "http://"+listen+"/status.json")
	if len(lags) == 0 {
		b.Fatal("no tenant at the end")
	}
	connector.Process.Signal(syscall.SIGTERM) //nolint:errcheck // it is waited for
	if err := <-ended; err != nil {
		b.Fatalf("the connector ended: %v; its log is %s", err, tail(log.Name()))
	}
	judgeTenants(b, login, time.Now().Add(-6*time.Minute-*tenantsPoll))

	n := float64(*tenantsNumber)
	if most := 130 + 0.6*n; peak > most {
		b.Errorf("the start of %.0f tenants took %.0f MiB, want %.0f at most", n, peak, most)
	}
	slices.Sort(lags)
	b.ReportMetric(catchUp.Seconds(), "catch-up-s")
	b.ReportMetric(peak, "peak-MiB")
	b.ReportMetric(rest, "resident-MiB")
	b.ReportMetric(rest*1024/n, "KiB/tenant")
	b.ReportMetric(100*used.Seconds()/over.Seconds(), "cpu-%")
	b.ReportMetric(1e3*used.Seconds()/over.Seconds()*tenantsPoll.Seconds()/n, "cpu-ms/tenant-round")
	b.ReportMetric(float64(lags[len(lags)/2]), "lag-s-median")
	b.ReportMetric(float64(lags[len(lags)-1]), "lag-s-max")
}

// allOK reports whether every tenant has caught up, and how far each is behind.
func allOK(b *testing.B, url string) (ok bool, lags []int64) {
	var tenants []fleet.TenantStatus
	answered, err := http.Get(url)
	if err != nil {
		return false, nil // it does not listen yet
	}
	defer answered.Body.Close()
	if err := json.NewDecoder(answered.Body).Decode(&tenants); err != nil {
		b.Fatal(err)
	}
	ok = len(tenants) == *tenantsNumber
	for _, t := range tenants {
		ok = ok && t.State == engine.OK
		lags = append(lags, t.LagSeconds)
	}
	return ok, lags
}

// judgeTenants asks the simulator whether what there was until then arrived, once.
func judgeTenants(b *testing.B, login string, until time.Time) {
	answered, err := http.Get(login + "/_simulator/report?to=" + until.UTC().Format(time.RFC3339))
	if err != nil {
		b.Fatal(err)
	}
	defer answered.Body.Close()
	var r simulator.Report
	if err := json.NewDecoder(answered.Body).Decode(&r); err != nil {
		b.Fatal(err)
	}
	if r.Lost+r.Duplicated+r.Unexpected > 0 || r.Tenants.Asked != *tenantsNumber || len(r.Violations) > 0 {
		b.Errorf("of %d records offered until %v, %d were lost, %d came twice, %d were unexpected, %d tenants were asked for: %q, %+v",
			r.Offered, until, r.Lost, r.Duplicated, r.Unexpected, r.Tenants.Asked, r.Violations, r.Tenants.Wrong)
	}
	if r.Offered < int64(*tenantsNumber**tenantsRecords)/2 {
		b.Errorf("only %d records were offered", r.Offered)
	}
}

func resident(b *testing.B, pid int, name string) float64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Skip("resident memory is read from /proc:", err)
	}
	return mebibytes(status, name)
}

// processorTime is what a process has used of the processors so far.
func processorTime(b *testing.B, pid int) time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Skip("processor time is read from /proc:", err)
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	var ticks int64
	for _, field := range fields[11:13] { // utime and stime, in hundredths of a second
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// tail is the end of a file.
func tail(name string) string {
	data, err := os.ReadFile(name)
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-4000):])
}
