package extract

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/engine/definition"
)

func TestReadExpandsTheRequest(t *testing.T) {
	s := newService(t)
	s.mux.HandleFunc("/records", func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("User-Agent"); got != "s60-test/1" {
			t.Errorf("User-Agent is %q", got)
		}
		if got := r.Header.Get("ConsistencyLevel"); got != "eventual" {
			t.Errorf("ConsistencyLevel is %q", got)
		}
		if got, want := r.URL.Query().Get("$filter"), "at ge 2026-03-01T10:00:00Z and at lt 2026-03-01T11:00:00Z"; got != want {
			t.Errorf("filter is %q, want %q", got, want)
		}
		fmt.Fprint(w, `{"value":[{"id":1}]}`)
	})
	f := s.feed(t, "/records")
	f.Request.Headers = []definition.Field{{Name: "ConsistencyLevel", Value: template(t, "eventual")}}
	f.Request.Query = []definition.Field{
		{Name: "$filter", Value: template(t, "at ge ${window.from} and at lt ${window.to}")},
		{Name: "$top", Value: template(t, "1000")},
	}
	to := newSink()
	if _, err := read(t, s.options(), f, to); err != nil {
		t.Fatal(err)
	}
	if got := to.ids(""); got != "1" {
		t.Errorf("got records %q", got)
	}
	want := "/records?$filter=at%20ge%202026-03-01T10%3A00%3A00Z%20and%20at%20lt%202026-03-01T11%3A00%3A00Z&$top=1000"
	if got := s.asked(); len(got) != 1 || got[0] != want {
		t.Errorf("asked for %q, want %q", got, want)
	}
}

func TestFormatTime(t *testing.T) {
	at := time.Date(2026, 3, 1, 11, 0, 0, 0, time.FixedZone("", 3600))
	for format, want := range map[string]any{
		"": "2026-03-01T10:00:00Z", "rfc3339": "2026-03-01T10:00:00Z", "unix": int64(1772359200), "unix_ms": int64(1772359200000),
		"2006-01-02T15:04:05": "2026-03-01T10:00:00",
	} {
		if got := formatTime(at, format); got != want {
			t.Errorf("%q gives %v, want %v", format, got, want)
		}
	}
}

