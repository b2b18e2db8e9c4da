package simulator

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// raw makes a request that may fail, without following anything.
func (c *client) raw(base, path string) (*http.Response, []byte, error) {
	req, err := http.NewRequest("GET", base+path, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+c.token(base))
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, body, err
}

func TestFaultsOfAnyAnswer(t *testing.T) {
	c := start(t, Options{Seed: 30, Records: 500})
	const path = "/v1.0/auditLogs/directoryAudits"
	good := func(resp *http.Response, body []byte, err error) bool {
		return err == nil && resp.StatusCode == 200 && json.Valid(body)
	}
	tests := []struct {
		fault Fault
		check func(resp *http.Response, body []byte, err error) bool
	}{
		{Fault{Kind: Reset}, func(_ *http.Response, _ []byte, err error) bool { return err != nil }},
		{Fault{Kind: Cut}, func(resp *http.Response, _ []byte, err error) bool { return err != nil }},
		{Fault{Kind: Truncate}, func(resp *http.Response, body []byte, err error) bool {
			return err == nil && resp.StatusCode == 200 && len(body) > 100 && !json.Valid(body)
		}},
		{Fault{Kind: GzipBreak}, func(_ *http.Response, _ []byte, err error) bool { return err != nil }},
		{Fault{Kind: HTML}, func(resp *http.Response, body []byte, err error) bool {
			return err == nil && resp.StatusCode == 200 && bytes.HasPrefix(body, []byte("<!DOCTYPE html>"))
		}},
		{Fault{Kind: HTML, Status: 503}, func(resp *http.Response, body []byte, err error) bool { return err == nil && resp.StatusCode == 503 }},
		{Fault{Kind: Status, Status: 503, RetryAfter: "2.128"}, func(resp *http.Response, body []byte, err error) bool {
			return err == nil && resp.StatusCode == 503 && resp.Header.Get("Retry-After") == "2.128" && strings.Contains(string(body), "ServiceNotAvailable")
		}},
		{Fault{Kind: Status, Status: 400, Code: "UnknownError", Message: "50% of it"}, func(resp *http.Response, body []byte, err error) bool {
			return err == nil && resp.StatusCode == 400 && strings.Contains(string(body), `"message":"50% of it"`)
		}},
		{Fault{Kind: Throttle}, func(resp *http.Response, body []byte, err error) bool {
			return err == nil && resp.StatusCode == 429 && resp.Header.Get("Retry-After") == "" && strings.Contains(string(body), "TooManyRequests")
		}},
		{Fault{Kind: Redirect}, func(resp *http.Response, body []byte, err error) bool {
			return err == nil && resp.StatusCode == 302 && strings.HasPrefix(resp.Header.Get("Location"), c.sim.ForeignBase()+path)
		}},
		{Fault{Kind: Expired}, func(resp *http.Response, body []byte, err error) bool { return err == nil && resp.StatusCode == 401 }},
		{Fault{Kind: Slow, Delay: 50 * time.Millisecond}, good},
		{Fault{Kind: Stall, Delay: 50 * time.Millisecond}, good},
	}
	for _, tt := range tests {
		t.Run(string(tt.fault.Kind), func(t *testing.T) {
			tt.fault.Target, tt.fault.Count = "graph.directoryAudits", 1
			if err := c.sim.Inject(tt.fault); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			resp, body, err := c.raw(c.sim.GraphBase(), path)
			if !tt.check(resp, body, err) {
				t.Errorf("got %v, %.200s, %v", resp, body, err)
			}
			if time.Since(began) < tt.fault.Delay {
				t.Error("not slow")
			}
			if resp, body, err := c.raw(c.sim.GraphBase(), path); !good(resp, body, err) {
				t.Errorf("after the fault: %v, %.200s, %v", resp, body, err)
			}
		})
	}
	if hits := c.sim.Report().Faults; hits[Reset] != 1 || hits[HTML] != 2 {
		t.Errorf("hits %v", hits)
	}
}

