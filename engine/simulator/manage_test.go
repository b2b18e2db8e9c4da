package simulator

import (
	"encoding/json"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func (c *client) begin(contentTypes ...string) {
	c.t.Helper()
	for _, name := range contentTypes {
		if resp, body := c.manage("POST", "subscriptions/start", url.Values{"contentType": {name}}); resp.StatusCode != 200 {
			c.t.Fatalf("start %s: %d %s", name, resp.StatusCode, body)
		}
	}
}

func (c *client) wantManage(method, operation string, query url.Values, status int, want string) {
	c.t.Helper()
	resp, body := c.manage(method, operation, query)
	if resp.StatusCode != status || !strings.Contains(string(body), want) {
		c.t.Errorf("%s %s %v: got %d %s, want %d with %q", method, operation, query, resp.StatusCode, body, status, want)
	}
}

func TestSubscriptionLife(t *testing.T) {
	now := time.Now()
	c := start(t, Options{Records: 200, Now: func() time.Time { return now }})
	sharePoint := func() url.Values { return url.Values{"contentType": {AuditSharePoint}} }
	c.wantManage("GET", "subscriptions/list", url.Values{}, 200, `[]`)
	c.wantManage("GET", "subscriptions/content", sharePoint(), 400, `{"error":{"code":"AF20022","message":"No subscription found for the specified content type."}}`)
	c.wantManage("POST", "subscriptions/start", url.Values{}, 400, "AF20001")
	c.wantManage("POST", "subscriptions/start", url.Values{"contentType": {"Audit.Nothing"}}, 400, "AF20020")
	c.wantManage("POST", "subscriptions/start", sharePoint(), 200, `{"contentType":"Audit.SharePoint","status":"enabled","webhook":null}`)
	c.wantManage("POST", "subscriptions/start", sharePoint(), 400, `{"error":{"code":"AF20024","message":"The subscription is already enabled. No property change."}}`)
	c.wantManage("GET", "subscriptions/list", url.Values{}, 200, `[{"contentType":"Audit.SharePoint","status":"enabled","webhook":null}]`)
	if r := c.sim.Report(); len(r.Violations) != 1 || !strings.Contains(r.Violations[0], "15 minutes") {
		t.Errorf("a second start at once is a violation, got %q", r.Violations)
	}
	if err := c.sim.Inject(Fault{Target: "tenant", Kind: Disable, Match: AuditSharePoint}); err != nil {
		t.Fatal(err)
	}
	c.wantManage("GET", "subscriptions/list", url.Values{}, 200, `"status":"disabled"`)
	c.wantManage("GET", "subscriptions/content", sharePoint(), 400, `{"error":{"code":"AF20023","message":"The subscription was disabled."}}`)
	now = now.Add(20 * time.Minute)
	c.wantManage("POST", "subscriptions/start", sharePoint(), 200, "enabled")
	if r := c.sim.Report(); len(r.Violations) != 1 {
		t.Errorf("a start after 15 minutes is fine, got %q", r.Violations)
	}
}

func TestContentWhileDisabledIsLost(t *testing.T) {
	now := time.Now()
	c := start(t, Options{Records: -1, Volumes: map[string]Volume{AuditExchange: {PerHour: 600}}, Now: func() time.Time { return now }})
	c.begin(AuditExchange)
	now = now.Add(time.Hour)
	c.tok = map[string]string{}
	before, _ := c.list(AuditExchange, now.Add(-2*time.Hour), now)
	if err := c.sim.Inject(Fault{Target: "tenant", Kind: Disable, Match: AuditExchange}); err != nil {
		t.Fatal(err)
	}
	gap := now
	now = now.Add(time.Hour)
	c.tok = map[string]string{}
	c.wantManage("GET", "subscriptions/content", url.Values{"contentType": {AuditExchange}}, 400, "AF20023")
	c.begin(AuditExchange)
	now = now.Add(time.Hour)
	c.tok = map[string]string{}
	after, _ := c.list(AuditExchange, now.Add(-4*time.Hour), now)
	if len(before) == 0 || len(after) <= len(before) {
		t.Fatalf("%d blobs before, %d after", len(before), len(after))
	}
	for _, i := range after {
		created, err := time.Parse(time.RFC3339, i.ContentCreated)
		if err != nil {
			t.Fatal(err)
		}
		if created.After(gap) && created.Before(gap.Add(time.Hour)) {
			t.Errorf("a blob of %s was listed: the subscription was off then", created)
		}
	}
	f := c.sim.Report().Feeds[1]
	if want := int64(600 + 600); f.Offered < want-60 || f.Offered > want+60 {
		t.Errorf("offered %d, want about %d: the hour in between does not count", f.Offered, want)
	}
}

func TestAuditLogOff(t *testing.T) {
	c := start(t, Options{Records: -1})
	if err := c.sim.Inject(Fault{Target: "tenant", Kind: AuditLogOff}); err != nil {
		t.Fatal(err)
	}
	c.wantManage("POST", "subscriptions/start", url.Values{"contentType": {AuditEntra}}, 400, "Microsoft.Office.Compliance.Audit.DataServiceException: Tenant "+c.sim.TenantID()+" does not exist.")
}

func TestPathTenant(t *testing.T) {
	c := start(t, Options{Records: -1})
	for tenant, code := range map[string]string{"kaurifreight.example": "AF20013", "11111111-2222-4333-8444-555555555555": "AF20010"} {
		resp, body := c.get(c.sim.ManageBase(), "/api/v1.0/"+tenant+"/activity/feed/subscriptions/list?PublisherIdentifier="+c.sim.TenantID())
		if resp.StatusCode != 400 || !strings.Contains(string(body), code) {
			t.Errorf("%s: %d %s", tenant, resp.StatusCode, body)
		}
	}
}

func TestContentWindows(t *testing.T) {
	now := time.Now().UTC()
	c := start(t, Options{Records: -1, Now: func() time.Time { return now }})
	c.begin(AuditEntra)
	const layout = "2006-01-02T15:04:05"
	ago := func(d time.Duration) string { return now.Add(-d).Format(layout) }
	tests := []struct {
		name, from, to string
		status         int
		want           string
	}{
		{"an hour", ago(time.Hour), ago(0), 200, "[]"},
		{"a day exactly", ago(24 * time.Hour), ago(0), 200, "[]"},
		{"into the future", ago(time.Hour), ago(-time.Hour), 200, "[]"},
		{"days only", now.Format("2006-01-02"), now.Add(24 * time.Hour).Format("2006-01-02"), 200, "[]"},
		{"minutes", now.Add(-time.Hour).Format("2006-01-02T15:04"), now.Format("2006-01-02T15:04"), 200, "[]"},
		{"with Z", ago(time.Hour) + "Z", ago(0) + "Z", 200, "[]"},
		{"start only", ago(time.Hour), "", 400, "AF20030"},
		{"end only", "", ago(0), 400, "AF20030"},
		{"a bare plus in the zone", ago(time.Hour) + " 00:00", ago(0), 400, "AF20030"},
		{"wider than a day", ago(25 * time.Hour), ago(0), 400, "AF20030"},
		{"older than seven days", ago(169 * time.Hour), ago(168 * time.Hour), 400, "AF20055"},
		{"backwards", ago(0), ago(time.Hour), 400, "AF20055"},
		{"empty", ago(time.Hour), ago(time.Hour), 400, "AF20055"},
		{"neither", "", "", 200, "[]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			q := url.Values{"ContentType": {AuditEntra}} // names in any case
			if tt.from != "" {
				q.Set("startTime", tt.from)
			}
			if tt.to != "" {
				q.Set("endtime", tt.to)
			}
			c.wantManage("GET", "subscriptions/content", q, tt.status, tt.want)
		})
	}
	c.wantManage("GET", "subscriptions/content", url.Values{"contentType": {AuditEntra}, "nextPage": {"2026030100R022885001761"}}, 400, "AF20031")
}