// TestPagingStyles is the conformance test of all styles: the same seven
// records in pages of two or three, each style in its own words.
func TestPagingStyles(t *testing.T) {
	const all = "1 2 3 4 5 6 7"
	slice := func(from, to int) string {
		var out []string
		for i := from; i <= min(to, 7); i++ {
			out = append(out, fmt.Sprintf(`{"id":%d}`, i))
		}
		return "[" + strings.Join(out, ",") + "]"
	}
	number := func(r *http.Request, name string, otherwise int) int {
		n := otherwise
		fmt.Sscan(r.URL.Query().Get(name), &n)
		return n
	}
	tests := []struct {
		name   string
		paging definition.Paging
		answer func(w http.ResponseWriter, r *http.Request, base string)
		pages  int
		want   string
	}{
		{"none", definition.Paging{Style: "none"}, func(w http.ResponseWriter, r *http.Request, _ string) {
			fmt.Fprintf(w, `{"@odata.nextLink":"http://elsewhere/","value":%s}`, slice(1, 7))
		}, 1, all},
		{"odata, the link before and after the records, an empty page between", definition.Paging{Style: "odata"}, func(w http.ResponseWriter, r *http.Request, base string) {
			switch n := number(r, "$skiptoken", 1); n {
			case 1:
				fmt.Fprintf(w, `{"value":%s,"@odata.nextLink":"%s/r?$skiptoken=2"}`, slice(1, 3), base)
			case 2:
				fmt.Fprintf(w, `{"@odata.context":"x","@odata.nextLink":"%s/r?$skiptoken=3","value":[]}`, base)
			case 3:
				fmt.Fprintf(w, `{"@odata.nextLink":null,"value":%s}`, slice(4, 7))
			}
		}, 3, all},
		{"odata 3, relative link", definition.Paging{Style: "odata"}, func(w http.ResponseWriter, r *http.Request, _ string) {
			if n := number(r, "p", 1); n == 1 {
				fmt.Fprintf(w, `{"value":%s,"odata.nextLink":"r?p=2"}`, slice(1, 3))
				return
			}
			fmt.Fprintf(w, `{"value":%s}`, slice(4, 7))
		}, 2, all},
		{"header, in another case, with a carriage return's remains", definition.Paging{Style: "header", Header: "NextPageUri"}, func(w http.ResponseWriter, r *http.Request, base string) {
			if n := number(r, "nextPage", 1); n < 3 {
				w.Header()["nextpageURI"] = []string{fmt.Sprintf("%s/r?nextPage=%d \t", base, n+1)}
			}
			n := number(r, "nextPage", 1)
			fmt.Fprintf(w, `{"value":%s}`, slice(3*n-2, 3*n))
		}, 3, all},
		{"header, a token", definition.Paging{Style: "header", Header: "X-Next", Param: "after"}, func(w http.ResponseWriter, r *http.Request, _ string) {
			n := number(r, "after", 1)
			if w.Header().Set("x-next", ""); n < 3 {
				w.Header().Set("x-next", fmt.Sprint(" ", n+1))
			}
			fmt.Fprintf(w, `{"value":%s}`, slice(3*n-2, 3*n))
		}, 3, all},
		{"link", definition.Paging{Style: "link"}, func(w http.ResponseWriter, r *http.Request, base string) {
			n := number(r, "page", 1)
			w.Header().Add("Link", `<`+base+`/r?page=1>; rel="first"`)
			if n < 3 {
				w.Header().Add("Link", fmt.Sprintf(`<%s/r?page=9>; rel="last"; title="a, <b>; rel=next", </r?page=%d>; rel="prefetch next"`, base, n+1))
			}
			fmt.Fprintf(w, `{"value":%s}`, slice(3*n-2, 3*n))
		}, 3, all},
		{"body, a token", definition.Paging{Style: "body", Path: "meta.next", Param: "cursor"}, func(w http.ResponseWriter, r *http.Request, _ string) {
			switch r.URL.Query().Get("cursor") {
			case "":
				fmt.Fprintf(w, `{"value":%s,"meta":{"next":"a+/=&b"}}`, slice(1, 3))
			case "a+/=&b":
				fmt.Fprintf(w, `{"meta":{"next":17},"value":%s}`, slice(4, 6))
			case "17":
				fmt.Fprintf(w, `{"value":%s,"meta":{"next":""}}`, slice(7, 7))
			}
		}, 3, all},
		{"body, a URL", definition.Paging{Style: "body", Path: "next"}, func(w http.ResponseWriter, r *http.Request, base string) {
			if n := number(r, "p", 1); n == 1 {
				fmt.Fprintf(w, `{"value":%s,"next":"%s/r?p=2"}`, slice(1, 3), base)
				return
			}
			fmt.Fprintf(w, `{"value":%s,"next":false}`, slice(4, 7))
		}, 2, all},
		{"offset", definition.Paging{Style: "offset", Param: "offset", SizeParam: "limit", Size: 3}, func(w http.ResponseWriter, r *http.Request, _ string) {
			n, size := number(r, "offset", -1), number(r, "limit", -1)
			fmt.Fprintf(w, `{"value":%s}`, slice(n+1, n+size))
		}, 3, all},
		{"offset without a size parameter, full last page", definition.Paging{Style: "offset", Param: "offset", Size: 7}, func(w http.ResponseWriter, r *http.Request, _ string) {
			n := number(r, "offset", -1)
			fmt.Fprintf(w, `{"value":%s}`, slice(n+1, n+7))
		}, 2, all},
		{"page from 1", definition.Paging{Style: "page", Param: "page", SizeParam: "per_page", Size: 2, Start: 1}, func(w http.ResponseWriter, r *http.Request, _ string) {
			n, size := number(r, "page", -1), number(r, "per_page", -1)
			fmt.Fprintf(w, `{"value":%s}`, slice((n-1)*size+1, n*size))
		}, 4, all},
		{"page from 0", definition.Paging{Style: "page", Param: "page", Size: 4}, func(w http.ResponseWriter, r *http.Request, _ string) {
			n := number(r, "page", -1)
			fmt.Fprintf(w, `{"value":%s}`, slice(n*4+1, n*4+4))
		}, 2, all},
	}
	covered := map[string]bool{}
	for _, test := range tests {
		covered[test.paging.Style] = true
		t.Run(test.name, func(t *testing.T) {
			s := newService(t)
			s.mux.HandleFunc("/r", func(w http.ResponseWriter, r *http.Request) { test.answer(w, r, s.URL) })
			f := s.feed(t, "/r")
			f.Paging = test.paging
			to := newSink()
			if _, err := read(t, s.options(), f, to); err != nil {
				t.Fatal(err)
			}
			if got := to.ids(""); got != test.want {
				t.Errorf("got records %q, want %q; asked for %q", got, test.want, s.asked())
			}
			if got := len(s.asked()); got != test.pages || to.ended != test.pages {
				t.Errorf("%d requests and %d sources ended, want %d: %q", got, to.ended, test.pages, s.asked())
			}
		})
	}
	for name := range styles {
		if !covered[name] {
			t.Errorf("paging style %q has no case here", name)
		}
	}
}

