package web

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/definitions"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/fleet"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/wording"
	"github.com/secure60/s60-m365-connector/engine"
	"github.com/secure60/s60-m365-connector/engine/load"
)

// TestFeedPage tells of one feed what the status page has no room for.
func TestFeedPage(t *testing.T) {
	h := testPages(t, func() engine.Status {
		s := pageStatus()
		for i := range s.Feeds {
			s.Feeds[i].Latency = engine.Delays{Counts: [14]int64{0: 30, 3: 65, 5: 5}, Sum: 3000}
		}
		return s
	})
	response, body := fetch(h, httptest.NewRequest("GET", "/feeds/entra-signins?range=1h", nil))
	if response.StatusCode != http.StatusOK {
		t.Fatalf("HTTP %d: %s", response.StatusCode, body)
	}
	text := strings.Join(strings.Fields(regexp.MustCompile(`<[^>]*>`).ReplaceAllString(body, " ")), " ")
	hasTexts(t, text, map[string]string{
		"permissions":       "Permissions: AuditLog.Read.All, Directory.Read.All.",
		"range":             "Throughput and lag last 1 h",
		"axis":              "11:00 11:15 11:30 11:45 12:00",
		"median":            "≤ 1 min 95 of 100 within 1 min",
		"class":             "up to 5 min 5 0",
		"window under way":  "2026-03-01 11:50:00 2026-03-01 11:55:00 5 min 1 300 1 299 1 0 0 0 0 under way",
		"window that lacks": "2 skipped: the service has &lt;lost&gt; it",
		"older ones":        "Older ones:",
	})
	for _, not := range []string{"99 999", "77 777", " 1 259 "} {
		if strings.Contains(text, not) {
			t.Errorf("%q is on the page", not)
		}
	}
	if _, status := fetch(h, httptest.NewRequest("GET", "/", nil)); !strings.Contains(status, `title="95 of 100 within 1 min">≤ 1 min</td>`) || !strings.Contains(status, "half arrive ≤ 1 min after they were listed") {
		t.Error("the status page does not tell the latency")
	}
	_, windows, _ := strings.Cut(body, `id="windows"`)
	if n := strings.Count(windows, `<tr class="first">`); n != shownWindows {
		t.Errorf("%d windows, want %d", n, shownWindows)
	}
	if _, body := fetch(h, httptest.NewRequest("GET", "/feeds/security-alerts", nil)); !strings.Contains(body, "Switched off") {
		t.Error("a feed that is off does not say so")
	}
	if response, body := fetch(h, httptest.NewRequest("GET", "/feeds/none", nil)); response.StatusCode != http.StatusNotFound || !strings.Contains(body, `no feed "none"`) {
		t.Errorf("a feed that is none: HTTP %d: %s", response.StatusCode, body)
	}
}

// TestOneCauseOnce: what several feeds fail for is told once, with those that it affects.
func TestOneCauseOnce(t *testing.T) {
	status := pageStatus()
	fail := func(at int, text string) {
		f := &status.Feeds[at]
		f.State, f.LastError, f.LastErrorAt, f.FieldErrors, f.Difference = engine.Failing, text, pageNow.Add(-time.Duration(at)*time.Minute), nil, 0
	}
	fail(1, "POST https://login.example/t/token: AADSTS7000222: The client secret has expired, trace 0c7b5a6e-0000-4c4e-9d3a-111111111111")
	fail(5, "POST https://login.example/t/token: AADSTS7000222: The client secret has expired, trace 0c7b5a6e-0000-4c4e-9d3a-222222222222")
	fail(7, "GET https://graph.example/v1.0/x: HTTP 500")
	_, body := fetch(testPage(t, func() engine.Status { return status }).mux(), httptest.NewRequest("GET", "/", nil))
	text := plainText(body)
	if n := strings.Count(text, "AADSTS7000222"); n != 1 {
		t.Errorf("one cause is told %d times", n)
	}
	hasTexts(t, text, map[string]string{
		"the cause, with when it was met last": "2 feeds fail for one reason at 2026-03-01 11:59:00",
		"whom it affects":                      "Affects o365-management-activity Audit.Exchange, entra-signins",
		"what to do":                           "What to do https://login.microsoftonline.com/error",
		"another cause, of one feed":           "The last round failed at 2026-03-01 11:53:00 GET https://graph.example/v1.0/x: HTTP 500",
	})
}

