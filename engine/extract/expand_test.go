package extract

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secure60/s60-m365-connector/engine/definition"
)

// list answers a list of items, three to a page, whose documents are at /blob/NAME.
func (s *service) list(names ...string) {
	const size = 3
	s.mux.HandleFunc("/list", func(w http.ResponseWriter, r *http.Request) {
		from := 0
		fmt.Sscan(r.URL.Query().Get("nextPage"), &from)
		var items []string
		for i, name := range names[from:min(from+size, len(names))] {
			items = append(items, fmt.Sprintf(`{"contentType":"A","contentId":%q,"contentUri":"%s/blob/%s","contentCreated":"2026-03-01T10:0%d:00.000Z"}`, name, s.URL, name, i))
		}
		if from+size < len(names) {
			w.Header().Set("NextPageUri", fmt.Sprintf("%s/list?nextPage=%d", s.URL, from+size))
		}
		fmt.Fprintf(w, "[%s]", strings.Join(items, ","))
	})
}

func TestItems(t *testing.T) {
	s := newService(t)
	s.list("a$1$x", "b", "c", "b", "d", "gone", "e")
	s.mux.HandleFunc("/blob/", func(w http.ResponseWriter, r *http.Request) {
		name := strings.TrimPrefix(r.URL.Path, "/blob/")
		if name == "gone" {
			w.WriteHeader(400)
			io.WriteString(w, `{"error":{"code":"AF20051","message":"Content requested with the key gone has already expired."}}`)
			return
		}
		fmt.Fprintf(w, `[{"id":"%s1"},{"id":"%s2"}]`, name, name)
	})
	f := s.items(t, "/list")
	f.Errors = rules(t, `error.code in ["AF20050", "AF20051"] || status == 404`, "skip")
	f.Expand.Request.Query = []definition.Field{{Name: "PublisherIdentifier", Value: template(t, "${TENANT_ID} x")}}
	to := newSink()
	to.known["c"] = true
	if _, err := read(t, s.options(), f, to); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{"a$1$x": "a$1$x1 a$1$x2", "b": "b1 b2", "c": "", "d": "d1 d2", "e": "e1 e2", "gone": ""} {
		if got := to.ids(key); got != want {
			t.Errorf("item %s gave %q, want %q", key, got, want)
		}
	}
	if len(to.skipped) != 1 || to.skipped["gone"] != "HTTP 400 AF20051" {
		t.Errorf("skipped %q", to.skipped)
	}
	slices.Sort(to.asked)
	if got := strings.Join(to.asked, " "); got != "a$1$x b b c d e gone" {
		t.Errorf("Known was called with %q, want each item as often as it is listed", got)
	}
	if !slices.Contains(s.asked(), "/blob/a$1$x?PublisherIdentifier=t%20x") {
		t.Errorf("requests are %q", s.asked())
	}
}

// TestItemQueryIsNotRepeated: a URL that has the parameter keeps its own.
func TestItemQueryIsNotRepeated(t *testing.T) {
	s := newService(t)
	s.mux.HandleFunc("/list", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `[{"contentId":"a","contentUri":"/blob/a?publisheridentifier=p&sig=a%2Fb+c"}]`)
	})
	s.mux.HandleFunc("/blob/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, `[]`) })
	f := s.items(t, "/list")
	f.Expand.Request.Query = []definition.Field{{Name: "PublisherIdentifier", Value: template(t, "mine")}}
	if _, err := read(t, s.options(), f, newSink()); err != nil {
		t.Fatal(err)
	}
	if got := s.asked()[1]; got != "/blob/a?publisheridentifier=p&sig=a%2Fb+c" {
		t.Errorf("asked for %q", got)
	}
}