func TestManagementFaults(t *testing.T) {
	c := start(t, Options{Seed: 31, Records: -1, Volumes: map[string]Volume{AuditEntra: {History: 400}}, ListPage: 5, Subscribed: []string{AuditEntra}})
	inject := func(f Fault) {
		t.Helper()
		if err := c.sim.Inject(f); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Now().UTC()
	window := func() url.Values {
		return url.Values{"contentType": {AuditEntra}, "startTime": {now.Add(-23 * time.Hour).Format("2006-01-02T15:04:05")}, "endTime": {now.Format("2006-01-02T15:04:05")}}
	}
	next := func() string {
		resp, _ := c.manage("GET", "subscriptions/content", window())
		return resp.Header.Get("NextPageUri")
	}
	first := next()
	inject(Fault{Target: "manage.content", Kind: AF429, Count: 1})
	c.wantManage("GET", "subscriptions/content", window(), 403, "AF429")
	inject(Fault{Target: "manage.content", Kind: ForeignNext, Count: 1})
	if got := next(); !strings.HasPrefix(got, c.sim.ForeignBase()) {
		t.Errorf("next page %s", got)
	}
	inject(Fault{Target: "manage.content", Kind: ForeignLink, Count: 1})
	c.wantManage("GET", "subscriptions/content", window(), 200, `"contentUri":"`+c.sim.ForeignBase())
	inject(Fault{Target: "manage.content", Kind: SelfLink, Count: 1})
	if got := next(); !strings.HasSuffix(got, "?"+func() string { v := window(); v.Set("PublisherIdentifier", c.sim.TenantID()); return v.Encode() }()) {
		t.Errorf("next page %s is not the request itself", got)
	}
	inject(Fault{Target: "manage.content", Kind: ExpireToken, Count: 1})
	if resp, body := c.get(c.sim.ManageBase(), strings.TrimPrefix(first, c.sim.ManageBase())); resp.StatusCode != 400 || !strings.Contains(string(body), "AF20031") {
		t.Errorf("an expired token: %d %s", resp.StatusCode, body)
	}
	inject(Fault{Target: "manage.content", Kind: EmptyPage, Count: 1})
	resp, body := c.manage("GET", "subscriptions/content", window())
	if string(body) != "[]" || resp.Header.Get("NextPageUri") == "" {
		t.Fatalf("empty page: %s", body)
	}
	all, _ := c.list(AuditEntra, now.Add(-23*time.Hour), now)
	rest := 0
	for at := resp.Header.Get("NextPageUri"); at != ""; {
		resp, body := c.do("GET", at, map[string]string{"Authorization": "Bearer " + c.token(c.sim.ManageBase())}, "")
		var page []item
		if err := json.Unmarshal(body, &page); err != nil {
			t.Fatal(err)
		}
		rest += len(page)
		at = resp.Header.Get("NextPageUri")
	}
	if rest != len(all) || rest == 0 {
		t.Errorf("%d items behind the empty page, want %d", rest, len(all))
	}
	inject(Fault{Target: "manage.content", Kind: Forbidden, Match: AuditEntra, Count: 1})
	c.wantManage("GET", "subscriptions/content", window(), 401, "AF10001")
	inject(Fault{Target: "manage.blob", Kind: Status, Status: 500, Count: 1})
	c.wantManage("GET", "audit/"+all[0].ContentID, url.Values{}, 500, "AF50000")
	inject(Fault{Target: "tenant", Kind: Unsubscribe, Match: AuditEntra})
	c.wantManage("GET", "subscriptions/content", window(), 400, "AF20022")
}

func TestForeignHostsSeeNoToken(t *testing.T) {
	c := start(t, Options{Records: -1})
	c.do("GET", c.sim.ForeignBase()+"/x", nil, "")
	c.do("GET", c.sim.ForeignBase()+"/y", map[string]string{"Authorization": "Bearer t"}, "")
	if v := c.sim.Report().Violations; len(v) != 2 || !strings.Contains(v[0]+v[1], "a token was sent to a foreign host: /y") {
		t.Errorf("violations %q", v)
	}
}

func TestDestinationFaults(t *testing.T) {
	c := start(t, Options{Seed: 32, Records: 500})
	rows, _ := c.rows("/v1.0/auditLogs/directoryAudits")
	for _, f := range []struct {
		fault  Fault
		status int
	}{
		{Fault{Kind: Status, Status: 500}, 500}, {Fault{Kind: Throttle, RetryAfter: "1"}, 429}, {Fault{Kind: Refuse}, 401}, {Fault{Kind: TooLarge}, 413},
	} {
		f.fault.Target, f.fault.Count = "ingest", 1
		if err := c.sim.Inject(f.fault); err != nil {
			t.Fatal(err)
		}
		if status := c.send(event(rows[0])); status != f.status {
			t.Errorf("%s: %d", f.fault.Kind, status)
		}
	}
	poison := rows[1]["id"].(string)
	if err := c.sim.Inject(Fault{Target: "ingest", Kind: Poison, Match: poison}); err != nil {
		t.Fatal(err)
	}
	if a, b := c.send(event(rows[1])), c.send(event(rows[2])); a != 400 || b != 200 {
		t.Errorf("poison %d, another %d", a, b)
	}
	c.sim.Clear("ingest")
	if err := c.sim.Inject(Fault{Target: "ingest", Kind: AcceptReset, Count: 1}); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	json.NewEncoder(&b).Encode(event(rows[3])) //nolint:errcheck // a map of scalars
	req, _ := http.NewRequest("POST", c.sim.IngestBase()+"/ingest/1.0/http/project/301", struct{ io.Reader }{&b})
	req.Header.Set("Authorization", "Bearer "+c.sim.opts.Token)
	req.Header.Set("Content-Type", "application/json")
	if _, err := http.DefaultTransport.RoundTrip(req); err == nil {
		t.Error("the connection was not reset")
	}
	if f := feedReport(t, c.sim, DirectoryAudits); f.Received != 2 {
		t.Errorf("received %d, want the one accepted and the one accepted before the reset", f.Received)
	}
}

func TestFaultScheduling(t *testing.T) {
	now := time.Unix(1_900_000_000, 0)
	all := func(string) bool { return true }
	fs := &faults{seed: 1, hits: map[Kind]int64{}}
	hits := func(target string, n int) (hit []int) {
		for i := range n {
			if len(fs.draw(target, now, all)) > 0 {
				hit = append(hit, i)
			}
		}
		return hit
	}
	fs.add(Fault{Target: "graph", Kind: Reset, Skip: 2, Count: 3}, now)
	if got := hits("graph.signIns", 10); len(got) != 3 || got[0] != 2 || got[2] != 4 {
		t.Errorf("skip 2, count 3: hits at %v", got)
	}
	fs.add(Fault{Target: "graph.signIns", Kind: Reset, For: time.Minute}, now)
	if got := hits("graph.applications", 3); got != nil {
		t.Errorf("another target was hit: %v", got)
	}
	now = now.Add(2 * time.Minute)
	if got := hits("graph.signIns", 3); got != nil {
		t.Errorf("the fault is over, but hits %v", got)
	}
	fs.add(Fault{Target: "manage", Kind: Reset, Probability: 0.3}, now)
	first := hits("manage.blob", 1000)
	if len(first) < 230 || len(first) > 370 {
		t.Errorf("%d hits of 1000 at 0.3", len(first))
	}
	again := &faults{seed: 1, hits: map[Kind]int64{}}
	again.add(Fault{Target: "manage", Kind: Reset, Probability: 0.3}, now)
	fs = again
	if second := hits("manage.blob", 1000); len(second) != len(first) || second[7] != first[7] {
		t.Error("the same seed hits other requests")
	}
}

func TestInjectRefusesNonsense(t *testing.T) {
	c := start(t, Options{Records: -1})
	for _, f := range []Fault{{Target: "graph", Kind: "sneeze"}, {Target: "moon", Kind: Reset}, {Target: "graph.signins", Kind: Reset}, {Target: "graph", Kind: Status}, {Target: "tenant", Kind: Disable, Match: AuditEntra}} {
		if err := c.sim.Inject(f); err == nil {
			t.Errorf("%+v was taken", f)
		}
	}
}

func TestControl(t *testing.T) {
	c := start(t, Options{Seed: 33, Records: 200, Subscribed: []string{AuditEntra}})
	control := func(method, path, body string, want int) string {
		t.Helper()
		resp, answer := c.do(method, c.sim.LoginBase()+"/_simulator/"+path, nil, body)
		if resp.StatusCode != want {
			t.Errorf("%s %s: %d %s", method, path, resp.StatusCode, answer)
		}
		return string(answer)
	}
	f := Fault{Target: "graph.signIns", Kind: Slow, Count: 1, Delay: 20 * time.Millisecond, For: time.Minute, Probability: 0.5}
	text, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	var back Fault
	if err := json.Unmarshal(text, &back); err != nil || back != f {
		t.Errorf("a fault through JSON: %s, %+v, %v", text, back, err)
	}
	control("POST", "fault", string(text), 200)
	control("POST", "fault", `[{"target":"ingest","kind":"status","status":500,"for":"1m"}]`, 200)
	control("POST", "fault", `{"target":"ingest","kind":"status","status":500,"until":"1m"}`, 400)
	control("POST", "fault", `{"target":"ingest","kind":"status","status":500,"for":"soon"}`, 400)
	control("POST", "fault", `nope`, 400)
	if got := c.send(map[string]any{"operation": "x"}); got != 500 {
		t.Errorf("the injected fault gives %d", got)
	}
	control("POST", "clear?target=ingest", "", 200)
	if got := c.send(map[string]any{"operation": "x"}); got != 200 {
		t.Errorf("after clear: %d", got)
	}
	control("POST", "publish?feed=directoryAudits&n=3&age=1h", "", 200)
	control("POST", "publish?feed=nothing", "", 400)
	control("POST", "publish?feed=directoryAudits&n=0", "", 400)
	control("POST", "repeat?feed=Audit.AzureActiveDirectory&n=2", "", 200)
	control("POST", "licence?plan=Gold", "", 400)
	control("POST", "licence?plan=P1", "", 200)
	control("POST", "roles?roles=AuditLog.Read.All", "", 200)
	control("POST", "stop", "", 200)
	if env := control("GET", "env", "", 200); !strings.Contains(env, "MS_GRAPH_BASE="+c.sim.GraphBase()) {
		t.Errorf("env %s", env)
	}
	control("GET", "report", "", 200)
	control("GET", "report?to=yesterday", "", 400)
	if resp, _ := c.do("GET", c.sim.GraphBase()+"/_simulator/report", nil, ""); resp.StatusCode != 404 {
		t.Errorf("the control endpoints are on Graph's host too: %d", resp.StatusCode)
	}
}

func TestGzipAnswers(t *testing.T) {
	for _, plain := range []bool{false, true} {
		c := start(t, Options{Seed: 34, Records: 300, NoGzip: plain})
		resp, body := c.do("GET", c.sim.GraphBase()+"/v1.0/auditLogs/directoryAudits", map[string]string{"Authorization": "Bearer " + c.token(c.sim.GraphBase()), "Accept-Encoding": "gzip"}, "")
		if plain {
			if resp.Header.Get("Content-Encoding") != "" || !json.Valid(body) {
				t.Errorf("compressed on a plain service: %v", resp.Header)
			}
			continue
		}
		z, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if unpacked, err := io.ReadAll(z); err != nil || !json.Valid(unpacked) {
			t.Errorf("%v in %.100s", err, unpacked)
		}
	}
}