// TestIntendedLag: the pages say how much of the lag is intended: the time between polls, and what a feed keeps off.
func TestIntendedLag(t *testing.T) {
	p := testPage(t, pageStatus)
	_, body := fetch(p.mux(), httptest.NewRequest("GET", "/", nil))
	if text := plainText(body); !strings.Contains(text, "up to 5 min, the time between two polls, is intended. Latency") {
		t.Error("the status page does not say what lag is intended")
	}
	set := *p.defs.Set
	set.Feeds = slices.Clone(set.Feeds)
	for i, f := range set.Feeds {
		if f.Name == "entra-signins" {
			window, feed := *f.Window, *f
			window.Delay, feed.Window = 15*time.Minute, &window
			set.Feeds[i] = &feed
		}
	}
	p.defs = &definitions.Compiled{Set: &set, Mappings: p.defs.Mappings}
	_, body = fetch(p.mux(), httptest.NewRequest("GET", "/", nil))
	_, feed := fetch(p.mux(), httptest.NewRequest("GET", "/feeds/entra-signins", nil))
	if !strings.Contains(body, "come incomplete: entra-signins 15 min.") || !strings.Contains(feed, "behind now; up to 20 min is intended") {
		t.Error("what a feed keeps off is not told")
	}
}

// TestRanges: the plots span what was chosen, six hours if nothing was.
func TestRanges(t *testing.T) {
	h := testPages(t, pageStatus)
	for query, want := range map[string]string{"": "last 5 h", "?range=6h": "last 5 h", "?range=1h": "last 1 h", "?range=24h": "last 5 h", "?range=x": "last 5 h"} {
		_, body := fetch(h, httptest.NewRequest("GET", "/"+query, nil))
		if !strings.Contains(body, "plots of the "+want) {
			t.Errorf("%q: the plots are not of the %s", query, want)
		}
		if n := strings.Count(body, `aria-current="true"`); n != 1 {
			t.Errorf("%q: %d ranges are the current one", query, n)
		}
	}
}

func TestStatusPage(t *testing.T) {
	h := testPages(t, func() engine.Status {
		s := pageStatus()
		s.Replica, s.Replicas = "a", []engine.ReplicaStatus{{Name: "a", Here: true, Held: []string{"entra-signins"}}, {Name: "b"}}
		s.HandOver = engine.HandOver{Feed: "entra-signins", To: "a", At: pageNow.Add(-time.Minute)}
		return s
	})
	response, body := fetch(h, httptest.NewRequest("GET", "/", nil))
	if response.StatusCode != http.StatusOK {
		t.Fatalf("HTTP %d: %s", response.StatusCode, body)
	}
	text := strings.Join(strings.Fields(regexp.MustCompile(`<[^>]*>`).ReplaceAllString(body, " ")), " ")
	hasTexts(t, text, map[string]string{
		"headline":            "Collecting, but not everything: 1 failing, 1 gated, 1 catching up, 7 ok",
		"version":             "version " + program.Version,
		"uptime":              "5 h since 1 Mar 07:00",
		"partition":           "Audit.SharePoint",
		"cursor":              "2026-03-01 11:58:00",
		"lag":                 "5 min 20 s",
		"state and since":     "gated for 4 h",
		"gate, required":      "The tenant lacks what this feed requires: Entra ID P2",
		"gate, tried again":   "tried again by itself at 2026-03-01 14:00:00 UTC",
		"what to do":          "Grant the app AuditLog.Read.All, Directory.Read.All as application permissions, with admin consent.",
		"ledger difference":   "The ledger does not balance: 1 record unaccounted for",
		"gap":                 "2026-02-21 04:00:00 to 2026-02-22 10:00:00 1 d 6 h 1 the service no longer keeps them",
		"failed fields":       "file_name ×12, user_name ×3",
		"credential":          "20 days ends 21 Mar 2026",
		"dead letters":        "refused, to be replayed",
		"destination":         "ingest takes events",
		"switched off":        "Switched off: security-alerts, intune-audit-events.",
		"recent deliveries":   "Recent deliveries",
		"error, escaped":      "&lt;script&gt;alert(1)&lt;/script&gt;",
		"thousands apart":     "21 930", // by a thin space
		"plots":               "events a minute over the last 5 h",
		"throttled and waits": "34 s",
		"replicas":            "a this one 1 entra-signins b 0 nothing",
		"last hand-over":      "Last hand-over: entra-signins to a, at 2026-03-01 11:59:00",
	})
	if strings.Contains(body, "<script>alert") || strings.Contains(body, "<img src=x") {
		t.Error("a text of the service is markup on the page")
	}
	if n := strings.Count(body, `<path class="line" d="M`); n != 1+10+9 {
		t.Errorf("%d plots, want one of all feeds, one of each partition's throughput, and one of each known lag", n)
	}
}

