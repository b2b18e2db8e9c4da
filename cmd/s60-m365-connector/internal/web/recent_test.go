package web

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/fleet"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/engine"
	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/extract"
)

// pageRecent is what happened lately to the feeds of [pageStatus].
func pageRecent() *fleet.Recent {
	var r fleet.Recent
	for n := range 3 {
		r.SawFailure("entra-signins", "", pageNow.Add(time.Duration(n-9)*time.Hour), "HTTP 503: "+hostile)
	}
	r.SawFailure("o365-management-activity", "Audit.General", pageNow.Add(-3*time.Hour), "the answer breaks off")
	for n := range 6 {
		a := extract.Asked{
			Feed: "entra-signins", Method: "GET", At: pageNow.Add(time.Duration(n-20) * time.Minute), Took: time.Duration(250+90*n) * time.Millisecond, Status: 200, Bytes: int64(18_000 + 4000*n),
			URL: "https://graph.microsoft.com/v1.0/auditLogs/signIns?$filter=createdDateTime ge 2026-03-01T10:55:00Z and createdDateTime lt 2026-03-01T12:00:00Z&$orderby=createdDateTime&$top=1000&$skiptoken=…",
		}
		switch n {
		case 2:
			a.Status, a.Problem, a.Bytes = 429, "HTTP 429 TooManyRequests: "+hostile, 180
		case 3:
			a.Status, a.Problem, a.Bytes = 0, "connection reset by peer", 0
		}
		r.SawAsked(a)
	}
	for n := range 3 {
		r.SawEvent("entra-signins", pageNow.Add(time.Duration(n-3)*time.Second),
			fmt.Appendf(nil, `{"operation":"user-logon","outcome":"success","timestamp":"2026-03-01T11:59:0%dZ","user_name":"ann@tenant.example","message_text":"Sign-in of ann %d","event_userAgent":%q,"event_big":12345678901234567890}`, n, n, hostile))
	}
	return &r
}

// TestFeedPageLately: the page of a feed has what it asked, what failed and what it delivered, as text.
func TestFeedPageLately(t *testing.T) {
	for _, values := range []bool{false, true} {
		p := testPage(t, pageStatus)
		p.values = values
		_, body := fetch(p.mux(), httptest.NewRequest("GET", "/feeds/entra-signins", nil))
		text := plainText(body)
		hasTexts(t, text, map[string]string{
			"a failure, with how often": "2026-03-01 05:00:00 3 HTTP 503: &lt;script&gt;",
			"since when":                "first at 2026-03-01 03:00:00",
			"a request":                 "2026-03-01 11:45:00 200 OK 700 ms 38 kB GET https://graph.microsoft.com/v1.0/auditLogs/signIns?$filter=",
			"one that was throttled":    "429 Too Many Requests 430 ms 180 B",
			"one without an answer":     "no answer 520 ms 0 B",
			"the newest first":          "2026-03-01 11:45:00 200 OK 700 ms 38 kB GET https://graph.microsoft.com/v1.0/auditLogs/signIns?$filter=createdDateTime ge 2026-03-01T10:55:00Z and createdDateTime lt 2026-03-01T12:00:00Z&amp;$orderby=createdDateTime&amp;$top=1000&amp;$skiptoken=… 2026-03-01 11:44:00",
		})
		for what, of := range map[string]string{
			"a value of an event": "12345678901234567890", "its message": "Sign-in of ann 2", "its name": "event_userAgent",
		} {
			if strings.Contains(text, of) != values {
				t.Errorf("SHOW_EVENTS %v: %s: %q on the page: %v", values, what, of, !values)
			}
		}
		if values == strings.Contains(body, "SHOW_EVENTS=true") {
			t.Errorf("SHOW_EVENTS %v: whether the page names the setting is wrong", values)
		}
		if strings.Contains(body, "<script>alert") || strings.Contains(body, "<img src=x") {
			t.Error("a text is markup on the page")
		}
		if strings.Contains(text, "the answer breaks off") {
			t.Error("the failure of another feed is on the page")
		}
	}
	_, body := fetch(testPage(t, pageStatus).mux(), httptest.NewRequest("GET", "/feeds/o365-management-activity", nil))
	if text := plainText(body); !strings.Contains(text, "Audit.General the answer breaks off") || !strings.Contains(text, "behind now; up to 5 min is intended") || !strings.Contains(text, "None since the start.") {
		t.Errorf("the page of a feed with partitions: %s", text)
	}
	if n := strings.Count(body, "<option>"); n != 5 {
		t.Errorf("%d partitions can be tried", n)
	}
}

