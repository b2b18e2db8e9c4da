// Package web serves LISTEN_ADDR: health, metrics, the status page and the mapping workbench. It
// changes nothing, shows no secret, and shows the content of records only if SHOW_EVENTS allows it.
//
// How it works: each answer is read from the engine's status when it is asked for. page/*.html show the status
// itself, with what view.go, feed.go and tenants.go add to it; families.go lists the metrics. What a page can
// try (workbench_try.go, try.go) is limited in time and number, and delivers and remembers nothing. Requests
// must use a known name of this host (hosts.go). Commands that change something come through the
// socket in the state directory (control.go), not through LISTEN_ADDR.
package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/fleet"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/wording"
)

// healthLines is how many tenants an answer about health names.
const healthLines = 100

// health answers /healthz for several tenants. The process is healthy as long as any tenant
// is: some react with a restart, which would stop that one and mend no other.
func (f server) health(w http.ResponseWriter, _ *http.Request) {
	list := f.Statuses()
	var lines []string
	healthy := 0
	for _, t := range list {
		if t.Healthy() {
			healthy++
		}
		if !t.Healthy() || len(t.Problems) > 0 {
			lines = append(lines, t.Tenant+": "+t.Trouble())
		}
	}
	if err := f.FolderError(); err != nil {
		lines = append([]string{"TENANTS_DIR: " + err.Error()}, lines...)
	}
	if more := len(lines) - healthLines; more > 0 {
		lines = append(lines[:healthLines], fmt.Sprintf("and %d more", more))
	}
	word := "ok"
	if healthy == 0 && len(list) > 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
		word = "failing"
	}
	fmt.Fprintf(w, "%s: %d of %d %s healthy\n", word, healthy, len(list), wording.Plural(len(list), "tenant"))
	for _, line := range lines {
		fmt.Fprintln(w, strings.Join(strings.Fields(line), " "))
	}
}

// ready answers /readyz for several tenants: the process is ready once one of them works, or
// if there is none.
func (f server) ready(w http.ResponseWriter, _ *http.Request) {
	members := f.List()
	waiting := ""
	for _, m := range members {
		waiting = "a tenant to start"
		if m.Connector == nil {
			continue
		}
		if waiting = m.Connector.Engine.Status().Waiting(); waiting == "" {
			break
		}
	}
	if waiting != "" {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(w, "waiting for "+waiting+", of any tenant")
		return
	}
	fmt.Fprintln(w, "ok")
}

func answerJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v) //nolint:errcheck // the client has gone
}

// Serve answers on LISTEN_ADDR and at the socket until stop is called. If the port is 0, the
// settings then hold the port that was chosen.
func Serve(f *fleet.Fleet) (stop func(), err error) {
	closeSocket := serveSocket(f)
	closeListener, err := serveListener(f)
	if err != nil {
		closeSocket()
		return nil, err
	}
	return func() { closeListener(); closeSocket() }, nil
}

// serveSocket answers commands. Not every file system has sockets; without one, the connector
// works all the same.
func serveSocket(f *fleet.Fleet) (stop func()) {
	listener, err := fleet.ListenSocket(f.Settings)
	if err != nil {
		f.Log.Warn("no socket in STATE_DIR: backfill, replay and top cannot reach this connector", "error", err)
		return func() {}
	}
	mux := server{f}.mux()
	server{f}.control(mux, base(f))
	return serving(listener, &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 1 << 16})
}

// base is where the paths of a tenant begin.
func base(f *fleet.Fleet) string {
	if f.Many() {
		return "/tenants/{tenant}"
	}
	return ""
}

func serving(listener net.Listener, s *http.Server) (stop func()) {
	go s.Serve(listener) //nolint:errcheck // it ends with the server
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if s.Shutdown(ctx) != nil {
			s.Close() //nolint:errcheck // the process ends anyhow
		}
	}
}

func serveListener(f *fleet.Fleet) (stop func(), err error) {
	listen := f.Process.Settings.Listen
	if listen == "" {
		return func() {}, nil
	}
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, fmt.Errorf("LISTEN_ADDR %s: %w; choose another address, or set LISTEN_ADDR= to turn the listener off", listen, err)
	}
	if _, port, _ := net.SplitHostPort(listen); port == "0" { // the settings hold no other form
		listen = listener.Addr().String()
		f.Process.Settings.Listen = listen
	}
	return serving(listener, &http.Server{
		Handler:           knownHosts(listen, f.Settings.ListenHosts, server{f}.mux()),
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
		MaxHeaderBytes: 1 << 16,
	}), nil
}

// ledgersAtOnce is how many ledgers are read at a time; any further request gets ledgerBusy.
const (
	ledgersAtOnce = 2
	ledgerBusy    = "the ledger is being read already: ask again in a moment"
)

// enter takes one of the places in the channel, until leave is called. If all are taken, it answers
// with that text, and ok is false.
func enter(places chan struct{}, w http.ResponseWriter, taken string) (leave func(), ok bool) {
	select {
	case places <- struct{}{}:
		return func() { <-places }, true
	default:
		http.Error(w, taken, http.StatusServiceUnavailable)
		return nil, false
	}
}

// server answers for the tenants of a fleet.
type server struct{ *fleet.Fleet }