// TestOneFailedItem: the others are read whole, the read fails, and what broke
// off got no End.
func TestOneFailedItem(t *testing.T) {
	s := newService(t)
	var names []string
	for i := range 20 {
		names = append(names, fmt.Sprintf("b%02d", i))
	}
	s.list(names...)
	s.mux.HandleFunc("/blob/", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/blob/b03" {
			w.WriteHeader(500)
			return
		}
		if r.URL.Path == "/blob/b04" {
			io.WriteString(w, `[{"id":"x"},{"id":`)
			return
		}
		time.Sleep(time.Millisecond)
		io.WriteString(w, `[{"id":"x"}]`)
	})
	to := newSink()
	f := s.items(t, "/list")
	f.Cursor = &definition.Cursor{Field: "contentCreated", Format: time.RFC3339}
	_, err := read(t, s.options(), f, to)
	if err == nil || !strings.Contains(err.Error(), "item b0") || !strings.Contains(err.Error(), "1 more items are left for later") {
		t.Errorf("error is %v", err)
	}
	if _, narrow := errors.AsType[*Narrow](err); narrow {
		t.Error("an item that fails is no reason for a narrower window")
	}
	if incomplete, ok := errors.AsType[*Incomplete](err); !ok || incomplete.Items != 2 || incomplete.At.Format("15:04") != "10:00" {
		t.Errorf("error is %T %v, want one that tells of 2 items, and when the earliest of them was made", err, err)
	}
	if to.ended != 18 || to.ids("b03") != "" || to.ids("b04") != "" || to.opened != 18+2 {
		t.Errorf("%d items were ended and %d opened, want 18 and 20: it breaks off at the same place twice", to.ended, to.opened)
	}
}

// TestFailedItemsAmongOthers: however many items fail, those between them are read.
func TestFailedItemsAmongOthers(t *testing.T) {
	s := newService(t)
	var names []string
	for i := range 40 {
		names = append(names, fmt.Sprint(i))
	}
	s.list(names...)
	s.mux.HandleFunc("/blob/", func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "3") || strings.HasSuffix(r.URL.Path, "7") {
			w.WriteHeader(403)
			return
		}
		io.WriteString(w, `[{"id":"x"}]`)
	})
	f := s.items(t, "/list")
	f.Expand.Concurrency = 1
	to := newSink()
	_, err := read(t, s.options(), f, to)
	if incomplete, ok := errors.AsType[*Incomplete](err); !ok || incomplete.Items != 8 || to.ended != 32 {
		t.Errorf("%d of 32 items were read, the error is %v", to.ended, err)
	}
}

// TestManyItemsInARow: where all fail, few are tried; what lies behind a long row of them is had all the same.
func TestManyItemsInARow(t *testing.T) {
	const all = 500
	for name, bad := range map[string]int{"all": all, "the first": 100} {
		t.Run(name, func(t *testing.T) {
			s := newService(t)
			var names []string
			for i := range all {
				names = append(names, fmt.Sprint(i))
			}
			s.list(names...)
			var refused atomic.Int64
			s.mux.HandleFunc("/blob/", func(w http.ResponseWriter, r *http.Request) {
				var n int
				fmt.Sscanf(r.URL.Path, "/blob/%d", &n)
				if n >= bad {
					io.WriteString(w, `[{"id":"x"}]`)
					return
				}
				refused.Add(1)
				w.WriteHeader(403)
				io.WriteString(w, `{"error":{"code":"no"}}`)
			})
			had := map[string]bool{}
			for round := 0; round == 0 || len(had) < all-bad; round++ {
				if round == 1000 {
					t.Fatalf("%d rounds read %d of %d items", round, len(had), all-bad)
				}
				refused.Store(0)
				to := newSink()
				to.known = had
				_, err := read(t, s.options(), s.items(t, "/list"), to)
				for key := range to.whole {
					had[key] = true
				}
				incomplete, ok := errors.AsType[*Incomplete](err)
				if status, is := errors.AsType[*StatusError](err); !ok || !is || status.Code != "no" || incomplete.Items != all-len(had) {
					t.Fatalf("%d items were read, the error is %v", len(had), err)
				}
				if tried := refused.Load(); tried > 60 {
					t.Errorf("%d of those that fail were tried", tried)
				}
			}
		})
	}
}

