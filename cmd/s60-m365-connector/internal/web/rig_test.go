package web

import (
	"iter"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/definitions"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/fleet"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/engine"
	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/extract"
	"github.com/secure60/s60-m365-connector/engine/load"
)

var pageNow = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const hostile = `<script>alert(1)</script>"'><img src=x onerror=alert(2)>`

// pageStatus is a connector with one of everything that the page shows.
func pageStatus() engine.Status {
	counts := func(delivered, duplicate int64) checkpoint.Counts {
		return checkpoint.Counts{Listed: delivered + duplicate, Fetched: delivered + duplicate, Delivered: delivered, Duplicate: duplicate}
	}
	ok := func(feed, partition string, lag time.Duration, delivered int64) engine.FeedStatus {
		return engine.FeedStatus{
			Feed: feed, Partition: partition, State: engine.OK, Since: pageNow.Add(-5 * time.Hour), Cursor: pageNow.Add(-lag),
			Forwarded: delivered + 1_000_000, LastSuccess: pageNow.Add(-time.Minute), Total: counts(delivered, delivered/50),
			Requests: extract.Stats{Requests: delivered / 10, Retries: 2, Throttled: 1, Waited: 34 * time.Second},
		}
	}
	general := ok("o365-management-activity", "Audit.General", 6*time.Minute, 4_410)
	general.Total.Skipped, general.Late, general.Gaps = 2, 17, 1
	general.LastGap = engine.Gap{From: pageNow.Add(-200 * time.Hour), To: pageNow.Add(-170 * time.Hour), Reason: "the service no longer keeps them"}
	general.FieldErrors = map[string]int64{"user_name": 3, "file_name": 12}
	failing := ok("entra-directory-audits", "", 3*time.Hour, 812)
	failing.State, failing.LastErrorAt = engine.Failing, pageNow.Add(-2*time.Minute)
	failing.LastError = `GET https://graph.microsoft.com/v1.0/auditLogs/directoryAudits: HTTP 403 Authorization_RequestDenied: ` + hostile
	failing.Difference = 1
	gated := engine.FeedStatus{
		Feed: "entra-risk-detections", State: engine.Gated, Since: pageNow.Add(-4 * time.Hour), Cursor: pageNow.Add(-28 * time.Hour),
		Requires: "Entra ID P2", GateReason: "HTTP 403: Your tenant is not licensed for this feature.", GateUntil: pageNow.Add(2 * time.Hour),
	}
	return engine.Status{
		Name: program.Name, Version: "1.2.3", Started: pageNow.Add(-5 * time.Hour), Now: pageNow, Destination: "ingest",
		Delivery: load.State{OK: true, Requests: 1200, Events: 60_000}, DeadLetters: 3, CredentialExpires: pageNow.Add(20*24*time.Hour + time.Hour),
		Feeds: []engine.FeedStatus{
			ok("o365-management-activity", "Audit.AzureActiveDirectory", 5*time.Minute+20*time.Second, 8_204),
			ok("o365-management-activity", "Audit.Exchange", 5*time.Minute+22*time.Second, 21_930),
			ok("o365-management-activity", "Audit.SharePoint", 5*time.Minute+18*time.Second, 17_023),
			general,
			ok("o365-management-activity", "DLP.All", 5*time.Minute+21*time.Second, 44),
			ok("entra-signins", "", 2*time.Minute, 3_481),
			ok("entra-signins-noninteractive", "", 95*time.Second, 12_772),
			failing, gated,
			{Feed: "entra-risky-users", State: engine.Starting, Since: pageNow.Add(-5 * time.Second)},
			{Feed: "security-alerts", State: engine.Disabled}, {Feed: "intune-audit-events", State: engine.Disabled},
		},
	}
}

