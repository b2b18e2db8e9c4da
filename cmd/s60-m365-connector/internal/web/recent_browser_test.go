//go:build !race

package web

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// TestTryNowInABrowser: a feed is tried from its page, by keyboard; a hostile record is text; what is typed into a
// search is followed. At every width, in light and dark, axe-core finds nothing.
func TestTryNowInABrowser(t *testing.T) {
	ctx, complaints := browser(t)
	p, _ := microsoft(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"value":[%s,%s]}`, strings.Replace(signin, "a1", strings.ReplaceAll(hostile, `"`, `\"`), 1), signin)
	})
	server := httptest.NewServer(knownHosts("127.0.0.1:0", nil, p.mux()))
	defer server.Close()
	many := httptest.NewServer(testTenantPages(t))
	defer many.Close()

	var alerts bool
	var text string
	err := chromedp.Do(ctx, look(1280, "light"), chromedp.Navigate(server.URL+"/feeds/entra-signins"), chromedp.WaitReady(chromedp.CSS("footer")),
		into(new(bool), chromedp.Evaluate[bool](`document.querySelector("#samples details").open = true; document.querySelector(".try button").focus(); true`)))
	if err != nil {
		t.Fatal(err)
	}
	sound(t, ctx, "feed-events")
	var wide []string // on a phone
	err = chromedp.Do(ctx, look(390, "light"), into(&wide, chromedp.Evaluate[[]string](`[...document.querySelectorAll(".scroll")].filter((e) => e.scrollWidth > e.clientWidth).map((e) => e.ariaLabel)`)))
	if err != nil || len(wide) > 0 {
		t.Errorf("tables of the feed's page scroll sideways on a phone: %q, %v", wide, err)
	}
	err = chromedp.Do(ctx, look(1280, "light"))
	if err != nil {
		t.Fatal(err)
	}
	err = chromedp.Do(ctx, into(new(bool), chromedp.Evaluate[bool](`document.querySelector(".try button").focus(); true`)), chromedp.KeyEvent("\r"),
		arrives("#events-title"), into(new(bool), chromedp.Evaluate[bool](`document.querySelector("details").open = true; true`)),
		into(&text, chromedp.Text(chromedp.CSS("main"))), into(&alerts, chromedp.Evaluate[bool](`document.querySelector("main img, main script") !== null`)))
	if err != nil || alerts || !strings.Contains(text, "It can be read: the first 2 records") || !strings.Contains(text, "<script>alert(1)</script>") {
		t.Fatalf("a try: markup took effect: %v, %v:\n%s", alerts, err, text)
	}
	sound(t, ctx, "try")

	// A search follows what is typed, and the page's address says what was searched.
	var address string
	rows := func(n int) string {
		return fmt.Sprintf(`document.querySelectorAll("#of-fields tbody tr").length === %d`, n)
	}
	err = chromedp.Do(ctx, look(1280, "light"), chromedp.Navigate(server.URL+"/fields"), chromedp.WaitReady(chromedp.CSS("footer")),
		chromedp.SendKeys(chromedp.CSS("#find"), "user_sid"), until(rows(1)), into(&address, chromedp.Evaluate[string](`location.search`)))
	if err != nil || address != "?find=user_sid" {
		t.Errorf("the fields that are searched for: %s, %v", address, err)
	}
	err = chromedp.Do(ctx, chromedp.Navigate(many.URL+"/?sort=-lag"), chromedp.WaitReady(chromedp.CSS("footer")),
		chromedp.SendKeys(chromedp.CSS("#find"), "con"), until(`document.querySelectorAll("#tenants .feed").length === 1`), into(&address, chromedp.Evaluate[string](`location.search`)))
	if err != nil || address != "?sort=-lag&find=con" {
		t.Errorf("the tenants that are searched for: %s, %v", address, err)
	}
	if said := complaints(); len(said) > 0 {
		t.Errorf("the browser complains: %q", said)
	}
}