func TestPagingKeep(t *testing.T) {
	s := newService(t)
	s.mux.HandleFunc("/r", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("nextPage") == "" {
			w.Header().Set("NextPageUri", s.URL+"/r?contenttype=A&nextPage=x$y%24z")
		}
		fmt.Fprint(w, `[]`)
	})
	f := s.feed(t, "/r")
	f.Records = "@this"
	f.Paging = definition.Paging{Style: "header", Header: "NextPageUri", Keep: []string{"PublisherIdentifier", "contentType"}}
	f.Request.Query = []definition.Field{
		{Name: "contentType", Value: template(t, "A")}, {Name: "PublisherIdentifier", Value: template(t, "p q")},
	}
	if _, err := read(t, s.options(), f, newSink()); err != nil {
		t.Fatal(err)
	}
	want := []string{"/r?contentType=A&PublisherIdentifier=p%20q", "/r?contenttype=A&nextPage=x$y%24z&PublisherIdentifier=p%20q"}
	if got := s.asked(); !slices.Equal(got, want) {
		t.Errorf("asked for %q, want %q", got, want)
	}
}

func TestWalksThatMustEnd(t *testing.T) {
	tests := []struct {
		name   string
		paging definition.Paging
		next   func(n int) string // next link on request n
		want   string
		most   int // requests
	}{
		{"next link equal to the current", definition.Paging{Style: "odata"}, func(int) string { return "/r?a=1" }, "never end", 1},
		{"a circle of three", definition.Paging{Style: "odata"}, func(n int) string { return fmt.Sprintf("/r?a=%d", n%3) }, "never end", 4},
		{"a circle behind many pages", definition.Paging{Style: "odata"}, func(n int) string { return fmt.Sprintf("/r?a=%d", min(n, 20+n%3)) }, "never end", 35},
		{"a page parameter that is ignored", definition.Paging{Style: "page", Param: "p", Size: 1}, func(int) string { return "" }, "does not know the parameter", 2},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newService(t)
			var n atomic.Int64
			s.mux.HandleFunc("/r", func(w http.ResponseWriter, r *http.Request) {
				fmt.Fprintf(w, `{"value":[{"id":1}],"@odata.nextLink":%q}`, test.next(int(n.Add(1))))
			})
			f := s.feed(t, "/r?a=1")
			f.Paging = test.paging
			_, err := read(t, s.options(), f, newSink())
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v, want one with %q", err, test.want)
			}
			if got := len(s.asked()); got > test.most {
				t.Errorf("%d requests, want at most %d", got, test.most)
			}
		})
	}
}

func TestTokenStaysAtItsHost(t *testing.T) {
	thief := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.Errorf("%s was asked for, with Authorization %q", r.URL, r.Header.Get("Authorization"))
	}))
	defer thief.Close()
	tests := []struct {
		name   string
		answer func(s *service, w http.ResponseWriter)
		feed   func(s *service) *definition.Feed
	}{
		{"next link", func(s *service, w http.ResponseWriter) {
			fmt.Fprintf(w, `{"value":[],"@odata.nextLink":"%s/r"}`, thief.URL)
		},
			func(s *service) *definition.Feed { return s.feed(t, "/r") }},
		{"next link without a scheme", func(s *service, w http.ResponseWriter) {
			fmt.Fprintf(w, `{"value":[],"@odata.nextLink":"//%s/r"}`, strings.TrimPrefix(thief.URL, "http://"))
		}, func(s *service) *definition.Feed { return s.feed(t, "/r") }},
		{"next header", func(s *service, w http.ResponseWriter) {
			w.Header().Set("NextPageUri", thief.URL+"/r")
			fmt.Fprint(w, `[]`)
		}, func(s *service) *definition.Feed { return s.items(t, "/r") }},
		{"listed item", func(s *service, w http.ResponseWriter) {
			fmt.Fprintf(w, `[{"contentId":"a","contentUri":"%s/a"}]`, thief.URL)
		}, func(s *service) *definition.Feed { return s.items(t, "/r") }},
		{"redirect", func(s *service, w http.ResponseWriter) {
			w.Header().Set("Location", thief.URL+"/r")
			w.WriteHeader(http.StatusTemporaryRedirect)
		}, func(s *service) *definition.Feed { return s.feed(t, "/r") }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newService(t)
			s.mux.HandleFunc("/r", func(w http.ResponseWriter, r *http.Request) { test.answer(s, w) })
			_, err := read(t, s.options(), test.feed(s), newSink())
			if err == nil || !strings.Contains(err.Error(), s.URL) || !strings.Contains(err.Error(), thief.URL) {
				t.Errorf("error is %v, want one that names %s and %s", err, s.URL, thief.URL)
			}
			if got := len(s.asked()); got != 1 {
				t.Errorf("%d requests, want 1: such an answer is not asked for again", got)
			}
		})
	}
	t.Run("a host that the feed lists is good", func(t *testing.T) {
		s, other := newService(t), newService(t)
		s.mux.HandleFunc("/r", func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, `{"value":[{"id":1}],"@odata.nextLink":"%s/r"}`, other.URL)
		})
		other.mux.HandleFunc("/r", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, `{"value":[{"id":2}]}`) })
		f := s.feed(t, "/r")
		f.Hosts = []*definition.Template{template(t, other.URL)}
		to := newSink()
		if _, err := read(t, s.options(), f, to); err != nil || to.ids("") != "1 2" {
			t.Errorf("got %q, %v", to.ids(""), err)
		}
	})
	t.Run("a redirect on the same host is followed", func(t *testing.T) {
		s := newService(t)
		s.mux.HandleFunc("/r", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/q", http.StatusFound) })
		s.mux.HandleFunc("/q", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, `{"value":[{"id":1}]}`) })
		to := newSink()
		if _, err := read(t, s.options(), s.feed(t, "/r"), to); err != nil || to.ids("") != "1" {
			t.Errorf("got %q, %v", to.ids(""), err)
		}
	})
}

