package load

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

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
