package main

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/secure60/s60-m365-connector/engine/load"
	"github.com/secure60/s60-m365-connector/engine/simulator"
)

// The benchmarks of the whole: the real binary, with the simulator in a process of its
// own on the same machine.

var endToEndRecords = flag.Int("endtoend.records", 60_000, "records of the simulated tenant in BenchmarkEndToEnd")

// BenchmarkEndToEnd is the first catch-up of a large tenant, of the Management Activity API,
// which is what large tenants have most of: into a file and over HTTP. One iteration is
// one catch-up. It reports records/s, which include what the simulator costs on
// the same machine, and of the connector alone the processor time per million
// records, the same in scans (what gjson.ValidBytes takes for the same events at the same time:
// the speed of a shared machine does not distort that), and the peak of its resident memory.
//
// Over HTTP it is followed by a bare client of the standard library, in a process of its
// own too, which has nothing to do but to send the same bodies to the same simulator with as
// many requests at a time.
func BenchmarkEndToEnd(b *testing.B) {
	binary := buildShipped(b)
	events := filepath.Join(b.TempDir(), "events.ndjson")
	for _, to := range []struct{ name, format string }{{"file", ""}, {"ndjson", load.FormatNDJSON}, {"array", load.FormatArray}, {"object", load.FormatObject}} {
		b.Run(to.name, func(b *testing.B) {
			if to.format != "" {
				if _, err := os.Stat(events); err != nil {
					catchUp(b, binary, simulated(b, binary, b.TempDir(), largeTenant(*endToEndRecords)...), "OUTPUT="+events)
				}
			}
			var connector, bare usage
			var scan float64
			for range b.N {
				sim := simulated(b, binary, b.TempDir(), largeTenant(*endToEndRecords)...)
				if to.format == "" {
					os.Remove(events) //nolint:errcheck // of the iteration before, if any
					connector.add(catchUp(b, binary, sim, "OUTPUT="+events))
				} else {
					connector.add(catchUp(b, binary, sim, "DELIVERY_FORMAT="+to.format))
					bare.add(sendBare(b, sim.setting("S60_INGEST_BASE")+"/ingest/1.0/http/project/"+sim.setting("PROJECT_ID"), sim.setting("TOKEN"), to.format, events, 16))
				}
				sim.stop()
				scan += scanPerMillion(b, events) / float64(b.N)
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(connector.rate(), "records/s")
			b.ReportMetric(connector.processorPerMillion(), "cpu-s/Mrecords")
			b.ReportMetric(connector.processorPerMillion()/scan, "scans")
			b.ReportMetric(connector.peak, "peak-MiB")
			if to.format != "" {
				b.ReportMetric(bare.rate(), "bare/s")
				b.ReportMetric(bare.processorPerMillion(), "bare-cpu-s/M")
			}
		})
	}
}

// largeTenant has all its records in blobs of 100 to 5,000, and none so young that a
// catch-up leaves them for later.
func largeTenant(records int) []string {
	var volumes []string
	for i, share := range []int{22, 27, 33, 16, 2} {
		volumes = append(volumes, fmt.Sprintf("%s=%d", simulator.ContentTypes[i], records*share/100))
	}
	return []string{"-records", "-1", "-volumes", strings.Join(volumes, ","), "-history", "20h", "-quiet", "30m", "-blob-min", "100", "-blob-max", "5000"}
}

// sendBare sends the events of a file as a bare client with so many connections.
func sendBare(b *testing.B, url, token, format, events string, connections int) (u usage) {
	client := exec.Command(bareClientName, url, token, format, events, strconv.Itoa(connections))
	out, err := client.Output()
	if err != nil {
		b.Fatalf("bare client: %v\n%s", err, out)
	}
	if _, err := fmt.Sscan(string(out), &u.records, &u.wall, &u.processor); err != nil {
		b.Fatalf("bare client: %v\n%s", err, out)
	}
	return u
}

const bareClientName = "bare-client"

// bareClient is the program of that name: it reads events, and then posts them
// with net/http alone. It prints how many they were, and the nanoseconds that
// posting took, by the clock and of the processor.
func bareClient() {
	url, token, format, path := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	connections, err := strconv.Atoi(os.Args[5])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	bodies, events, err := bareBodies(path, format)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections}}
	started, before := time.Now(), processor()
	var next atomic.Int64
	var group sync.WaitGroup
	for range connections {
		group.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(bodies) {
					return
				}
				if err := post(client, url, token, bodies[i]); err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
			}
		})
	}
	group.Wait()
	fmt.Println(events, int64(time.Since(started)), int64(processor()-before))
}