func TestPlainHTTPIsForLoopback(t *testing.T) {
	for _, base := range []string{"http://manage.example", "http://10.0.0.1", "ftp://127.0.0.1", "https://user:pass@manage.example", "manage.example/x"} {
		s := newService(t)
		f := s.feed(t, "/r")
		f.Request.URL = template(t, base+"/r")
		_, err := read(t, s.options(), f, newSink())
		if err == nil {
			t.Errorf("%s was accepted", base)
		} else if strings.Contains(err.Error(), "pass@") {
			t.Errorf("the error repeats the password: %v", err)
		}
		o := s.options()
		o.TokenURL = base + "/token"
		if _, err := NewClient(o).Claims(t.Context(), "x"); err == nil {
			t.Errorf("token endpoint %s was accepted", base)
		}
	}
}

func TestSinkErrorIsUnchanged(t *testing.T) {
	full := errors.New("disk full")
	for _, name := range []string{"records", "items"} {
		t.Run(name, func(t *testing.T) {
			s := newService(t)
			s.mux.HandleFunc("/r", func(w http.ResponseWriter, r *http.Request) {
				if name == "items" {
					fmt.Fprintf(w, `[{"contentId":"a","contentUri":"%s/a"},{"contentId":"b","contentUri":"%s/a"}]`, s.URL, s.URL)
				} else {
					fmt.Fprint(w, `{"value":[{"id":1},{"id":2}]}`)
				}
			})
			s.mux.HandleFunc("/a", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, `[{"id":1}]`) })
			f := s.feed(t, "/r")
			if name == "items" {
				f = s.items(t, "/r")
			}
			to := newSink()
			to.fail = func([]byte) error { return full }
			if _, err := read(t, s.options(), f, to); err != full {
				t.Errorf("error is %v, want the sink's own", err)
			}
			if to.ended != 0 {
				t.Error("a source was ended though its record was refused")
			}
		})
	}
}

func TestContextEndsEverything(t *testing.T) {
	tests := map[string]http.HandlerFunc{
		"throttled": func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Retry-After", "4"); w.WriteHeader(429) },
		"failing":   func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Retry-After", "20"); w.WriteHeader(500) },
		"silent":    func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"stuck": func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, `{"value":[`)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		},
	}
	for name, answer := range tests {
		t.Run(name, func(t *testing.T) {
			s := newService(t)
			s.mux.HandleFunc("/r", answer)
			r, err := NewReader(NewClient(s.options()), s.feed(t, "/r"), "", nil)
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			time.AfterFunc(100*time.Millisecond, stop)
			begun := time.Now()
			if err := r.Read(ctx, hour, newSink()); err != context.Canceled {
				t.Errorf("error is %v", err)
			}
			if took := time.Since(begun); took > 10*time.Second { // half of what Retry-After asks for
				t.Errorf("took %v", took)
			}
		})
	}
}
