package main

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/engine/load"
)

var (
	networkRecords = flag.Int("network.records", 60_000, "records of the simulated tenant in BenchmarkNetwork; of those as object a quarter")
	networkTrips   = flag.String("network.trips", "0s,20ms,50ms,100ms", "the round trips in BenchmarkNetwork")
)

// BenchmarkNetwork is the catch-up of BenchmarkEndToEnd with a destination that is a round trip
// away and does nothing but to read, next to a bare client that sends the same events there
// with 16 connections (as objects: with as many as the connector came to have open), and
// next to a collector as people write them, see plainCollector. Each is a process of its own; the tenant
// is near. Rates are from the destination's first request to its last.
func BenchmarkNetwork(b *testing.B) {
	binary := buildShipped(b)
	events := filepath.Join(b.TempDir(), "events.ndjson")
	catchUp(b, binary, simulated(b, binary, b.TempDir(), largeTenant(*networkRecords)...), "OUTPUT="+events)
	for trip := range strings.SplitSeq(*networkTrips, ",") {
		roundTrip, err := time.ParseDuration(trip)
		if err != nil {
			b.Fatal(err)
		}
		for _, format := range []string{load.FormatNDJSON, load.FormatArray, load.FormatObject} {
			records, connections := *networkRecords, 16
			if format == load.FormatObject {
				records /= 4
			}
			var bare float64
			b.Run(trip+"/"+format+"/connector", func(b *testing.B) {
				for b.Loop() {
					far := newDestination(b, roundTrip)
					sim := simulated(b, binary, b.TempDir(), largeTenant(records)...)
					u := catchUp(b, binary, sim, "DELIVERY_FORMAT="+format, "PROJECT_ID=", "TOKEN=", "S60_COLLECTOR_BASE="+far.url)
					sim.stop()
					if format == load.FormatObject {
						connections = far.most
					}
					bare = reportNetwork(b, far, u, 0)
					b.ReportMetric(float64(far.most), "connections")
				}
			})
			connector := bare
			b.Run(trip+"/"+format+"/bare", func(b *testing.B) {
				for b.Loop() {
					far := newDestination(b, roundTrip)
					reportNetwork(b, far, sendBare(b, far.url, "", format, firstLines(b, events, records), connections), connector)
					b.ReportMetric(float64(connections), "connections")
				}
			})
			if format != load.FormatNDJSON {
				continue
			}
			b.Run(trip+"/"+format+"/plain", func(b *testing.B) {
				for b.Loop() {
					far := newDestination(b, roundTrip)
					sim := simulated(b, binary, b.TempDir(), largeTenant(records)...)
					plain := exec.Command(plainCollectorName, far.url)
					plain.Env = sim.settings
					u, said := watched(b, plain, 0)
					sim.stop()
					if _, err := fmt.Sscan(said, &u.records); err != nil {
						b.Fatal(said)
					}
					reportNetwork(b, far, u, connector)
				}
			})
		}
	}
}

// reportNetwork reports what a contender reached and took, and the connector's rate in relation to its own.
func reportNetwork(b *testing.B, far *destination, u usage, connector float64) (rate float64) {
	far.mu.Lock()
	defer far.mu.Unlock()
	if far.events != u.records || u.records == 0 {
		b.Fatalf("%d events arrived of %d", far.events, u.records)
	}
	rate = float64(u.records) / far.last.Sub(far.first).Seconds()
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(rate, "records/s")
	b.ReportMetric(u.processorPerMillion(), "cpu-s/Mrecords")
	b.ReportMetric(float64(u.records)/float64(far.requests), "records/request")
	if u.peak > 0 {
		b.ReportMetric(u.peak, "peak-MiB")
	}
	if connector > 0 {
		b.ReportMetric(connector/rate, "connector-ratio")
	}
	return rate
}

// firstLines makes a file of the first lines of another.
func firstLines(b *testing.B, path string, n int) string {
	file, err := os.Create(filepath.Join(b.TempDir(), "first.ndjson"))
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	w := bufio.NewWriter(file)
	err = eachLine(path, n, func(line []byte) {
		w.Write(line)     //nolint:errcheck // Flush tells
		w.WriteByte('\n') //nolint:errcheck // likewise
	})
	if err := errors.Join(err, w.Flush()); err != nil {
		b.Fatal(err)
	}
	return file.Name()
}

// destination counts events, behind a proxy that delays.
type destination struct {
	url string

	mu               sync.Mutex
	events, requests int64
	first, last      time.Time // request
	open, most       int       // connections
}

func newDestination(b *testing.B, roundTrip time.Duration) *destination {
	d := &destination{}
	server := httptest.NewUnstartedServer(d)
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		d.mu.Lock()
		defer d.mu.Unlock()
		switch state {
		case http.StateNew:
			d.open++
			d.most = max(d.most, d.open)
		case http.StateClosed:
			d.open--
		}
	}
	server.Start()
	b.Cleanup(server.Close)
	d.url = "http://" + delayed(b, server.Listener.Addr().String(), roundTrip)
	return d
}

// ServeHTTP counts the events of a body: lines, elements of an array, which are flat objects, so that
// a quote behind a brace is escaped but for that of the next one's first name, or one object.
func (d *destination) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	began := time.Now()
	buffer := bodies.Get().(*bytes.Buffer)
	defer bodies.Put(buffer)
	buffer.Reset()
	if _, err := io.Copy(buffer, r.Body); err != nil {
		return
	}
	body := bytes.TrimSpace(buffer.Bytes())
	n := bytes.Count(body, []byte("\n")) + 1
	if len(body) > 0 && body[0] == '[' {
		n = bytes.Count(body, []byte(`},{"`)) + 1
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.requests++; d.first.IsZero() || began.Before(d.first) {
		d.first = began
	}
	d.events, d.last = d.events+int64(n), time.Now()
}

var bodies = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// delayed is the address of a proxy on loopback that has every byte arrive half a round trip later, in both
// directions, without bounding the rate: a network that is long and wide.
func delayed(b *testing.B, target string, roundTrip time.Duration) (address string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { listener.Close() }) //nolint:errcheck // it was only listened on
	go func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", target)
			if err != nil {
				near.Close() //nolint:errcheck // nothing was sent
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
		defer to.Close() //nolint:errcheck // the other side sees it
		for p := range pieces {
			time.Sleep(time.Until(p.at))
			if _, err := to.Write(p.data); err != nil {
				from.Close() //nolint:errcheck // reading ends
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