// TestStatusPageOfANewConnector has neither feeds nor history.
func TestStatusPageOfANewConnector(t *testing.T) {
	empty := engine.Status{Name: program.Name, Version: "dev", Started: pageNow, Now: pageNow, Destination: "stdout", Delivery: load.State{OK: true}}
	_, body := fetch(testPages(t, func() engine.Status { return empty }), httptest.NewRequest("GET", "/", nil))
	for _, want := range []string{"No feed is switched on", "Nothing was delivered", "cannot be known"} {
		if !strings.Contains(body, want) {
			t.Errorf("%q is not on the page", want)
		}
	}
}

// TestRefusedCredential: one that is refused is not shown as good for another half a year.
func TestRefusedCredential(t *testing.T) {
	s := engine.Status{Now: pageNow, CredentialExpires: pageNow.Add(180 * 24 * time.Hour), Feeds: []engine.FeedStatus{{State: engine.Failing}}}
	for said, want := range map[string]fact{
		"the client secret has expired (AADSTS7000222)": {"Credential", "refused", "see above", bad},
		"HTTP 500": {"Credential", "180 days", "ends 28 Aug 2026", good},
	} {
		s.Feeds[0].LastError = said
		if all := facts(s, engine.FeedStatus{}, 0); !slices.Contains(all, want) {
			t.Errorf("%s: %v, want %v among them", said, all, want)
		}
	}
}

func TestHeadline(t *testing.T) {
	feed := func(states ...engine.State) engine.Status {
		s := engine.Status{Destination: "ingest", Delivery: load.State{OK: true}, Now: pageNow, Started: pageNow}
		for _, state := range states {
			s.Feeds = append(s.Feeds, engine.FeedStatus{Feed: string(state), State: state})
		}
		return s
	}
	refused := feed(engine.OK)
	refused.Delivery = load.State{LastError: "HTTP 401"}
	expired := feed(engine.Failing, engine.Failing)
	expired.CredentialExpires = pageNow.Add(-24 * time.Hour)
	for i := range expired.Feeds {
		expired.Feeds[i].LastError = "the client secret has expired (AADSTS7000222). Create a new client secret"
	}
	two := feed(engine.Failing, engine.Failing)
	two.Feeds[0].LastError, two.Feeds[1].LastError = "HTTP 500", "HTTP 404"
	tests := []struct {
		status engine.Status
		level  level
		text   string
	}{
		{feed(engine.OK, engine.OK), good, "Collecting: 2 ok"},
		{feed(engine.OK, engine.Gated), good, "Collecting: 1 gated, 1 ok"},
		{feed(engine.Gated), careful, "Not collecting: 1 gated"},
		{feed(engine.Starting, engine.OK), quiet, "Catching up: 1 catching up, 1 ok"},
		{feed(engine.Failing, engine.Starting), bad, "Collecting, but not everything: 1 failing, 1 catching up"},
		{expired, bad, "Not collecting: the client secret expired on " + expired.CredentialExpires.Format(time.DateOnly) + " (AADSTS7000222)"},
		{two, bad, "Not collecting: 2 failing"},
		{feed(engine.Disabled), careful, "No feed is switched on"},
		{refused, bad, "Not delivering: ingest: HTTP 401"},
		{feed(engine.Standby), quiet, "Standing by, other replicas collect: 1 standby"},
		{feed(engine.Standby, engine.OK), good, "Collecting: 1 ok, 1 standby"},
	}
	for _, test := range tests {
		states := map[engine.State]int{}
		for _, f := range test.status.Feeds {
			if f.State != engine.Disabled {
				states[f.State]++
			}
		}
		if test.level == bad == test.status.Healthy() {
			t.Errorf("%v: healthy is %t", states, test.status.Healthy())
		}
		if level, text := headline(test.status, states); level != test.level || text != test.text {
			t.Errorf("%v: %s %q, want %s %q", states, level, text, test.level, test.text)
		}
	}
}

