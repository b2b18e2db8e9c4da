package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"time"
)

// serve answers health checks and questions on LISTEN_ADDR. It is read-only.
// The returned function ends it.
func (c *connector) serve() (stop func(), err error) {
	if c.settings.listen == "" {
		return func() {}, nil
	}
	listener, err := net.Listen("tcp", c.settings.listen)
	if err != nil {
		return nil, fmt.Errorf("LISTEN_ADDR %s: %w; choose another address, or set LISTEN_ADDR= to turn the listener off", c.settings.listen, err)
	}
	server := &http.Server{
		Handler:           onlyLocal(c.settings.listen, c.handler()),
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

func (c *connector) handler() http.Handler {
	mux := http.NewServeMux()
	// Whether the process answers at all: what a restart could mend. One that
	// cannot collect is not mended by a restart, so that is asked elsewhere.
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		status := c.engine.Status()
		if !status.Healthy() {
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
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if waiting := c.engine.Status().Waiting(); waiting != "" {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintln(w, "waiting for "+waiting)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	c.routePages(mux)
	mux.Handle("GET /metrics", c.metricsHandler())
	mux.HandleFunc("GET /ledger.json", func(w http.ResponseWriter, r *http.Request) {
		ledger, err := c.store.Ledger("")
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(ledger) //nolint:errcheck // the client has gone
	})
	mux.HandleFunc("GET /status.json", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(c.engine.Status()) //nolint:errcheck // the client has gone
	})
	return mux
}
