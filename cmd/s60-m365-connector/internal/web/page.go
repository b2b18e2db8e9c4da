package web

import (
	"bytes"
	"embed"
	"html/template"
	"iter"
	"net/http"
	"sync"
	"time"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/definitions"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/fleet"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/engine"
	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/extract"
)

// This file serves the pages of LISTEN_ADDR: the status of the connector, and
// the mapping workbench. The rules are: everything is rendered here, so that
// the pages work without JavaScript; a small script only asks for the page again
// and takes over the parts that changed; nothing is loaded from elsewhere; nothing
// can be changed through them, and no secret is on them.

//go:embed page
var pageFiles embed.FS

// The templates use fields and these functions, and no methods: a program whose
// templates may call methods keeps all that there are, used or not.
var pageTemplates = template.Must(template.New("").Funcs(template.FuncMap{
	"known":  func(t time.Time) bool { return !t.IsZero() },
	"format": func(t time.Time, layout string) string { return t.Format(layout) },
}).ParseFS(pageFiles, "page/*.html"))

// pages are what the pages show.
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

// atOnce is how many requests of the workbench are worked on at once, others wait: it must
// not take the processor away from collecting.
const atOnce = 1

// route adds what is the same for one tenant and for several to what LISTEN_ADDR
// answers: the workbench, and what pages refer to.
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

// ownPages refuses a form of another site, which must not make this host work for it.
func ownPages(answer http.HandlerFunc) http.Handler {
	return http.NewCrossOriginProtection().Handler(answer)
}

// protect tells the browser what the pages may do: nothing but show what this
// host sends.
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
	if err := pageTemplates.ExecuteTemplate(&page, name, data); err != nil {
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
	Version string
	Many    bool   // there is a page of tenants
	Tenant  string // of several, whose page it is
	Base    string // where that tenant's answers to programs are: "" or /tenants/NAME
}

func (p *pages) frame(tab string) frame {
	f := frame{Tab: tab, Follows: tab != "workbench" && tab != "fields" && tab != "try", Version: program.Version, Many: p.many, Tenant: p.tenant}
	if p.tenant != "" {
		f.Base = "/tenants/" + p.tenant
	}
	return f
}

func (p *pages) showStatus(w http.ResponseWriter, r *http.Request) {
	status := p.status()
	f := p.frame("status")
	f.Version = status.Version
	render(w, http.StatusOK, "status.html", struct {
		frame
		statusView
	}{f, p.view(status, chosenRange(r.FormValue("range")))})
}

// showStatus is the page of one tenant.
func (f server) showStatus(c *fleet.Connector, w http.ResponseWriter, r *http.Request) {
	f.pagesOf(c).showStatus(w, r)
}

// pagesOf are the pages of one tenant.
func (f server) pagesOf(c *fleet.Connector) *pages {
	return &pages{many: f.Many(), tenant: c.Settings.Tenant, status: c.Engine.Status, history: &c.History, defs: c.Defs, ledger: c.Store.Ledger,
		recent: &c.Recent, reader: c.Reader, explain: c.InWords, values: c.Process.Settings.ShowEvents, tryRest: tryRest, set: c.Settings}
}

// pageTime is how pages show a time.
func pageTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05")
}
