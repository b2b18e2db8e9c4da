package simulator

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestTenants reads and delivers for some of many tenants behind one set of services.
func TestTenants(t *testing.T) {
	first := start(t, Options{Seed: 5, Tenants: 1000, Records: 300})
	var clients []*client
	for _, i := range []int{0, 1, 999} {
		clients = append(clients, &client{t: t, sim: first.sim.Tenant(i), tok: map[string]string{}})
	}
	offered := int64(0)
	for i, c := range clients {
		c.collect()
		r := c.sim.reportOwn(time.Time{}, time.Now())
		if r.Offered < 250 || r.Lost > 0 || r.Duplicated > 0 || r.Unexpected > 0 || len(r.Violations) > 0 {
			t.Errorf("tenant %d: %+v", i, r)
		}
		offered += r.Offered
	}
	first.sim.StopLive()
	if r := first.sim.Report(); r.Offered != offered || r.Tenants.Of != 1000 || r.Tenants.Asked != 3 {
		t.Errorf("all tenants: %+v %+v", r, r.Tenants)
	}

	// Tenants are strangers to each other.
	a, b := clients[1], clients[2]
	if a.sim.TenantID() == b.sim.TenantID() || a.sim.opts.Token == b.sim.opts.Token || a.sim.opts.ProjectID == b.sim.opts.ProjectID {
		t.Error("two tenants have something in common that none may have")
	}
	answered, _ := a.do("GET", b.sim.ManageBase()+"/api/v1.0/"+b.sim.TenantID()+"/activity/feed/subscriptions/list?PublisherIdentifier="+b.sim.TenantID(),
		map[string]string{"Authorization": "Bearer " + a.token(a.sim.ManageBase())}, "")
	if answered.StatusCode != 401 {
		t.Errorf("a tenant's token is good for another tenant: %d", answered.StatusCode)
	}
	if answered, v := a.login(map[string]string{"client_id": b.sim.opts.ClientID, "scope": a.sim.GraphBase() + "/.default"}); answered.StatusCode != 400 {
		t.Errorf("a tenant knows another's application: %d %v", answered.StatusCode, v)
	}
	if status, _ := a.post(b.sim.IngestBase()+"/ingest/1.0/http/project/"+b.sim.opts.ProjectID, `{"operation":"x"}`, nil); status != 401 {
		t.Errorf("a tenant's ingest token is good for another project: %d", status)
	}
	// A record that arrives at another tenant's project is noticed, as is one that arrives twice.
	rows, _ := a.rows("/v1.0/auditLogs/directoryAudits")
	event := map[string]any{"event_id": rows[0]["id"], "operation": "misplaced"}
	b.send(event)
	a.send(event)
	r := first.sim.Report()
	if len(r.Tenants.Wrong) != 2 || r.Unexpected != 1 || r.Duplicated != 1 {
		t.Fatalf("a misplaced and a repeated record: %+v, %+v", r, r.Tenants)
	}
	for i, w := range r.Tenants.Wrong {
		if c := []*client{a, b}[i]; w.Tenant != c.sim.TenantID() || w.Duplicated+w.Unexpected != 1 || w.Number != []int{1, 999}[i] {
			t.Errorf("%+v", w)
		}
	}
	// Control endpoints are about the tenant that is named.
	a.do("POST", a.sim.LoginBase()+"/_simulator/licence?plan=Free&tenant="+a.sim.TenantID(), nil, "")
	if a.sim.licence() != Free || b.sim.licence() != P2 || first.sim.licence() != P2 {
		t.Error("the licence of another tenant than the one that was named changed")
	}
	if answered, body := a.do("GET", a.sim.LoginBase()+"/_simulator/report?tenant=nobody", nil, ""); answered.StatusCode != 400 {
		t.Errorf("a tenant that there is not: %d %s", answered.StatusCode, body)
	}
	_, body := a.do("GET", a.sim.LoginBase()+"/_simulator/report?tenant="+b.sim.TenantID(), nil, "")
	var own Report
	if err := json.Unmarshal(body, &own); err != nil || own.Tenants != nil || own.Unexpected != 1 {
		t.Errorf("the report of one tenant: %v %s", err, body)
	}
}

// TestLimitsOfTenants: what one tenant asks for is not counted against another.
func TestLimitsOfTenants(t *testing.T) {
	first := start(t, Options{Tenants: 2, Records: 50, Throttle: true})
	second := &client{t: t, sim: first.sim.Tenant(1), tok: map[string]string{}}
	for range 7 {
		first.get(first.sim.GraphBase(), "/v1.0/auditLogs/signIns")
	}
	if answered, _ := first.get(first.sim.GraphBase(), "/v1.0/auditLogs/signIns"); answered.StatusCode != 429 {
		t.Errorf("the first is not throttled: %d", answered.StatusCode)
	}
	if answered, body := second.get(second.sim.GraphBase(), "/v1.0/auditLogs/signIns"); answered.StatusCode != 200 {
		t.Errorf("the second is: %d %s", answered.StatusCode, body)
	}
	second.do("POST", second.sim.CollectorBase(), map[string]string{"Content-Type": "application/json"}, `{"operation":"x"}`)
	if r := second.sim.Report(); r.Other["x"] != 1 {
		t.Errorf("the second's collector: %+v", r.Other)
	}
}

func TestMainWritesTenants(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tenants")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, stderr bytes.Buffer
	if code := Main(ctx, []string{"-records", "100", "-tenants", "3", "-tenants-dir", dir}, &out, &stderr); code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr.String())
	}
	settings, report, _ := strings.Cut(out.String(), "\n\n")
	if !strings.HasPrefix(settings, "MS_LOGIN_BASE=http://") || !strings.HasSuffix(settings, "\nTENANTS_DIR="+dir) || strings.Contains(settings, "SECRET") {
		t.Errorf("settings %s", settings)
	}
	var r Report
	if err := json.Unmarshal([]byte(report), &r); err != nil || r.Tenants == nil || r.Tenants.Of != 3 {
		t.Errorf("report %v %s", err, report)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil || len(files) != 3 {
		t.Fatal(files, err)
	}
	seen := map[string]bool{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			if seen[line] {
				t.Errorf("%s: another tenant has %s", file, line)
			}
			seen[line] = true
		}
	}
	for _, args := range [][]string{{"-tenants", "2"}, {"-tenants", "2", "-tenants-dir", dir, "-collector"}} {
		if code := Main(ctx, args, &out, &stderr); code != 2 {
			t.Errorf("%v: exit code %d", args, code)
		}
	}
	if _, err := Start(Options{Tenants: 2, ProjectID: "x"}); err == nil {
		t.Error("a project that cannot be counted on from was taken")
	}
}