// microsoft answers a sign-in feed with records, and notes what was asked.
func microsoft(t *testing.T, answer func(w http.ResponseWriter, r *http.Request)) (p *testedPage, asked func() []string) {
	t.Helper()
	var urls []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/token") {
			io.WriteString(w, `{"token_type":"Bearer","expires_in":3599,"access_token":"the-token"}`)
			return
		}
		urls = append(urls, r.URL.String())
		answer(w, r)
	}))
	t.Cleanup(server.Close)
	s, err := settings.Read(map[string]string{"MS_GRAPH_BASE": server.URL, "ENVIRONMENT": "Lab"}, true)
	if err != nil {
		t.Fatal(err)
	}
	credential, err := extract.NewCredential(extract.ClientSecret, "open sesame")
	if err != nil {
		t.Fatal(err)
	}
	client := extract.NewClient(extract.ClientOptions{TokenURL: server.URL + "/token", ClientID: "app", Credential: credential, Backoff: time.Millisecond, MaxAttempts: 2})
	p = testPage(t, pageStatus)
	p.set, p.values, p.explain = s, true, error.Error
	p.reader = func(feed *definition.Feed, partition string) (*extract.Reader, error) {
		return extract.NewReader(client, feed, partition, s.Names)
	}
	return p, func() []string { return slices.Clone(urls) }
}

func tryRequest(feed, partition string) *http.Request {
	r := httptest.NewRequest("POST", "http://127.0.0.1:8080/feeds/"+feed+"/try", strings.NewReader(url.Values{"partition": {partition}}.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r
}

// tried is the answer to a try, once the one before has ended.
func tried(h http.Handler, feed, partition string) (response *http.Response, body string) {
	for range 1000 {
		if response, body = fetch(h, tryRequest(feed, partition)); response.StatusCode != http.StatusServiceUnavailable {
			break
		}
		time.Sleep(time.Millisecond)
	}
	return response, body
}

// TestTryNow: the page asks for the newest records and shows their events; values only where they may be.
func TestTryNow(t *testing.T) {
	p, asked := microsoft(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"value":[%s,%[1]s,%[1]s,%[1]s],"@odata.nextLink":"http://%s/next?$skiptoken=abc"}`, strings.Replace(signin, "a1", strings.ReplaceAll(hostile, `"`, `\"`), 1), r.Host)
	})
	h := p.mux()
	response, body := tried(h, "entra-signins", "")
	text := plainText(body)
	if response.StatusCode != http.StatusOK || len(asked()) != 1 {
		t.Fatalf("HTTP %d, asked for %q: %s", response.StatusCode, asked(), text)
	}
	hasTexts(t, text, map[string]string{
		"headline":        "It can be read: the first 3 records",
		"an event":        "user-logon 28 fields Sign-in of ann@tenant.example from 203.0.113.7 failed",
		"its source":      "source_name entra-signins",
		"the environment": "environment Lab",
		"the request":     "/auditLogs/signIns?$filter=createdDateTime ge ",
		"its answer":      "200 OK",
	})
	if strings.Contains(body, "<script>alert") || strings.Contains(body, "<img src=x") || strings.Contains(body, "the-token") || strings.Contains(body, "http-equiv") {
		t.Errorf("a record is markup, a token is on the page, or the page reloads:\n%s", body)
	}
	if n := strings.Count(body, "<details"); n != triedRecords {
		t.Errorf("%d records are shown", n)
	}
	if requests, _, _ := p.recent.Of("entra-signins"); len(requests) != 7 {
		t.Errorf("%d requests are remembered", len(requests))
	}

	p.values = false
	_, body = tried(h, "entra-signins", "")
	if text := plainText(body); strings.Contains(text, "ann") || strings.Contains(text, "203.0.113.7") || !strings.Contains(text, "event_userPrincipalName") || !strings.Contains(text, "SHOW_EVENTS=true") {
		t.Errorf("without SHOW_EVENTS: %s", text)
	}
}