func TestItemsThatAreNone(t *testing.T) {
	s := newService(t)
	s.mux.HandleFunc("/list", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `[{"contentId":"a"}]`)
	})
	to := newSink()
	if _, err := read(t, s.options(), s.items(t, "/list"), to); err != nil || to.skipped["a"] == "" || len(to.asked) != 1 {
		t.Errorf("an item without a URL: %v, skipped %q", err, to.skipped)
	}
	s = newService(t)
	s.mux.HandleFunc("/list", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, `{"status":"odd"}`) })
	if _, err := read(t, s.options(), s.items(t, "/list"), newSink()); err == nil || !strings.Contains(err.Error(), "contentUri") {
		t.Errorf("what is no item: %v", err)
	}
}

// TestConcurrency: no more items at once than the feed says, and no fewer.
func TestConcurrency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serviceInMemory()
		var names []string
		for i := range 24 {
			names = append(names, fmt.Sprint(i))
		}
		s.list(names...)
		var now, most atomic.Int64
		s.mux.HandleFunc("/blob/", func(w http.ResponseWriter, r *http.Request) {
			n := now.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			time.Sleep(time.Second)
			now.Add(-1)
			io.WriteString(w, `[]`)
		})
		to := newSink()
		if _, err := read(t, s.options(), s.items(t, "/list"), to); err != nil || to.ended != 24 {
			t.Fatal(err, to.ended)
		}
		if got := most.Load(); got != 4 {
			t.Errorf("%d items at once, want 4", got)
		}
	})
}

// TestLargeItem streams a document of 200 MB: memory stays flat.
func TestLargeItem(t *testing.T) {
	s := newService(t)
	s.list("large")
	record := []byte(`{"Id":"5a3f0c1e-77d1-4c8e-9d0b-3f6f2f5c0100","Operation":"FileAccessed","AuditData":"` + strings.Repeat("x", 20<<10) + `"},`)
	const want = largeItem/(20<<10) + 1
	s.mux.HandleFunc("/blob/", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "[")
		for range want - 1 {
			w.Write(record)
		}
		w.Write(record[:len(record)-1])
		io.WriteString(w, "]")
	})
	to := newSink()
	var before, during runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var peak uint64
	got := 0
	to.each = func([]byte) {
		if got++; got%100 == 0 {
			runtime.ReadMemStats(&during)
			peak = max(peak, during.HeapAlloc)
		}
	}
	f := s.items(t, "/list")
	f.Key = []string{"Id"}
	if _, err := read(t, s.options(), f, to); err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("%d records, want %d", got, want)
	}
	if grown := int64(peak) - int64(before.HeapAlloc); grown > 16<<20 {
		t.Errorf("the heap grew by %d MB", grown>>20)
	}
}

// TestSlowSink: a destination that takes longer than a body may stand still is no fault of the service.
func TestSlowSink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serviceInMemory()
		s.mux.HandleFunc("/r", func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, `{"value":[{"id":1},`)
			io.WriteString(w, strings.Repeat(" ", 200<<10))
			io.WriteString(w, `{"id":2}]}`)
		})
		o := s.options()
		o.StallTimeout = time.Minute
		to := newSink()
		to.fail = func([]byte) error {
			time.Sleep(time.Hour)
			return nil
		}
		r, err := read(t, o, s.feed(t, "/r"), to)
		if err != nil || to.ids("") != "1 2" || r.Stats().Requests != 1 {
			t.Errorf("got %q in %d requests, %v", to.ids(""), r.Stats().Requests, err)
		}
	})
}

// TestNextPageWaits: a page is asked for only when the records before were taken.
func TestNextPageWaits(t *testing.T) {
	s := newService(t)
	var taken atomic.Int64
	s.mux.HandleFunc("/r", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery != "" {
			if got := taken.Load(); got != 2 {
				t.Errorf("page 2 was asked for after %d records", got)
			}
			io.WriteString(w, `{"value":[]}`)
			return
		}
		io.WriteString(w, `{"value":[{"id":1},{"id":2}],"@odata.nextLink":"/r?p=2"}`)
	})
	to := newSink()
	to.fail = func([]byte) error { time.Sleep(20 * time.Millisecond); taken.Add(1); return nil }
	if _, err := read(t, s.options(), s.feed(t, "/r"), to); err != nil {
		t.Fatal(err)
	}
}
