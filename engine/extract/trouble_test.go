package extract

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secure60/s60-m365-connector/engine/definition"
)

// What is repeated is said once, a few seconds after it began, and again when it is over: what, where, why and
// when it goes on; for all feeds that meet the same in one line; and not for each attempt, or each round.
func TestTroubleIsToldOnceAndWhenItEnds(t *testing.T) {
	answers := func(status int, body string, header ...string) func() (*http.Response, error) {
		return func() (*http.Response, error) {
			h := http.Header{"Content-Type": {"application/json"}}
			for i := 0; i+1 < len(header); i += 2 {
				h.Set(header[i], header[i+1])
			}
			return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body))}, nil
		}
	}
	unknown := &net.DNSError{Err: "no such host", Name: "login.example", IsNotFound: true}
	tests := map[string]struct {
		lasts   time.Duration
		tokens  func() (*http.Response, error) // meanwhile
		lists   func() (*http.Response, error)
		warning []string
		over    []string
		at      time.Duration
	}{
		"no DNS": {
			lasts: 4 * time.Minute, tokens: func() (*http.Response, error) { return nil, unknown },
			warning: []string{"host=login.example", `feeds="one, two"`, "no such host", "next="},
			over:    []string{"host=login.example", `feeds="one, two"`, "after="}, at: troubleAfter,
		},
		"the issuer of tokens is busy": {
			lasts: 20 * time.Second, tokens: answers(503, `{"error":"temporarily_unavailable"}`),
			warning: []string{"host=login.example", "HTTP 503"}, over: []string{"host=login.example"}, at: troubleAfter,
		},
		"a service that answers 500 for an hour": {
			lasts: time.Hour, lists: answers(500, `{"error":{"code":"InternalServerError","message":"m"}}`),
			warning: []string{"host=api.example", `feeds="one, two"`, "HTTP 500 InternalServerError", "next="},
			over:    []string{"host=api.example", "after=1h"}, at: troubleAfter,
		},
		"throttled": {
			lasts: 5 * time.Minute, lists: answers(429, ``, "Retry-After", "10"),
			warning: []string{"host=api.example", "HTTP 429", "next=\"in "}, over: []string{"host=api.example"}, at: troubleAfter,
		},
		"over before anybody need hear of it": {lasts: 2 * time.Second, lists: answers(500, ``)},
		"an answer that does not begin": {
			lasts: 1, lists: func() (*http.Response, error) { time.Sleep(3 * time.Minute); return answers(200, `{"value":[]}`)() },
			warning: []string{"no answer after 1m0s", "under way"}, over: []string{"after=3m0s"}, at: slowAfter,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				var lines notedLines
				credential, _ := NewCredential(ClientSecret, "s")
				client := NewClient(ClientOptions{
					TokenURL: "https://login.example/token", ClientID: "c", Credential: credential, Log: slog.New(slog.NewTextHandler(&lines, nil)),
					Transport: answering(func(r *http.Request) (*http.Response, error) {
						now := answers(200, `{"value":[]}`)
						faulty := time.Since(start) < test.lasts
						if r.URL.Host == "login.example" {
							now = answers(200, `{"access_token":"bearer-value","token_type":"Bearer","expires_in":3600}`)
							if faulty && test.tokens != nil {
								now = test.tokens
							}
						} else if faulty && test.lists != nil {
							now = test.lists
						}
						answer, err := now()
						if answer != nil {
							answer.Request = r
						}
						return answer, err
					}),
				})
				var done sync.WaitGroup
				for _, feed := range []string{"one", "two"} {
					r, err := NewReader(client, &definition.Feed{
						Name: feed, Scope: template(t, "s/.default"), Request: definition.Request{Method: "GET", URL: template(t, "https://api.example/list")},
						Paging: definition.Paging{Style: definition.PagingNone}, Records: "value", Key: []string{"id"},
					}, "", nil)
					if err != nil {
						t.Fatal(err)
					}
					done.Go(func() {
						for r.Read(t.Context(), hour, newSink()) != nil { // rounds
							time.Sleep(time.Minute)
						}
					})
				}
				done.Wait()
				warnings, over := lines.of("level=WARN"), lines.of("answers again")
				if want := min(1, len(test.warning)); len(warnings) != want || len(over) != want {
					t.Fatalf("%d warnings and %d ends, not %d of each:\n%s", len(warnings), len(over), want, &lines.text)
				}
				if len(test.warning) == 0 {
					return
				}
				for _, text := range test.warning {
					if !strings.Contains(warnings[0].text, text) {
						t.Errorf("%q is not in %s", text, warnings[0].text)
					}
				}
				for _, text := range test.over {
					if !strings.Contains(over[0].text, text) {
						t.Errorf("%q is not in %s", text, over[0].text)
					}
				}
				if at := warnings[0].at.Sub(start); at != test.at {
					t.Errorf("said after %v, not %v", at, test.at)
				}
			})
		})
	}
}