func TestListingPagesAndHalfOpenWindow(t *testing.T) {
	c := start(t, Options{Seed: 3, Records: -1, Volumes: map[string]Volume{AuditExchange: {History: 500}}, ListPage: 9, BlobMax: 10, Subscribed: []string{AuditExchange}})
	now := time.Now()
	items, pages := c.list(AuditExchange, now.Add(-23*time.Hour-30*time.Minute), now.Add(time.Minute))
	if pages < 5 || pages != (len(items)+8)/9 {
		t.Fatalf("%d items on %d pages", len(items), pages)
	}
	id := regexp.MustCompile(`^\d{23}\$\d{23}\$audit_exchange\$Audit_Exchange\$emea\d{4}$`)
	seen := map[string]bool{}
	for i, it := range items {
		if seen[it.ContentID] || !id.MatchString(it.ContentID) || !strings.HasPrefix(it.ContentURI, c.sim.ManageBase()+"/api/v1.0/"+c.sim.TenantID()+"/activity/feed/audit/") {
			t.Errorf("item %d: %+v", i, it)
		}
		seen[it.ContentID] = true
		if i > 0 && it.ContentCreated < items[i-1].ContentCreated {
			t.Errorf("item %d is out of order", i)
		}
	}
	// Two windows that meet at a blob's very time list it once.
	cut := items[len(items)/2].ContentCreated
	ms, err := time.Parse(time.RFC3339, cut)
	if err != nil {
		t.Fatal(err)
	}
	edge := ms.Truncate(time.Second)
	first, _ := c.list(AuditExchange, now.Add(-23*time.Hour-30*time.Minute), edge)
	second, _ := c.list(AuditExchange, edge, now.Add(time.Minute))
	if len(first)+len(second) != len(items) {
		t.Errorf("%d and %d items in two halves of %d", len(first), len(second), len(items))
	}
	resp, _ := c.manage("GET", "subscriptions/content", url.Values{"contentType": {AuditExchange},
		"startTime": {now.Add(-20 * time.Hour).UTC().Format("2006-01-02T15:04:05")}, "endTime": {now.UTC().Format("2006-01-02T15:04:05")}})
	next := resp.Header["Nextpageuri"]
	if len(next) != 1 || !strings.Contains(next[0], "/api/v1/"+c.sim.TenantID()+"/activity/feed/subscriptions/content?contentType=Audit.Exchange&startTime=") {
		t.Errorf("NextPageUri %q", next)
	}
}

