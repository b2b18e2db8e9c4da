package load

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

var formats = []string{FormatObject, FormatArray, FormatNDJSON}

func eachFormat(t *testing.T, test func(t *testing.T, format string)) {
	for _, format := range formats {
		t.Run(format, func(t *testing.T) { test(t, format) })
	}
}

func TestRequest(t *testing.T) {
	tests := []struct {
		name     string
		config   Config
		path     string // appended to the server's URL
		wantPath string
		want     map[string]string
	}{
		{"ingest", Config{Kind: KindIngest, ProjectID: "301"}, "/", "/ingest/1.0/http/project/301",
			map[string]string{"Authorization": "Bearer " + testToken, "Content-Type": "application/json"}},
		{"ingest below a path", Config{Kind: KindIngest, ProjectID: "301", Format: FormatNDJSON}, "/proxy/", "/proxy/ingest/1.0/http/project/301",
			map[string]string{"Authorization": "Bearer " + testToken, "Content-Type": "application/x-ndjson"}},
		{"collector", Config{Kind: KindCollector, Format: FormatArray}, "/some/path/?key=a%2Fb", "/some/path/?key=a%2Fb",
			map[string]string{"Authorization": "", "Content-Type": "application/json"}},
		{"collector with gzip", Config{Kind: KindCollector, Gzip: true}, "", "/",
			map[string]string{"Content-Encoding": "gzip", "Content-Type": "application/json"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			server := newServer(t, nil)
			test.config.URL = server.URL + test.path
			test.config.UserAgent = "connector/1.2"
			test.config.Token = func() (string, error) { return testToken + "\n", nil }
			deliver(t, mustOpen(t, test.config), testEvents(1, 1))
			if server.last.path != test.wantPath {
				t.Errorf("path %s, want %s", server.last.path, test.wantPath)
			}
			for name, want := range test.want {
				if got := server.last.header.Get(name); got != want {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
			if got := server.last.header.Get("User-Agent"); got != "connector/1.2" {
				t.Errorf("User-Agent: %q", got)
			}
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	token := func() (string, error) { return testToken, nil }
	tests := []struct {
		name   string
		config Config
		want   string
	}{
		{"plain http", Config{Kind: KindIngest, URL: "http://ingest.example.com", ProjectID: "1", Token: token}, "loopback"},
		{"plain http to a collector", Config{Kind: KindCollector, URL: "http://collector.internal"}, "loopback"},
		{"other scheme", Config{Kind: KindCollector, URL: "ftp://x"}, "https://host"},
		{"no scheme", Config{Kind: KindCollector, URL: "collector.internal"}, "https://host"},
		{"password", Config{Kind: KindCollector, URL: "https://u:hunter2@collector.internal"}, "without user"},
		{"unreadable with password", Config{Kind: KindCollector, URL: "https://u:hunter2@[::1"}, "https://host"},
		{"directory", Config{Kind: KindFile, Path: t.TempDir()}, "is a directory"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := Open(test.config)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v, want %q in it", err, test.want)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error holds the password: %v", err)
			}
		})
	}
	for _, url := range []string{"http://127.0.0.1:1", "http://localhost", "http://[::1]:8", "http://127.9.9.9", "https://x"} {
		if _, err := Open(Config{Kind: KindCollector, URL: url}); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
}

// One connection for each request in flight, used again and again.
func TestConnectionsAreReused(t *testing.T) {
	server := newServer(t, func(w http.ResponseWriter, r *request) int {
		if r.number%10 == 0 {
			return http.StatusBadRequest // has a body, which must not cost the connection
		}
		time.Sleep(time.Millisecond)
		return http.StatusOK
	})
	d := server.open(t, Config{Concurrency: 4})
	for i := range 5 {
		deliver(t, d, testEvents(i*100, 100))
	}
	// A connection comes free a moment after its answer was read: once in a
	// while, more often on a busy machine, a new one is quicker.
	if got := server.conns.Load(); got > 40 {
		t.Errorf("%d connections for 500 requests, want about 4", got)
	}
	if got := server.most.Load(); got != 4 {
		t.Errorf("%d requests at one time, want 4", got)
	}
}

// The bound on concurrency holds over all calls.
func TestConcurrencyIsShared(t *testing.T) {
	server := newServer(t, func(http.ResponseWriter, *request) int {
		time.Sleep(time.Millisecond)
		return http.StatusOK
	})
	d := server.open(t, Config{Concurrency: 3})
	var group sync.WaitGroup
	for i := range 6 {
		group.Go(func() { deliver(t, d, testEvents(i*20, 20)) })
	}
	group.Wait()
	if got := server.most.Load(); got != 3 {
		t.Errorf("%d requests at one time, want 3", got)
	}
}

// The destination may answer before it has read everything, and the caller may
// use the events' memory again as soon as Deliver returns. Run with -race.
func TestEventsAreNotReadAfterDeliver(t *testing.T) {
	eachFormat(t, func(t *testing.T, format string) {
		server := newServer(t, nil)
		server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
		})
		d := server.open(t, Config{Format: format})
		for _, size := range []int{10, smallBytes, 3 << 20} {
			event := fmt.Appendf(nil, `{"note":"%s"}`, strings.Repeat("x", size))
			for range 5 {
				if refused := deliver(t, d, [][]byte{event}); len(refused) > 1 {
					t.Errorf("refused: %d", len(refused))
				}
				for i := range event {
					event[i]++
				}
			}
		}
	})
}

func TestPayloads(t *testing.T) {
	p := &payload{}
	events := [][]byte{[]byte(`{"a":1}`), []byte(`{"b":2}`)}
	for format, want := range map[string]string{
		FormatObject: `{"a":1}`,
		FormatArray:  `[{"a":1},{"b":2}]`,
		FormatNDJSON: "{\"a\":1}\n{\"b\":2}\n",
	} {
		if err := p.fill(format, false, events); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(p.content, []byte(want)) {
			t.Errorf("%s: %q, want %q", format, p.content, want)
		}
	}
}
