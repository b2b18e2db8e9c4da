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
	"slices"
	"strings"
	"sync"

	"github.com/tidwall/gjson"
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

// delivered is one event of a delivery: its text, and what the judge needs of it.
type delivered struct {
	raw       string
	ids       [2]string // event_Id, event_id
	clocks    [3]string // by clockNames
	operation string
	flaw      string // what a flat event must not have; "" for none
}

var (
	idNames = [2]string{"event_Id", "event_id"}
	// clockNames are the properties that tell versions of a row apart.
	clockNames = [3]string{"event_lastUpdatedDateTime", "event_riskLastUpdatedDateTime", "event_lastUpdateDateTime"}
)

// split takes a body apart into events: one object, an array of objects, or one
// object a line.
func split(body []byte) ([]delivered, error) {
	text := strings.TrimSpace(string(body))
	if text == "" {
		return nil, errors.New("the body is empty")
	}
	var list []gjson.Result
	switch whole := gjson.Parse(text); {
	case !gjson.Valid(text):
		for line := range strings.Lines(text) {
			if line = strings.TrimSpace(line); line == "" {
				continue
			}
			if !gjson.Valid(line) {
				return nil, fmt.Errorf("event %d is not JSON", len(list)+1)
			}
			list = append(list, gjson.Parse(line))
		}
	case whole.IsArray():
		list = whole.Array()
	default:
		list = []gjson.Result{whole}
	}
	events := make([]delivered, len(list))
	for i, event := range list {
		if !event.IsObject() {
			return nil, fmt.Errorf("event %d is not a JSON object", i+1)
		}
		events[i] = read(event)
	}
	return events, nil
}

func read(event gjson.Result) delivered {
	d := delivered{raw: event.Raw}
	event.ForEach(func(name, value gjson.Result) bool {
		switch {
		case value.Type == gjson.JSON:
			d.flaw = "a nested value"
		case name.Str == "" || name.Str[0] == '_':
			d.flaw = "a name that is reserved"
		case name.Str == "operation":
			d.operation = value.String()
		}
		if i := slices.Index(idNames[:], name.Str); i >= 0 {
			d.ids[i] = value.String()
		} else if i := slices.Index(clockNames[:], name.Str); i >= 0 {
			d.clocks[i] = value.String()
		}
		return true
	})
	return d
}

// accept counts what was delivered.
func (s *Simulator) accept(events []delivered) {
	for _, e := range events {
		if e.flaw != "" {
			s.violate("an event with %s: operation %q", e.flaw, e.operation)
		}
		s.judge(e)
		if s.opts.OnEvent != nil {
			s.opts.OnEvent([]byte(e.raw))
		}
		if s.opts.KeepEvents > 0 {
			s.mu.Lock()
			if len(s.events) == s.opts.KeepEvents {
				copy(s.events, s.events[1:])
				s.events = s.events[:len(s.events)-1]
			}
			s.events = append(s.events, []byte(e.raw))
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
