package web

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/fleet"
	"github.com/secure60/s60-m365-connector/engine"
)

// tenantStatuses are tenants with one of everything that the page shows.
func tenantStatuses() []fleet.TenantStatus {
	list := []fleet.TenantStatus{
		{Tenant: "misspelt", State: fleet.Stopped, LastError: "t/misspelt.yaml:1:1: unknown key", Problems: []string{"t/misspelt.yaml:1:1: unknown key", "t/misspelt.yaml:2:1: " + hostile}},
		{Tenant: "northwind", State: engine.Failing, OK: 2, Failing: 6, LagSeconds: 18_000, Forwarded: 1234, Destination: "ingest", LastError: "entra-signins: " + hostile},
		{Tenant: "fabrikam", State: engine.OK, OK: 8, LagSeconds: 302, Forwarded: 5, DeadLetters: 3, Destination: "ingest", Problems: []string{"t/fabrikam.yaml:3:1: STATE_DIR is a setting of the process"}},
		{Tenant: "empty", State: engine.Disabled},
		{Tenant: "free", State: engine.Gated, Gated: 3},
		{Tenant: "fresh", State: engine.Starting, Starting: 8, LagSeconds: 86_400},
		{Tenant: "contoso", State: engine.OK, OK: 7, Gated: 1, LagSeconds: 301, Forwarded: 1_000_000, Destination: "collector"},
	}
	fleet.WorstFirst(list)
	return list
}

// testTenantPages serves the table of tenants, and the page of one.
func testTenantPages(t *testing.T) http.Handler {
	t.Helper()
	p := &pages{many: true, tenant: "contoso", status: pageStatus, history: pageHistory(pageStatus()), defs: shippedDefinitions(), busy: make(chan struct{}, atOnce)}
	all := &pages{many: true, defs: p.defs, set: processSettings(t), busy: p.busy}
	mux := http.NewServeMux()
	all.route(mux)
	mux.HandleFunc("GET /{$}", all.showTenants(tenantStatuses, func() error { return errors.New("open t: permission denied") }))
	mux.HandleFunc("GET /tenants/contoso", p.showStatus)
	return mux
}

func plainText(body string) string {
	return strings.Join(strings.Fields(regexp.MustCompile(`<[^>]*>`).ReplaceAllString(body, " ")), " ")
}

func TestTenantsPage(t *testing.T) {
	h := testTenantPages(t)
	response, body := fetch(h, httptest.NewRequest("GET", "/", nil))
	if response.StatusCode != http.StatusOK {
		t.Fatalf("HTTP %d: %s", response.StatusCode, body)
	}
	text := plainText(body)
	for what, want := range map[string]string{
		"headline":            "7 tenants: 1 does not run, 1 failing, 1 off, 1 gated, 1 catching up, 2 ok",
		"the folder":          "TENANTS_DIR cannot be read open t: permission denied",
		"files":               "Files with problems 2 see below",
		"furthest behind":     "Furthest behind 1 d fresh",
		"a problem of a file": "Its file has 2 problems t/misspelt.yaml:1:1: unknown key t/misspelt.yaml:2:1:",
		"feeds":               "6 failing, 2 ok",
		"lag":                 "5 min 2 s",
		"dead letters":        "Dead letters 3 refused, to be replayed",
		"an error, escaped":   "entra-signins: &lt;script&gt;",
		"thousands apart":     "1 000 000",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%s: %q is not on the page", what, want)
		}
	}
	if strings.Contains(body, "<script>alert") || strings.Contains(body, "<img src=x") {
		t.Error("a text is markup on the page")
	}
	order := regexp.MustCompile(`class="feed"[^>]*>([^<]*)<`).FindAllStringSubmatch(body, -1)
	var names []string
	for _, m := range order {
		names = append(names, m[1])
	}
	if got, want := strings.Join(names, " "), "misspelt northwind fabrikam empty free fresh contoso"; got != want {
		t.Errorf("the order is %s, want %s", got, want)
	}
	if strings.Contains(body, `href="/tenants/misspelt"`) || !strings.Contains(body, `href="/tenants/contoso"`) {
		t.Error("a tenant that runs has a page, and one that does not has none")
	}

	_, body = fetch(h, httptest.NewRequest("GET", "/?find=FAB", nil))
	if n := strings.Count(body, `class="feed"`); n != 1 || !strings.Contains(body, `href="/tenants/fabrikam"`) || !strings.Contains(body, `value="FAB"`) {
		t.Errorf("%d tenants are found by FAB", n)
	}
	_, body = fetch(h, httptest.NewRequest("GET", "/?find=%3Cscript%3Ealert(1)", nil))
	if strings.Contains(body, "<script>alert") || !strings.Contains(body, "No tenant has a name that holds") {
		t.Error("a name that no tenant has")
	}

	_, body = fetch(h, httptest.NewRequest("GET", "/tenants/contoso", nil))
	for _, want := range []string{`<title>contoso ·`, `href="/tenants/contoso" aria-current="page">contoso</a>`, `href="/tenants/contoso/status.json"`, `href="/tenants/contoso/ledger.json"`, "Collecting, but not everything"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page of a tenant lacks %q", want)
		}
	}
}

// TestTenantsPageIsBounded: of a thousand tenants it shows the worst, and finds any.
func TestTenantsPageIsBounded(t *testing.T) {
	var list []fleet.TenantStatus
	for i := range 1000 {
		list = append(list, fleet.TenantStatus{Tenant: fmt.Sprintf("tenant-%04d", i), State: engine.OK, OK: 8})
	}
	if v := viewTenants(list, ""); len(v.Tenants) != tenantsShown || v.More != 1000-tenantsShown || v.Level != good {
		t.Errorf("%d tenants and %d more, %s", len(v.Tenants), v.More, v.Level)
	}
	if v := viewTenants(list, "0999"); len(v.Tenants) != 1 || v.More != 0 || v.Headline != "1000 tenants: 1000 ok" {
		t.Errorf("%d tenants and %d more are found: %s", len(v.Tenants), v.More, v.Headline)
	}
	if v := viewTenants(nil, ""); v.Level != careful || v.Headline != "TENANTS_DIR holds no tenant yet" {
		t.Errorf("none: %s %s", v.Level, v.Headline)
	}
}
