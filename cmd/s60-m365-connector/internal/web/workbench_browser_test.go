//go:build !race

package web

import (
	"net/http/httptest"
	"strconv"
	"testing"

	"github.com/chromedp/chromedp"
)

func TestWorkbenchInABrowser(t *testing.T) {
	ctx, complaints := browser(t)
	handler, _ := bench(t, nil)
	server := httptest.NewServer(handler)
	defer server.Close()

	// The workbench follows what is typed: the mapping is guessed, problems show where they are, the place of one leads there,
	// and what differs is there at once. Everything can be done by keyboard.
	enter := func(id, text string) chromedp.Action[bool] {
		return chromedp.Evaluate[bool](`(() => { const e = document.getElementById("` + id + `"); e.value = ` + strconv.Quote(text) + `; e.dispatchEvent(new Event("input", {bubbles: true})); return true; })()`)
	}
	var caret int
	var order string
	err := chromedp.Do(ctx, look(1280, "light"), chromedp.Navigate(server.URL+"/workbench"), chromedp.WaitReady(chromedp.CSS("footer")),
		into(new(bool), enter("record", signin)), until(`!!document.querySelector("#result .event") && document.getElementById("yaml").value.includes("extends: entra-signin")`),
		into(new(bool), enter("yaml", "name: entra-signin\nextends: entra-signin\nfields:\n  user_name: '\"x\" + lowr(event_userPrincipalName)'\n")), until(`!!document.querySelector("#problems [data-line='4']")`), shoot("workbench-problem"),
		into(new(bool), chromedp.Evaluate[bool](`document.querySelector("#problems [data-line]").click(); document.activeElement.id === "yaml"`)),
		into(&caret, chromedp.Evaluate[int](`document.getElementById("yaml").selectionStart`)),
		into(new(bool), enter("yaml", "name: entra-signin\nextends: entra-signin\nfields:\n  user_name: '\"x-\" + lower(event_userPrincipalName)'\n")), until(`document.querySelector("#result .differs td.is")?.textContent === "x-ann@tenant.example" && !document.querySelector("#problems .problem")`),
		into(&order, chromedp.Evaluate[string](`[...document.querySelectorAll("#bench select, #bench textarea, #bench input:not([type=hidden]), #bench button")].filter((e) => e.tabIndex >= 0).map((e) => e.id || e.textContent).join(" ")`)),
		shoot("workbench-editor"), look(1280, "dark"), shoot("workbench-editor-dark"), look(390, "light"), shoot("workbench-editor-phone"))
	if err != nil {
		t.Errorf("the workbench does not follow what is typed: %v", err)
	}
	if caret != 69 || order != "mapping example Take it record yaml Show the event case Save as golden case" {
		t.Errorf("the caret is at %d; by keyboard one comes to: %s", caret, order)
	}
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int64{1280, 390} {
			var m measured
			if err := chromedp.Do(ctx, look(width, scheme), until("document.getAnimations().length === 0"), into(&m, chromedp.Evaluate[measured](measure))); err != nil || m.Wide || m.Contrast < 4.5 || len(m.Nameless) > 0 {
				t.Errorf("the editor at %d, %s: %+v, %v", width, scheme, m, err)
			}
		}
	}
	if said := complaints(); len(said) > 0 {
		t.Errorf("the browser complains: %q", said)
	}
}
