package web

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

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

// tenantHistory is busier for some tenants than for others.
func tenantHistory(tenant string, span time.Duration) []fleet.Sample {
	s := pageStatus()
	if tenant == "misspelt" {
		return nil
	}
	for i := range s.Feeds {
		s.Feeds[i].Total.Delivered *= int64(len(tenant))
	}
	return pageHistory(s).Last(span, fleet.SampleOf(s))
}

// testTenantPages serves the table of tenants, and the page of one.
func testTenantPages(t *testing.T) http.Handler {
	t.Helper()
	p := &pages{many: true, tenant: "contoso", status: pageStatus, history: pageHistory(pageStatus()), defs: shippedDefinitions(), busy: make(chan struct{}, atOnce), recent: pageRecent(), set: processSettings(t)}
	all := &pages{many: true, defs: p.defs, set: processSettings(t), busy: p.busy}
	mux := http.NewServeMux()
	all.route(mux)
	mux.HandleFunc("GET /{$}", all.showTenants(tenantStatuses, func() error { return errors.New("open t: permission denied") }, tenantHistory))
	mux.HandleFunc("GET /tenants/contoso", p.showStatus)
	return mux
}

// hasTexts fails for each text that a page lacks, by what it is.
func hasTexts(t *testing.T, page string, texts map[string]string) {
	t.Helper()
	for what, want := range texts {
		if !strings.Contains(page, want) {
			t.Errorf("%s: %q is not on the page:\n%s", what, want, page)
		}
	}
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
	hasTexts(t, text, map[string]string{
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
	})
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
	_, body = fetch(h, httptest.NewRequest("GET", "/?find=nobody%3Cscript%3Ealert(1)", nil))
	if strings.Contains(body, "<script>alert") || !strings.Contains(body, "No tenant is like that") {
		t.Error("a name that no tenant has")
	}

	if n := strings.Count(body, "<svg"); n != 0 {
		t.Errorf("%d plots of no tenant", n)
	}
	if _, body := fetch(h, httptest.NewRequest("GET", "/", nil)); strings.Count(body, "<svg") != 6 || !strings.Contains(body, "events a minute over the last 5 h") {
		t.Error("not every tenant that runs has its plot")
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
	none := func(string, time.Duration) []fleet.Sample { return nil }
	var list []fleet.TenantStatus
	for i := range 1000 {
		list = append(list, fleet.TenantStatus{Tenant: fmt.Sprintf("tenant-%04d", i), State: engine.OK, OK: 8})
	}
	if v := viewTenants(list, tenantsQuery{}, none); len(v.Tenants) != tenantsShown || v.More != 1000-tenantsShown || v.Level != good {
		t.Errorf("%d tenants and %d more, %s", len(v.Tenants), v.More, v.Level)
	}
	if v := viewTenants(list, tenantsQuery{find: "0999"}, none); len(v.Tenants) != 1 || v.More != 0 || v.Headline != "1000 tenants: 1000 ok" {
		t.Errorf("%d tenants and %d more are found: %s", len(v.Tenants), v.More, v.Headline)
	}
	if v := viewTenants(nil, tenantsQuery{}, none); v.Level != careful || v.Headline != "TENANTS_DIR holds no tenant yet" {
		t.Errorf("none: %s %s", v.Level, v.Headline)
	}
}

// TestTenantsAreSortedAndNarrowed: by links and a form, without JavaScript, and both together.
func TestTenantsAreSortedAndNarrowed(t *testing.T) {
	h := testTenantPages(t)
	for query, want := range map[string]string{
		"":                         "misspelt northwind fabrikam empty free fresh contoso",
		"sort=tenant":              "contoso empty fabrikam free fresh misspelt northwind",
		"sort=-tenant":             "northwind misspelt fresh free fabrikam empty contoso",
		"sort=-state":              "contoso fresh free empty fabrikam northwind misspelt",
		"sort=-lag":                "fresh northwind fabrikam contoso misspelt empty free",
		"sort=-forwarded":          "contoso northwind fabrikam misspelt empty free fresh",
		"sort=dead":                "misspelt northwind empty free fresh contoso fabrikam",
		"sort=-feeds":              "northwind free contoso fresh fabrikam misspelt empty",
		"sort=-rate":               "northwind fabrikam contoso empty fresh free misspelt",
		"sort=nonsense":            "misspelt northwind fabrikam empty free fresh contoso",
		"state=ok":                 "fabrikam contoso",
		"state=ok&sort=tenant":     "contoso fabrikam",
		"find=unknown+key":         "misspelt",
		"find=SIGNINS&state=ok":    "",
		"find=entra&state=failing": "northwind",
	} {
		_, body := fetch(h, httptest.NewRequest("GET", "/?"+query, nil))
		var names []string
		for _, m := range regexp.MustCompile(`class="feed"[^>]*>([^<]*)<`).FindAllStringSubmatch(body, -1) {
			names = append(names, m[1])
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
	shows(t, h, httptest.NewRequest("GET", "/?sort=-lag&find=f&state=ok", nil), http.StatusOK, []string{
		`class="number" aria-sort="descending"><a href="/?find=f&amp;sort=lag&amp;state=ok">Lag</a>`, // the other way round
		`<a href="/?find=f&amp;sort=tenant&amp;state=ok">Tenant</a>`,
		`<option value="-lag" selected>lag</option>`, `<option value="tenant">tenant</option>`, `value="f"`, `<option value="ok" selected>ok (2)</option>`, `<option value="stopped">does not run (1)</option>`,
	}, []string{`aria-sort="ascending"`})
	shows(t, h, httptest.NewRequest("GET", "/?sort=lag", nil), http.StatusOK, []string{`<option value="lag" selected>as it is</option>`}, nil)
	if _, body := fetch(h, httptest.NewRequest("GET", `/?sort="><script>alert(1)&state="><script>alert(1)`, nil)); strings.Contains(body, "<script>alert") {
		t.Error("what is asked for is markup on the page")
	}
}
