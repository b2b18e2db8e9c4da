package simulator

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

func (c *client) wantGraph(path string, status int, want string) {
	c.t.Helper()
	resp, body := c.get(c.sim.GraphBase(), path)
	if resp.StatusCode != status || !strings.Contains(string(body), want) {
		c.t.Errorf("%s: got %d %.400s, want %d with %q", path, resp.StatusCode, body, status, want)
	}
}

func q(pairs ...string) string {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	return "?" + v.Encode()
}

func TestGraphErrors(t *testing.T) {
	c := start(t, Options{Records: 300})
	tests := []struct {
		name, path string
		status     int
		want       string
	}{
		{"kinds are a property of beta only", "/v1.0/auditLogs/signIns" + q("$filter", "signInEventTypes/any(t: t eq 'nonInteractiveUser')"), 400,
			`{"error":{"code":"BadRequest","message":"Could not find a property named 'signInEventTypes' on type 'microsoft.graph.signIn'.","innerError":{"date":"`},
		{"what is not evaluated", "/beta/auditLogs/signIns" + q("$filter", "signInEventTypes/any(t: t eq 'nonInteractiveUser') or status/errorCode eq 0"), 400, "does not evaluate 'signInEventTypes/any"},
		{"a quoted time", "/v1.0/auditLogs/signIns" + q("$filter", "createdDateTime ge '2026-03-01T10:00:00Z'"), 400, "Edm.DateTimeOffset' and 'Edm.String' for operator kind 'GreaterThanOrEqual'"},
		{"an unknown property", "/v1.0/auditLogs/directoryAudits" + q("$filter", "createdDateTime ge 2026-03-01T10:00:00Z"), 400, "Could not find a property named 'createdDateTime' on type 'microsoft.graph.directoryAudit'."},
		{"half a filter", "/v1.0/auditLogs/signIns" + q("$filter", "createdDateTime ge"), 400, `"code":"BadRequest"`},
		{"provisioning knows no ge", "/v1.0/auditLogs/provisioning" + q("$filter", "activityDateTime ge 2026-03-01T10:00:00Z"), 400, "operator 'ge' is not supported"},
		{"page size of the logs", "/v1.0/auditLogs/signIns" + q("$top", "1001"), 400, "Invalid page size specified: '1001'. Must be between 1 and 1000 inclusive."},
		{"page size of identity protection", "/v1.0/identityProtection/riskyUsers" + q("$top", "1000"), 400, "Invalid page size specified: '1000'. Must be between 1 and 500 inclusive."},
		{"page size of incidents", "/v1.0/security/incidents" + q("$top", "51"), 400, "page size"},
		{"page size zero", "/v1.0/auditLogs/signIns" + q("$top", "0"), 400, "page size"},
		{"order by another property", "/v1.0/auditLogs/signIns" + q("$orderby", "userPrincipalName"), 400, "$orderby"},
		{"empty skip token", "/v1.0/auditLogs/signIns?$skiptoken=", 400, `"message":"Invalid Skip Token, skip token is null"`},
		{"unknown skip token", "/v1.0/auditLogs/signIns?$skiptoken=9177f2e3532fcd4c4d225f68f7b9bdf7_1", 400, `"message":"Token not found: token is either invalid or expired"`},
		{"unknown option", "/v1.0/auditLogs/signIns?$search=x", 400, "$search"},
		{"unknown set", "/v1.0/auditLogs/nothing", 404, "ResourceNotFound"},
		{"unknown version", "/v2.0/auditLogs/signIns", 404, "ResourceNotFound"},
		{"somebody else's application", "/v1.0/applications(appId='9e714052-0000-4000-8000-000000000005')", 404, "Request_ResourceNotFound"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { c.wantGraph(tt.path, tt.status, tt.want) })
	}
}

