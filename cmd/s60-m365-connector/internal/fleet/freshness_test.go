package fleet

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidwall/gjson"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/engine/simulator"
)

var freshRecords = flag.Int("fresh.records", 2_000, "sign-ins, and audit records, in two hours of TestFresh")

// TestFresh: of a tenant with as many sign-ins, and as many audit records, in two hours as the flag says, half arrive
// within half the interval, a second, and what the answers take from when Microsoft lists them; within 35 seconds where the
// interval is a minute. So it is with all default feeds, and within Microsoft's limits. A feed
// with an interval of its own is polled by that.
//
// The connector is the real one and the tenant the simulated one, without sockets between them, and the time is virtual: an
// hour, after some minutes to catch up. Answers take as long as [answersAfter] says, the connector's own work no time.
func TestFresh(t *testing.T) {
	if testing.Short() {
		t.Skip("two times an hour of a tenant")
	}
	for _, c := range []struct {
		interval string // POLLING_INTERVAL_MINUTES; "": the default
		median   time.Duration
		worst    time.Duration
	}{
		{"", 150*time.Second + time.Second + answersAfter("/auditLogs/") + answersAfter("/ingest/"), 6 * time.Minute},
		{"1", 35 * time.Second, 2 * time.Minute},
	} {
		t.Run("interval="+c.interval, func(t *testing.T) {
			perHour := float64(*freshRecords) / 2
			volumes := map[string]simulator.Volume{}
			for name, share := range map[string]float64{
				simulator.SignInsInteractive: 0.38, simulator.SignInsNonInteractive: 0.49, simulator.SignInsServicePrincipal: 0.09, simulator.SignInsManagedIdentity: 0.04,
				simulator.AuditEntra: 0.22, simulator.AuditExchange: 0.27, simulator.AuditSharePoint: 0.33, simulator.AuditGeneral: 0.16, simulator.DLPAll: 0.02,
				simulator.DirectoryAudits: 0.1, simulator.RiskDetections: 0.005, simulator.RiskyUsers: 0.005,
			} {
				volumes[name] = simulator.Volume{History: int(share * float64(*freshRecords)), PerHour: share * perHour}
			}
			sim, start := virtually(t, simulator.Options{Records: -1, History: 2 * time.Hour, Volumes: volumes, Subscribed: simulator.ContentTypes, Throttle: true})
			env := sim.EnvMap()
			env["STATE_DIR"], env["CONFIG_DIR"], env["LISTEN_ADDR"], env["DELIVERY_FORMAT"] = t.TempDir(), t.TempDir(), "", "ndjson"
			if c.interval != "" {
				env["POLLING_INTERVAL_MINUTES"] = c.interval
				for _, file := range []string{"feeds/doors-delta.yaml", "mappings/door.yaml"} {
					text, err := os.ReadFile(filepath.Join("..", "cases", "testdata", file))
					own := filepath.Join(env["CONFIG_DIR"], file)
					if err = errors.Join(err, os.Mkdir(filepath.Dir(own), 0o700), os.WriteFile(own, text, 0o600)); err != nil {
						t.Fatal(err)
					}
				}
			}
			s, err := settings.Read(env, false)
			if err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) {
				start()
				w := &freshWatch{sim: sim, listed: map[string]time.Time{}, blobs: map[string]time.Time{}, asked: map[string][]time.Time{}, took: map[string][]time.Duration{},
					from: began.Add(15 * time.Minute), to: began.Add(75 * time.Minute)}
				w.live(t, s)
				w.judge(t, c.median, c.worst)
				quarters := int64(time.Since(began) / (15 * time.Minute)) // and the first
				if n := sim.Report().Counts["requests.graph.delta"]; c.interval != "" && (n < quarters || n > quarters+2) {
					t.Errorf("a feed with an interval of 15 minutes was polled %d times in %v", n, time.Since(began))
				}
			})
		})
	}
}

// began is when the virtual time of a test begins.
var began = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// virtually makes a simulated tenant whose time is virtual once start is called, which is when a bubble begins.
func virtually(t *testing.T, o simulator.Options) (sim *simulator.Simulator, start func()) {
	t.Helper()
	var started atomic.Bool
	o.Now = func() time.Time {
		if started.Load() {
			return time.Now()
		}
		return began
	}
	sim, err := simulator.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sim.Close() }) //nolint:errcheck // nobody is connected
	return sim, func() { started.Store(true) }
}

// freshWatch is what lies between the connector and the tenant: it sees when what was listed, and when it came.
type freshWatch struct {
	sim      *simulator.Simulator
	from, to time.Time // what is listed between is judged

	mu       sync.Mutex
	blobs    map[string]time.Time // by URL: when they were made
	listed   map[string]time.Time // audit records by id: when their blob was made
	asked    map[string][]time.Time
	took     map[string][]time.Duration
	throttle int
}

