package simulator

import (
	"bytes"
	"compress/gzip"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"sync"
)

// This file is Secure60: the ingest endpoint and a collector.

var bodies = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func (s *Simulator) serveIngest(w http.ResponseWriter, r *http.Request) {
	s.deliver(w, r, "ingest")
}

func (s *Simulator) serveCollector(w http.ResponseWriter, r *http.Request) {
	s.deliver(w, r, "collector")
}

func (s *Simulator) deliver(w http.ResponseWriter, r *http.Request, target string) {
	s.count("requests." + target)
	buf := bodies.Get().(*bytes.Buffer)
	defer bodies.Put(buf)
	buf.Reset()
	if err := s.readBody(buf, w, r); err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			refuse(w, http.StatusRequestEntityTooLarge, "the request is larger than %d bytes", s.opts.MaxBody)
		} else {
			refuse(w, http.StatusBadRequest, "the body cannot be read: %v", err)
		}
		return
	}
	body := buf.Bytes()
	hit := s.faults.draw(target, s.now(), func(text string) bool {
		return bytes.Contains(body, []byte(text)) || strings.Contains(r.URL.Path, text)
	})
	s.apply(w, r, target, hit, func(w http.ResponseWriter, r *http.Request, hit faultSet) {
		if f, ok := hit.of(Poison, Refuse, TooLarge); ok {
			status := map[Kind]int{Poison: 400, Refuse: 401, TooLarge: 413}[f.Kind]
			refuse(w, status, "refused on request")
			return
		}
		if !s.admitted(w, r, target) {
			return
		}
		events, err := split(body)
		if err != nil {
			refuse(w, http.StatusBadRequest, "%v", err)
			return
		}
		s.accept(events)
		if hit.has(AcceptReset) {
			reset(w)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"status":"ok"}`) //nolint:errcheck // the client hung up
	})
}

func refuse(w http.ResponseWriter, status int, format string, args ...any) {
	writeJSON(w, status, map[string]string{"error": fmt.Sprintf(format, args...)})
}

func (s *Simulator) readBody(buf *bytes.Buffer, w http.ResponseWriter, r *http.Request) error {
	limited := http.MaxBytesReader(w, r.Body, s.opts.MaxBody)
	switch r.Header.Get("Content-Encoding") {
	case "", "identity":
		_, err := buf.ReadFrom(limited)
		return err
	case "gzip":
		z, err := gzip.NewReader(limited)
		if err != nil {
			return err
		}
		if _, err = buf.ReadFrom(io.LimitReader(z, s.opts.MaxBody+1)); err == nil && int64(buf.Len()) > s.opts.MaxBody {
			return &http.MaxBytesError{Limit: s.opts.MaxBody}
		}
		return err
	}
	return fmt.Errorf("content encoding %q is not supported", r.Header.Get("Content-Encoding"))
}

// admitted checks everything about a delivery but its events.
func (s *Simulator) admitted(w http.ResponseWriter, r *http.Request, target string) bool {
	bearer := r.Header.Get("Authorization")
	if target == "collector" {
		if bearer != "" {
			s.violate("a delivery to the collector carried Authorization")
		}
	} else {
		project, ok := strings.CutPrefix(r.URL.Path, "/ingest/1.0/http/project/")
		if !ok {
			refuse(w, http.StatusNotFound, "no such path: %s", r.URL.Path)
			return false
		}
		if subtle.ConstantTimeCompare([]byte(bearer), []byte("Bearer "+s.opts.Token)) == 0 {
			refuse(w, http.StatusUnauthorized, "the token is not valid")
			return false
		}
		if project != s.opts.ProjectID {
			refuse(w, http.StatusForbidden, "the token is not valid for project %s", project)
			return false
		}
	}
	if r.Method != http.MethodPost {
		refuse(w, http.StatusMethodNotAllowed, "only POST is supported")
		return false
	}
	switch kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind {
	case "application/json", "application/x-ndjson":
		return true
	default:
		refuse(w, http.StatusUnsupportedMediaType, "Content-Type %q is not supported", kind)
		return false
	}
}

// delivered is one event of a delivery.
type delivered struct {
	raw []byte
	eventKeys
}

// split takes a body apart into events: one object, an array of objects, or one
// object a line.
func split(body []byte) ([]delivered, error) {
	body = bytes.TrimSpace(body)
	if len(body) == 0 {
		return nil, errors.New("the body is empty")
	}
	var events []delivered
	if body[0] == '[' {
		return splitArray(body)
	}
	for rest := body; len(rest) > 0; {
		line, after, _ := bytes.Cut(rest, []byte("\n"))
		rest = after
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		k, err := scanEvent(line)
		if err != nil {
			// One object may be written over several lines.
			if k, whole := scanEvent(body); whole == nil {
				return []delivered{{body, k}}, nil
			}
			return nil, fmt.Errorf("event %d: %w", len(events)+1, err)
		}
		events = append(events, delivered{line, k})
	}
	return events, nil
}

// splitArray takes an array of objects apart, in one pass like the other forms: a
// destination that is slow with arrays alone makes the connector seem so.
func splitArray(body []byte) ([]delivered, error) {
	var events []delivered
	i := skipSpace(body, 1)
	for i < len(body) && body[i] != ']' {
		if len(events) > 0 {
			if body[i] != ',' {
				return nil, fmt.Errorf("no comma follows event %d of the JSON array", len(events))
			}
			i = skipSpace(body, i+1)
		}
		k, next := scanObject(body, i)
		if next < 0 {
			return nil, fmt.Errorf("event %d: %w", len(events)+1, errNotJSON)
		}
		events = append(events, delivered{body[i:next], k})
		i = skipSpace(body, next)
	}
	if i != len(body)-1 {
		return nil, errors.New("the JSON array does not end where the body does")
	}
	return events, nil
}

// accept counts what was delivered.
func (s *Simulator) accept(events []delivered) {
	for _, e := range events {
		if e.flaw != "" {
			s.violate("an event with %s: operation %q", e.flaw, e.operation)
		}
		s.judge(e.eventKeys)
		if s.opts.OnEvent != nil {
			s.opts.OnEvent(e.raw)
		}
		if s.opts.KeepEvents > 0 {
			s.mu.Lock()
			if len(s.events) == s.opts.KeepEvents {
				copy(s.events, s.events[1:])
				s.events = s.events[:len(s.events)-1]
			}
			s.events = append(s.events, bytes.Clone(e.raw))
			s.mu.Unlock()
		}
	}
	s.countN("events", int64(len(events)))
}

// Events returns the last accepted events, oldest first, as many as
// Options.KeepEvents says.
func (s *Simulator) Events() [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([][]byte(nil), s.events...)
}
