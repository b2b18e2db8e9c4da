package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
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
		{"kind", Config{Kind: "tape"}, `unknown kind "tape"; expected one of collector, file, ingest, kafka, nats, stdout`},
		{"format", Config{Kind: KindIngest, Format: "xml"}, `unknown delivery format "xml"; expected one of array, ndjson, object`},
		{"no URL", Config{Kind: KindCollector}, "no URL"},
		{"plain http", Config{Kind: KindIngest, URL: "http://ingest.example.com", ProjectID: "1", Token: token}, "write https://ingest.example.com"},
		{"plain http to a collector", Config{Kind: KindCollector, URL: "http://collector.internal"}, "loopback"},
		{"other scheme", Config{Kind: KindCollector, URL: "ftp://x"}, "not a URL of the form"},
		{"no scheme", Config{Kind: KindCollector, URL: "collector.internal"}, "not a URL of the form"},
		{"password", Config{Kind: KindCollector, URL: "https://u:hunter2@collector.internal"}, "must not hold a user name"},
		{"unreadable with password", Config{Kind: KindCollector, URL: "https://u:hunter2@[::1"}, "cannot be read"},
		{"query", Config{Kind: KindIngest, URL: "https://x?y=1", ProjectID: "1", Token: token}, "query"},
		{"no project", Config{Kind: KindIngest, URL: "https://x", Token: token}, "not a project id"},
		{"project with a path", Config{Kind: KindIngest, URL: "https://x", ProjectID: "../1", Token: token}, "not a project id"},
		{"no token", Config{Kind: KindIngest, URL: "https://x", ProjectID: "1"}, "no token"},
		{"negative", Config{Kind: KindStdout, Concurrency: -1}, "negative"},
		{"no path", Config{Kind: KindFile}, "no path"},
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

// What passes is retried until it has passed, and each event arrives once.
func TestTransientAnswers(t *testing.T) {
	for _, status := range []int{408, 429, 500, 502, 503, 504, 599} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			eachFormat(t, func(t *testing.T, format string) {
				server := newServer(t, func(_ http.ResponseWriter, r *request) int {
					if r.number <= 6 {
						return status
					}
					return http.StatusAccepted
				})
				logs, logger := newLogs(t)
				d := server.open(t, Config{Format: format, Logger: logger})
				events := testEvents(1, 30)
				if refused := deliver(t, d, events); len(refused) != 0 {
					t.Errorf("refused: %v", refused)
				}
				wantEvents(t, server.received(), events, false)
				if got := d.State(); got.Retries != 6 || got.Requests != server.requests.Load() {
					t.Errorf("state: %+v, want 6 retries in %d requests", got, server.requests.Load())
				}
				if logs.count("Forwarded 30 events -> ingest (HTTP 202)") != 1 {
					t.Errorf("log:\n%s", logs)
				}
			})
		})
	}
}

func TestRetryAfterIsHonoured(t *testing.T) {
	const wait = 300 * time.Millisecond
	eachFormat(t, func(t *testing.T, format string) {
		var until atomic.Int64
		var early atomic.Int64
		server := newServer(t, func(w http.ResponseWriter, r *request) int {
			now := time.Now().UnixNano()
			if until.CompareAndSwap(0, now+int64(wait)) {
				w.Header().Set("Retry-After", "0.3")
				return http.StatusTooManyRequests
			}
			if now < until.Load() {
				early.Add(1)
			}
			return http.StatusOK
		})
		d := server.open(t, Config{Format: format, Concurrency: 1})
		start := time.Now()
		// Another caller waits too: it is the destination that wants to be left alone.
		var group sync.WaitGroup
		for i := range 3 {
			group.Go(func() { deliver(t, d, testEvents(i*10, 10)) })
		}
		group.Wait()
		if early.Load() != 0 {
			t.Errorf("%d requests came before the time asked for", early.Load())
		}
		if took := time.Since(start); took > wait+10*time.Second {
			t.Errorf("took %s, far longer than asked for", took)
		}
		wantEvents(t, server.received(), testEvents(0, 30), false)
	})
}

