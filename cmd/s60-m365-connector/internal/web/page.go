package web

import (
	"bytes"
	"embed"
	"html/template"
	"iter"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/definitions"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/fleet"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/wording"
	"github.com/secure60/s60-m365-connector/engine"
	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/extract"
)

// This file serves the pages. The rules are: the server renders everything, so the pages work
// without JavaScript; a small script only reloads the page and replaces what changed; nothing
// is loaded from another host.

//go:embed page
var pageFiles embed.FS

// pageTemplates are read once a page is asked for: most commands serve none.
var pageTemplates = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("").Funcs(template.FuncMap{
		"known":   func(t time.Time) bool { return !t.IsZero() },
		"format":  func(t time.Time, layout string) string { return t.UTC().Format(layout) },
		"span":    wording.Span,
		"since":   func(from, to time.Time) string { return wording.Span(to.Sub(from)) },
		"seconds": func(n int64) string { return wording.Span(time.Duration(n) * time.Second) },
		"join":    func(list []string) string { return strings.Join(list, ", ") },
		"label":   wording.FeedLabel,
		"number":  number, "percent": percent, "size": size, "within": within, "took": took,
		"answered": answered, "askedLevel": askedLevel,
		"level": func(s engine.State) level { return stateLevel[s] },
		"state": func(f engine.FeedStatus) string { return fleet.WithHolder(stateWord[f.State], f) },
		"worse": func(n int64, as string) string { // of a number that should be 0
			if n == 0 {
				return ""
			}
			return as
		},
		"ranges":  func() []plotRange { return plotRanges },
		"version": func() string { return program.Version },
	}).ParseFS(pageFiles, "page/*.html"))
})

// pages is what the pages are made from.
type pages struct {
	many    bool   // there are several tenants, and the first page is a table of them
	tenant  string // whose status it is, of several
	status  func() engine.Status
	history *fleet.History
	defs    *definitions.Compiled
	ledger  func(prefix string) iter.Seq2[checkpoint.Entry, error]
	recent  *fleet.Recent
	reader  func(feed *definition.Feed, partition string) (*extract.Reader, error)
	explain func(error) string // in words
	values  bool               // those of records may be shown
	tryRest time.Duration
	set     *settings.Settings // of the tenant; those of the process for what is the same for all
	busy    chan struct{}      // holds a token for each record that is being tried on the workbench
}

// atOnce is how many requests of the workbench are worked on at once: collecting needs the processor more.
const atOnce = 1

// route adds the pages that do not depend on the tenant.
func (p *pages) route(mux *http.ServeMux) {
	mux.HandleFunc("GET /workbench", p.showWorkbench)
	mux.HandleFunc("GET /fields", p.showFields(sync.OnceValue(p.words)))
	mux.Handle("POST /workbench", ownPages(p.tryRecord))
	assets := http.FileServerFS(pageFiles)
	for _, name := range []string{"page.css", "page.js", "workbench.js", "icon.svg"} {
		mux.HandleFunc("GET /page/"+name, func(w http.ResponseWriter, r *http.Request) {
			protect(w.Header())
			assets.ServeHTTP(w, r)
		})
	}
}

// ownPages refuses forms that come from other sites.
func ownPages(answer http.HandlerFunc) http.Handler {
	return http.NewCrossOriginProtection().Handler(answer)
}

// protect allows the pages nothing but to show what this host sends.
func protect(h http.Header) {
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "+
		"form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

// render answers with a page.
func render(w http.ResponseWriter, code int, name string, data any) {
	var page bytes.Buffer
	if err := pageTemplates().ExecuteTemplate(&page, name, data); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	protect(w.Header())
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(code)
	w.Write(page.Bytes()) //nolint:errcheck // the client has gone
}

// frame is what all pages have in common.
type frame struct {
	Tab     string // status, tenants, feed, try, workbench or fields
	Follows bool   // it is asked for again by itself
	Many    bool   // there is a page of tenants
	Tenant  string // of several, whose page it is
	Base    string // where that tenant's answers to programs are: "" or /tenants/NAME
}

func (p *pages) frame(tab string) frame {
	f := frame{Tab: tab, Follows: tab != "workbench" && tab != "fields" && tab != "try", Many: p.many, Tenant: p.tenant}
	if p.tenant != "" {
		f.Base = "/tenants/" + p.tenant
	}
	return f
}

func (p *pages) showStatus(w http.ResponseWriter, r *http.Request) {
	render(w, http.StatusOK, "status.html", p.view(p.status(), chosenRange(r.FormValue("range"))))
}

// pagesOf are the pages of one tenant.
func (f server) pagesOf(c *fleet.Connector) *pages {
	return &pages{many: f.Many(), tenant: c.Settings.Tenant, status: c.Engine.Status, history: &c.History, defs: c.Defs, ledger: c.Store.Ledger,
		recent: &c.Recent, reader: c.Reader, explain: c.InWords, values: c.Process.Settings.ShowEvents, tryRest: tryRest, set: c.Settings}
}
