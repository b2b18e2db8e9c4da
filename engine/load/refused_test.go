package load

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

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
