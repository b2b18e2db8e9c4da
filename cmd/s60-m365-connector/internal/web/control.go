package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/fleet"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
)

// This file does work for commands: at the socket in the state directory, and nowhere else. The
// answer is a line of JSON now and then, each a [fleet.Progress]. If the command goes away, the work ends.

// work is what a command asks for. The progress that it returns goes out last.
type work func(ctx context.Context, c *fleet.Connector, r *http.Request, hear func(fleet.Progress)) (fleet.Progress, error)

func (f server) control(mux *http.ServeMux, of string) {
	mux.HandleFunc("POST "+of+"/backfill", f.working(backfill))
	mux.HandleFunc("POST "+of+"/replay", f.working(replay))
}

func backfill(ctx context.Context, c *fleet.Connector, r *http.Request, hear func(fleet.Progress)) (last fleet.Progress, err error) {
	from, err1 := time.Parse(time.RFC3339Nano, r.FormValue("from"))
	to, err2 := time.Parse(time.RFC3339Nano, r.FormValue("to"))
	if err := errors.Join(err1, err2); err != nil {
		return last, program.Exit(program.Usage, err)
	}
	err = c.Backfill(ctx, r.FormValue("feed"), from, to, r.FormValue("again") == "true", true, func(now fleet.Progress) {
		last = now
		hear(now)
	})
	return last, err
}

func replay(ctx context.Context, c *fleet.Connector, r *http.Request, hear func(fleet.Progress)) (fleet.Progress, error) {
	done, err := c.Replay(ctx, r.FormValue("file"), hear)
	return fleet.Progress{Done: 1, Events: int64(done.Sent), Replayed: &done}, err
}

// speak is how often progress is told, at most.
const speak = 200 * time.Millisecond

func (f server) working(do work) http.HandlerFunc {
	return f.withConnector(func(c *fleet.Connector, w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		control.SetReadDeadline(time.Time{})  //nolint:errcheck // a socket has deadlines
		control.SetWriteDeadline(time.Time{}) //nolint:errcheck
		w.Header().Set("Content-Type", "application/x-ndjson")
		w.WriteHeader(http.StatusOK)
		control.Flush() //nolint:errcheck // the client has gone, and the context tells
		var mu sync.Mutex
		var told time.Time
		write := func(p fleet.Progress) {
			mu.Lock()
			defer mu.Unlock()
			if !p.Ended && time.Since(told) < speak {
				return
			}
			told = time.Now()
			json.NewEncoder(w).Encode(p) //nolint:errcheck
			control.Flush()              //nolint:errcheck
		}
		last, err := do(r.Context(), c, r, write)
		last.Ended = true
		if err = c.CredentialsExit(err); err != nil {
			last.Problem, last.Code = err.Error(), program.Failed
			if e, ok := errors.AsType[*program.Error](err); ok {
				last.Code = e.Code
			}
			c.Log.Warn("work for a command failed", "path", r.URL.Path, "error", fmt.Sprint(err))
		}
		write(last)
	})
}
