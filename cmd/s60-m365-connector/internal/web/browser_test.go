//go:build !race

package web

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/secure60/s60-m365-connector/engine"
)

// chromium is a real one with a new profile, started once for all tests; nil, where there is none. endChromium ends it.
var (
	chromium    = sync.OnceValues(startChromium)
	endChromium = func() {}
)

func TestMain(m *testing.M) {
	code := m.Run()
	endChromium()
	os.Exit(code)
}

func startChromium() (context.Context, error) {
	var path string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		return nil, nil
	}
	profile, err := os.MkdirTemp("", "pages")
	if err != nil {
		return nil, err
	}
	ctx, endAllocator := chromedp.NewExecAllocator(context.Background(), append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.UserDataDir(profile),
		chromedp.NoSandbox, chromedp.DisableGPU, chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("hide-scrollbars", true))...)
	ctx, _ = chromedp.NewContext(ctx)
	endChromium = func() {
		chromedp.Cancel(ctx) //nolint:errcheck // it closes the browser, and waits for that
		endAllocator()
		os.RemoveAll(profile) //nolint:errcheck // a process of it may write to the last
	}
	return ctx, chromedp.Do(ctx) // which starts it
}

// browser opens a tab. The test is skipped where there is no Chromium. complaints are what it said of the pages so
// far: errors of the script, and violations of the policy.
func browser(t *testing.T) (ctx context.Context, complaints func() []string) {
	t.Helper()
	of, err := chromium()
	if err != nil {
		t.Fatalf("Chromium does not start: %v", err)
	}
	if of == nil {
		t.Skip("no Chromium on this machine: install the package chromium to test the pages in a browser")
	}
	ctx, cancel := chromedp.NewContext(of)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 5*time.Minute)
	t.Cleanup(cancel)
	var mu sync.Mutex
	var said []string
	note := func(text string) {
		mu.Lock()
		defer mu.Unlock()
		said = append(said, text)
	}
	err = chromedp.Listen(ctx, func(event any) {
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			note(e.ExceptionDetails.Text)
		case *log.EventEntryAdded:
			note(e.Entry.Text)
		}
	})
	if err == nil {
		_, err = chromedp.Call(ctx, log.Enable, cdp.Empty{})
	}
	if err != nil {
		t.Fatalf("Chromium does not start: %v", err)
	}
	return ctx, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(said)
	}
}

// look sets the width and the colours of the window.
func look(width int64, scheme string) chromedp.Action[chromedp.Void] {
	return chromedp.Steps(chromedp.EmulateViewport(width, 900), chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		return err
	}))
}

// shoot saves a picture of the whole page where SCREENSHOTS names a folder.
func shoot(name string) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		dir := os.Getenv("SCREENSHOTS")
		if dir == "" {
			return nil
		}
		picture, err := chromedp.FullScreenshot(100)(ctx, target)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, name+".png"), picture, 0o644)
	})
}

// into takes the result of an action.
func into[T any](result *T, a chromedp.Action[T]) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, target *chromedp.Target) (err error) {
		*result, err = a(ctx, target)
		return err
	})
}

// until waits for a condition of the page.
func until(condition string) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := chromedp.Poll[bool](condition, chromedp.WithPollingTimeout(2*time.Minute))(ctx, target)
		return err
	})
}

// arrives waits for an element of the page that a form leads to. Asked at the moment of the change, the browser speaks
// of nodes of the page before.
func arrives(selector string) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		for {
			_, err := chromedp.WaitReady(chromedp.CSS(selector))(ctx, target)
			if err == nil || ctx.Err() != nil || !strings.Contains(err.Error(), "(-32000)") {
				return err
			}
		}
	})
}

// measured is what a page says of itself: whether it is wider than its window, the least
// contrast of its texts, texts that are cut off, and controls without a name.
type measured struct {
	Wide     bool     `json:"wide"`
	Contrast float64  `json:"contrast"`
	Worst    string   `json:"worst"`
	Cut      []string `json:"cut"`
	Nameless []string `json:"nameless"`
}