// pageHistory is five hours before a status, with a burst at the start and
// working hours after it.
func pageHistory(now engine.Status) *fleet.History {
	h := &fleet.History{}
	for at := 5 * time.Hour; at > 0; at -= fleet.SampleEvery {
		s := fleet.SampleOf(now)
		s.At = now.Now.Add(-at)
		for i := range s.Feeds {
			share := 1 - float64(at)/float64(5*time.Hour)
			wave := share + 0.03*math.Sin(share*25+float64(i)) - 0.03*math.Sin(float64(i))
			s.Feeds[i].Delivered = int64(float64(s.Feeds[i].Delivered) * min(max(0.25*min(share*12, 1)+0.75*wave, 0), 1))
			if s.Feeds[i].Lag >= 0 {
				s.Feeds[i].Lag = s.Feeds[i].Lag + time.Duration(float64(20*time.Minute)*math.Exp(-share*30)) + time.Duration(int64(at/time.Second)*7%300)*time.Second
			}
		}
		h.Add(s)
	}
	return h
}

// testedPage are the pages of one tenant, to be changed before they are served.
type testedPage struct{ *pages }

func testPage(t *testing.T, status func() engine.Status) *testedPage {
	t.Helper()
	return &testedPage{&pages{
		status: status, history: pageHistory(status()), defs: shippedDefinitions(), set: processSettings(t), busy: make(chan struct{}, atOnce), ledger: pageLedger,
		recent: pageRecent(), explain: error.Error,
	}}
}

func (p *testedPage) mux() *http.ServeMux {
	mux := http.NewServeMux()
	p.route(mux)
	mux.HandleFunc("GET /{$}", p.showStatus)
	routeFeeds(mux, "", func(answer func(*pages, http.ResponseWriter, *http.Request)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { answer(p.pages, w, r) }
	})
	return mux
}

func testPages(t *testing.T, status func() engine.Status) http.Handler {
	t.Helper()
	return testPage(t, status).mux()
}

// pageLedger is what a store tells of the feeds whose names begin so: a day's total, and windows of five minutes.
func pageLedger(prefix string) iter.Seq2[checkpoint.Entry, error] {
	return func(yield func(checkpoint.Entry, error) bool) {
		entry := func(feed, partition string, to time.Time, n int64) checkpoint.Entry {
			return checkpoint.Entry{Feed: feed, Partition: partition, From: to.Add(-5 * time.Minute), To: to, Complete: true,
				Counts: checkpoint.Counts{Listed: n, Fetched: n, Delivered: n - 1, Duplicate: 1}}
		}
		total := entry("entra-signins", "", pageNow.Add(-24*time.Hour), 99_999)
		total.Windows = 288
		if !yield(total, nil) {
			return
		}
		for n := int64(1); n <= 300; n++ {
			e := entry("entra-signins", "", pageNow.Add(-time.Duration(301-n)*5*time.Minute), 1000+n)
			e.Complete = n < 300
			if n == 299 {
				e.Skipped, e.Delivered, e.Reasons = 2, e.Delivered-2, map[string]int64{"the service has <lost> it": 2}
			}
			if !yield(e, nil) {
				return
			}
		}
		yield(entry("entra-signins-noninteractive", "", pageNow, 77_777), nil)
	}
}

// shows fails unless a page is answered with a code, holds some texts, and not others.
func shows(t *testing.T, h http.Handler, r *http.Request, code int, wants, nots []string) {
	t.Helper()
	response, body := fetch(h, r)
	if response.StatusCode != code {
		t.Errorf("HTTP %d, want %d", response.StatusCode, code)
	}
	for _, want := range wants {
		if !strings.Contains(body, want) {
			t.Errorf("%q is not on the page", want)
		}
	}
	for _, not := range nots {
		if strings.Contains(body, not) {
			t.Errorf("%q is on the page", not)
		}
	}
	if t.Failed() {
		t.Log(body)
	}
}

func fetch(h http.Handler, r *http.Request) (*http.Response, string) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result(), w.Body.String()
}

// processSettings are those of a process with nothing set.
func processSettings(t *testing.T) *settings.Settings {
	t.Helper()
	s, err := settings.Read(map[string]string{}, true)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// shippedDefinitions are those of a process without an overlay.
var shippedDefinitions = sync.OnceValue(func() *definitions.Compiled {
	s, err := settings.Read(map[string]string{}, true)
	if err != nil {
		panic(err)
	}
	defs, problems := definitions.Load(s, "")
	if defs == nil {
		panic(problems)
	}
	return defs
})