func TestGraphHeaders(t *testing.T) {
	c := start(t, Options{Records: -1})
	resp, _ := c.do("GET", c.sim.GraphBase()+"/beta/auditLogs/signIns", map[string]string{"Authorization": "Bearer " + c.token(c.sim.GraphBase()), "client-request-id": "mine"}, "")
	if resp.Header.Get("client-request-id") != "mine" || !guidPattern.MatchString(resp.Header.Get("request-id")) || resp.Header.Get("x-ms-ags-diagnostic") == "" ||
		resp.Header.Get("Date") == "" || !strings.Contains(resp.Header.Get("Link"), `rel="deprecation"`) {
		t.Errorf("headers %v", resp.Header)
	}
}

func TestSignInWindowsAndOrder(t *testing.T) {
	c := start(t, Options{Seed: 11, Records: -1, Volumes: map[string]Volume{SignInsInteractive: {History: 400}, SignInsNonInteractive: {History: 120}}, PageSize: 64})
	all, pages := c.rows("/v1.0/auditLogs/signIns")
	if len(all) != 400 || pages != 7 {
		t.Fatalf("%d rows on %d pages", len(all), pages)
	}
	created := func(r map[string]any) string { return r["createdDateTime"].(string) }
	for i := 1; i < len(all); i++ {
		if created(all[i]) > created(all[i-1]) {
			t.Fatalf("row %d is newer than the one before: newest first is the default", i)
		}
	}
	from, to := created(all[280]), created(all[120])
	filter := fmt.Sprintf("createdDateTime ge %s and createdDateTime lt %s", from, to)
	rows, _ := c.rows("/v1.0/auditLogs/signIns" + q("$filter", filter, "$orderby", "createdDateTime asc", "$top", "50"))
	want := 0
	for _, r := range all {
		if created(r) >= from && created(r) < to {
			want++
		}
	}
	if len(rows) != want || want == 0 {
		t.Errorf("%d rows in the window, want %d", len(rows), want)
	}
	for i := 1; i < len(rows); i++ {
		if created(rows[i]) < created(rows[i-1]) {
			t.Fatalf("row %d is older than the one before", i)
		}
	}
	if rows[0]["isInteractive"] != true || rows[0]["signInEventTypes"] != nil {
		t.Errorf("v1.0 has interactive sign-ins without kinds, got %v", rows[0])
	}
	beta, _ := c.rows("/beta/auditLogs/signIns")
	if len(beta) != 400 || beta[0]["signInEventTypes"] == nil {
		t.Errorf("beta without a filter has the interactive ones too: %d rows, %v", len(beta), beta[0]["signInEventTypes"])
	}
	quiet, _ := c.rows("/beta/auditLogs/signIns" + q("$filter", "signInEventTypes/any(t: t eq 'nonInteractiveUser') and createdDateTime ge "+from))
	for i, r := range quiet {
		if kind := r["signInEventTypes"].([]any)[0]; kind != "nonInteractiveUser" {
			t.Fatalf("row %d is of kind %v", i, kind)
		}
		if i > 0 && created(r) > created(quiet[i-1]) {
			t.Fatalf("row %d is out of order", i)
		}
	}
	if len(quiet) < 60 {
		t.Errorf("%d sign-ins without a user", len(quiet))
	}
	name := all[0]["userPrincipalName"].(string)
	mine, _ := c.rows("/v1.0/auditLogs/signIns" + q("$filter", "userPrincipalName eq '"+name+"' and status/errorCode eq 0"))
	want = 0
	for _, r := range all {
		if r["userPrincipalName"] == name && r["status"].(map[string]any)["errorCode"] == 0.0 {
			want++
		}
	}
	if len(mine) != want {
		t.Errorf("%d successful sign-ins of %s, want %d", len(mine), name, want)
	}
	few, _ := c.rows("/v1.0/auditLogs/signIns" + q("$filter", filter, "$select", "id,createdDateTime"))
	if len(few) != len(rows) || len(few[0]) != 2 {
		t.Errorf("$select: %d rows of %v", len(few), few[0])
	}
}