// What slows down or confuses a connector that collects is told, too.
func TestTroubleBeside(t *testing.T) {
	s := engine.Status{Destination: "ingest", Delivery: load.State{OK: true, Answer: 25 * time.Second}, Feeds: []engine.FeedStatus{{Ahead: -24 * time.Hour}}}
	if got, want := facts(s, engine.FeedStatus{}, 0), (fact{"Destination", "ingest", "takes events, but takes 25 s for an answer", careful}); !slices.Contains(got, want) {
		t.Errorf("%v, want %v among them", got, want)
	}
	if got := clockProblem(s); len(got) != 1 || got[0].Text != "the services' is 1 d behind" {
		t.Errorf("%+v", got)
	}
	s.Delivery.Answer, s.Feeds[0].Ahead = time.Second, 30*time.Second
	if got := facts(s, engine.FeedStatus{}, 0); !slices.Contains(got, fact{"Destination", "ingest", "takes events", good}) || clockProblem(s) != nil {
		t.Errorf("what is as it should be is told as trouble: %v", got)
	}
}

// TestPagesAreSelfContained: nothing of a page may come from another host, run
// from within the page, or be styled from within it.
func TestPagesAreSelfContained(t *testing.T) {
	one, many := testPages(t, pageStatus), testTenantPages(t)
	inline := regexp.MustCompile(`(?i)<[a-z][^>]*\s(on[a-z]+|style)\s*=|<style|<script(?: defer)?>|javascript:`)
	for _, path := range []string{"/", "/workbench", "/feeds/entra-signins", "/fields", "/page/page.css", "/page/page.js", "/page/icon.svg", "/tenants/contoso", "many:/", "many:/workbench"} {
		h, path := one, path
		if named, ok := strings.CutPrefix(path, "many:"); ok || strings.HasPrefix(path, "/tenants") {
			h, path = many, named
		}
		response, body := fetch(h, httptest.NewRequest("GET", path, nil))
		if response.StatusCode != http.StatusOK || len(body) == 0 {
			t.Errorf("%s: HTTP %d, %d bytes", path, response.StatusCode, len(body))
			continue
		}
		policy := response.Header.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"} {
			if !strings.Contains(policy, want) {
				t.Errorf("%s: policy %q lacks %s", path, policy, want)
			}
		}
		if strings.Contains(policy, "unsafe") || response.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: weak headers %v", path, response.Header)
		}
		if strings.HasPrefix(path, "/page/") {
			continue
		}
		if at := inline.FindString(body); at != "" {
			t.Errorf("%s: inline script or style: %s", path, at)
		}
		for _, m := range regexp.MustCompile(`(?:src|href|action)="([^"]*)"`).FindAllStringSubmatch(body, -1) {
			if strings.HasPrefix(m[1], "?range=") || strings.HasPrefix(m[0], `href="https://learn.microsoft.com/`) { // a link that a person follows
				continue
			}
			if !strings.HasPrefix(m[1], "/") && m[1] != "#main" || strings.HasPrefix(m[1], "//") {
				t.Errorf("%s: refers to %s", path, m[1])
			}
		}
	}
	for _, path := range []string{"/page/", "/page/status.html", "/nothing"} {
		if response, _ := fetch(one, httptest.NewRequest("GET", path, nil)); response.StatusCode != http.StatusNotFound {
			t.Errorf("%s: HTTP %d, want 404", path, response.StatusCode)
		}
	}
	for _, method := range []string{"POST", "PUT", "DELETE"} {
		if response, _ := fetch(one, httptest.NewRequest(method, "/", nil)); response.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("%s /: HTTP %d, want 405", method, response.StatusCode)
		}
	}
}

