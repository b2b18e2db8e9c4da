package extract

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secure60/s60-m365-connector/engine/definition"
)

const good = `{"value":[{"id":1},{"id":2}]}`

// TestFaultsThatPass: a fault, then the right answer. Every record is read
// whole, once.
func TestFaultsThatPass(t *testing.T) {
	broken := func(w http.ResponseWriter, header string, body string) {
		connection, buffered, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		fmt.Fprintf(buffered, "HTTP/1.1 200 OK\r\n%s\r\n\r\n%s", header, body)
		buffered.Flush()
		if tcp, ok := connection.(*net.TCPConn); ok {
			tcp.SetLinger(0) // a reset
		}
		connection.Close()
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	io.WriteString(z, good)
	z.Close()
	status := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			io.WriteString(w, body)
		}
	}
	const aff = `{"error":{"code":"AF429","message":"Too many requests. Method=GetBlob, PublisherId=0"}}`
	tests := []struct {
		name   string
		errors []definition.ErrorRule
		fault  http.HandlerFunc
	}{
		{"500", nil, status(500, `{"error":{"code":"AF50000","message":"An internal error occurred."}}`)},
		{"502 with HTML", nil, status(502, "<html><h1>Bad Gateway</h1></html>")},
		{"503 without a body", nil, status(503, "")},
		{"504", nil, status(504, "x")},
		{"408", nil, status(408, "")},
		{"429", nil, status(429, "")},
		{"401 without an error object", nil, status(401, `{"Message": "Authorization has been denied for this request."}`)},
		{"throttled as 403, by a rule", rules(t, `error.code == "AF429"`, "throttle"), status(403, aff)},
		{"throttled as 403 in single quotes", rules(t, `error.code == "AF429"`, "throttle"), status(403, strings.ReplaceAll(aff, `"`, `'`))},
		{"throttled by the text of a body that is no JSON", rules(t, `status == 403 && string(body) contains "AF429"`, "throttle"), status(403, "AF429, sorry")},
		{"a rule over headers", rules(t, `headers["x-odd"] == "yes" && headers["X-Odd"] == "yes"`, "retry"), func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Odd", "yes")
			w.WriteHeader(418)
		}},
		{"refresh_token by a rule", rules(t, `status == 403 && error.code == "Expired"`, "refresh_token"), status(403, `{"error":{"code":"Expired"}}`)},
		{"200 that says error, by a rule", rules(t, `error.code == "busy"`, "retry"), status(200, `{"error":{"code":"busy"}}`)},
		{"200 that says nothing but error", nil, status(200, `{"error":{"code":"busy"}}`)},
		{"200 with HTML", nil, status(200, "<!DOCTYPE html><html>Sign in</html>")},
		{"200 with a text", nil, status(200, "OK")},
		{"200 with nothing", nil, status(200, "")},
		{"200 with JSON that ends early", nil, status(200, good[:len(good)-3])},
		{"200 with something after the JSON", nil, status(200, good+"x")},
		{"a reset in mid-body", nil, func(w http.ResponseWriter, _ *http.Request) { broken(w, "Content-Length: 1000", good[:15]) }},
		{"a body that is shorter than it says", nil, func(w http.ResponseWriter, _ *http.Request) { broken(w, "Content-Length: 1000", good) }},
		{"chunks without an end", nil, func(w http.ResponseWriter, _ *http.Request) {
			broken(w, "Transfer-Encoding: chunked", fmt.Sprintf("%x\r\n%s\r\n", len(good), good))
		}},
		{"gzip that is cut off", nil, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			w.Write(packed.Bytes()[:packed.Len()-9])
		}},
		{"gzip with a wrong checksum", nil, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			wrong := bytes.Clone(packed.Bytes())
			wrong[len(wrong)-6] ^= 0xff
			w.Write(wrong)
		}},
		{"gzip that is none", nil, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			io.WriteString(w, good)
		}},
		{"an encoding that nobody asked for", nil, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "br")
			io.WriteString(w, "....")
		}},
		{"a body that stands still", nil, func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, good[:20])
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}},
		{"no answer at all", nil, func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newService(t)
			var n atomic.Int64
			s.mux.HandleFunc("/r", func(w http.ResponseWriter, r *http.Request) {
				if n.Add(1) <= 1 {
					test.fault(w, r)
					return
				}
				if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
					w.Header().Set("Content-Encoding", "gzip")
					w.Write(packed.Bytes())
				} else {
					io.WriteString(w, good)
				}
			})
			f := s.feed(t, "/r")
			f.Errors = test.errors
			o := s.options()
			o.StallTimeout, o.HeaderTimeout = 200*time.Millisecond, 300*time.Millisecond
			to := newSink()
			r, err := read(t, o, f, to)
			if err != nil {
				t.Fatal(err)
			}
			if got := to.ids(""); got != "1 2" || to.ended != 1 {
				t.Errorf("got records %q in %d sources", got, to.ended)
			}
			if got := r.Stats(); got.Requests != 2 || got.Retries != 1 {
				t.Errorf("stats are %+v, want 2 requests of which 1 retry", got)
			}
		})
	}
}