// The connection breaks after the destination has taken the event: nobody can
// know, so it is sent again. That is the one way to a repeated event.
func TestResetAfterAccepting(t *testing.T) {
	eachFormat(t, func(t *testing.T, format string) {
		var taken sync.Map
		server := newServer(t, func(_ http.ResponseWriter, r *request) int {
			for _, event := range r.events {
				taken.Store(string(event), true)
			}
			if r.number%2 == 1 {
				return 0
			}
			return http.StatusOK
		})
		events := testEvents(1, 10)
		if refused := deliver(t, server.open(t, Config{Format: format, Concurrency: 1}), events); len(refused) != 0 {
			t.Errorf("refused: %v", refused)
		}
		wantEvents(t, server.received(), events, false)
	})
}

// answering is a way to a destination without a network, for virtual time.
type answering func(*http.Request) (*http.Response, error)

func (a answering) RoundTrip(r *http.Request) (*http.Response, error) { return a(r) }

// after is a destination that takes so long for its n-th answer, from 1 on.
func after(takes func(n int) time.Duration) answering {
	var n atomic.Int64
	return func(r *http.Request) (*http.Response, error) {
		defer r.Body.Close()
		select {
		case <-r.Context().Done():
			return nil, r.Context().Err()
		case <-time.After(takes(int(n.Add(1)))):
			return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: http.NoBody}, nil
		}
	}
}

func TestSlowDestination(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs, logger := newLogs(t)
		d := mustOpen(t, Config{Kind: KindCollector, URL: "http://127.0.0.1", Format: FormatArray, Retry: quick, Timeout: 50 * time.Millisecond, Logger: logger,
			Transport: after(func(n int) time.Duration {
				if n <= 3 {
					return 200 * time.Millisecond
				}
				return 40 * time.Millisecond
			})})
		deliver(t, d, testEvents(1, 5))
		if got := d.State(); got.Retries != 3 {
			t.Errorf("state: %+v, want 3 retries", got)
		}
		if logs.count("level=WARN", "no answer from 127.0.0.1", "within 50ms") != 1 {
			t.Errorf("log:\n%s", logs)
		}
	})
}

func TestNobodyListens(t *testing.T) {
	server := newServer(t, nil)
	logs, logger := newLogs(t)
	d := server.open(t, Config{Logger: logger})
	server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := d.Deliver(ctx, Batch{Events: testEvents(1, 5)}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if got := d.State().LastError; !strings.Contains(got, "connection refused") || strings.Contains(got, "project") {
		t.Errorf("last error: %q", got)
	}
	if logs.count("level=WARN") != 1 {
		t.Errorf("log:\n%s", logs)
	}
}

func TestTooLarge(t *testing.T) {
	for _, format := range []string{FormatArray, FormatNDJSON} {
		t.Run(format, func(t *testing.T) {
			var larger atomic.Int64
			server := newServer(t, func(_ http.ResponseWriter, r *request) int {
				if len(r.body) > 1000 {
					larger.Add(1)
					return http.StatusRequestEntityTooLarge
				}
				return http.StatusOK
			})
			d := server.open(t, Config{Format: format})
			events := testEvents(1, 200)
			events[77] = fmt.Appendf(nil, `{"id":77,"note":"%s"}`, strings.Repeat("x", 2000))
			refused := deliver(t, d, events)
			if len(refused) != 1 || refused[0].Index != 77 || refused[0].Status != 413 {
				t.Fatalf("refused: %v, want event 77 with 413", refused)
			}
			wantEvents(t, server.received(), slices.Delete(slices.Clone(events), 77, 78), false)

			// The size is remembered: the next call does not find out again.
			before := larger.Load()
			deliver(t, d, testEvents(1000, 200))
			if got := larger.Load() - before; got > 2 {
				t.Errorf("%d bodies were too large again", got)
			}
			if got := d.State(); !got.OK || got.Refused != 1 || got.Events != 399 {
				t.Errorf("state: %+v", got)
			}
		})
	}
	t.Run(FormatObject, func(t *testing.T) {
		server := newServer(t, func(_ http.ResponseWriter, r *request) int {
			if r.holds(`"id":5,`) {
				return http.StatusRequestEntityTooLarge
			}
			return http.StatusOK
		})
		refused := deliver(t, server.open(t, Config{}), testEvents(0, 10))
		if len(refused) != 1 || refused[0].Index != 5 || refused[0].Status != 413 {
			t.Errorf("refused: %v, want event 5 with 413", refused)
		}
	})
}

// Refused events are found and named; the rest arrives, once.
func TestPoison(t *testing.T) {
	tests := []struct {
		name        string
		poison      []int
		mostInBatch int64 // requests
	}{
		{"first", []int{0}, 20},
		{"last", []int{127}, 20},
		{"some", []int{3, 64, 65}, 50},
		{"none", nil, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			eachFormat(t, func(t *testing.T, format string) {
				server := newServer(t, func(_ http.ResponseWriter, r *request) int {
					for _, i := range test.poison {
						if r.holds(fmt.Sprintf(`"id":%d,`, i)) {
							return http.StatusUnprocessableEntity
						}
					}
					return http.StatusOK
				})
				d := server.open(t, Config{Format: format})
				events := testEvents(0, 128)
				refused := deliver(t, d, events)
				var got []int
				for _, r := range refused {
					got = append(got, r.Index)
					if r.Status != 422 || !strings.Contains(r.Reason, "no: Bearer [token]") || strings.Contains(r.Reason, testToken) {
						t.Errorf("refused: %+v", r)
					}
				}
				if !slices.Equal(got, test.poison) {
					t.Errorf("refused %v, want %v", got, test.poison)
				}
				var rest [][]byte
				for i, event := range events {
					if !slices.Contains(test.poison, i) {
						rest = append(rest, event)
					}
				}
				wantEvents(t, server.received(), rest, false)
				if n := server.requests.Load(); format != FormatObject && n > test.mostInBatch {
					t.Errorf("%d requests, want at most %d", n, test.mostInBatch)
				}
				if got := d.State(); !got.OK || int(got.Refused) != len(test.poison) || int(got.Events) != len(rest) {
					t.Errorf("state: %+v", got)
				}
			})
		})
	}
}

