package extract

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/tidwall/gjson"

	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/expression"
)

// service is a server that answers what a test says, and gives tokens.
type service struct {
	*httptest.Server
	transport http.RoundTripper // nil: the client's own
	mux       *http.ServeMux
	tokens    atomic.Int64 // given
	mu        sync.Mutex
	urls      []string // asked for, in order, tokens aside
	bearer    map[string]int
}

func newService(t testing.TB) *service {
	t.Helper()
	s := serviceInMemory()
	s.Server = httptest.NewServer(s.Config.Handler)
	s.transport = nil
	t.Cleanup(s.Close)
	return s
}

// serviceInMemory is one without a network, see [inMemory].
func serviceInMemory() *service {
	s := &service{mux: http.NewServeMux(), bearer: map[string]int{}}
	s.mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"token_type":"Bearer","expires_in":3599,"access_token":"token-%d"}`, s.tokens.Add(1))
	})
	s.Server, s.transport = serverInMemory(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/token" {
			s.mu.Lock()
			s.urls = append(s.urls, r.URL.RequestURI())
			s.bearer[r.Header.Get("Authorization")]++
			s.mu.Unlock()
		}
		s.mux.ServeHTTP(w, r)
	}))
	return s
}

func (s *service) asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.urls)
}

// options are quick.
func (s *service) options() ClientOptions {
	credential, _ := NewCredential(ClientSecret, "open sesame")
	return ClientOptions{
		UserAgent: "s60-test/1", TokenURL: s.URL + "/token", ClientID: "client", Credential: credential,
		Backoff: time.Millisecond, MaxAttempts: 4, MaxThrottled: 5 * time.Second, Transport: s.transport,
	}
}

// template is one as a feed has it.
func template(t testing.TB, text string) *definition.Template {
	t.Helper()
	return requestOf(t, fmt.Sprintf("query: {q: %q}", text)).Query[0].Value
}

// requestOf is the request of a feed that has a key beside its URL.
func requestOf(t testing.TB, key string) *definition.Request {
	t.Helper()
	set, problems := definition.Load(definition.Options{
		Feeds:    fstest.MapFS{"f.yaml": {Data: []byte("name: f\nrequest: {url: \"https://api.example/x\", " + key + "}\nkey: id\nmapping: m\n")}},
		Mappings: fstest.MapFS{"m.yaml": {Data: []byte("name: m\nfields: {operation: '\"x\"'}\n")}},
	})
	if definition.Invalid(problems) {
		t.Fatalf("%s: %v", key, problems)
	}
	return &set.Feeds[0].Request
}

func program(t testing.TB, text string) *expression.Program {
	t.Helper()
	p, err := expression.Compile(text, expression.Options{})
	if err != nil {
		t.Fatalf("expression %q: %v", text, err)
	}
	return p
}

// feed lists records under "value" at path, with next links of OData.
func (s *service) feed(t testing.TB, path string) *definition.Feed {
	return &definition.Feed{
		Name:    "test",
		Scope:   template(t, "scope/.default"),
		Request: definition.Request{Method: "GET", URL: template(t, s.URL+path)},
		Paging:  definition.Paging{Style: definition.PagingOData},
		Records: "value",
		Window:  &definition.Window{Max: time.Hour},
		Cursor:  &definition.Cursor{Field: "at", Format: "rfc3339"},
		Key:     []string{"id"},
	}
}

// items makes a list of items at path out of a feed.
func (s *service) items(t testing.TB, path string) *definition.Feed {
	f := s.feed(t, path)
	f.Paging = definition.Paging{Style: definition.PagingHeader, Header: "NextPageUri"}
	f.Records, f.Cursor = "@this", nil
	f.Expand = &definition.Expand{URL: "contentUri", Key: "contentId", Records: "@this", Concurrency: 4}
	return f
}

func rules(t testing.TB, pairs ...string) []definition.ErrorRule {
	var out []definition.ErrorRule
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, definition.ErrorRule{When: program(t, pairs[i]), Then: pairs[i+1]})
	}
	return out
}

var hour = Window{From: time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC), To: time.Date(2026, 3, 1, 11, 0, 0, 0, time.UTC)}

// sink remembers what it got.
type sink struct {
	mu      sync.Mutex
	known   map[string]bool
	asked   []string            // keys that Known was called with
	skipped map[string]string   // key -> reason
	whole   map[string][]string // key -> ids of the sources that were ended
	ended   int
	opened  int
	fail    func(raw []byte) error
	each    func(raw []byte)
	gone    []string
	keep    bool // what is gone is not given up
	damaged []string
	job     string
	delta   string
}

func newSink() *sink {
	return &sink{known: map[string]bool{}, skipped: map[string]string{}, whole: map[string][]string{}}
}

func (s *sink) Known(key string, at time.Time) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.known[key] || key != "" && slices.Contains(s.asked, key)
	s.asked = append(s.asked, key)
	return known, nil
}

func (s *sink) Skipped(key, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.skipped[key] = reason
}

func (s *sink) Gone(key, reason string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone = append(s.gone, key)
	return !s.keep, nil
}

func (s *sink) Job(id string) error { s.job = id; return nil }
func (s *sink) Delta(p string)      { s.delta = p }

func (s *sink) Open(key string, _ time.Time) Source {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opened++
	return &source{sink: s, key: key}
}

type source struct {
	sink *sink
	key  string
	ids  []string
}

func (s *source) Record(_ context.Context, raw []byte) error {
	if s.sink.fail != nil {
		if err := s.sink.fail(raw); err != nil {
			return err
		}
	}
	if s.sink.each != nil {
		s.sink.each(raw)
		return nil
	}
	if !gjson.ValidBytes(raw) {
		return fmt.Errorf("record is no JSON: %s", raw)
	}
	s.ids = append(s.ids, gjson.GetBytes(raw, "id").String())
	return nil
}

func (s *source) Damaged(_ context.Context, raw []byte, reason string) error {
	s.sink.mu.Lock()
	defer s.sink.mu.Unlock()
	s.sink.damaged = append(s.sink.damaged, reason+": "+string(raw))
	return nil
}

func (s *source) End() error {
	s.sink.mu.Lock()
	defer s.sink.mu.Unlock()
	s.sink.ended++
	s.sink.whole[s.key] = append(s.sink.whole[s.key], s.ids...)
	return nil
}

func (s *sink) ids(key string) string { return strings.Join(s.whole[key], " ") }

// read reads the hour of a feed.
func read(t testing.TB, o ClientOptions, f *definition.Feed, to *sink) (*Reader, error) {
	t.Helper()
	r, err := NewReader(NewClient(o), f, "", map[string]any{"TENANT_ID": "t"})
	if err != nil {
		t.Fatal(err)
	}
	return r, r.Read(t.Context(), hour, to)
}
