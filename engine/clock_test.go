package engine

import (
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

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/tidwall/gjson"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/extract"
	"github.com/secure60/s60-m365-connector/engine/load"
	"github.com/secure60/s60-m365-connector/engine/transform"
)

// A host whose clock is wrong: from the first window on it is the service's clock by which is planned. Nothing is
// asked for that lies too far back, nothing is told as lost, and what is new is delivered at the next poll.
func TestWindowsByTheServicesClock(t *testing.T) {
	for name, test := range map[string]struct {
		ahead time.Duration // the service's clock, of this host's
		late  time.Duration // no token until then
		gaps  int
	}{
		"12 minutes slow":               {ahead: 12 * time.Minute},
		"12 minutes fast":               {ahead: -12 * time.Minute},
		"slow, and no token for a time": {ahead: 12 * time.Minute, late: time.Hour, gaps: 1},
		"fast, and no token for a time": {ahead: -12 * time.Minute, late: time.Hour, gaps: 1},
		"right":                         {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				now := func() time.Time { return time.Now().Add(test.ahead).UTC() }
				var mu sync.Mutex
				tooEarly, future, gaps, got := 0, 0, 0, map[string]int{}
				tenant := part(func(r *http.Request) (*http.Response, error) {
					mu.Lock()
					defer mu.Unlock()
					date := []string{"Date", now().Format(http.TimeFormat)}
					if strings.HasSuffix(r.URL.Path, "/token") {
						if time.Since(start) < test.late {
							return answer(r, 503, `{"error":"temporarily_unavailable"}`, date...)
						}
						return answer(r, 200, `{"access_token":"bearer","token_type":"Bearer","expires_in":3600}`, date...)
					}
					from, _ := time.Parse(time.RFC3339, r.URL.Query().Get("from"))
					to, _ := time.Parse(time.RFC3339, r.URL.Query().Get("to"))
					if from.Before(now().Add(-7 * 24 * time.Hour)) {
						tooEarly++
						return answer(r, 400, `{"error":{"code":"AF20030","message":"m"}}`, date...)
					}
					if to.After(now().Add(time.Second)) {
						future++
					}
					var records []string // one a quarter of an hour, by the service's clock
					for at := from.Truncate(15 * time.Minute); at.Before(to); at = at.Add(15 * time.Minute) {
						if !at.Before(from) {
							records = append(records, fmt.Sprintf(`{"id":%q,"at":%q}`, at.Format(time.RFC3339), at.Format(time.RFC3339)))
						}
					}
					return answer(r, 200, `{"value":[`+strings.Join(records, ",")+`]}`, date...)
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
						case "act":
							got[event.Get("event_id").String()]++
						}
					}
					return answer(r, 200, ``)
				})
				e := clockEngine(t, "https://login.example/token", tenant, sink)
				synctest.Wait()
				go e.Run(t.Context()) //nolint:errcheck // it ends with the test
				time.Sleep(26 * time.Hour)
				mu.Lock()
				defer mu.Unlock()
				// Where there was no token for an hour, what the service kept for just that long is lost.
				if tooEarly > 0 || future > 0 || gaps != test.gaps {
					t.Errorf("%d requests too far back, %d into the future, %d gaps told", tooEarly, future, gaps)
				}
				if newest := now().Add(-10 * time.Minute).Truncate(15 * time.Minute).Format(time.RFC3339); got[newest] != 1 {
					t.Errorf("%s was delivered %d times", newest, got[newest])
				}
				for id, n := range got {
					if n != 1 {
						t.Errorf("%s was delivered %d times", id, n)
					}
				}
				s := e.Status()
				if off, lag := s.ClockOff().Round(time.Minute), s.Feeds[0].Lag(s.Now); off != test.ahead || lag > 6*time.Minute {
					t.Errorf("told is that the service's clock is %s ahead, and a lag of %s", off, lag)
				}
				if ahead := e.heartbeatEvent()["event_service_ahead_seconds"]; (ahead != nil) != (test.ahead != 0) {
					t.Errorf("the heartbeat says that the service's clock is %v ahead", ahead)
				}
				if n := len(got); n < (6*24+20)*4 {
					t.Errorf("%d records were delivered", n)
				}
			})
		})
	}
}

func clockEngine(t *testing.T, tokenURL string, tenant, sink http.RoundTripper) *Engine {
	t.Helper()
	return engineOf(t, tokenURL, slog.New(slog.DiscardHandler), fstest.MapFS{"f.yaml": {Data: fmt.Appendf(nil, simulatedFeeds, "f",
		fmt.Sprintf(simulatedWindow, "list"), "  - {when: 'error.code == \"AF20030\"', then: too_early}\n")}}, tenant, sink)
}

// engineOf is an engine of its own, whose state is in memory.
func engineOf(t *testing.T, tokenURL string, log *slog.Logger, feeds fstest.MapFS, tenant, sink http.RoundTripper) *Engine {
	t.Helper()
	set, problems := definition.Load(definition.Options{Feeds: feeds, Mappings: simulatedMappings, Settings: map[string]any{}})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	mapping, problems := transform.Compile(set.Mappings()[0], transform.Options{})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	store, err := checkpoint.Open("state", checkpoint.Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	letters, err := load.OpenDeadLetters(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	credential, _ := extract.NewCredential(extract.ClientSecret, "s")
	destination, err := load.Open(load.Config{Kind: load.KindCollector, URL: "https://sink.example/", Format: load.FormatNDJSON, Transport: sink})
	if err != nil {
		t.Fatal(err)
	}
	e, err := New(Config{
		Name: "connector", Version: "1", Feeds: set.Feeds, Mappings: compiled(mapping), Settings: map[string]any{},
		Client:      extract.NewClient(extract.ClientOptions{TokenURL: tokenURL, ClientID: "c", Credential: credential, Transport: tenant}),
		Destination: destination, DeadLetters: letters, Store: store,
		Poll: 5 * time.Minute, Lookback: 7 * 24 * time.Hour, Heartbeat: time.Hour, Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	return e
}