// What was told of a feed is over when the service refuses it for good, or another process reads it: an outage at the same
// host that others meet later is told again.
func TestTroubleOfWhoIsRefusedOrLeaves(t *testing.T) {
	for name, refused := range map[string]bool{"refused": true, "left": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var lines notedLines
				status := 500
				credential, _ := NewCredential(ClientSecret, "s")
				client := NewClient(ClientOptions{
					TokenURL: "https://login.example/token", ClientID: "c", Credential: credential, Log: slog.New(slog.NewTextHandler(&lines, nil)),
					Transport: answering(func(r *http.Request) (*http.Response, error) {
						a := &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(`{"error":{"code":"x"}}`)), Request: r}
						if r.URL.Host == "login.example" {
							a.StatusCode, a.Body = 200, io.NopCloser(strings.NewReader(`{"access_token":"bearer-value","token_type":"Bearer","expires_in":3600}`))
						}
						return a, nil
					}),
				})
				read := func(feed string) {
					r, err := NewReader(client, &definition.Feed{
						Name: feed, Scope: template(t, "s/.default"), Request: definition.Request{Method: "GET", URL: template(t, "https://api.example/list")},
						Paging: definition.Paging{Style: definition.PagingNone}, Records: "value", Key: []string{"id"},
					}, "", nil)
					if err == nil {
						err = r.Read(t.Context(), hour, newSink())
					}
					if _, ok := errors.AsType[*StatusError](err); !ok {
						t.Errorf("%s: %v", feed, err)
					}
				}
				read("one")
				ends := 0
				if refused {
					status, ends = 403, 1
					read("one")
					status = 500
				} else {
					client.Left("one", "")
				}
				if n := len(lines.of("answers again")); n != ends {
					t.Errorf("%d ends are told, want %d:\n%s", n, ends, &lines.text)
				}
				time.Sleep(time.Hour)
				read("two")
				if warnings := lines.of("level=WARN"); len(warnings) != 2 || !strings.Contains(warnings[1].text, "feeds=two") {
					t.Errorf("%d outages are told, want 2:\n%s", len(warnings), &lines.text)
				}
			})
		})
	}
}

// A connector that stops has not been answered.
func TestTroubleOfWhoStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines notedLines
		credential, _ := NewCredential(ClientSecret, "s")
		client := NewClient(ClientOptions{
			TokenURL: "https://login.example/token", ClientID: "c", Credential: credential, Log: slog.New(slog.NewTextHandler(&lines, nil)),
			Transport: answering(func(*http.Request) (*http.Response, error) { return nil, io.ErrUnexpectedEOF }),
		})
		r, err := NewReader(client, &definition.Feed{
			Name: "one", Scope: template(t, "s/.default"), Request: definition.Request{Method: "GET", URL: template(t, "https://api.example/list")},
			Paging: definition.Paging{Style: definition.PagingNone}, Records: "value", Key: []string{"id"},
		}, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
		defer stop()
		if err := r.Read(ctx, hour, newSink()); err == nil {
			t.Error("it was read")
		}
		if warnings, over := lines.of("level=WARN"), lines.of("answers again"); len(warnings) != 1 || len(over) != 0 {
			t.Errorf("%d warnings and %d ends:\n%s", len(warnings), len(over), &lines.text)
		}
	})
}

type answering func(*http.Request) (*http.Response, error)

func (a answering) RoundTrip(r *http.Request) (*http.Response, error) { return a(r) }

// notedLines are the lines of a log and when they came.
type notedLines struct {
	mu    sync.Mutex
	text  bytes.Buffer
	lines []notedLine
}

type notedLine struct {
	at   time.Time
	text string
}

func (l *notedLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, notedLine{time.Now(), string(p)})
	return l.text.Write(p)
}

func (l *notedLines) of(text string) (found []notedLine) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		if strings.Contains(line.text, text) {
			found = append(found, line)
		}
	}
	return found
}
