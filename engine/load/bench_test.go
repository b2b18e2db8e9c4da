package load

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/twmb/franz-go/pkg/kfake"
)

// benchConnections are those of the bare client that is compared with.
const benchConnections = 16

// BenchmarkDeliver measures events a second in each format against a server
// that reads and accepts, next to what a bare client of the standard library
// does with the same bodies and as many requests at a time.
func BenchmarkDeliver(b *testing.B) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
	}))
	defer server.Close()
	event := fmt.Appendf(nil, `{"vendor":"Microsoft","note":"%s"}`, strings.Repeat("some text ", 200))
	for _, format := range formats {
		for _, zip := range []bool{false, true} {
			name := format
			if zip {
				name += "-gzip"
			}
			b.Run(name, func(b *testing.B) {
				benchmarkDeliver(b, Config{Kind: KindCollector, URL: server.URL, Format: format, Gzip: zip}, event)
			})
		}
		b.Run(format+"-bare", func(b *testing.B) {
			body, events := event, 1
			if format != FormatObject {
				events = min(batchEvents, batchBytes/(len(event)+1))
				body = bytes.Repeat(append(event, '\n'), events)
			}
			client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: benchConnections}}
			b.SetBytes(int64(len(event)))
			b.ReportAllocs()
			b.ResetTimer()
			var left atomic.Int64
			left.Store(int64(b.N))
			var group sync.WaitGroup
			for range benchConnections {
				group.Go(func() {
					for left.Add(-int64(events)) > -int64(events) {
						response, err := client.Post(server.URL, "application/json", bytes.NewReader(body))
						if err != nil {
							b.Error(err)
							return
						}
						io.Copy(io.Discard, response.Body)
						response.Body.Close()
					}
				})
			}
			group.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
	// The server and the broker are in this process, too, and take their part of it.
	b.Run("nats", func(b *testing.B) {
		n := newNATS(b, nil)
		n.create(jetstream.StreamConfig{MaxMsgs: 10_000})
		benchmarkDeliver(b, Config{Kind: KindNATS, Address: n.address()}, event)
	})
	b.Run("kafka", func(b *testing.B) {
		k := newKafka(b, kfake.BlackholeProduce()) // which answers, and stores nothing
		benchmarkDeliver(b, Config{Kind: KindKafka, Address: k.address()}, event)
	})
}

// benchmarkDeliver delivers the event again and again, as a few feeds do side by
// side.
func benchmarkDeliver(b *testing.B, config Config, event []byte) {
	d, err := Open(config)
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	events := make([][]byte, d.BatchEvents())
	for i := range events {
		events[i] = event
	}
	var sent atomic.Uint64
	b.SetBytes(int64(len(event)))
	b.ReportAllocs()
	b.ResetTimer()
	var left atomic.Int64
	left.Store(int64(b.N))
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			batch := Batch{Events: events, IDs: make([][16]byte, len(events)), Key: "feed/part"}
			for left.Add(-int64(len(events))) > -int64(len(events)) {
				for i := range batch.IDs {
					binary.BigEndian.PutUint64(batch.IDs[i][:], sent.Add(1))
				}
				if _, err := d.Deliver(b.Context(), batch); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