const measure = `(() => {
  const channel = (v) => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const luminance = ([r, g, b]) => .2126 * channel(r) + .7152 * channel(g) + .0722 * channel(b);
  const parse = (c) => c.match(/[\d.]+/g).map(Number);
  const background = (e) => {
    for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c.length === 3 || c[3] === 1) return c; }
    return [255, 255, 255];
  };
  let contrast = 21, worst = "";
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = walker.nextNode());) {
    const e = node.parentElement, box = e.getBoundingClientRect();
    if (!node.textContent.trim() || box.width < 2 || e.closest(".hidden, .skip, title, option")) continue;
    const [a, b] = [luminance(parse(getComputedStyle(e).color)), luminance(background(e))];
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < contrast) { contrast = ratio; worst = node.textContent.trim().slice(0, 40) + " <" + e.className + ">"; }
  }
  const nameless = [...document.querySelectorAll("a, button, select, input:not([type=hidden]), textarea, [role=img], [role=region]")].filter((e) =>
    !(e.getAttribute("aria-label") || e.getAttribute("aria-labelledby") || e.textContent.trim() || e.labels?.length)).map((e) => e.outerHTML.slice(0, 80));
  const cut = [...document.querySelectorAll("main *:not(.hidden)")].filter((e) => getComputedStyle(e).overflowX === "hidden" && e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 1).map((e) => e.outerHTML.slice(0, 80));
  return {wide: document.documentElement.scrollWidth > innerWidth, contrast, worst, cut, nameless};
})()`

// accessible is what the rules of axe-core find on a page, where AXE names its script; see .ci/run.
func accessible(t *testing.T) chromedp.Action[string] {
	file := os.Getenv("AXE")
	if file == "" {
		return chromedp.Evaluate[string](`""`)
	}
	script, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return chromedp.Evaluate[string](string(script)+`;axe.run(document, {resultTypes: ["violations"]}).then((r) => r.violations.map((v) =>
		v.id + ": " + v.help + " (" + v.nodes.map((n) => n.html.slice(0, 120)).slice(0, 3).join(", ") + ")").join("\n"))`, chromedp.EvalAwaitPromise)
}