// TestFaultsThatStay: the error that a read ends with, and how often the service was asked.
func TestFaultsThatStay(t *testing.T) {
	answer := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			io.WriteString(w, body)
		}
	}
	// second answers the first page well, and then fails.
	second := func(fault http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.URL.RawQuery == "" {
				io.WriteString(w, `{"value":[{"id":1}],"@odata.nextLink":"/r?p=2"}`)
				return
			}
			fault(w, r)
		}
	}
	isNarrow := func(page int) func(error) bool {
		return func(err error) bool {
			n, ok := errors.AsType[*Narrow](err)
			return ok && n.Page == page
		}
	}
	isStatus := func(status int, code string) func(error) bool {
		return func(err error) bool {
			_, narrow := errors.AsType[*Narrow](err)
			s, ok := errors.AsType[*StatusError](err)
			return ok && !narrow && s.Status == status && s.Code == code
		}
	}
	tests := []struct {
		name     string
		errors   []definition.ErrorRule
		answer   http.HandlerFunc
		want     func(error) bool
		text     string
		requests int
	}{
		{"400", nil, answer(400, `{"error":{"code":"BadRequest","message":"Invalid\r\nfilter\u001b[31m"}}`), isStatus(400, "BadRequest"), "BadRequest: Invalid filter [31m", 1},
		{"401 twice", nil, answer(401, `{"error":{"code":"AF10001","message":"The permission set () sent in the request does not include the expected permission."}}`), isStatus(401, "AF10001"), "check that Read.All", 2},
		{"401 of a front end", nil, answer(401, `{"Message": "Authorization has been denied for this request."}`), isStatus(401, ""), "Authorization has been denied", 2},
		{"403", nil, answer(403, `{"error":{"code":"Forbidden","message":"no"}}`), isStatus(403, "Forbidden"), "page 1", 1},
		{"404 with HTML", nil, answer(404, "<html>"), isStatus(404, ""), "HTML", 1},
		{"304", nil, answer(304, ""), isStatus(304, ""), "HTTP 304", 1},
		{"fail by a rule", rules(t, "status == 500", "fail"), answer(500, ""), isStatus(500, ""), "", 1},
		{"500 for ever on page 1", nil, answer(500, ""), isNarrow(1), "gave up after 4 attempts", 4},
		{"504 for ever on page 1", nil, answer(504, ""), isNarrow(1), "", 4},
		{"503 for ever on page 1: the service is not there", nil, answer(503, ""), isStatus(503, ""), "", 4},
		{"503 for ever on page 2", nil, second(answer(503, "")), isNarrow(2), "page 2", 5},
		{"429 for ever on page 2", nil, second(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "3600")
			w.WriteHeader(429)
		}), isNarrow(2), "throttled", 2},
		{"429 for ever on page 1", nil, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "3600")
			w.WriteHeader(429)
		}, isStatus(429, ""), "throttled", 1},
		{"HTML for ever", nil, answer(200, "<html>"), isNarrow(1), "HTML", 4},
		{"an expired skip token", rules(t, `error.message contains "Skip Token"`, "reset_window"), second(answer(400, `{"error":{"code":"BadRequest","message":"Invalid Skip Token, skip token is null"}}`)),
			func(err error) bool { _, ok := errors.AsType[*ResetWindow](err); return ok }, "Skip Token", 2},
		{"no subscription", rules(t, `error.code == "AF20022"`, "subscribe"), answer(400, `{"error":{"code":"AF20022"}}`),
			func(err error) bool { _, ok := errors.AsType[*Subscribe](err); return ok }, "AF20022", 1},
		{"gate by a rule", rules(t, `status == 404`, "gate"), answer(404, `{"error":{"message":"segment not found"}}`),
			func(err error) bool {
				g, ok := errors.AsType[*Gated](err)
				return ok && g.Reason == "segment not found" && g.Requires == "P2"
			}, "P2", 1},
		{"an array where an object is described", nil, answer(200, `[{"id":1}]`), func(err error) bool { return err != nil }, `"@this"`, 1},
		{"a text where records are", nil, answer(200, `{"value":"none"}`), func(err error) bool { return err != nil }, "string", 1},
		{"an expression that gives no answer", rules(t, `status + 1`, "retry"), answer(400, ""), func(err error) bool { return err != nil }, "errors[0]", 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newService(t)
			s.mux.HandleFunc("/r", test.answer)
			f := s.feed(t, "/r")
			f.Errors = test.errors
			f.Permissions = []string{"Read.All"}
			f.Licence = &definition.Licence{Requires: "P2"}
			_, err := read(t, s.options(), f, newSink())
			if !test.want(err) || !strings.Contains(fmt.Sprint(err), test.text) {
				t.Errorf("error is %T %v, want one with %q", err, err, test.text)
			}
			if !strings.Contains(fmt.Sprint(err), "feed test: ") {
				t.Errorf("%v: does not name the feed", err)
			}
			if got := len(s.asked()); got != test.requests {
				t.Errorf("%d requests, want %d", got, test.requests)
			}
		})
	}
	t.Run("nobody there", func(t *testing.T) {
		s := newService(t)
		f := s.feed(t, "/r")
		gone := httptest.NewServer(nil)
		gone.Close()
		f.Request.URL = template(t, gone.URL+"/r?secret=1")
		r, err := read(t, s.options(), f, newSink())
		if _, narrow := errors.AsType[*Narrow](err); err == nil || narrow || strings.Contains(err.Error(), "secret") {
			t.Errorf("error is %v", err)
		}
		if got := r.Stats().Requests; got != 4 {
			t.Errorf("%d requests", got)
		}
	})
}