func TestKnownHosts(t *testing.T) {
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "page") })
	own, _ := os.Hostname()
	for _, test := range []struct {
		listen, host string
		want         int
	}{
		{"127.0.0.1:8080", "127.0.0.1:8080", 200}, {"127.0.0.1:8080", "localhost:8080", 200}, {"[::1]:8080", "[::1]:8080", 200}, {"localhost:80", "localhost", 200},
		{"127.0.0.1:8080", "evil.example:8080", 421}, {"127.0.0.1:8080", "evil.example", 421}, {"[::1]:8080", "127.0.0.1.evil.example", 421}, {"localhost:8080", "", 421},
		{":8080", "connector.monitoring.svc:8080", 200}, {"0.0.0.0:8080", "10.0.0.7:8080", 200}, {"[::]:8080", "[2001:db8::7]:8080", 200},
		{"0.0.0.0:8080", "localhost:8080", 200}, {"0.0.0.0:8080", own, 200}, {"10.0.0.7:8080", "10.0.0.7:8080", 200},
		{"0.0.0.0:8080", "evil.example:8080", 421}, {":8080", "10.0.0.7.evil.example", 421}, {"[::]:8080", "evil.example", 421}, {"0.0.0.0:8080", "", 421},
		{"127.0.0.1:8080", "connector.monitoring.svc:8080", 200},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Host = test.host
		if response, _ := fetch(knownHosts(test.listen, []string{"Connector.monitoring.svc"}, page), r); response.StatusCode != test.want {
			t.Errorf("listening on %s, Host %s: HTTP %d, want %d", test.listen, test.host, response.StatusCode, test.want)
		}
	}
}

// TestHistory is bounded, in order, and drawn within its box.
func TestHistory(t *testing.T) {
	status := pageStatus()
	const sampleCount = int(fleet.SampleSpan / fleet.SampleEvery)
	h := &fleet.History{}
	for i := range sampleCount + 100 {
		s := fleet.SampleOf(status)
		s.At = pageNow.Add(time.Duration(i) * fleet.SampleEvery)
		for f := range s.Feeds {
			s.Feeds[f].Delivered = int64(i) * 20
		}
		h.Add(s)
	}
	now := fleet.SampleOf(status)
	now.At = pageNow.Add(time.Duration(sampleCount+100) * fleet.SampleEvery)
	for f := range now.Feeds {
		now.Feeds[f].Delivered = int64(sampleCount+100) * 20
	}
	list := h.Last(fleet.SampleSpan, now)
	if len(list) != sampleCount+1 {
		t.Fatalf("%d samples", len(list))
	}
	for i := 1; i < len(list); i++ {
		if list[i].At.Sub(list[i-1].At) != fleet.SampleEvery {
			t.Fatalf("sample %d is %v after the one before it", i, list[i].At.Sub(list[i-1].At))
		}
	}
	if got := perMinute(list, 0); got != 20 {
		t.Errorf("%v events a minute, want 20", got)
	}
	p := throughputPlot(list, 0, plotSteps)
	if p.Most != "20" || !strings.Contains(p.Label, "1 d: 20 now, at most 20") {
		t.Errorf("plot: %s, at most %s", p.Label, p.Most)
	}
	for _, p := range []plot{p, throughputPlot(list, -1, plotSteps), lagPlot(list, 0)} {
		for _, xy := range regexp.MustCompile(`[ML](-?[\d.]+) (-?[\d.]+)`).FindAllStringSubmatch(p.Area, -1) {
			var x, y float64
			fmt.Sscan(xy[1], &x) //nolint:errcheck // the pattern is of numbers
			fmt.Sscan(xy[2], &y) //nolint:errcheck
			if x < 0 || x > plotWidth || y < 0 || y > plotHeight {
				t.Errorf("%s: point %s outside of the box", p.Label, xy[0])
			}
		}
		if len(p.Area) > 4000 {
			t.Errorf("%s: a path of %d bytes", p.Label, len(p.Area))
		}
	}
}

func TestWordsOfThePage(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 s", -time.Hour: "0 s", 59 * time.Second: "59 s", 61 * time.Second: "1 min 1 s", 42*time.Minute + time.Second: "42 min",
		2 * time.Hour: "2 h", 26*time.Hour + 10*time.Minute: "1 d 2 h",
	} {
		if got := wording.Span(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1\u202f000", -1234567: "−1\u202f234\u202f567"} {
		if got := number(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
	for r, want := range map[float64]string{0: "0", 0.01: "0.1", 2.34: "2.3", 12345.6: "12\u202f346"} {
		if got := rate(r); got != want {
			t.Errorf("%v is %q, want %q", r, got, want)
		}
	}
}
