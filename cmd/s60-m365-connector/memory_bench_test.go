package main

import (
	"flag"
	"fmt"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/simulator"
)

var (
	tenantKeys = flag.Int("tenant.keys", 700_000, "remembered keys in BenchmarkTenant and BenchmarkStart: 7 days at 100,000 records a day")
	tenantFor  = flag.Duration("tenant.for", 30*time.Second, "how long a run of BenchmarkTenant takes, and one without a destination; Graph's limits need half a minute for a day")
	flatBlob   = flag.Int("flat.blob", 50, "size of the blob in BenchmarkFlat, in MB")
	flatKeys   = flag.Int("flat.keys", 1_000_000, "remembered keys in BenchmarkFlat")
)

// BenchmarkTenant runs the connector on a normal tenant: all feeds, a day of
// 100,000 records to catch up with, then a round every second, with the keys of
// a week in the state. It reports the peak of the resident memory, and that at
// the end.
func BenchmarkTenant(b *testing.B) {
	binary := buildShipped(b)
	for _, format := range []string{"object", "ndjson"} {
		b.Run(format, func(b *testing.B) {
			var u usage
			for range b.N {
				dir := b.TempDir()
				remember(b, dir, *tenantKeys)
				sim := simulated(b, binary, dir, "-records", "100000", "-history", "20h", "-blob-min", "100", "-blob-max", "5000")
				u.add(connect(b, binary, sim, *tenantFor, []string{"POLLING_INTERVAL_MINUTES=0.02", "DELIVERY_FORMAT=" + format}, "run"))
				sim.stop()
			}
			reportMemory(b, u)
		})
	}
}

// BenchmarkFlat runs the connector where memory could grow with something: with
// a blob that is large, with many keys to remember, and with a large backlog
// while nobody answers at the destination. It reports the peak of the resident
// memory, and that at the end.
func BenchmarkFlat(b *testing.B) {
	binary := buildShipped(b)
	const recordBytes = 2000
	one := fmt.Sprint(*flatBlob * 1_000_000 / recordBytes)
	for _, run := range []struct {
		name   string
		keys   int
		Tenant []string
		read   func(*testing.B, *simulation) usage
	}{
		{fmt.Sprintf("blob=%dMB", *flatBlob), 0,
			[]string{"-records", "-1", "-volumes", simulator.AuditExchange + "=" + one, "-history", "20h", "-quiet", "30m", "-blob-min", one, "-blob-max", one},
			func(b *testing.B, sim *simulation) usage { return catchUp(b, binary, sim, "DELIVERY_FORMAT=ndjson") }},
		{fmt.Sprintf("keys=%d", *flatKeys), *flatKeys, largeTenant(*endToEndRecords),
			func(b *testing.B, sim *simulation) usage { return catchUp(b, binary, sim, "DELIVERY_FORMAT=ndjson") }},
		{"down", 0, largeTenant(*endToEndRecords),
			func(b *testing.B, sim *simulation) usage {
				return connect(b, binary, sim, *tenantFor, []string{"PROJECT_ID=", "TOKEN=", "S60_COLLECTOR_BASE=http://127.0.0.1:1/"}, "run")
			}},
	} {
		b.Run(run.name, func(b *testing.B) {
			var u usage
			for range b.N {
				dir := b.TempDir()
				remember(b, dir, run.keys)
				sim := simulated(b, binary, dir, run.Tenant...)
				u.add(run.read(b, sim))
				sim.stop()
			}
			reportMemory(b, u)
		})
	}
}

func reportMemory(b *testing.B, u usage) {
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(u.records), "records")
	b.ReportMetric(u.peak, "peak-MiB")
	b.ReportMetric(u.resident, "resident-MiB")
}

// remember fills a state with keys that no record has.
func remember(b *testing.B, dir string, n int) {
	store, err := checkpoint.Open(dir, checkpoint.Options{})
	if err != nil {
		b.Fatal(err)
	}
	expires := time.Now().Add(7 * 24 * time.Hour)
	keys := make([]checkpoint.Key, 100_000)
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