func TestNextLinksCarryTheQueryAndExpire(t *testing.T) {
	now := time.Now()
	c := start(t, Options{Seed: 12, Records: 2000, PageSize: 10, Now: func() time.Time { return now }})
	_, body := c.get(c.sim.GraphBase(), "/v1.0/auditLogs/directoryAudits"+q("$top", "5", "$orderby", "activityDateTime"))
	var page struct {
		Context string `json:"@odata.context"`
		Next    string `json:"@odata.nextLink"`
		Value   []any
	}
	if err := json.Unmarshal(body, &page); err != nil {
		t.Fatal(err)
	}
	if len(page.Value) != 5 || !strings.HasPrefix(page.Next, c.sim.GraphBase()+"/v1.0/auditLogs/directoryAudits?") || !strings.Contains(page.Next, "$top=5") || !strings.Contains(page.Next, "$skiptoken=") {
		t.Errorf("%d rows, next %q", len(page.Value), page.Next)
	}
	if page.Context != c.sim.GraphBase()+"/v1.0/$metadata#auditLogs/directoryAudits" {
		t.Errorf("context %q", page.Context)
	}
	now = now.Add(skipTokenLives + time.Minute)
	c.wantGraph(strings.TrimPrefix(page.Next, c.sim.GraphBase()), 400, "Token not found: token is either invalid or expired")
}

func TestDeepWalksEnd(t *testing.T) {
	c := start(t, Options{Seed: 18, Records: -1, Volumes: map[string]Volume{DirectoryAudits: {History: 100}}, PageSize: 20, MaxWalk: 40})
	next := "/v1.0/auditLogs/directoryAudits"
	for n := range 3 {
		resp, body := c.get(c.sim.GraphBase(), next)
		if n == 2 {
			if resp.StatusCode != 504 {
				t.Errorf("page %d: %d", n+1, resp.StatusCode)
			}
			return
		}
		var page struct {
			Next string `json:"@odata.nextLink"`
		}
		if err := json.Unmarshal(body, &page); err != nil || page.Next == "" {
			t.Fatalf("page %d: %v, %s", n+1, err, body)
		}
		next = strings.TrimPrefix(page.Next, c.sim.GraphBase())
	}
}

func TestProvisioningPagesOnlyWhenAsked(t *testing.T) {
	c := start(t, Options{Seed: 13, Records: -1, Volumes: map[string]Volume{Provisioning: {History: 300}}, PageSize: 100})
	if rows, pages := c.rows("/v1.0/auditLogs/provisioning"); len(rows) != 100 || pages != 1 {
		t.Errorf("without $top: %d rows on %d pages", len(rows), pages)
	}
	if rows, pages := c.rows("/v1.0/auditLogs/provisioning?$top=100"); len(rows) != 300 || pages != 3 {
		t.Errorf("with $top: %d rows on %d pages", len(rows), pages)
	}
}

func TestLicences(t *testing.T) {
	const premium = `{"error":{"code":"Authentication_RequestFromNonPremiumTenantOrB2CTenant","message":"Neither tenant is B2C or tenant doesn't have premium license"`
	const protection = `{"error":{"code":"Forbidden","message":"Your tenant is not licensed for this feature."`
	c := start(t, Options{Records: 500, Licence: Free})
	c.wantGraph("/v1.0/auditLogs/signIns", 403, premium)
	c.wantGraph("/v1.0/auditLogs/directoryAudits", 200, "value")
	c.wantGraph("/v1.0/identityProtection/riskDetections", 403, protection)
	c.wantGraph("/v1.0/security/alerts_v2", 200, "value")
	if err := c.sim.SetLicence(P1); err != nil {
		t.Fatal(err)
	}
	c.wantGraph("/v1.0/auditLogs/signIns?$top=1", 200, `"riskLevelAggregated":"hidden"`)
	c.wantGraph("/v1.0/identityProtection/riskyUsers", 403, protection)
	if err := c.sim.SetLicence(P2); err != nil {
		t.Fatal(err)
	}
	c.wantGraph("/v1.0/identityProtection/riskyUsers", 200, "value")
	if err := c.sim.Inject(Fault{Target: "graph.signIns", Kind: Unlicensed, Count: 1}); err != nil {
		t.Fatal(err)
	}
	c.wantGraph("/v1.0/auditLogs/signIns", 403, premium)
	c.wantGraph("/v1.0/auditLogs/signIns", 200, "value")
}

