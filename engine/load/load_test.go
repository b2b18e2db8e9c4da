package load

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	testToken   = "secret-token-1"
	testContent = "confidential" // stands in every event, and in no log line
)

// quick makes retries fast enough for tests.
var quick = Retry{Initial: 2 * time.Millisecond, Max: 10 * time.Millisecond, SlowInitial: 5 * time.Millisecond, SlowMax: 10 * time.Millisecond}

// testEvents are n events with the ids first, first+1, ….
func testEvents(first, n int) [][]byte {
	events := make([][]byte, n)
	for i := range events {
		events[i] = fmt.Appendf(nil, `{"id":%d,"note":"%s"}`, first+i, testContent)
	}
	return events
}

// logs collects log lines. At the end of a test it looks through them for what must
// never be there.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func newLogs(t testing.TB) (*logs, *slog.Logger) {
	l := &logs{}
	t.Cleanup(func() {
		for _, secret := range []string{testToken, testContent} {
			if strings.Contains(l.String(), secret) {
				t.Errorf("the log holds %q:\n%s", secret, l)
			}
		}
	})
	return l, slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// count is how many lines hold all of the texts.
func (l *logs) count(texts ...string) int {
	n := 0
lines:
	for line := range strings.Lines(l.String()) {
		for _, text := range texts {
			if !strings.Contains(line, text) {
				continue lines
			}
		}
		n++
	}
	return n
}

// request is what a server was sent.
type request struct {
	number int // counts from 1
	header http.Header
	path   string
	body   []byte
	events []json.RawMessage
}

func (r *request) holds(text string) bool { return bytes.Contains(r.body, []byte(text)) }

// answerFunc decides what a server says. 0 breaks the connection.
type answerFunc func(w http.ResponseWriter, r *request) (status int)

// server is a destination that keeps the events it accepts.
type server struct {
	*httptest.Server
	answer   atomic.Pointer[answerFunc]
	conns    atomic.Int64
	requests atomic.Int64
	current  atomic.Int64
	most     atomic.Int64 // requests at one time

	mu     sync.Mutex
	events []json.RawMessage
	last   *request
}

func newServer(t testing.TB, answer answerFunc) *server {
	s := &server{}
	s.set(answer)
	s.Server = httptest.NewUnstartedServer(s)
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			s.conns.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	return s
}

func (s *server) set(answer answerFunc) {
	if answer == nil {
		answer = func(http.ResponseWriter, *request) int { return http.StatusOK }
	}
	s.answer.Store(&answer)
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	current := s.current.Add(1)
	defer s.current.Add(-1)
	for most := s.most.Load(); current > most && !s.most.CompareAndSwap(most, current); most = s.most.Load() {
	}
	sent, err := readRequest(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusTeapot)
		return
	}
	sent.number = int(s.requests.Add(1))
	status := (*s.answer.Load())(w, sent)
	s.mu.Lock()
	s.last = sent
	if status/100 == 2 {
		s.events = append(s.events, sent.events...)
	}
	s.mu.Unlock()
	if status == 0 {
		panic(http.ErrAbortHandler)
	}
	w.WriteHeader(status)
	// What a careless destination does: it quotes what it was sent.
	if status/100 != 2 {
		fmt.Fprintf(w, "no: %s %s", r.Header.Get("Authorization"), sent.body)
	}
}

func readRequest(r *http.Request) (*request, error) {
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		unzipped, err := gzip.NewReader(r.Body)
		if err != nil {
			return nil, err
		}
		body = unzipped
	}
	data, err := io.ReadAll(body)
	if err != nil {
		return nil, err
	}
	sent := &request{header: r.Header, path: r.URL.RequestURI(), body: data}
	switch {
	case r.Header.Get("Content-Type") == "application/x-ndjson":
		if !bytes.HasSuffix(data, []byte{'\n'}) {
			return nil, fmt.Errorf("the last line is not ended")
		}
		for line := range bytes.Lines(data) {
			sent.events = append(sent.events, json.RawMessage(bytes.TrimSpace(line)))
		}
	case r.Header.Get("Content-Type") != "application/json":
		return nil, fmt.Errorf("unknown content type")
	case bytes.HasPrefix(data, []byte{'['}):
		err = json.Unmarshal(data, &sent.events)
	default:
		sent.events = []json.RawMessage{data}
	}
	if err != nil {
		return nil, err
	}
	for _, event := range sent.events {
		if !json.Valid(event) || event[0] != '{' {
			return nil, fmt.Errorf("not an event: %s", event)
		}
	}
	return sent, nil
}

// received are the accepted events, in order.
func (s *server) received() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var texts []string
	for _, event := range s.events {
		texts = append(texts, string(event))
	}
	return texts
}

// open makes the destination of a server.
func (s *server) open(t testing.TB, config Config) Destination {
	t.Helper()
	config.URL = s.URL
	if config.Kind == "" {
		config.Kind = KindIngest
	}
	if config.ProjectID == "" {
		config.ProjectID = "301"
	}
	if config.Token == nil {
		config.Token = func() (string, error) { return testToken, nil }
	}
	if config.Retry == (Retry{}) {
		config.Retry = quick
	}
	return mustOpen(t, config)
}

func mustOpen(t testing.TB, config Config) Destination {
	t.Helper()
	destination, err := Open(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := destination.Close(); err != nil {
			t.Error(err)
		}
	})
	return destination
}

func deliver(t testing.TB, d Destination, events [][]byte) []Refused {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), forever)
	defer cancel()
	refused, err := d.Deliver(ctx, Batch{Events: events})
	if err != nil {
		t.Fatalf("Deliver: %v", err)
	}
	return refused
}

// wantEvents checks that got holds exactly the events, each once. The order counts
// only if it is told to.
func wantEvents(t testing.TB, got []string, events [][]byte, ordered bool) {
	t.Helper()
	if ordered && len(got) == len(events) {
		for i := range got {
			if got[i] != string(events[i]) {
				t.Fatalf("event %d is %s, want %s", i, got[i], events[i])
			}
		}
	}
	seen := map[string]int{}
	for _, event := range got {
		seen[event]++
	}
	for _, event := range events {
		if n := seen[string(event)]; n != 1 {
			t.Errorf("%s arrived %d times, want once", event, n)
		}
	}
	if len(got) != len(events) {
		t.Errorf("%d events arrived, want %d", len(got), len(events))
	}
}

// forever is longer than anything takes on the slowest machine, and shorter than tests may.
const forever = 5 * time.Minute

// eventually waits for what another goroutine brings about.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(forever); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s for: %s", forever, what)
		}
	}
}

// inOwnProcess runs the rest of a test in a process of its own, with more in its
// environment, because what it does holds for the whole process. It reports
// whether this is that process.
func inOwnProcess(t *testing.T, environment ...string) bool {
	t.Helper()
	const child = "LOAD_TEST_CHILD"
	if os.Getenv(child) == t.Name() {
		return true
	}
	command := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	command.Env = append(append(os.Environ(), environment...), child+"="+t.Name())
	output, err := command.CombinedOutput()
	if err != nil || !bytes.Contains(output, []byte("--- PASS: "+t.Name())) {
		t.Errorf("%v:\n%s", err, output)
	}
	return false
}
