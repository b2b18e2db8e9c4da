package simulator

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// client is a plain HTTP client of one simulator.
type client struct {
	t   *testing.T
	sim *Simulator
	tok map[string]string
}

func start(t *testing.T, o Options) *client {
	t.Helper()
	sim, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sim.Close() })
	return &client{t: t, sim: sim, tok: map[string]string{}}
}

func (c *client) do(method, url string, header map[string]string, body string) (*http.Response, []byte) {
	c.t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, url, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, url, err)
	}
	return resp, data
}

func (c *client) form(extra map[string]string) url.Values {
	v := url.Values{"grant_type": {"client_credentials"}, "client_id": {c.sim.opts.ClientID}, "client_secret": {c.sim.opts.ClientSecret}}
	for k, s := range extra {
		if s == "" {
			v.Del(k)
		} else {
			v.Set(k, s)
		}
	}
	return v
}

func (c *client) login(extra map[string]string) (*http.Response, map[string]any) {
	c.t.Helper()
	resp, body := c.do("POST", c.sim.LoginBase()+"/"+c.sim.TenantID()+"/oauth2/v2.0/token",
		map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, c.form(extra).Encode())
	var v map[string]any
	if err := json.Unmarshal(body, &v); err != nil {
		c.t.Fatalf("token answer %q: %v", body, err)
	}
	return resp, v
}

func (c *client) token(resource string) string {
	c.t.Helper()
	if c.tok[resource] == "" {
		_, v := c.login(map[string]string{"scope": resource + "/.default"})
		token, _ := v["access_token"].(string)
		if token == "" {
			c.t.Fatalf("no token for %s: %v", resource, v)
		}
		c.tok[resource] = token
	}
	return c.tok[resource]
}

func (c *client) get(base, path string) (*http.Response, []byte) {
	c.t.Helper()
	return c.do("GET", base+path, map[string]string{"Authorization": "Bearer " + c.token(base)}, "")
}

func (c *client) manage(method, operation string, query url.Values) (*http.Response, []byte) {
	c.t.Helper()
	query.Set("PublisherIdentifier", c.sim.TenantID())
	return c.do(method, c.sim.ManageBase()+"/api/v1.0/"+c.sim.TenantID()+"/activity/feed/"+operation+"?"+query.Encode(),
		map[string]string{"Authorization": "Bearer " + c.token(c.sim.ManageBase())}, "")
}

type item struct{ ContentID, ContentURI, ContentCreated, ContentExpiration, ContentType string }

// list walks the content listing of a period.
func (c *client) list(contentType string, from, to time.Time) (items []item, pages int) {
	c.t.Helper()
	const layout = "2006-01-02T15:04:05"
	next := c.sim.ManageBase() + "/api/v1.0/" + c.sim.TenantID() + "/activity/feed/subscriptions/content?" + url.Values{
		"contentType": {contentType}, "startTime": {from.UTC().Format(layout)}, "endTime": {to.UTC().Format(layout)}, "PublisherIdentifier": {c.sim.TenantID()},
	}.Encode()
	for next != "" {
		resp, body := c.do("GET", next, map[string]string{"Authorization": "Bearer " + c.token(c.sim.ManageBase())}, "")
		if resp.StatusCode != 200 {
			c.t.Fatalf("listing: %d %s", resp.StatusCode, body)
		}
		var page []item
		if err := json.Unmarshal(body, &page); err != nil {
			c.t.Fatal(err)
		}
		items = append(items, page...)
		pages++
		next = resp.Header.Get("NextPageUri")
	}
	return items, pages
}

func (c *client) blob(i item) (records []map[string]any, raw []byte) {
	c.t.Helper()
	resp, body := c.do("GET", i.ContentURI+"?PublisherIdentifier="+c.sim.TenantID(), map[string]string{"Authorization": "Bearer " + c.token(c.sim.ManageBase())}, "")
	if resp.StatusCode != 200 {
		c.t.Fatalf("blob: %d %s", resp.StatusCode, body)
	}
	if err := json.Unmarshal(body, &records); err != nil {
		c.t.Fatalf("blob is not JSON: %v in %.300s", err, body)
	}
	return records, body
}

// rows walks a Graph collection.
func (c *client) rows(path string) (rows []map[string]any, pages int) {
	c.t.Helper()
	next := c.sim.GraphBase() + path
	for next != "" {
		resp, body := c.do("GET", next, map[string]string{"Authorization": "Bearer " + c.token(c.sim.GraphBase())}, "")
		if resp.StatusCode != 200 {
			c.t.Fatalf("%s: %d %s", next, resp.StatusCode, body)
		}
		var page struct {
			Next  string           `json:"@odata.nextLink"`
			Value []map[string]any `json:"value"`
		}
		if err := json.Unmarshal(body, &page); err != nil {
			c.t.Fatalf("%s: %v in %.300s", next, err, body)
		}
		rows = append(rows, page.Value...)
		pages++
		next = page.Next
	}
	return rows, pages
}

