package extract

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
)

// inMemory has a handler answer requests without a network between them: what waits for it is idle, so that a
// test of times is one in virtual time.
type inMemory struct{ http.Handler }

// The address of what is answered in memory; credentials go nowhere else but to https and loopback.
const memoryURL = "https://memory.example"

func (m inMemory) RoundTrip(r *http.Request) (*http.Response, error) {
	from, to := io.Pipe()
	w := &memoryAnswer{PipeWriter: to, header: http.Header{}, begun: make(chan *http.Response, 1)}
	over := context.AfterFunc(r.Context(), func() { _ = to.CloseWithError(r.Context().Err()) })
	go func() {
		defer over()
		if r.Body != nil {
			defer r.Body.Close()
		}
		m.ServeHTTP(w, r)
		w.WriteHeader(http.StatusOK)
		_ = to.Close()
	}()
	select {
	case <-r.Context().Done():
		return nil, r.Context().Err()
	case answer := <-w.begun:
		answer.Body, answer.Request = from, r
		return answer, nil
	}
}

// memoryAnswer is what a handler of [inMemory] writes to.
type memoryAnswer struct {
	*io.PipeWriter
	header http.Header
	begun  chan *http.Response
	wrote  bool
}

func (w *memoryAnswer) Header() http.Header { return w.header }

func (w *memoryAnswer) WriteHeader(status int) {
	if !w.wrote {
		w.wrote = true
		w.begun <- &http.Response{StatusCode: status, Status: strconv.Itoa(status), Header: w.header.Clone(), ContentLength: -1}
	}
}

func (w *memoryAnswer) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.PipeWriter.Write(p)
}

// serverInMemory is a server that is reached by the transport alone.
func serverInMemory(handler http.Handler) (*httptest.Server, http.RoundTripper) {
	return &httptest.Server{URL: memoryURL, Config: &http.Server{Handler: handler}}, inMemory{handler}
}