// sound holds the page that is shown: every text can be read, at every width, in light and dark; the rules of
// axe-core, which take a second, are asked at a desk in light and on a phone in dark.
func sound(t *testing.T, ctx context.Context, page string) {
	t.Helper()
	for _, width := range []int64{1280, 900, 390} {
		for _, scheme := range []string{"light", "dark"} {
			var m measured
			var found string
			name := fmt.Sprintf("%s-%d-%s", page, width, scheme)
			err := chromedp.Do(ctx, look(width, scheme), until("document.getAnimations().length === 0"), into(&m, chromedp.Evaluate[measured](measure)), shoot(name))
			if err == nil && (width == 1280 && scheme == "light" || width == 390 && scheme == "dark") {
				err = chromedp.Do(ctx, into(&found, accessible(t)))
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if found != "" {
				t.Errorf("%s: %s", name, found)
			}
			if m.Wide || m.Contrast < 4.5 || len(m.Cut) > 0 || len(m.Nameless) > 0 {
				t.Errorf("%s: wider than the window: %v; least contrast %.2f (%s), want 4.5; cut off: %q; controls without a name: %q", name, m.Wide, m.Contrast, m.Worst, m.Cut, m.Nameless)
			}
		}
	}
}

func TestPagesInABrowser(t *testing.T) {
	ctx, complaints := browser(t)
	var delivered atomic.Int64
	var down atomic.Bool
	handler := knownHosts("127.0.0.1:0", nil, testPages(t, func() engine.Status {
		s := pageStatus()
		s.Feeds[0].Forwarded += delivered.Load()
		return s
	}))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if down.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		handler.ServeHTTP(w, r)
	}))
	defer server.Close()

	many := httptest.NewServer(testTenantPages(t))
	defer many.Close()

	for page, url := range map[string]string{
		"status": server.URL, "workbench": server.URL + "/workbench", "fields": server.URL + "/fields?find=inbox+rule", "tenants": many.URL, "tenant": many.URL + "/tenants/contoso",
	} {
		if err := chromedp.Do(ctx, chromedp.Navigate(url), chromedp.WaitReady(chromedp.CSS("footer"))); err != nil {
			t.Fatalf("%s: %v", page, err)
		}
		sound(t, ctx, page)
	}

	// The page follows the connector by itself.
	var before, after string
	number := `document.querySelector("#feeds tbody tr td:last-child").textContent`
	if err := chromedp.Do(ctx, look(1280, "light"), chromedp.Navigate(server.URL), chromedp.WaitReady(chromedp.CSS("footer")), into(&before, chromedp.Evaluate[string](number))); err != nil {
		t.Fatal(err)
	}
	delivered.Store(123)
	if err := chromedp.Do(ctx, until(number+` !== "`+before+`"`), into(&after, chromedp.Evaluate[string](number))); err != nil {
		t.Fatalf("the page stays as it was: %v", err)
	}
	if strings.ReplaceAll(after, "\u202f", "") != "1008327" {
		t.Errorf("forwarded: %s, then %s", before, after)
	}

	// So does that of a tenant among many, which asks for itself and not for the table.
	reloaded := `document.querySelector("#summary p").textContent.includes("Collecting")`
	err := chromedp.Do(ctx, chromedp.Navigate(many.URL+"/tenants/contoso"), chromedp.WaitReady(chromedp.CSS("footer")),
		into(new(bool), chromedp.Evaluate[bool](`document.querySelector("#summary p").textContent = "stale"; true`)), until(reloaded))
	if err != nil {
		t.Errorf("the page of a tenant does not follow it: %v", err)
	}
	// A name that is being typed is not lost when the table is renewed.
	var typed string
	err = chromedp.Do(ctx, chromedp.Navigate(many.URL+"/?find=con"), chromedp.WaitReady(chromedp.CSS("footer")),
		into(new(bool), chromedp.Evaluate[bool](`document.getElementById("find").value = "fab"; document.querySelector("#summary p").textContent = "stale"; true`)),
		until(`document.querySelector("#summary p").textContent.includes("tenants")`), into(&typed, chromedp.Evaluate[string](`document.getElementById("find").value`)))
	if err != nil || typed != "fab" {
		t.Errorf("the name that was typed is %q: %v", typed, err)
	}

	if err := chromedp.Do(ctx, chromedp.Navigate(server.URL), chromedp.WaitReady(chromedp.CSS("footer"))); err != nil {
		t.Fatal(err)
	}
	// It says when the connector does not answer, and when it does again.
	if said := complaints(); len(said) > 0 {
		t.Errorf("the browser complains: %q", said)
	}
	down.Store(true)
	if err := chromedp.Do(ctx, until(`!document.getElementById("stale").hidden`)); err != nil {
		t.Fatalf("a page that is out of date does not say so: %v", err)
	}
	down.Store(false)
	if err := chromedp.Do(ctx, until(`document.getElementById("stale").hidden`)); err != nil {
		t.Fatalf("a page that is up to date again does not say so: %v", err)
	}

	// A hostile record is text on the workbench, and the fields have their places.
	var text string
	var alerts bool
	err = chromedp.Do(ctx, chromedp.Navigate(server.URL+"/workbench?mapping=entra-signin"), chromedp.WaitReady(chromedp.CSS("footer")),
		chromedp.SetValue(chromedp.CSS("#record"), strings.Replace(signin, "a1", `</textarea><img src=x onerror='document.title=1'>`, 1)),
		chromedp.Click(chromedp.CSS("button:not(.hidden):not(.plain)")), chromedp.WaitReady(chromedp.CSS(".event")),
		into(&text, chromedp.Text(chromedp.CSS(".event"))), into(&alerts, chromedp.Evaluate[bool](`document.title === "1" || document.querySelector("main img") !== null`)), shoot("workbench-event"),
		look(1280, "dark"), shoot("workbench-event-dark"), look(390, "light"), shoot("workbench-event-phone"))
	if err != nil {
		t.Fatal(err)
	}
	if alerts || !strings.Contains(text, "Sign-in of ann@tenant.example from 203.0.113.7 failed") || !strings.Contains(text, "entra-signin.yaml:") {
		t.Errorf("markup of the record took effect: %v; the page shows:\n%s", alerts, text)
	}

	// Without JavaScript, everything is there all the same.
	var rows int
	err = chromedp.Do(ctx, chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
		return err
	}), chromedp.Navigate(server.URL), chromedp.WaitReady(chromedp.CSS("footer")),
		into(&rows, chromedp.Evaluate[int](`document.querySelectorAll("#feeds tbody tr.first, #feeds svg").length`)))
	if err != nil || rows < 20 {
		t.Errorf("without JavaScript: %d rows and plots, %v", rows, err)
	}
	for _, said := range complaints() {
		if !strings.Contains(said, "503") { // that was the connector that did not answer
			t.Errorf("the browser complains: %s", said)
		}
	}
}