func TestEveryEventIsRefused(t *testing.T) {
	eachFormat(t, func(t *testing.T, format string) {
		server := newServer(t, func(http.ResponseWriter, *request) int { return http.StatusBadRequest })
		logs, logger := newLogs(t)
		refused := deliver(t, server.open(t, Config{Format: format, Logger: logger}), testEvents(0, 100))
		if len(refused) != 100 {
			t.Errorf("%d events refused, want 100", len(refused))
		}
		if n := server.requests.Load(); n >= 200 {
			t.Errorf("%d requests for 100 events", n)
		}
		if logs.count("Forwarded") != 0 {
			t.Errorf("log:\n%s", logs)
		}
	})
}

func TestWrongThenRightToken(t *testing.T) {
	for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden} {
		eachFormat(t, func(t *testing.T, format string) {
			server := newServer(t, nil)
			server.set(func(_ http.ResponseWriter, r *request) int {
				if r.header.Get("Authorization") != "Bearer right" {
					return status
				}
				return http.StatusOK
			})
			logs, logger := newLogs(t)
			var token atomic.Value
			token.Store(testToken)
			d := server.open(t, Config{Format: format, Logger: logger, Concurrency: 4,
				Token: func() (string, error) { return token.Load().(string), nil }})
			events := testEvents(1, 50)
			done := make(chan error)
			go func() {
				_, err := d.Deliver(t.Context(), Batch{Events: events})
				done <- err
			}()
			eventually(t, "some refusals", func() bool { return d.State().Retries > 8 })
			if got := d.State(); got.OK || !strings.Contains(got.LastError, fmt.Sprint(status)) {
				t.Errorf("state: %+v", got)
			}
			// Delivery has stopped: one request at a time finds out.
			server.most.Store(0)
			requests := server.requests.Load()
			eventually(t, "more refusals", func() bool { return server.requests.Load() > requests+5 })
			if got := server.most.Load(); got > 1 {
				t.Errorf("%d requests at one time while the token is wrong", got)
			}
			token.Store("right")
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			wantEvents(t, server.received(), events, false)
			if n := logs.count("level=ERROR", "Check that TOKEN"); n != 1 || logs.count("is back") != 1 {
				t.Errorf("%d ERROR lines, want 1:\n%s", n, logs)
			}
		})
	}
}

