package simulator

import (
	"testing"
	"time"
)

// BenchmarkBlob renders a large blob; records/s is what the simulator can
// offer on one core.
func BenchmarkBlob(b *testing.B) {
	for _, name := range ContentTypes {
		b.Run(name, func(b *testing.B) {
			sim, err := Start(Options{Seed: 1, Records: -1, Volumes: map[string]Volume{name: {History: 20_000}}, BlobMin: 10_000, BlobMax: 10_000, Subscribed: []string{name}})
			if err != nil {
				b.Fatal(err)
			}
			defer sim.Close()
			c := sim.typeOf(name)
			c.extend(time.Now())
			bytes := int64(0)
			for b.Loop() {
				w := &counting{}
				if err := c.write(w, c.blobs[0], 10_000, false); err != nil {
					b.Fatal(err)
				}
				bytes += w.n
			}
			b.ReportMetric(float64(b.N)*10_000/b.Elapsed().Seconds(), "records/s")
			b.ReportMetric(float64(bytes)/float64(b.N)/10_000, "B/record")
		})
	}
}

type counting struct{ n int64 }

func (c *counting) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}

// BenchmarkJudge scans and counts events as the destination does.
func BenchmarkJudge(b *testing.B) {
	sim, err := Start(Options{Seed: 1, Records: 1000})
	if err != nil {
		b.Fatal(err)
	}
	defer sim.Close()
	c := sim.types[0]
	c.extend(time.Now())
	var r record
	c.record(&r, c.blobs[0], 0)
	body := c.kinds.append(nil, &r, 0)
	flat := []byte(`{"operation":"user-logon","vendor":"Microsoft","event_Id":"` + string(r.guid[:]) + `","event_raw":"` + string(make([]byte, 0)) + `"`)
	for len(flat) < len(body) {
		flat = append(flat, `,"event_ExtendedProperties_UserAgent":"Mozilla/5.0 (Windows NT 10.0; Win64; x64)"`...)
	}
	flat = append(flat, '}')
	b.SetBytes(int64(len(flat)))
	for b.Loop() {
		events, err := split(flat)
		if err != nil {
			b.Fatal(err)
		}
		sim.accept(events)
	}
}
