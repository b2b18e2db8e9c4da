package engine

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/tidwall/gjson"
)

// What a service does for hours, and might for good, holds up its own feed alone, within bounds; log, heartbeat and status
// say what it is, and when it is over; what is lost by it is told once it is known.
func TestForGood(t *testing.T) {
	const begins = time.Hour
	for name, c := range map[string]struct {
		lasts    time.Duration
		own      string // of the feed
		rule     string
		fault    func(r *http.Request, n int) (*http.Response, error)
		says     string
		requests int // meanwhile, at most
		starts   int
		gaps     int
	}{
		"no subscription, though it is listed as enabled": {
			lasts: 24 * time.Hour, own: simulatedStarts, rule: "  - {when: 'error.code == \"AF20022\"', then: subscribe}\n",
			fault: func(r *http.Request, _ int) (*http.Response, error) {
				return answer(r, 400, `{"error":{"code":"AF20022","message":"No subscription found for the specified content type."}}`)
			},
			says: "AF20022: No subscription found", requests: 4 * (24*4 + 1), starts: 24*4 + 1, gaps: 1,
		},
		"empty pages that each name another": {
			lasts: 6 * time.Hour,
			fault: func(r *http.Request, n int) (*http.Response, error) {
				return answer(r, 200, fmt.Sprintf(`{"value":[],"@odata.nextLink":"https://service.example/ill?page=%d"}`, n))
			},
			says: "100 pages in a row", requests: 6 * 60 * 100,
		},
	} {
		t.Run(name, func(t *testing.T) {
			ends := begins + c.lasts
			synctest.Test(t, func(t *testing.T) {
				begun := time.Now()
				ill := func() bool { return time.Since(begun) >= begins && time.Since(begun) < ends }
				var mu sync.Mutex
				var failures []string // what heartbeats say
				requests, starts, gaps, got := 0, 0, 0, map[string]int{}
				tenant := part(func(r *http.Request) (*http.Response, error) {
					mu.Lock()
					defer mu.Unlock()
					if strings.HasSuffix(r.URL.Path, "/token") {
						return answer(r, 200, `{"access_token":"bearer","token_type":"Bearer","expires_in":3600}`)
					}
					if ill() && r.URL.Path != "/well" {
						requests++
					}
					switch r.URL.Path {
					case "/subscriptions":
						return answer(r, 200, `[{"status":"enabled"}]`)
					case "/start":
						starts++
						return answer(r, 400, `{"error":{"code":"on","message":"The subscription is already enabled."}}`)
					case "/ill":
						if ill() {
							return c.fault(r, requests)
						}
					}
					from, _ := time.Parse(time.RFC3339, r.URL.Query().Get("from"))
					to, _ := time.Parse(time.RFC3339, r.URL.Query().Get("to"))
					var records []string // one a quarter of an hour
					for at := from.Truncate(15 * time.Minute); at.Before(to); at = at.Add(15 * time.Minute) {
						if !at.Before(from) {
							records = append(records, fmt.Sprintf(`{"id":"%s %s","at":%q}`, r.URL.Path, at.Format(time.RFC3339), at.Format(time.RFC3339)))
						}
					}
					return answer(r, 200, `{"value":[`+strings.Join(records, ",")+`]}`)
				})
				sink := part(func(r *http.Request) (*http.Response, error) {
					body, err := io.ReadAll(r.Body)
					if err != nil {
						return nil, err
					}
					mu.Lock()
					defer mu.Unlock()
					for line := range strings.Lines(string(body)) {
						switch event := gjson.Parse(line); event.Get("operation").String() {
						case "connector-gap":
							gaps++
							if ill() {
								t.Errorf("told as lost while nobody knows: %s", line)
							}
						case "connector-heartbeat":
							if event.Get("outcome").String() == "failure" {
								failures = append(failures, event.Get("event_feed_ill_last_error").String())
							}
						case "act":
							got[event.Get("event_id").String()]++
						}
					}
					return answer(r, 200, ``)
				})
				log := &bytes.Buffer{}
				e := engineOf(t, "https://login.example/token", slog.New(slog.NewTextHandler(&locked{w: log}, nil)), fstest.MapFS{
					"ill.yaml":  {Data: fmt.Appendf(nil, simulatedFeeds, "ill", fmt.Sprintf(simulatedWindow, "ill")+c.own, c.rule)},
					"well.yaml": {Data: fmt.Appendf(nil, simulatedFeeds, "well", fmt.Sprintf(simulatedWindow, "well"), "")},
				}, tenant, sink)
				go e.Run(t.Context()) //nolint:errcheck // it ends with the test
				time.Sleep(ends - time.Minute)
				status := e.Status()
				for _, f := range status.Feeds {
					if want := map[string]State{"ill": Failing, "well": OK}[f.Feed]; f.State != want || want == Failing && !strings.Contains(f.LastError, c.says) {
						t.Errorf("feed %s is %s: %s", f.Feed, f.State, f.LastError)
					}
				}
				mu.Lock()
				if n := len(failures); n < int(c.lasts/time.Hour)-1 || !strings.Contains(failures[n-1], c.says) {
					t.Errorf("%d heartbeats of a failure, the last: %q", n, failures)
				}
				mu.Unlock()
				time.Sleep(ends + 2*time.Hour - time.Since(begun))
				mu.Lock()
				defer mu.Unlock()
				if requests > c.requests || starts > c.starts || c.starts > 0 && starts < c.starts-2 {
					t.Errorf("%d requests, at most %d are wanted; %d starts, about %d are", requests, c.requests, starts, c.starts)
				}
				if gaps != c.gaps {
					t.Errorf("%d gaps told, want %d", gaps, c.gaps)
				}
				if text := log.String(); !strings.Contains(text, c.says) || strings.Count(text, "level=ERROR") > 3 || strings.Count(text, "feed works again") != 1 {
					t.Errorf("the log says\n%s", text)
				}
				for _, f := range e.Status().Feeds {
					if f.State != OK {
						t.Errorf("feed %s is %s after all is well: %s", f.Feed, f.State, f.LastError)
					}
				}
				for _, feed := range []string{"/ill", "/well"} {
					for at := begun.Truncate(15 * time.Minute); at.Before(time.Now().Add(-10 * time.Minute)); at = at.Add(15 * time.Minute) {
						if id := feed + " " + at.UTC().Format(time.RFC3339); got[id] != 1 {
							t.Errorf("%s was delivered %d times", id, got[id])
						}
					}
				}
			})
		})
	}
}
