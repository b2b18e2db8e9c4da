package load

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// subject is a destination under the conformance suite.
type subject struct {
	Destination
	received func() []string
	// trouble makes the destination fail in a way that passes, and heals it.
	trouble func(on bool)
	logs    *logs
	line    string // the INFO line for three events
	ordered bool
	// hasty, if not nil, makes the destination anew for trouble, where each attempt would take its whole patience.
	// On a busy machine what it gave up may have arrived.
	hasty func() Destination
}

// subjects are all kinds in all formats.
func subjects() map[string]func(t *testing.T) subject {
	all := map[string]func(t *testing.T) subject{"file": fileSubject, "stdout": stdoutSubject, "nats": natsSubject, "kafka": kafkaSubject}
	for _, kind := range []string{KindIngest, KindCollector} {
		for _, format := range []string{FormatObject, FormatArray, FormatNDJSON} {
			for _, zip := range []bool{false, true} {
				name := kind + "/" + format
				if zip {
					name += "/gzip"
				}
				all[name] = func(t *testing.T) subject { return webSubject(t, Config{Kind: kind, Format: format, Gzip: zip}) }
			}
		}
	}
	return all
}

func webSubject(t *testing.T, config Config) subject {
	server := newServer(t, nil)
	logs, logger := newLogs(t)
	config.Logger = logger
	return subject{
		Destination: server.open(t, config),
		received:    server.received,
		trouble: func(on bool) {
			server.set(nil)
			if on {
				server.set(func(http.ResponseWriter, *request) int { return http.StatusServiceUnavailable })
			}
		},
		logs:    logs,
		line:    `msg="Forwarded 3 events -> ` + config.Kind + ` (HTTP 200)"`,
		ordered: config.Format != FormatObject,
	}
}

func fileSubject(t *testing.T) subject {
	path := filepath.Join(t.TempDir(), "events.ndjson")
	logs, logger := newLogs(t)
	return subject{
		Destination: mustOpen(t, Config{Kind: KindFile, Path: path, Retry: quick, Logger: logger}),
		received:    func() []string { return fileLines(t, path, path+".aside") },
		// A directory in the file's place cannot be written to, not even by root.
		trouble: func(on bool) {
			var err error
			if on {
				err = errors.Join(os.Rename(path, path+".aside"), os.Mkdir(path, 0o700))
			} else {
				err = os.Remove(path)
			}
			if err != nil {
				t.Error(err)
			}
		},
		logs:    logs,
		line:    `msg="Forwarded 3 events -> file"`,
		ordered: true,
	}
}

func stdoutSubject(t *testing.T) subject {
	out := &flaky{}
	logs, logger := newLogs(t)
	return subject{
		Destination: mustOpen(t, Config{Kind: KindStdout, Output: out, Retry: quick, Logger: logger}),
		received:    func() []string { return strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n") },
		trouble:     out.broken.Store,
		logs:        logs,
		line:        `msg="Forwarded 3 events -> stdout"`,
		ordered:     true,
	}
}

// flaky is a writer that stops after half of what it is given while it is
// broken.
type flaky struct {
	logs
	broken atomic.Bool
}

func (f *flaky) Write(p []byte) (int, error) {
	if !f.broken.Load() {
		return f.logs.Write(p)
	}
	n, _ := f.logs.Write(p[:len(p)/2])
	return n, errors.New("no space left on device")
}

func fileLines(t *testing.T, paths ...string) (lines []string) {
	t.Helper()
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			lines = append(lines, strings.TrimSuffix(line, "\n"))
		}
	}
	return lines
}

// TestConformance holds every destination to the promises of the interface.
func TestConformance(t *testing.T) {
	for name, open := range subjects() {
		t.Run(name, func(t *testing.T) {
			t.Run("delivers", func(t *testing.T) { conformDelivers(t, open(t)) })
			t.Run("many callers", func(t *testing.T) { conformManyCallers(t, open(t)) })
			t.Run("more than a batch", func(t *testing.T) { conformLarge(t, open(t)) })
			t.Run("outage", func(t *testing.T) { conformOutage(t, open(t)) })
			t.Run("gives up with its context", func(t *testing.T) { conformCancel(t, open(t)) })
		})
	}
}

