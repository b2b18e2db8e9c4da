package simulator

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"
)

// This file does to an answer what a fault says.

// wait reports whether the client is still there after a while.
func (s *Simulator) wait(r *http.Request, d time.Duration) bool {
	select {
	case <-time.After(d):
	case <-s.closing:
	case <-r.Context().Done():
		return false
	}
	return true
}

func (s *Simulator) answerStatus(w http.ResponseWriter, r *http.Request, target string, f Fault) {
	if f.RetryAfter != "" {
		w.Header().Set("Retry-After", f.RetryAfter)
	}
	status, code, message := f.Status, f.Code, f.Message
	if f.Kind == Throttle {
		status = max(status, 429)
	}
	if code == "" {
		switch {
		case status == 429:
			code, message = "TooManyRequests", "Please retry again later."
		case status >= 500 && strings.HasPrefix(target, "manage"):
			code, message = "AF50000", "An internal server error occurred. Retry the request."
		case status >= 500:
			code, message = "ServiceNotAvailable", "The service is temporarily unavailable."
		default:
			code, message = "UnknownError", ""
		}
	}
	switch {
	case strings.HasPrefix(target, "graph"):
		s.graphError(w, status, code, "%s", message)
	case strings.HasPrefix(target, "manage"):
		afError(w, status, code, "%s", message)
	case strings.HasPrefix(target, "login"):
		s.loginError(w, status, 90033, "temporarily_unavailable", "A transient error has occurred. Please try again.")
	default:
		writeJSON(w, status, map[string]string{"error": message})
	}
}

// reset closes the connection with a TCP reset.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // not HTTP/1.1: the nearest thing
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.SetLinger(0) //nolint:errcheck // closing anyway
	}
	conn.Close() //nolint:errcheck // closing is the point
}

// capture keeps an answer, to be damaged.
type capture struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (c *capture) Header() http.Header { return c.header }

func (c *capture) WriteHeader(status int) {
	if c.status == 0 {
		c.status = status
	}
}

func (c *capture) Write(p []byte) (int, error) {
	c.WriteHeader(http.StatusOK)
	return c.body.Write(p)
}

func (s *Simulator) damage(w http.ResponseWriter, r *http.Request, f Fault, answer func(http.ResponseWriter)) {
	c := &capture{header: w.Header()}
	r.Header.Del("Accept-Encoding") // the body is damaged as JSON
	if f.Kind == GzipBreak {
		r.Header.Set("Accept-Encoding", "gzip")
	}
	answer(c)
	body := c.body.Bytes()
	switch f.Kind {
	case Truncate:
		w.WriteHeader(max(c.status, 200))
		w.Write(body[:len(body)/2]) //nolint:errcheck // the client hung up
	case Cut:
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		w.WriteHeader(max(c.status, 200))
		w.Write(body[:len(body)/2]) //nolint:errcheck // the client hung up
		http.NewResponseController(w).Flush()
		reset(w)
	case Stall:
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		w.WriteHeader(max(c.status, 200))
		w.Write(body[:len(body)/2])           //nolint:errcheck // the client hung up
		http.NewResponseController(w).Flush() //nolint:errcheck // the client hung up
		if s.wait(r, f.Delay) {
			w.Write(body[len(body)/2:]) //nolint:errcheck // the client hung up
		}
	case GzipBreak:
		if w.Header().Get("Content-Encoding") == "" {
			var packed bytes.Buffer
			z := gzip.NewWriter(&packed)
			z.Write(body) //nolint:errcheck // into memory
			z.Close()     //nolint:errcheck // into memory
			body = packed.Bytes()
			w.Header().Set("Content-Encoding", "gzip")
		}
		for i := len(body) / 2; i < len(body); i++ {
			body[i] ^= 0x5a
		}
		w.WriteHeader(max(c.status, 200))
		w.Write(body) //nolint:errcheck // the client hung up
	}
}