func TestLicence(t *testing.T) {
	const refusal = `{"error":{"code":"NonPremium","message":"tenant has no premium license"}}`
	for _, test := range []struct {
		name     string
		refusals int64
		gated    bool
	}{{"flapping", 2, false}, {"missing", 100, true}} {
		t.Run(test.name, func(t *testing.T) {
			s := newService(t)
			var n atomic.Int64
			s.mux.HandleFunc("/r", func(w http.ResponseWriter, r *http.Request) {
				if n.Add(1) <= test.refusals {
					w.WriteHeader(403)
					io.WriteString(w, refusal)
					return
				}
				io.WriteString(w, good)
			})
			f := s.feed(t, "/r")
			f.Licence = &definition.Licence{Requires: "Premium", Missing: program(t, `status == 403 && error.code == "NonPremium"`), Confirm: 3}
			to := newSink()
			_, err := read(t, s.options(), f, to)
			gated, ok := errors.AsType[*Gated](err)
			if ok != test.gated || !ok && err != nil {
				t.Fatalf("error is %v", err)
			}
			if ok && (gated.Requires != "Premium" || gated.Reason != "tenant has no premium license") {
				t.Errorf("gated is %+v", gated)
			}
			if got := n.Load(); got != 3 {
				t.Errorf("%d requests, want 3", got)
			}
		})
	}
}