func conformDelivers(t *testing.T, s subject) {
	if refused := deliver(t, s, nil); refused != nil {
		t.Errorf("an empty batch has %d refused events", len(refused))
	}
	if got := s.State(); got != (State{OK: true, Concurrency: got.Concurrency}) {
		t.Errorf("state before the first event: %+v", got)
	}
	events := testEvents(1, 3)
	if refused := deliver(t, s, events); len(refused) != 0 {
		t.Fatalf("refused: %v", refused)
	}
	wantEvents(t, s.received(), events, s.ordered)
	if n := s.logs.count("level=INFO"); n != 1 || s.logs.count(s.line) != 1 {
		t.Errorf("want one INFO line with %s, got:\n%s", s.line, s.logs)
	}
	got := s.State()
	if !got.OK || got.LastError != "" || got.InFlight != 0 || got.Requests == 0 || got.Retries != 0 || got.Events != 3 || got.Refused != 0 {
		t.Errorf("state: %+v", got)
	}
	if s.BatchEvents() < 1 || s.BatchBytes() < 1 || s.Name() == "" {
		t.Errorf("%q takes %d events, %d bytes", s.Name(), s.BatchEvents(), s.BatchBytes())
	}
}

func conformManyCallers(t *testing.T, s subject) {
	const callers, batches, size = 8, 5, 7
	var group sync.WaitGroup
	for caller := range callers {
		group.Go(func() {
			for batch := range batches {
				deliver(t, s, testEvents((caller*batches+batch)*size, size))
			}
		})
	}
	group.Wait()
	wantEvents(t, s.received(), testEvents(0, callers*batches*size), false)
}

func conformLarge(t *testing.T, s subject) {
	events := testEvents(0, 2*s.BatchEvents()+1)
	deliver(t, s, events)
	got := s.received()
	if s.ordered {
		slices.SortFunc(got, func(a, b string) int { return len(a) - len(b) }) // several bodies travel side by side
	}
	wantEvents(t, got, events, false)
}

func conformOutage(t *testing.T, s subject) {
	if s.hasty != nil {
		s.Destination = s.hasty()
	}
	s.trouble(true)
	events := testEvents(1, 20)
	done := make(chan error)
	go func() {
		_, err := s.Deliver(t.Context(), Batch{Events: events})
		done <- err
	}()
	eventually(t, "some failed attempts", func() bool { return s.State().Retries > 5 })
	if got := s.State(); got.OK || got.LastError == "" {
		t.Errorf("state in an outage: %+v", got)
	}
	s.trouble(false)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	received := s.received()
	if s.hasty != nil {
		slices.Sort(received)
		received = slices.Compact(received)
	}
	wantEvents(t, received, events, false)
	if got := s.State(); !got.OK || got.LastError != "" {
		t.Errorf("state after an outage: %+v", got)
	}
	if n := s.logs.count("level=WARN", "does not take events"); n != 1 {
		t.Errorf("the outage was told %d times, want once:\n%s", n, s.logs)
	}
	if n := s.logs.count("level=INFO", "is back"); n != 1 {
		t.Errorf("the end of the outage was told %d times, want once:\n%s", n, s.logs)
	}
}

func conformCancel(t *testing.T, s subject) {
	if s.hasty != nil {
		s.Destination = s.hasty()
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Deliver(gone, Batch{Events: testEvents(1, 3)}); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that is done: %v", err)
	}

	s.trouble(true)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := s.Deliver(ctx, Batch{Events: testEvents(4, 3)})
		done <- err
	}()
	eventually(t, "some failed attempts", func() bool { return s.State().Retries > 3 })
	cancel()
	start := time.Now()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("in an outage: %v", err)
	}
	if took := time.Since(start); took > time.Minute {
		t.Errorf("took %s to give up", took)
	}
	if n := s.State().InFlight; n != 0 {
		t.Errorf("%d requests in flight after giving up", n)
	}

	// What was given up does not stand in the way of what follows.
	s.trouble(false)
	before := len(s.received())
	events := testEvents(7, 2)
	deliver(t, s, events)
	if got := s.received(); before > 0 && len(got) >= 2 {
		wantEvents(t, got[len(got)-2:], events, false)
	}
}
