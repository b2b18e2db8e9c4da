package extract

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/engine/definition"
)

// TestAsked: each attempt is told, with how it went, and without what a link brought along.
func TestAsked(t *testing.T) {
	s := newService(t)
	const body = `{"value":[{"id":"a"}],"@odata.nextLink":"%s/r?$filter=x&$skiptoken=s3cret-session"}`
	n := 0
	s.mux.HandleFunc("/r", func(w http.ResponseWriter, r *http.Request) {
		if n++; n == 1 {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		if r.URL.Query().Has("$skiptoken") {
			io.WriteString(w, `{"value":[]}`)
			return
		}
		fmt.Fprintf(w, body, s.URL)
	})
	f := s.feed(t, "/r")
	f.Request.Query = []definition.Field{{Name: "$filter", Value: template(t, "at ge ${window.from}")}}
	var mu sync.Mutex
	var told []Asked
	o := s.options()
	o.OnAsked = func(a Asked) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, a)
	}
	if _, err := read(t, o, f, newSink()); err != nil {
		t.Fatal(err)
	}
	if len(told) != 3 {
		t.Fatalf("%d attempts are told: %+v", len(told), told)
	}
	first, page, next := told[0], told[1], told[2]
	if first.Feed != "test" || first.Method != "GET" || first.Status != 502 || first.Problem == "" || first.At.IsZero() {
		t.Errorf("the attempt that failed: %+v", first)
	}
	if page.Status != 200 || page.Problem != "" || page.Bytes < int64(len(body)) || page.Took <= 0 || page.Took > time.Minute || page.URL != s.URL+"/r?$filter=at ge 2026-03-01T10:00:00Z" {
		t.Errorf("the first page: %+v", page)
	}
	if next.URL != s.URL+"/r?$filter=x&$skiptoken=…" {
		t.Errorf("the second page: %+v", next)
	}

	reader, err := NewReader(NewClient(o), f, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	mine := 0
	reader.Watch(func(Asked) { mine++ })
	if err := reader.Read(t.Context(), hour, newSink()); err != nil || mine != 2 || len(told) != 3 {
		t.Errorf("one who watches a reader sees %d attempts, and all others %d: %v", mine, len(told), err)
	}
}

// TestShownURL: nothing of a URL is shown that may be a secret, a session or of a record.
func TestShownURL(t *testing.T) {
	feed := &definition.Feed{
		Request:   definition.Request{Query: []definition.Field{{Name: "$top"}, {Name: "startTime"}, {Name: "api_key"}}},
		Subscribe: &definition.Subscribe{List: definition.Request{Query: []definition.Field{{Name: "PublisherIdentifier"}}}},
	}
	for given, want := range map[string]string{
		"https://h/a?$top=1000&startTime=2026-03-01T10%3A00%3A00Z": "https://h/a?$top=1000&startTime=2026-03-01T10:00:00Z",
		"https://h/a?%24top=5&publisheridentifier=t1":              "https://h/a?$top=5&publisheridentifier=t1",
		"https://h/a?api_key=abc&sig=ZZ&token=q":                   "https://h/a?api_key=…&sig=…&token=…",
		"https://h/a?page=7&nextPage=20260301abc":                  "https://h/a?page=7&nextPage=…",
		"https://u:p@h/a?x=%zz":                                    "https://h/a?x=…",
		"https://h/m('1')/by(address='ann%40t.example')?$top=1":    "https://h/m('…')/by(address='…')?$top=1",
		"https://h/m/by(a=%27ann%27%27s@t.example%27)/rest":        "https://h/m/by(a='…')/rest",
		"https://h/": "https://h/",
	} {
		u, err := url.Parse(given)
		if err != nil {
			t.Fatal(err)
		}
		if got := shownURL(u, feed); got != want {
			t.Errorf("%s\nis shown as %s\nwant        %s", given, got, want)
		}
	}
	long, _ := url.Parse("https://h/" + strings.Repeat("a", 10_000))
	if got := shownURL(long, feed); len(got) > 600 {
		t.Errorf("a URL of %d bytes is shown", len(got))
	}
}
