package golden_test

import (
	"bytes"
	"encoding/json"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/secure60/s60-m365-connector/engine/transform"
)

// BenchmarkShipped maps golden records with the shipped mappings, all of their
// cases and tables on: "mix" what tenants have most of, a file operation, a
// log-on of the audit log and a sign-in of Graph; then, for each mapping, all of its cases in turn,
// which is more variety in a row than any tenant's log has. scan-ratio is the
// speed in relation to gjson.ValidBytes over the same records, in turn with it and
// by processor time, so that what else the machine does counts for neither.
//
//	go test -run - -bench Shipped -cpu 1 ./golden
func BenchmarkShipped(b *testing.B) {
	set := shipped(b)
	type sample struct {
		mapper *transform.Mapper
		record []byte
	}
	samples := func(mapping string, cases ...string) (list []sample) {
		mapper := compile(b, set.Mapping(mapping)).NewMapper()
		for _, c := range cases {
			var compact bytes.Buffer
			if err := json.Compact(&compact, record(b, mapping, c)); err != nil {
				b.Fatal(err)
			}
			list = append(list, sample{mapper, compact.Bytes()})
		}
		return list
	}
	run := func(name string, list []sample) {
		b.Run(name, func(b *testing.B) {
			var event []byte
			all := func() {
				for _, s := range list {
					event, _ = s.mapper.Append(event[:0], s.record)
				}
			}
			all() // learn the names
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				s := &list[i%len(list)]
				event, _ = s.mapper.Append(event[:0], s.record)
			}
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
			scan := func() {
				for _, s := range list {
					if !gjson.ValidBytes(s.record) {
						b.Fatal("not JSON")
					}
				}
			}
			var ratios []float64
			fastest := time.Hour
			turns := 1 + 400/len(list)
			for range 50 {
				start := used()
				for range turns {
					all()
				}
				middle := used()
				for range turns {
					scan()
				}
				mapping := middle - start
				fastest = min(fastest, mapping)
				ratios = append(ratios, (used()-middle).Seconds()/mapping.Seconds())
			}
			slices.Sort(ratios)
			b.ReportMetric(ratios[len(ratios)/2], "scan-ratio")
			b.ReportMetric(float64(fastest)/float64(turns*len(list)), "cpu-ns/op")
		})
	}
	run("mix", slices.Concat(
		samples("o365-management", "file-download", "user-logon"),
		samples("entra-signin", "user-logon"),
	))
	for _, name := range mapped(b) {
		run(name, samples(name, cases(b, name)...))
	}
}

// BenchmarkCompile compiles all shipped mappings, as a start does.
//
//	go test -run - -bench Compile -cpu 1 ./golden
func BenchmarkCompile(b *testing.B) {
	set := shipped(b)
	names := mapped(b)
	b.ResetTimer()
	start := used()
	for range b.N {
		for _, name := range names {
			compile(b, set.Mapping(name))
		}
	}
	b.ReportMetric(float64(used()-start)/float64(b.N)/1e6, "cpu-ms")
}

// used is the processor time of this process so far.
func used() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