// A token that cannot be read, or cannot be one, is a credential that is
// refused.
func TestNoToken(t *testing.T) {
	var value atomic.Value
	value.Store("")
	server := newServer(t, nil)
	logs, logger := newLogs(t)
	d := server.open(t, Config{Logger: logger, Token: func() (string, error) {
		switch text := value.Load().(string); text {
		case "":
			return "", errors.New("open /run/token: no such file")
		default:
			return text, nil
		}
	}})
	done := make(chan error)
	go func() {
		_, err := d.Deliver(t.Context(), Batch{Events: testEvents(1, 3)})
		done <- err
	}()
	eventually(t, "tries without a token", func() bool { return d.State().Retries > 3 })
	if n := logs.count("level=ERROR", "/run/token"); n != 1 {
		t.Errorf("%d ERROR lines, want 1:\n%s", n, logs)
	}
	value.Store("bad\r\nHeader: " + testToken)
	retries := d.State().Retries
	eventually(t, "tries with a bad token", func() bool { return d.State().Retries > retries+3 })
	if server.requests.Load() != 0 {
		t.Error("a request was made without a token")
	}
	value.Store("good")
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	elsewhere := newServer(t, nil)
	server := newServer(t, func(w http.ResponseWriter, r *request) int {
		if r.number <= 4 {
			w.Header().Set("Location", elsewhere.URL+"/take?session=5")
			return http.StatusTemporaryRedirect
		}
		return http.StatusOK
	})
	logs, logger := newLogs(t)
	deliver(t, server.open(t, Config{Kind: KindCollector, Logger: logger}), testEvents(1, 3))
	if elsewhere.requests.Load() != 0 {
		t.Error("the redirect was followed")
	}
	if n := logs.count("level=ERROR", "HTTP 307, a redirect to "+elsewhere.URL, "Set S60_COLLECTOR_BASE"); n != 1 || logs.count("session") != 0 {
		t.Errorf("%d ERROR lines, want 1:\n%s", n, logs)
	}
}

// An event that alone breaks the destination is tried for ever, and does not
// hold up what other callers deliver.
func TestStuckEventDoesNotBlockOthers(t *testing.T) {
	server := newServer(t, func(_ http.ResponseWriter, r *request) int {
		if r.holds(`"id":0,`) {
			return http.StatusInternalServerError
		}
		return http.StatusOK
	})
	d := server.open(t, Config{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := d.Deliver(ctx, Batch{Events: testEvents(0, 1)})
		done <- err
	}()
	eventually(t, "the event to be stuck", func() bool { return d.State().Retries > 5 })
	for i := range 20 {
		deliver(t, d, testEvents(1+i*10, 10))
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	wantEvents(t, server.received(), testEvents(1, 200), false)
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

func TestMemoryIsFlatInAnOutage(t *testing.T) {
	server := newServer(t, func(http.ResponseWriter, *request) int { return http.StatusServiceUnavailable })
	d := server.open(t, Config{Format: FormatNDJSON, Retry: Retry{Initial: time.Microsecond, Max: time.Microsecond}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := d.Deliver(ctx, Batch{Events: testEvents(1, 1000)})
		done <- err
	}()
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC() // pools are emptied by the second
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	eventually(t, "the outage", func() bool { return d.State().Retries > 100 })
	before := heap()
	eventually(t, "a long outage", func() bool { return d.State().Retries > 1000 })
	// The bodies of these attempts are 30 MB together.
	if grown := heap() - before; grown > 5<<20 {
		t.Errorf("900 attempts left %d bytes behind", grown)
	}
	cancel()
	<-done
}

func TestReasonIsBoundedAndPrintable(t *testing.T) {
	body := "\x1b[31mno\r\n\x00\u202e " + strings.Repeat("é", 5000)
	server := newServer(t, nil)
	server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusConflict)
		w.Write([]byte(body))
	})
	refused := deliver(t, server.open(t, Config{}), testEvents(1, 1))
	if len(refused) != 1 {
		t.Fatalf("refused: %v", refused)
	}
	reason := refused[0].Reason
	if len(reason) > reasonBytes || !strings.HasPrefix(reason, "[31mno é") || strings.ContainsFunc(reason, func(r rune) bool { return r < ' ' || r == '\u202e' }) {
		t.Errorf("reason (%d bytes): %.40q", len(reason), reason)
	}
}

// A token that the answer quotes is not told, wherever the bound on the answer falls.
func TestReasonNeverHoldsTheToken(t *testing.T) {
	for pad := reasonBytes - 2*len(testToken); pad < reasonBytes+2; pad++ {
		text := reason(strings.NewReader(strings.Repeat("x", pad)+testToken+"tail"), testToken)
		if strings.Contains(text, "secret") || len(text) > reasonBytes {
			t.Fatalf("with %d bytes before: …%s", pad, text[reasonBytes-40:])
		}
	}
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