// live runs a connector until what is judged has arrived.
func (w *freshWatch) live(t *testing.T, s *settings.Settings) {
	p, err := OpenProcess(t.Context(), s, Options{Out: io.Discard, Err: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close() //nolint:errcheck // the test is over
	p.requests, p.delivers = w, w
	c, err := p.Connect(s)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close() //nolint:errcheck // likewise
	ctx, stop := context.WithTimeout(t.Context(), time.Until(w.to)+2*s.Poll+time.Minute)
	defer stop()
	if err := c.Engine.Run(ctx); err != nil {
		t.Error(err)
	}
}

// answersAfter is how long answers take: those of Graph's reports, which are slow, and all others.
func answersAfter(path string) time.Duration {
	if strings.Contains(path, "/auditLogs/") {
		return 500 * time.Millisecond
	}
	return 200 * time.Millisecond
}

// RoundTrip implements [http.RoundTripper].
func (w *freshWatch) RoundTrip(r *http.Request) (*http.Response, error) {
	time.Sleep(answersAfter(r.URL.Path) / 2)
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
		r.Body.Close() //nolint:errcheck // it was read
		r = r.Clone(r.Context())
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	w.ask(r)
	answer, text := directly(w.sim, r)
	w.see(r, answer.StatusCode, text, body)
	time.Sleep(answersAfter(r.URL.Path) / 2)
	return answer, nil
}

// directly is the answer of a simulated tenant, and its body, without a socket between them.
func directly(sim *simulator.Simulator, r *http.Request) (*http.Response, []byte) {
	recorder := httptest.NewRecorder()
	sim.Handler(r.URL.Host).ServeHTTP(recorder, r)
	answer := recorder.Result()
	answer.Request = r
	return answer, recorder.Body.Bytes()
}

// ask counts a request against the limit that it falls under.
func (w *freshWatch) ask(r *http.Request) {
	bucket := ""
	switch path := r.URL.Path; {
	case strings.Contains(path, "/auditLogs/"):
		bucket = reports
	case strings.Contains(path, "/identityProtection/"):
		bucket = protection
	case strings.Contains(path, "/activity/feed/"):
		bucket = management
	default:
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked[bucket] = append(w.asked[bucket], time.Now())
}

const reports, protection, management = "reports, 5 in 10 s", "identity protection, 1 in 1 s", "management, 2000 in 1 min"

// see reads what an answer lists, and what was delivered.
func (w *freshWatch) see(r *http.Request, status int, answer, delivered []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if status == http.StatusTooManyRequests || status == http.StatusForbidden {
		w.throttle++
	}
	switch path := r.URL.Path; {
	case strings.HasSuffix(path, "/subscriptions/content"):
		gjson.ParseBytes(answer).ForEach(func(_, blob gjson.Result) bool {
			w.blobs[blob.Get("contentUri").String()] = blob.Get("contentCreated").Time()
			return true
		})
	case strings.Contains(path, "/activity/feed/audit/"):
		url := *r.URL
		url.RawQuery = ""
		made, ok := w.blobs[url.String()]
		if !ok {
			panic("a blob that was not listed: " + url.String())
		}
		for _, id := range gjson.GetBytes(answer, "#.Id").Array() {
			if _, again := w.listed[id.String()]; !again {
				w.listed[id.String()] = made
			}
		}
	case strings.Contains(path, "/ingest/"):
		for line := range bytes.Lines(delivered) {
			w.arrived(line)
		}
	}
}

// arrived takes the time that an event took, if its record was listed while it is watched.
func (w *freshWatch) arrived(event []byte) {
	f := gjson.GetManyBytes(event, "source_name", "event_Id", "event_createdDateTime", "event_activityDateTime", "event_lastUpdatedDateTime", "event_riskLastUpdatedDateTime")
	var at time.Time
	kind := "reports"
	switch name := f[0].String(); {
	case name == "o365-management-activity":
		at, kind = w.listed[f[1].String()], "management"
	case strings.HasPrefix(name, "entra-signins"):
		at = f[2].Time()
	case name == "entra-directory-audits":
		at = f[3].Time()
	case name == "entra-risk-detections":
		at, kind = f[4].Time(), "identity protection"
	case name == "entra-risky-users":
		at, kind = f[5].Time(), "identity protection"
	}
	if !at.Before(w.from) && at.Before(w.to) {
		w.took[kind] = append(w.took[kind], time.Since(at))
	}
}

// judge holds what was seen to what is promised.
func (w *freshWatch) judge(t *testing.T, median, worst time.Duration) {
	for _, kind := range slices.Sorted(maps.Keys(w.took)) {
		took := w.took[kind]
		slices.Sort(took)
		half, last := took[len(took)/2], took[len(took)-1]
		t.Logf("%s: %d records, from listed to delivered %v (median), %v (19 of 20), %v (worst)", kind, len(took),
			half.Round(time.Second/10), took[len(took)*19/20].Round(time.Second/10), last.Round(time.Second/10))
		if half > median || last > worst {
			t.Errorf("%s: from listed to delivered takes %v, at worst %v; more than %v, %v", kind, half, last, median, worst)
		}
	}
	report := w.sim.ReportBetween(w.from, w.to)
	if report.Lost > 0 || report.Duplicated > 0 || len(report.Violations) > 0 || report.Offered < int64(*freshRecords/2) {
		t.Errorf("of %d records %d were lost and %d came twice: %v", report.Offered, report.Lost, report.Duplicated, report.Violations)
	}
	if w.throttle > 0 {
		t.Errorf("%d requests were refused", w.throttle)
	}
	for bucket, asked := range w.asked {
		var most, span int
		fmt.Sscanf(bucket[strings.LastIndex(bucket, ",")+2:], "%d in %d", &most, &span) //nolint:errcheck // then it is 0, and too much
		per := time.Duration(span) * time.Second
		if strings.HasSuffix(bucket, "min") {
			per *= 60
		}
		densest := 0
		for i, from := 0, 0; i < len(asked); i++ {
			for asked[i].Sub(asked[from]) >= per {
				from++
			}
			densest = max(densest, i-from+1)
		}
		t.Logf("%s: %d requests, at most %d", bucket, len(asked), densest)
		if densest > most {
			t.Errorf("%s: %d", bucket, densest)
		}
	}
}