func (f server) mux() *http.ServeMux {
	mux := http.NewServeMux()
	// Only whether the process answers: that is what a restart can mend.
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "ok") })
	mux.Handle("GET /metrics", f.metricsHandler())
	p := &pages{many: f.Many(), defs: f.Defs, set: f.Settings, busy: make(chan struct{}, atOnce)}
	p.route(mux)
	of := base(f.Fleet)
	withPages := func(answer func(*pages, http.ResponseWriter, *http.Request)) http.HandlerFunc {
		return f.withConnector(func(c *fleet.Connector, w http.ResponseWriter, r *http.Request) { answer(f.pagesOf(c), w, r) })
	}
	if !f.Many() {
		mux.HandleFunc("GET /healthz", f.withConnector(health))
		mux.HandleFunc("GET /readyz", f.withConnector(ready))
		mux.HandleFunc("GET /{$}", withPages((*pages).showStatus))
	} else {
		mux.HandleFunc("GET /healthz", f.health)
		mux.HandleFunc("GET /readyz", f.ready)
		mux.HandleFunc("GET /{$}", p.showTenants(f.Statuses, f.FolderError, f.samples))
		mux.HandleFunc("GET "+of, withPages((*pages).showStatus))
		mux.HandleFunc("GET /status.json", func(w http.ResponseWriter, r *http.Request) { answerJSON(w, f.Statuses()) })
	}
	reading := routeFeeds(mux, of, withPages)
	mux.HandleFunc("GET "+of+"/ledger.json", f.withConnector(func(c *fleet.Connector, w http.ResponseWriter, r *http.Request) {
		leave, ok := enter(reading, w, ledgerBusy)
		if !ok {
			return
		}
		defer leave()
		// A line an entry, as they are read: there may be many.
		w.Header().Set("Content-Type", "application/json")
		separator := "["
		for e, err := range fleet.Ledger(c.Settings, c.Store) {
			line, encodingErr := json.Marshal(&e)
			if err = errors.Join(err, encodingErr); err != nil {
				if separator == "[" {
					http.Error(w, err.Error(), http.StatusInternalServerError)
				}
				return // an answer that is not whole shows by its end
			}
			if _, err := fmt.Fprintf(w, "%s%s\n", separator, line); err != nil {
				return
			}
			separator = ","
		}
		if separator == "[" {
			fmt.Fprint(w, separator)
		}
		fmt.Fprintln(w, "]")
	}))
	mux.HandleFunc("GET "+of+"/status.json", f.withConnector(func(c *fleet.Connector, w http.ResponseWriter, r *http.Request) {
		answerJSON(w, c.Engine.Status())
	}))
	return mux
}

// routeFeeds adds the pages of feeds. of gives a tenant's pages to a handler; reading holds a place for each
// reader of a ledger.
func routeFeeds(mux *http.ServeMux, base string, of func(func(*pages, http.ResponseWriter, *http.Request)) http.HandlerFunc) (reading chan struct{}) {
	reading, trying := make(chan struct{}, ledgersAtOnce), make(chan struct{}, 1)
	feed := base + "/feeds/{feed}"
	mux.HandleFunc("GET "+feed, of(func(p *pages, w http.ResponseWriter, r *http.Request) { p.showFeed(reading, w, r) }))
	mux.Handle("POST "+feed+"/try", ownPages(of(func(p *pages, w http.ResponseWriter, r *http.Request) { p.tryFeed(trying, w, r) })))
	mux.HandleFunc("GET "+feed+"/try", func(w http.ResponseWriter, r *http.Request) { // who loads the page of a try again
		http.Redirect(w, r, strings.TrimSuffix(r.URL.EscapedPath(), "/try"), http.StatusSeeOther)
	})
	return reading
}

// withConnector answers for the tenant that the path names, or the only one.
func (f server) withConnector(answer func(*fleet.Connector, http.ResponseWriter, *http.Request)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		name := r.PathValue("tenant")
		c := f.ConnectorOf(name)
		if c == nil {
			http.Error(w, fmt.Sprintf("no tenant %q runs: / lists the tenants, and says why one does not", name), http.StatusNotFound)
			return
		}
		answer(c, w, r)
	}
}

// health answers /healthz for the only tenant.
func health(c *fleet.Connector, w http.ResponseWriter, _ *http.Request) {
	status := c.Engine.Status()
	if status.Healthy() {
		fmt.Fprintln(w, "ok")
		return
	}
	w.WriteHeader(http.StatusServiceUnavailable)
	fmt.Fprintln(w, "failing")
	for _, f := range status.Failures() {
		of := affected(f)
		if n := len(f.Feeds); n > 1 {
			of = fmt.Sprintf("%d feeds (%s)", n, of)
		}
		fmt.Fprintf(w, "%s: %s\n", of, f.Text)
	}
	if text := fleet.Undelivered(status); text != "" {
		fmt.Fprintln(w, text)
	}
}

// ready answers /readyz for the only tenant.
func ready(c *fleet.Connector, w http.ResponseWriter, _ *http.Request) {
	if waiting := c.Engine.Status().Waiting(); waiting != "" {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(w, "waiting for "+waiting)
		return
	}
	fmt.Fprintln(w, "ok")
}