func TestBlobs(t *testing.T) {
	now := time.Now()
	c := start(t, Options{Seed: 4, Records: -1, Volumes: map[string]Volume{AuditEntra: {History: 300}}, Subscribed: []string{AuditEntra}, Now: func() time.Time { return now }})
	items, _ := c.list(AuditEntra, now.Add(-23*time.Hour-30*time.Minute), now.Add(time.Second))
	records, raw := c.blob(items[0])
	if len(records) == 0 {
		t.Fatal("an empty blob")
	}
	_, again := c.blob(items[0])
	if string(raw) != string(again) {
		t.Error("a blob differs from one fetch to the next")
	}
	noZone := regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d$`)
	for _, r := range records {
		if !noZone.MatchString(r["CreationTime"].(string)) || !guidPattern.MatchString(r["Id"].(string)) || r["OrganizationId"] != c.sim.TenantID() {
			t.Errorf("record %v", r)
		}
	}
	audit := "audit/"
	other := strings.Replace(items[0].ContentID, "$audit_", "$audit_x", 1)
	c.wantManage("GET", audit+other, url.Values{}, 404, "AF20050")
	c.wantManage("GET", audit+"nonsense", url.Values{}, 400, "AF20052")
	now = now.Add(8 * 24 * time.Hour)
	c.tok = map[string]string{}
	c.wantManage("GET", audit+items[0].ContentID, url.Values{}, 400, "AF20051")
}

func TestPartialBlobCompletes(t *testing.T) {
	now := time.Now()
	c := start(t, Options{Records: -1, Volumes: map[string]Volume{AuditGeneral: {PerHour: 6000}}, BlobMin: 20, BlobMax: 20, Subscribed: []string{AuditGeneral},
		PartialFor: time.Minute, Now: func() time.Time { return now }})
	now = now.Add(30 * time.Second)
	items, _ := c.list(AuditGeneral, now.Add(-time.Minute), now.Add(time.Minute))
	partial, _ := c.blob(items[0])
	now = now.Add(2 * time.Minute)
	whole, _ := c.blob(items[0])
	if len(partial) != 10 || len(whole) != 20 {
		t.Errorf("%d records at first, %d at last; want 10 and 20", len(partial), len(whole))
	}
}

func TestRepeatedRecordsHaveOtherKeyOrder(t *testing.T) {
	c := start(t, Options{Seed: 5, Records: -1, Volumes: map[string]Volume{AuditSharePoint: {History: 600}}, BlobMin: 50, BlobMax: 100, Repeated: 0.2, Subscribed: []string{AuditSharePoint}})
	now := time.Now()
	items, _ := c.list(AuditSharePoint, now.Add(-23*time.Hour-30*time.Minute), now.Add(time.Second))
	first := map[string]json.RawMessage{}
	within, across, reordered := 0, 0, 0
	for _, it := range items {
		_, raw := c.blob(it)
		var list []json.RawMessage
		if err := json.Unmarshal(raw, &list); err != nil {
			t.Fatal(err)
		}
		here := map[string]bool{}
		for _, r := range list {
			var v struct{ ID string }
			if err := json.Unmarshal(r, &v); err != nil {
				t.Fatal(err)
			}
			if old, ok := first[v.ID]; ok {
				var a, b map[string]any
				if json.Unmarshal(old, &a) != nil || json.Unmarshal(r, &b) != nil || len(a) != len(b) {
					t.Fatalf("a repeated record differs: %s and %s", old, r)
				}
				for k := range a {
					x, _ := json.Marshal(a[k])
					y, _ := json.Marshal(b[k])
					if string(x) != string(y) {
						t.Errorf("a repeated record differs in %s: %s and %s", k, x, y)
					}
				}
				if string(old) != string(r) {
					reordered++
				}
				if here[v.ID] {
					within++
				} else {
					across++
				}
			} else {
				first[v.ID] = r
			}
			here[v.ID] = true
		}
	}
	if within < 15 || across < 30 || reordered != within+across {
		t.Errorf("%d repeated within a blob, %d across, %d reordered", within, across, reordered)
	}
	if len(first) != 600 {
		t.Errorf("%d different records, want 600", len(first))
	}
}

func TestOddities(t *testing.T) {
	c := start(t, Options{Seed: 6, Records: -1, Volumes: map[string]Volume{AuditEntra: {History: 800}}, Odd: 0.5, Subscribed: []string{AuditEntra}})
	now := time.Now()
	items, _ := c.list(AuditEntra, now.Add(-23*time.Hour-30*time.Minute), now.Add(time.Second))
	seen := map[string]int{}
	for _, it := range items {
		records, _ := c.blob(it)
		for _, r := range records {
			if _, ok := r["RecordType"].(string); ok {
				seen["stringly number"]++
			}
			if n, ok := r["RecordType"].(float64); ok && n >= 400 {
				seen["unknown type"]++
			}
			ip, has := r["ClientIP"]
			if has && ip == nil {
				seen["null address"]++
			}
			if s, _ := ip.(string); strings.Contains(s, ".") && strings.Contains(s, ":") {
				seen["address and port"]++
			}
		}
	}
	for _, kind := range []string{"stringly number", "unknown type", "null address", "address and port"} {
		if seen[kind] < 10 {
			t.Errorf("%s: %d times", kind, seen[kind])
		}
	}
}

func TestLateBlobsAppearInTheirPlace(t *testing.T) {
	now := time.Now()
	c := start(t, Options{Seed: 8, Records: -1, Volumes: map[string]Volume{AuditExchange: {History: 500}}, History: time.Hour, Late: 0.3, Subscribed: []string{AuditExchange},
		Now: func() time.Time { return now }})
	from := now.Add(-2 * time.Hour)
	before, _ := c.list(AuditExchange, from, now.Add(time.Second))
	now = now.Add(90 * time.Minute)
	c.tok = map[string]string{}
	after, _ := c.list(AuditExchange, from, now)
	if len(after) <= len(before) {
		t.Fatalf("%d blobs at first, %d later", len(before), len(after))
	}
	known := map[string]bool{}
	for _, i := range before {
		known[i.ContentID] = true
	}
	n := slices.IndexFunc(after, func(i item) bool { return !known[i.ContentID] })
	if n == len(after)-1 || after[n].ContentCreated > before[len(before)-1].ContentCreated {
		t.Error("late blobs only came at the end")
	}
}

func TestDLPShowsValuesOnlyToThoseWhoMayReadThem(t *testing.T) {
	for _, roles := range [][]string{{"ActivityFeed.Read"}, {"ActivityFeed.Read", "ActivityFeed.ReadDlp"}} {
		c := start(t, Options{Seed: 9, Records: -1, Volumes: map[string]Volume{DLPAll: {History: 50}}, Roles: roles, Subscribed: []string{DLPAll}})
		now := time.Now()
		items, _ := c.list(DLPAll, now.Add(-23*time.Hour-30*time.Minute), now.Add(time.Second))
		_, raw := c.blob(items[0])
		if got, want := strings.Contains(string(raw), "4111 1111"), len(roles) == 2; got != want {
			t.Errorf("roles %v: values shown %v", roles, got)
		}
	}
}

func TestManagementQuota(t *testing.T) {
	c := start(t, Options{Records: -1, Throttle: true})
	for range 2000 {
		c.sim.allow("manage", 1, 2000, time.Minute)
	}
	c.wantManage("GET", "subscriptions/list", url.Values{}, 403, `{"error":{"code":"AF429","message":"Too many requests. Method=GetContent, PublisherId=`+c.sim.TenantID()+`"}}`)
}
