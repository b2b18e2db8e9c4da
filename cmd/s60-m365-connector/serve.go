package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"
)

// serve answers health checks and questions on LISTEN_ADDR. It is read-only.
// The returned function ends it.
func (f *fleet) serve() (stop func(), err error) {
	listen := f.process.settings.listen
	if listen == "" {
		return func() {}, nil
	}
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, fmt.Errorf("LISTEN_ADDR %s: %w; choose another address, or set LISTEN_ADDR= to turn the listener off", listen, err)
	}
	server := &http.Server{
		Handler:           onlyLocal(listen, f.handler()),
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
		MaxHeaderBytes: 1 << 16,
	}
	go server.Serve(listener) //nolint:errcheck // it ends with the server
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		server.Shutdown(ctx) //nolint:errcheck // the process ends anyhow
	}, nil
}

func (f *fleet) handler() http.Handler {
	mux := http.NewServeMux()
	// Whether the process answers at all: what a restart could mend. One that
	// cannot collect is not mended by a restart, so that is asked elsewhere.
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "ok") })
	mux.Handle("GET /metrics", f.metricsHandler())
	p := &pages{many: f.sole == nil, defs: f.defs, busy: make(chan struct{}, atOnce)}
	p.route(mux)
	of := "/tenants/{tenant}"
	if f.sole != nil {
		of = ""
		mux.HandleFunc("GET /healthz", f.sole.health)
		mux.HandleFunc("GET /readyz", f.sole.ready)
		mux.HandleFunc("GET /{$}", f.withConnector(f.showStatus))
	} else {
		mux.HandleFunc("GET /healthz", f.health)
		mux.HandleFunc("GET /readyz", f.ready)
		mux.HandleFunc("GET /{$}", p.showTenants(f.statuses, f.folderError))
		mux.HandleFunc("GET "+of, f.withConnector(f.showStatus))
		mux.HandleFunc("GET /status.json", func(w http.ResponseWriter, r *http.Request) { answerJSON(w, f.statuses()) })
	}
	mux.HandleFunc("GET "+of+"/ledger.json", f.withConnector(func(c *connector, w http.ResponseWriter, r *http.Request) {
		ledger, err := c.store.Ledger("")
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		answerJSON(w, ledger)
	}))
	mux.HandleFunc("GET "+of+"/status.json", f.withConnector(func(c *connector, w http.ResponseWriter, r *http.Request) {
		answerJSON(w, c.engine.Status())
	}))
	return mux
}

// withConnector answers for the tenant that the path names, or the only one.
func (f *fleet) withConnector(answer func(*connector, http.ResponseWriter, *http.Request)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		name := r.PathValue("tenant")
		c := f.connectorOf(name)
		if c == nil {
			http.Error(w, fmt.Sprintf("no tenant %q runs: / lists the tenants, and says why one does not", name), http.StatusNotFound)
			return
		}
		answer(c, w, r)
	}
}

// health answers /healthz for the only tenant.
func (c *connector) health(w http.ResponseWriter, _ *http.Request) {
	status := c.engine.Status()
	if status.Healthy() {
		fmt.Fprintln(w, "ok")
		return
	}
	w.WriteHeader(http.StatusServiceUnavailable)
	fmt.Fprintln(w, "failing")
	for _, f := range status.Feeds {
		if f.LastError != "" {
			fmt.Fprintf(w, "%s: %s\n", feedLabel(f.Feed, f.Partition), f.LastError)
		}
	}
	if !status.Delivery.OK {
		fmt.Fprintf(w, "%s: %s\n", status.Destination, status.Delivery.LastError)
	}
	if status.Apart {
		fmt.Fprintln(w, "STATE_URL: the shared state is out of reach, and nothing is collected here")
	}
}

// ready answers /readyz for the only tenant.
func (c *connector) ready(w http.ResponseWriter, _ *http.Request) {
	if waiting := c.engine.Status().Waiting(); waiting != "" {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(w, "waiting for "+waiting)
		return
	}
	fmt.Fprintln(w, "ok")
}