func TestPoliciesNeedTheirRole(t *testing.T) {
	others := slices.DeleteFunc(slices.Clone(DefaultRoles), func(role string) bool { return slices.Contains(policyReaders, role) })
	for _, extra := range []string{"", "Policy.Read.All"} {
		c := start(t, Options{Seed: 14, Records: -1, Volumes: map[string]Volume{SignInsInteractive: {History: 50}}, Roles: append([]string{extra}, others...)})
		_, body := c.get(c.sim.GraphBase(), "/v1.0/auditLogs/signIns")
		if got, want := strings.Contains(string(body), "Require MFA"), extra != ""; got != want {
			t.Errorf("with role %q policies shown: %v", extra, got)
		}
	}
}

func TestApplicationTellsTheSecretsEnd(t *testing.T) {
	end := time.Now().Add(10 * 24 * time.Hour).UTC().Truncate(time.Second)
	c := start(t, Options{Records: -1, SecretExpires: end})
	path := "/v1.0/applications" + q("$filter", "appId eq '"+c.sim.opts.ClientID+"'", "$select", "id,appId,passwordCredentials")
	c.wantGraph(path, 200, `"endDateTime":"`+end.Format(time.RFC3339)+`"`)
	c.wantGraph("/v1.0/applications(appId='"+c.sim.opts.ClientID+"')", 200, `"secretText":null`)
	c.wantGraph("/v1.0/applications"+q("$filter", "appId eq 'x'"), 200, `"value":[]`)
}

func TestRiskyUsersAreOverwritten(t *testing.T) {
	now := time.Now()
	c := start(t, Options{Seed: 15, Records: -1, Volumes: map[string]Volume{RiskyUsers: {History: 60}}, Now: func() time.Time { return now }})
	before, _ := c.rows("/v1.0/identityProtection/riskyUsers")
	now = now.Add(time.Minute)
	if err := c.sim.Publish(RiskyUsers, 1, 0); err != nil {
		t.Fatal(err)
	}
	changed, _ := c.rows("/v1.0/identityProtection/riskyUsers" + q("$filter", "riskLastUpdatedDateTime ge "+now.UTC().Truncate(time.Second).Format(time.RFC3339), "$orderby", "riskLastUpdatedDateTime"))
	after, _ := c.rows("/v1.0/identityProtection/riskyUsers")
	if len(changed) != 1 || len(before) != len(after) {
		t.Fatalf("%d rows changed, %d before, %d after", len(changed), len(before), len(after))
	}
	for _, r := range before {
		if r["id"] == changed[0]["id"] && r["riskState"] == changed[0]["riskState"] {
			t.Errorf("the state is still %v", r["riskState"])
		}
	}
	// Both versions were served, only the second can still be read.
	if f := feedReport(t, c.sim, RiskyUsers); f.Offered != int64(len(after)) || f.Overwritten != 1 {
		t.Errorf("report %+v", f)
	}
	c.send(event(changed[0]))
	if f := feedReport(t, c.sim, RiskyUsers); f.Received != 1 {
		t.Errorf("report %+v", f)
	}
}

func feedReport(t *testing.T, s *Simulator, feed string) FeedReport {
	t.Helper()
	for _, f := range s.Report().Feeds {
		if f.Feed == feed {
			return f
		}
	}
	t.Fatalf("no report of %s", feed)
	return FeedReport{}
}