func post(client *http.Client, url, token string, body []byte) error {
	request, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the simulator answered %s", response.Status)
	}
	return nil
}

// bareBodies reads the bodies that the connector makes of the events in a file: of the first
// 100,000, which are enough for a rate and fit into memory.
func bareBodies(path, format string) (bodies [][]byte, events int, err error) {
	const (
		most       = 100_000
		bodyEvents = 1000
		bodyBytes  = 512 << 10
	)
	var body []byte
	held := 0
	flush := func() {
		if held == 0 {
			return
		}
		if format == load.FormatArray {
			body[len(body)-1] = ']'
		}
		bodies, body, held = append(bodies, body), nil, 0
	}
	err = eachLine(path, most, func(line []byte) {
		switch {
		case format == load.FormatObject:
			bodies = append(bodies, bytes.Clone(line))
		case format == load.FormatArray:
			if held == 0 {
				body = append(body, '[')
			}
			body = append(append(body, line...), ',')
			held++
		default:
			body = append(append(body, line...), '\n')
			held++
		}
		if events++; held == bodyEvents || len(body) >= bodyBytes {
			flush()
		}
	})
	flush()
	return bodies, events, err
}

// eachLine calls take with the first lines of a file.
func eachLine(path string, most int, take func(line []byte)) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 16<<20)
	for n := 0; n < most && lines.Scan(); n++ {
		take(lines.Bytes())
	}
	return lines.Err()
}

// scanPerMillion is the processor time in seconds that gjson.ValidBytes takes for a million
// events like those in a file.
func scanPerMillion(b *testing.B, path string) float64 {
	var events [][]byte
	if err := eachLine(path, 20_000, func(line []byte) { events = append(events, bytes.Clone(line)) }); err != nil || len(events) == 0 {
		b.Fatalf("%s: %d events, %v", path, len(events), err)
	}
	const rounds = 5
	before := processor()
	for range rounds {
		for _, event := range events {
			if !gjson.ValidBytes(event) {
				b.Fatalf("not JSON: %.200s", event)
			}
		}
	}
	return (processor() - before).Seconds() / float64(rounds*len(events)) * 1e6
}

// BenchmarkStart measures from exec to the first request, and the processor time until then, of a connector whose state holds
// the keys of a week.
func BenchmarkStart(b *testing.B) {
	binary := buildShipped(b)
	asked := make(chan time.Time, 100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked <- time.Now()
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer server.Close()
	dir := b.TempDir()
	remember(b, dir, *tenantKeys)
	var took []time.Duration
	var used time.Duration
	for b.Loop() {
		connector := exec.Command(binary, "run", "--once")
		connector.Dir = dir
		connector.Env = []string{"TENANT_ID=11111111-2222-4333-8444-555555555555", "CLIENT_ID=11111111-2222-4333-8444-666666666666", "CLIENT_SECRET=s", "OUTPUT=events.ndjson", "STATE_DIR=" + dir, "CONFIG_DIR=" + dir, "LISTEN_ADDR=",
			"MS_LOGIN_BASE=" + server.URL, "MS_MANAGE_BASE=" + server.URL, "MS_GRAPH_BASE=" + server.URL}
		started := time.Now()
		var log strings.Builder
		connector.Stderr = &log
		if err := connector.Start(); err != nil {
			b.Fatal(err)
		}
		select {
		case at := <-asked:
			took = append(took, at.Sub(started))
		case <-time.After(5 * time.Second):
			b.Fatalf("no request within 5 seconds: %s", log.String())
		}
		connector.Process.Kill() //nolint:errcheck // it has ended
		connector.Wait()         //nolint:errcheck // it was killed
		used += connector.ProcessState.UserTime() + connector.ProcessState.SystemTime()
		for len(asked) > 0 {
			<-asked
		}
	}
	slices.Sort(took)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "ms-to-first-request")
	b.ReportMetric(float64(used.Microseconds())/1000/float64(len(took)), "cpu-ms")
}