// TestTryNowSaysWhyNot: what cannot be tried, or could not be read, is said with what to do.
func TestTryNowSaysWhyNot(t *testing.T) {
	empty := false
	p, asked := microsoft(t, func(w http.ResponseWriter, r *http.Request) {
		if empty {
			io.WriteString(w, `{"value":[]}`)
			return
		}
		w.WriteHeader(http.StatusForbidden)
		io.WriteString(w, `{"error":{"code":"Authorization_RequestDenied","message":"Insufficient privileges"}}`)
	})
	status := pageStatus()
	for i := range status.Feeds {
		if status.Feeds[i].Feed == "entra-signins-noninteractive" {
			status.Feeds[i].State, status.Feeds[i].Holder = engine.Standby, "second"
		}
	}
	p.status = func() engine.Status { return status }
	h := p.mux()
	for name, test := range map[string]struct {
		feed, partition string
		code            int
		want            string
	}{
		"refused":             {"entra-signins", "", 200, "Insufficient privileges; .* What to do Grant the app AuditLog.Read.All"},
		"held elsewhere":      {"entra-signins-noninteractive", "", 409, "Another replica reads it: try it on the page of second"},
		"switched off":        {"security-alerts", "", 409, "It is switched off: “s60-m365-connector try security-alerts”"},
		"no such partition":   {"o365-management-activity", "<b>", 409, "There is no partition “&lt;b&gt;” of it"},
		"no such feed":        {"none", "", 404, `there is no feed "none"`},
		"a query that is run": {"purview-audit-search", "", 409, "It starts a query at the service"},
	} {
		t.Run(name, func(t *testing.T) {
			response, body := tried(h, test.feed, test.partition)
			if text := plainText(body); response.StatusCode != test.code || !regexp.MustCompile(test.want).MatchString(text) {
				t.Errorf("HTTP %d, want %d with %q: %s", response.StatusCode, test.code, test.want, text)
			}
		})
	}
	if n := len(asked()); n != 1 {
		t.Errorf("%d requests were made, want the one that was refused", n)
	}
	empty = true
	if _, body := tried(h, "entra-signins", ""); !strings.Contains(body, "holds no record now") {
		t.Error("no record is not told")
	}
	p.reader = func(*definition.Feed, string) (*extract.Reader, error) { return nil, errors.New("a template <fails>") }
	if _, body := tried(h, "entra-signins", ""); !strings.Contains(body, "a template &lt;fails&gt;") {
		t.Error("a reader that cannot be made is not told")
	}
}

// TestTryNowIsGuarded: no page of another site can start it, one runs at a time, and a rest follows.
func TestTryNowIsGuarded(t *testing.T) {
	p, asked := microsoft(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, `{"value":[]}`) })
	p.tryRest = time.Hour
	h := p.mux()
	for _, header := range []string{"Sec-Fetch-Site: cross-site", "Origin: https://evil.example"} {
		name, value, _ := strings.Cut(header, ": ")
		r := tryRequest("entra-signins", "")
		r.Header.Set(name, value)
		if response, _ := fetch(h, r); response.StatusCode != http.StatusForbidden || len(asked()) != 0 {
			t.Errorf("%s: HTTP %d", header, response.StatusCode)
		}
	}
	if response, _ := fetch(h, tryRequest("entra-signins", "")); response.StatusCode != http.StatusOK {
		t.Errorf("the first: HTTP %d", response.StatusCode)
	}
	if response, body := fetch(h, tryRequest("entra-signins", "")); response.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body, "try again in a moment") || len(asked()) != 1 {
		t.Errorf("the second: HTTP %d, %d requests", response.StatusCode, len(asked()))
	}
	if response, _ := fetch(h, httptest.NewRequest("GET", "/feeds/entra-signins/try", nil)); response.StatusCode != http.StatusSeeOther || response.Header.Get("Location") != "/feeds/entra-signins" {
		t.Errorf("a try that is asked for by GET: HTTP %d to %s", response.StatusCode, response.Header.Get("Location"))
	}
}

// TestFieldsPageFinds: every word of a query is looked for in name, meaning, mapping and originals.
func TestFieldsPageFinds(t *testing.T) {
	h := testPages(t, pageStatus)
	count := func(query string) (fields, operations int, body string) {
		_, body = fetch(h, httptest.NewRequest("GET", "/fields?"+url.Values{"find": {query}}.Encode(), nil))
		first, second, _ := strings.Cut(body, `id="of-operations"`)
		return strings.Count(first, `<tr class="first">`), strings.Count(second, `<tr class="first">`), body
	}
	allFields, allOperations, body := count("")
	if allFields < 150 || allOperations < 400 || !strings.Contains(body, `<code>user_name</code>`) {
		t.Fatalf("%d fields, %d operations", allFields, allOperations)
	}
	for query, want := range map[string]string{
		"new-inboxrule":     "mailbox-rule-create",
		"who acted":         "user_name",
		"FileDownloaded":    "file-download",
		" entra-SIGNIN mfa": "auth_mfa_result",
	} {
		fields, operations, body := count(query)
		if !strings.Contains(body, "<code>"+want+"</code>") || fields+operations == 0 || fields+operations > 60 {
			t.Errorf("%q finds %d fields and %d operations, %s among them: %v", query, fields, operations, want, strings.Contains(body, want))
		}
	}
	if fields, operations, body := count(hostile); fields+operations != 0 || strings.Contains(body, "<script>alert") || !strings.Contains(body, "No field’s name") || !strings.Contains(body, "No operation’s name") {
		t.Errorf("a query that finds nothing: %d, %d", fields, operations)
	}
}