func TestLateAndRevisedSignIns(t *testing.T) {
	now := time.Now()
	c := start(t, Options{Seed: 16, Records: -1, Volumes: map[string]Volume{SignInsInteractive: {History: 150}}, History: time.Hour, Late: 0.2, LateBy: time.Hour,
		Revised: 0.3, RevisedBy: time.Hour, Now: func() time.Time { return now }})
	before, _ := c.rows("/v1.0/auditLogs/signIns")
	now = now.Add(3 * time.Hour)
	c.tok = map[string]string{}
	after, _ := c.rows("/v1.0/auditLogs/signIns")
	if len(after) != 150 || len(before) >= 150 || len(before) < 100 {
		t.Fatalf("%d rows at first, %d later", len(before), len(after))
	}
	text := map[string]string{}
	for _, r := range before {
		b, _ := json.Marshal(r)
		text[r["id"].(string)] = string(b)
		c.send(event(r))
	}
	changed := 0
	for _, r := range after {
		b, _ := json.Marshal(r)
		if old, ok := text[r["id"].(string)]; ok && old != string(b) {
			changed++
			c.send(event(r))
		} else if !ok {
			c.send(event(r))
		}
	}
	f := feedReport(t, c.sim, SignInsInteractive)
	if changed < 8 || f.Lost != 0 || f.Duplicated != 0 || f.Revisions != int64(changed) {
		t.Errorf("%d changed; report %+v", changed, f)
	}
}

func TestPublishedRowsStandInTheirPlace(t *testing.T) {
	c := start(t, Options{Seed: 17, Records: -1, Volumes: map[string]Volume{DirectoryAudits: {History: 100}}, PageSize: 7})
	if err := c.sim.Publish(DirectoryAudits, 25, 90*time.Minute); err != nil {
		t.Fatal(err)
	}
	for _, order := range []string{"activityDateTime", "activityDateTime desc"} {
		rows, _ := c.rows("/v1.0/auditLogs/directoryAudits" + q("$orderby", order))
		seen := map[string]bool{}
		for i, r := range rows {
			seen[r["id"].(string)] = true
			if i == 0 {
				continue
			}
			a, b := rows[i-1]["activityDateTime"].(string), r["activityDateTime"].(string)
			if order == "activityDateTime" && b < a || order != "activityDateTime" && b > a {
				t.Fatalf("%s: row %d is out of order: %s, %s", order, i, a, b)
			}
		}
		if len(rows) != 125 || len(seen) != 125 {
			t.Errorf("%s: %d rows, %d different", order, len(rows), len(seen))
		}
	}
}

func TestGraphLimits(t *testing.T) {
	c := start(t, Options{Records: -1, Throttle: true})
	c.token(c.sim.GraphBase())
	for i := range 6 {
		resp, body := c.get(c.sim.GraphBase(), "/v1.0/auditLogs/signIns")
		if want := map[bool]int{true: 200, false: 429}[i < 5]; resp.StatusCode != want {
			t.Fatalf("request %d: %d %s", i+1, resp.StatusCode, body)
		}
		if i == 5 && (resp.Header.Get("Retry-After") == "" || !strings.Contains(string(body), "This request is throttled.")) {
			t.Errorf("throttled: %v %s", resp.Header, body)
		}
	}
	c.wantGraph("/v1.0/identityProtection/riskyUsers", 200, "value")
	resp, body := c.get(c.sim.GraphBase(), "/v1.0/identityProtection/riskDetections")
	if resp.StatusCode != 429 || resp.Header.Get("Retry-After") != "" || !strings.Contains(string(body), `"message":"Please retry again later.","innerError":{"code":"429"`) {
		t.Errorf("identity protection: %d %v %s", resp.StatusCode, resp.Header, body)
	}
}