// send delivers events to ingest and returns the status.
func (c *client) send(events ...map[string]any) int {
	c.t.Helper()
	var b bytes.Buffer
	for _, e := range events {
		if err := json.NewEncoder(&b).Encode(e); err != nil {
			c.t.Fatal(err)
		}
	}
	resp, _ := c.do("POST", c.sim.IngestBase()+"/ingest/1.0/http/project/"+c.sim.opts.ProjectID,
		map[string]string{"Authorization": "Bearer " + c.sim.opts.Token, "Content-Type": "application/json"}, b.String())
	return resp.StatusCode
}

// event is the least that the judge needs of a record.
func event(record map[string]any) map[string]any {
	e := map[string]any{"operation": "test"}
	for k, v := range record {
		switch v.(type) {
		case string, float64, bool:
			e["event_"+k] = v
		}
	}
	return e
}

// collect is a whole, careful client: everything of the tenant, delivered once.
func (c *client) collect() {
	c.t.Helper()
	for _, name := range ContentTypes {
		if resp, body := c.manage("POST", "subscriptions/start", url.Values{"contentType": {name}}); resp.StatusCode != 200 {
			c.t.Fatalf("start: %d %s", resp.StatusCode, body)
		}
		now := time.Now().Add(time.Second)
		items, _ := c.list(name, now.Add(-24*time.Hour), now)
		seen := map[string]bool{}
		for _, i := range items {
			records, _ := c.blob(i)
			c.deliver(records, func(r map[string]any) bool {
				id := r["Id"].(string)
				known := seen[id]
				seen[id] = true
				return known
			})
		}
	}
	for _, path := range graphPaths {
		rows, _ := c.rows(path)
		seen := map[any]bool{}
		c.deliver(rows, func(r map[string]any) bool {
			known := seen[r["id"]]
			seen[r["id"]] = true
			return known
		})
	}
}

// deliver sends the records that are not known yet, as one batch.
func (c *client) deliver(records []map[string]any, known func(map[string]any) bool) {
	c.t.Helper()
	var batch []map[string]any
	for _, r := range records {
		if !known(r) {
			batch = append(batch, event(r))
		}
	}
	if len(batch) > 0 {
		if status := c.send(batch...); status != 200 {
			c.t.Fatalf("ingest: %d", status)
		}
	}
}

var graphPaths = []string{
	"/v1.0/auditLogs/signIns",
	"/beta/auditLogs/signIns?$filter=signInEventTypes/any(t:%20t%20eq%20'nonInteractiveUser')",
	"/beta/auditLogs/signIns?$filter=signInEventTypes/any(t:%20t%20eq%20'servicePrincipal')",
	"/beta/auditLogs/signIns?$filter=signInEventTypes/any(t:%20t%20eq%20'managedIdentity')",
	"/v1.0/auditLogs/directoryAudits",
	"/v1.0/auditLogs/provisioning?$top=100",
	"/v1.0/deviceManagement/auditEvents",
	"/v1.0/identityProtection/riskDetections",
	"/v1.0/identityProtection/riskyUsers",
	"/v1.0/identityProtection/riskyServicePrincipals",
	"/v1.0/identityProtection/servicePrincipalRiskDetections",
	"/v1.0/security/alerts_v2",
	"/v1.0/security/incidents",
}

func TestACarefulClientLosesNothing(t *testing.T) {
	c := start(t, Options{Seed: 7, Records: 900, Volumes: map[string]Volume{RiskyServicePrincipals: {History: 4}, ServicePrincipalRiskDetections: {History: 4}}, History: 20 * time.Hour, ListPage: 7, PageSize: 20, Repeated: 0.05, Odd: 0.1})
	c.collect()
	r := c.sim.Report()
	if r.Lost != 0 || r.Duplicated != 0 || r.Unexpected != 0 || r.Outside != 0 {
		t.Errorf("report: lost %d, duplicated %d, unexpected %d, outside %d: %+v", r.Lost, r.Duplicated, r.Unexpected, r.Outside, r.Feeds)
	}
	if r.Offered < 880 || r.Received != r.Offered {
		t.Errorf("offered %d, received %d", r.Offered, r.Received)
	}
	for _, f := range r.Feeds {
		if !f.Asked || f.Offered == 0 {
			t.Errorf("%s: asked %v, offered %d", f.Feed, f.Asked, f.Offered)
		}
	}
	if len(r.Violations) > 0 {
		t.Errorf("violations: %q", r.Violations)
	}
}
