package load

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// nobody are the answers of hosts where nothing takes events.
var nobody = map[string]answerFunc{
	"404": func(http.ResponseWriter, *request) int { return http.StatusNotFound },
	"405": func(http.ResponseWriter, *request) int { return http.StatusMethodNotAllowed },
	"410": func(http.ResponseWriter, *request) int { return http.StatusGone },
	"a page": func(w http.ResponseWriter, _ *request) int {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprint(w, "\n<!DOCTYPE html><html><head><title>Sign in</title></head></html>")
		return http.StatusOK
	},
}

// nobody answers as long as is is true; a page is no acceptance, though the test's server counts it as one.
func switched(is *atomic.Bool, answer answerFunc) answerFunc {
	return func(w http.ResponseWriter, r *request) int {
		if is.Load() {
			return answer(w, r)
		}
		return http.StatusOK
	}
}

// TestWrongAddress: where nothing takes events, no event is taken for refused: neither before the
// first is accepted, nor when whole batches come back later.
func TestWrongAddress(t *testing.T) {
	for name, answer := range nobody {
		for _, proven := range []bool{false, true} {
			eachFormat(t, func(t *testing.T, format string) {
				t.Run(fmt.Sprintf("%s/proven=%t", name, proven), func(t *testing.T) {
					var wrong atomic.Bool
					server := newServer(t, switched(&wrong, answer))
					logs, logger := newLogs(t)
					d := server.open(t, Config{Format: format, Logger: logger, Concurrency: 4})
					if proven {
						deliver(t, d, testEvents(1000, 3))
					}
					wrong.Store(true)
					events := testEvents(1, 5)
					done := make(chan []Refused)
					go func() { done <- deliver(t, d, events) }()
					eventually(t, "trouble is told", func() bool {
						s := d.State()
						return !s.OK && strings.Contains(s.Advice, "PROJECT_ID") && s.Retries > 2
					})
					wrong.Store(false)
					if refused := <-done; len(refused) > 0 {
						t.Errorf("refused: %v", refused)
					}
					if got := d.State(); !got.OK || got.Refused != 0 {
						t.Errorf("state: %+v", got)
					}
					if logs.count("level=ERROR", "nothing takes events at its address") != 1 {
						t.Errorf("log:\n%s", logs)
					}
				})
			})
		}
	}
}

// TestOneEventWithoutAPlace: where others are accepted, a 404 is about the event.
func TestOneEventWithoutAPlace(t *testing.T) {
	server := newServer(t, func(_ http.ResponseWriter, r *request) int {
		if r.holds(`"id":7,`) {
			return http.StatusNotFound
		}
		return http.StatusOK
	})
	d := server.open(t, Config{Concurrency: 1})
	if refused := deliver(t, d, testEvents(0, 20)); len(refused) != 1 || refused[0].Index != 7 || refused[0].Status != 404 {
		t.Errorf("refused: %v", refused)
	}
}

// TestPlainAnswers: what looks a little like a page is none.
func TestPlainAnswers(t *testing.T) {
	for _, text := range []string{"", "OK", `{"html":"<html>"}`, "<ok/>", "<", "accepted <html>"} {
		server := newServer(t, nil)
		server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/xml")
			fmt.Fprint(w, text)
		})
		if refused := deliver(t, server.open(t, Config{}), testEvents(0, 2)); len(refused) != 0 {
			t.Errorf("%q: refused %v", text, refused)
		}
	}
}

// TestMostAreRefused: a destination that answers and refuses is not well.
func TestMostAreRefused(t *testing.T) {
	var refuse atomic.Bool
	refuse.Store(true)
	server := newServer(t, switched(&refuse, func(http.ResponseWriter, *request) int { return http.StatusBadRequest }))
	d := server.open(t, Config{})
	deliver(t, d, testEvents(0, 9))
	if !d.State().OK {
		t.Error("nine events tell a share")
	}
	deliver(t, d, testEvents(0, 60))
	if s := d.State(); s.OK || s.LastError == "" || !strings.Contains(s.Advice, "dead letters") {
		t.Errorf("state: %+v", s)
	}
	refuse.Store(false)
	deliver(t, d, testEvents(0, 40))
	if d.State().OK {
		t.Error("well again while 60 of the last 100 were refused")
	}
	deliver(t, d, testEvents(0, 11))
	if !d.State().OK {
		t.Error("not well though 51 of the last 100 were accepted")
	}
}