func TestSkip(t *testing.T) {
	s := newService(t)
	s.mux.HandleFunc("/r", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(404)
		io.WriteString(w, `{"error":{"code":"Gone","message":"x"}}`)
	})
	f := s.feed(t, "/r")
	f.Errors = rules(t, "status == 404", "skip")
	to := newSink()
	if _, err := read(t, s.options(), f, to); err != nil || to.skipped[""] != "HTTP 404 Gone" {
		t.Errorf("error %v, skipped %q", err, to.skipped)
	}
	// A list of items is no item: to skip it would lose all that it names.
	f = s.items(t, "/r")
	f.Errors = rules(t, "status == 404", "skip")
	to = newSink()
	if _, err := read(t, s.options(), f, to); err == nil || len(to.skipped) != 0 {
		t.Errorf("error %v, skipped %q", err, to.skipped)
	}
}

// TestThrottlingPausesTheBucket: an answer of one feed pauses the other that shares the budget.
func TestThrottlingPausesTheBucket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const pause = 3 * time.Second
		s := serviceInMemory()
		var resume time.Time
		var early, refused int
		s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
			if resume.IsZero() {
				resume = time.Now().Add(pause)
				refused++
				w.Header().Set("Retry-After", "3")
				w.WriteHeader(429)
				return
			}
			if time.Now().Before(resume) {
				early++
			}
			io.WriteString(w, good)
		})
		c := NewClient(s.options())
		var readers [2]*Reader
		for i, path := range []string{"/a", "/b"} {
			f := s.feed(t, path)
			f.Name = path[1:]
			f.RateLimit = &definition.RateLimit{Requests: 100, Per: time.Second, Bucket: "shared"}
			r, err := NewReader(c, f, "", nil)
			if err != nil {
				t.Fatal(err)
			}
			readers[i] = r
		}
		done := make(chan error)
		go func() { done <- readers[0].Read(t.Context(), hour, newSink()) }()
		synctest.Wait() // the answer is there
		if err := readers[1].Read(t.Context(), hour, newSink()); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if early > 0 || refused != 1 {
			t.Errorf("%d requests during the pause, %d refused", early, refused)
		}
		if got := readers[0].Stats(); got.Throttled != 1 || got.Waited < pause {
			t.Errorf("stats are %+v", got)
		}
	})
}

func TestRateLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const per = 10 * time.Second
		b := newBucket("test")
		b.limit.set(5, per)
		b.limit.set(100, time.Millisecond) // the looser one does not count
		var grants []time.Time
		var mu sync.Mutex
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 4 {
					if _, err := pass(t.Context(), b, 0); err != nil {
						t.Error(err)
					}
					mu.Lock()
					grants = append(grants, time.Now())
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		for i := 5; i < len(grants); i++ {
			if d := grants[i].Sub(grants[i-5]); d < per {
				t.Errorf("6 requests within %v", d)
			}
		}
	})
}

// TestTokenInAnErrorBody: a service that repeats what it was sent.
func TestTokenInAnErrorBody(t *testing.T) {
	s := newService(t)
	var lines bytes.Buffer
	s.mux.HandleFunc("/r", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(400)
		fmt.Fprintf(w, `{"error":{"code":"x","message":"you sent %s"}}`, r.Header.Get("Authorization"))
	})
	o := s.options()
	o.Log = slog.New(slog.NewTextHandler(&lines, &slog.HandlerOptions{Level: slog.LevelDebug}))
	_, err := read(t, o, s.feed(t, "/r"), newSink())
	if err == nil || !strings.Contains(err.Error(), "you sent Bearer [removed]") {
		t.Errorf("error is %v", err)
	}
	for _, secret := range []string{"token-1", "open sesame"} {
		if strings.Contains(lines.String(), secret) {
			t.Errorf("the log holds %q:\n%s", secret, lines.String())
		}
	}
	for _, want := range []string{"method=GET", "status=400", "url=" + s.URL + "/r", "bytes="} {
		if !strings.Contains(lines.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, lines.String())
		}
	}
}
