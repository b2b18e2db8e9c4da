package transform

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/secure60/s60-m365-connector/engine/expression"
)

// BenchmarkMapping maps a mix of three kinds of record, 25 computed fields
// each. "mapping" is this package; "naive" decodes to a map, runs the same
// expressions in expr's machine and encodes the result; "scan" only checks
// that the records are JSON, which bounds what any design can reach. The
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
	b.Run("naive", func(b *testing.B) {
		b.SetBytes(perRecord)
		b.ReportAllocs()
		for i := range b.N {
			if _, err := naive(m, records[i%len(records)]); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
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
		var s scanner
		b.SetBytes(perRecord)
		for i := range b.N {
			if !s.valid(records[i%len(records)]) {
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

// naive is the obvious design: decode, flatten to a map, evaluate, encode.
func naive(m *Mapping, record []byte) ([]byte, error) {
	var decoded map[string]any
	if err := json.Unmarshal(record, &decoded); err != nil {
		return nil, err
	}
	event := make(map[string]any)
	naiveFlatten(m, event, prefix, decoded)
	winner := append([]int32(nil), m.base...)
	fields := make(map[string]any)
	var value func(field int) any
	evaluate := func(p *expression.Program) (any, error) {
		env := make(map[string]any, len(event)+len(fields))
		for name, v := range event {
			env[name] = v
		}
		for _, name := range p.Names() {
			if field, ok := m.fieldOf[name.Name]; ok {
				env[name.Name] = value(field)
			}
		}
		return p.Eval(env)
	}
	value = func(field int) any {
		name := m.fields[field]
		if v, ok := fields[name]; ok {
			return v
		}
		if winner[field] < 0 {
			return nil
		}
		v, _ := evaluate(m.rules[winner[field]].expression.program)
		fields[name] = v
		return v
	}
	for _, step := range m.steps {
		holds := true
		for _, when := range step.when {
			v, err := evaluate(when.program)
			if err != nil {
				return nil, err
			}
			holds = holds && v == true
		}
		if holds {
			for _, r := range step.rules {
				winner[m.rules[r].field] = r
			}
		}
	}
	for field, name := range m.fields {
		if v := value(field); v != nil && v != "" {
			event[name] = v
		}
	}
	for _, c := range m.options.Constants {
		event[c.Name] = c.Value
	}
	return json.Marshal(event)
}

func naiveFlatten(m *Mapping, event map[string]any, name string, v any) {
	switch v := v.(type) {
	case nil:
	case map[string]any:
		for key, member := range v {
			naiveFlatten(m, event, name+"_"+flatName(key), member)
		}
	case []any:
		for path := range m.pairs {
			if name == prefix+"_"+path {
				for _, element := range v {
					if object, ok := element.(map[string]any); ok {
						key, _ := object["Name"].(string)
						if key == "" {
							key, _ = object["key"].(string)
						}
						for _, member := range []string{"Value", "value"} {
							naiveFlatten(m, event, name+"_"+flatName(key), object[member])
						}
					}
				}
				return
			}
		}
		text, _ := json.Marshal(v)
		event[name] = string(text)
	default:
		event[name] = v
	}
}
