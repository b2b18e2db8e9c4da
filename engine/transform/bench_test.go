package transform

import (
	"slices"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/secure60/s60-m365-connector/engine/rawjson"
)

// BenchmarkMapping maps a mix of three kinds of record, 25 computed fields
// each. "mapping" is this package; "scan" only checks that the records are JSON, which bounds what any design can reach. The
// metric scan-ratio is the speed of mapping in relation to that scan, measured
// over the same records in the same run.
//
//	go test -run - -bench Mapping -cpu 1 ./engine/transform
func BenchmarkMapping(b *testing.B) {
	records := corpus(4096)
	bytes := 0
	for _, record := range records {
		bytes += len(record)
	}
	m := compile(b, benchMapping(), constantsForBench...)
	perRecord := int64(bytes / len(records))

	b.Run("mapping", func(b *testing.B) {
		mapper := m.NewMapper()
		var dst []byte
		for _, record := range records { // learn the names
			dst, _ = mapper.Append(dst[:0], record)
		}
		b.SetBytes(perRecord)
		b.ReportAllocs()
		b.ResetTimer()
		for i := range b.N {
			var failed []FieldError
			dst, failed = mapper.Append(dst[:0], records[i%len(records)])
			if len(failed) > 0 {
				b.Fatal(failed)
			}
		}
		b.StopTimer()
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
		b.ReportMetric(ratio(b, mapper, records), "scan-ratio")
	})
	b.Run("scan", func(b *testing.B) {
		b.SetBytes(perRecord)
		for i := range b.N {
			if !gjson.ValidBytes(records[i%len(records)]) {
				b.Fatal("not JSON")
			}
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
	})
	b.Run("own-scan", func(b *testing.B) {
		var s rawjson.Scanner
		b.SetBytes(perRecord)
		for i := range b.N {
			if !s.Valid(records[i%len(records)]) {
				b.Fatal("not JSON")
			}
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
	})
	b.Run("flatten", func(b *testing.B) {
		mapper := m.NewMapper()
		var dst []byte
		b.SetBytes(perRecord)
		for i := range b.N {
			dst, _ = mapper.flatten(dst[:0], records[i%len(records)])
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
	})
}

// ratio is the time of the scan over that of the mapping. Both take turns over
// few records at a time, so that what else the machine does slows both alike.
func ratio(b *testing.B, mapper *Mapper, records [][]byte) float64 {
	const turn = 128
	var dst []byte
	var ratios []float64
	for range 5 {
		var mapping, scanning time.Duration
		for from := 0; from < len(records); from += turn {
			some := records[from:min(from+turn, len(records))]
			start := time.Now()
			for _, record := range some {
				dst, _ = mapper.Append(dst[:0], record)
			}
			middle := time.Now()
			// Other records, which are not in the cache either.
			from := (from + len(records)/2) % len(records)
			for _, record := range records[from:min(from+turn, len(records))] {
				if !gjson.ValidBytes(record) {
					b.Fatal("not JSON")
				}
			}
			mapping += middle.Sub(start)
			scanning += time.Since(middle)
		}
		ratios = append(ratios, scanning.Seconds()/mapping.Seconds())
	}
	slices.Sort(ratios)
	return ratios[len(ratios)/2]
}
