package load

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// delaying is a proxy on loopback that has every byte arrive half a round trip later, in both
// directions, without bounding the rate: a network that is long and wide.
func delaying(b *testing.B, target string, roundTrip time.Duration) (address string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { listener.Close() })
	go func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", target)
			if err != nil {
				near.Close()
				continue
			}
			go late(far, near, roundTrip/2)
			go late(near, far, roundTrip/2)
		}
	}()
	return listener.Addr().String()
}

// late copies with a delay.
func late(to, from net.Conn, delay time.Duration) {
	type piece struct {
		at   time.Time
		data []byte
	}
	pieces := make(chan piece, 4096)
	go func() {
		defer to.Close()
		for p := range pieces {
			time.Sleep(time.Until(p.at))
			if _, err := to.Write(p.data); err != nil {
				from.Close()
			}
		}
	}()
	defer close(pieces)
	for {
		data := make([]byte, 32<<10)
		n, err := from.Read(data)
		if n > 0 {
			pieces <- piece{time.Now().Add(delay), data[:n]}
		}
		if err != nil {
			return
		}
	}
}

// BenchmarkNetwork delivers events of 1.7 KB over a network, beside a bare client with 16
// connections that sends the same bodies and knows nothing of refusals, retries and order. An operation is
// an event; in-flight is what was found to be good.
func BenchmarkNetwork(b *testing.B) {
	event := []byte(fmt.Sprintf(`{"id":1,"text":%q}`, bytes.Repeat([]byte("x"), 1700)))
	for _, roundTrip := range []time.Duration{0, 20 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond} {
		for _, format := range formats {
			body := 1
			if format != FormatObject {
				body = 256
			}
			server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }))
			b.Cleanup(server.Close)
			u, _ := url.Parse(server.URL)
			address := "http://" + delaying(b, u.Host, roundTrip)
			b.Run(fmt.Sprintf("rtt=%v/%s/bare", roundTrip, format), func(b *testing.B) {
				client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: benchConnections}}
				payload := bytes.Repeat(append(bytes.Clone(event), '\n'), body)
				var left atomic.Int64
				left.Store(int64(b.N))
				var wg sync.WaitGroup
				for range benchConnections {
					wg.Go(func() {
						for left.Add(int64(-body)) > int64(-body) {
							answer, err := client.Post(address, "application/json", bytes.NewReader(payload))
							if err != nil {
								b.Error(err)
								return
							}
							io.Copy(io.Discard, answer.Body)
							answer.Body.Close()
						}
					})
				}
				wg.Wait()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
			})
			b.Run(fmt.Sprintf("rtt=%v/%s/auto", roundTrip, format), func(b *testing.B) {
				d, err := Open(Config{Kind: KindCollector, URL: address, Format: format})
				if err != nil {
					b.Fatal(err)
				}
				defer d.Close()
				batch := min(d.BatchEvents(), body*200)
				events := make([][]byte, batch)
				for i := range events {
					events[i] = event
				}
				var left atomic.Int64
				left.Store(int64(b.N))
				var wg sync.WaitGroup
				for range 64 { // as many calls as may be of use
					wg.Go(func() {
						for left.Add(int64(-batch)) > int64(-batch) {
							if _, err := d.Deliver(b.Context(), Batch{Events: events}); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
				b.ReportMetric(float64(d.State().Concurrency), "in-flight")
			})
		}
	}
}