// TestBackInTime: within 15 s of the end of an outage the next attempt is made, also after 429s, which
// begin the series anew.
func TestBackInTime(t *testing.T) {
	for _, seed := range []time.Duration{15 * time.Second, time.Minute, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			g, _ := testBreaker(t)
			start := time.Now()
			for time.Since(start) < seed {
				for _, wait := range attempts(t, g, 1, failure{class: transient, cause: "down"}) {
					if wait > 15*time.Second {
						t.Errorf("after %s of outage %s to the next attempt", time.Since(start), wait)
					}
				}
			}
			for _, wait := range attempts(t, g, 20, failure{class: throttled, cause: "x", after: time.Second})[1:] {
				if wait != time.Second {
					t.Errorf("waited %s, one second was asked for", wait)
				}
			}
			if waits := attempts(t, g, 2, failure{class: transient, cause: "reset"}); waits[1] > time.Second {
				t.Errorf("a reset after 429s is waited for %s", waits[1])
			}
		})
	}
}

// TestSilentConnection: an answer that does not come is asked for on a new connection, audibly.
func TestSilentConnection(t *testing.T) {
	var silent atomic.Bool
	var dead atomic.Value
	server := newServer(t, nil)
	handler := server.Config.Handler
	server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if silent.Load() {
			dead.CompareAndSwap(nil, r.RemoteAddr)
			if dead.Load() == r.RemoteAddr {
				io.Copy(io.Discard, r.Body) // so that the end of the connection is seen
				<-r.Context().Done()
				return
			}
		}
		handler.ServeHTTP(w, r)
	})
	logs, logger := newLogs(t)
	d := server.open(t, Config{Logger: logger, Concurrency: 1, Patience: 100 * time.Millisecond})
	deliver(t, d, testEvents(0, 1))
	silent.Store(true)
	deliver(t, d, testEvents(1, 1))
	if received := server.received(); received[len(received)-1] != string(testEvents(1, 1)[0]) {
		t.Errorf("received %q", received)
	}
	// A busy machine may take longer than the patience for the second one, too.
	if server.conns.Load() < 2 || logs.count("new connection") == 0 {
		t.Errorf("%d connections, want a second one\n%s", server.conns.Load(), logs)
	}
}

// TestPatienceGrows: a destination that takes its time is not asked over and over.
func TestPatienceGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := mustOpen(t, Config{Kind: KindCollector, URL: "http://127.0.0.1", Retry: quick, Concurrency: 1, Patience: 100 * time.Millisecond,
			Transport: after(func(int) time.Duration { return 300 * time.Millisecond })})
		deliver(t, d, testEvents(0, 3))
		if got := d.State(); got.Requests != 5 || got.Retries != 2 {
			t.Errorf("%d requests, %d of them again, for three events of a slow destination", got.Requests, got.Retries)
		} else if got.Answer != 300*time.Millisecond {
			t.Errorf("an answer is said to take %s", got.Answer)
		}
	})
}

// TestPatienceIsKept: a destination that takes its time now and then gets no event twice because it was quick in between.
func TestPatienceIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := 180 * time.Millisecond
		d := mustOpen(t, Config{Kind: KindCollector, URL: "http://127.0.0.1", Retry: quick, Concurrency: 1, Patience: 100 * time.Millisecond,
			Transport: after(func(n int) time.Duration {
				if n <= 2 || n%5 == 0 {
					return slow
				}
				return 0
			})})
		deliver(t, d, testEvents(0, 20))
		if got := d.State(); got.Retries != 1 {
			t.Errorf("%d of %d requests made again for a destination that is slow now and then, want the first", got.Retries, got.Requests)
		}
		slow = 0
		time.Sleep(patienceKept + time.Second)
		deliver(t, d, testEvents(20, 1))
		if got := d.(*web).patience.get(); got != 100*time.Millisecond {
			t.Errorf("patient for %s with a destination that has been quick for an hour", got)
		}
	})
}

// TestSlowUpload: a body that goes on being sent is no silence.
func TestSlowUpload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var length int
		slow := answering(func(r *http.Request) (*http.Response, error) {
			defer r.Body.Close()
			for part := make([]byte, 64<<10); ; time.Sleep(time.Second) {
				n, err := r.Body.Read(part)
				if length += n; err == io.EOF {
					return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: http.NoBody}, nil
				}
				if err = cmp.Or(err, r.Context().Err()); err != nil {
					return nil, err
				}
			}
		})
		d := mustOpen(t, Config{Kind: KindCollector, URL: "http://127.0.0.1", Retry: quick, Concurrency: 1, Patience: 5 * time.Second, Transport: slow})
		deliver(t, d, [][]byte{[]byte(`{"id":1,"text":"` + strings.Repeat("x", 1<<20) + `"}`)})
		if got := d.State().Retries; got != 0 || length < 1<<20 {
			t.Errorf("%d retries of %d bytes", got, length)
		}
	})
}
