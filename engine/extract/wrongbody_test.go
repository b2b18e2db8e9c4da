package extract

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secure60/s60-m365-connector/engine/definition"
)

// answers says text at path, and counts how often.
func (s *service) answers(path, text string) *int {
	n := 0
	s.mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) { n++; io.WriteString(w, text) })
	return &n
}

// TestPageThatCannotBeWritten: a service that cannot write a record glues an error into the page, each time at
// the same place. Two attempts tell that.
func TestPageThatCannotBeWritten(t *testing.T) {
	s := newService(t)
	n := s.answers("/r", `{"value":[{"id":"a"},{"id":"b"{"error":{"code":"BadRequest","message":"…null…"}}}`)
	o := s.options()
	o.MaxAttempts = 8
	to := newSink()
	_, err := read(t, o, s.feed(t, "/r"), to)
	if narrow, ok := errors.AsType[*Narrow](err); !ok || narrow.Page != 1 || !strings.Contains(err.Error(), "the service broke off with BadRequest: …null…") {
		t.Errorf("error is %T %v, want one that asks for a narrower window, in the service's words", err, err)
	}
	if *n != 2 || len(to.damaged) > 0 {
		t.Errorf("%d attempts, damaged %q", *n, to.damaged)
	}
}

// TestBreaksOffElsewhere: a body that gets further each time is asked for again.
func TestBreaksOffElsewhere(t *testing.T) {
	s := newService(t)
	n := 0
	s.mux.HandleFunc("/r", func(w http.ResponseWriter, r *http.Request) {
		n++
		fmt.Fprintf(w, `{"value":[%s{"id":`, strings.Repeat(`{"id":"a"},`, n))
	})
	o := s.options()
	o.MaxAttempts = 6
	if _, err := read(t, o, s.feed(t, "/r"), newSink()); err == nil || n != 6 {
		t.Errorf("%d attempts, %v", n, err)
	}
}

// TestDamagedRecords: what is no JSON is cut out to the next record, kept raw, and the rest goes on.
func TestDamagedRecords(t *testing.T) {
	tests := []struct {
		name, body  string
		ids, damage string // ids that come through; the bytes that are kept
	}{
		{"a control character", "[{\"id\":\"a\"},{\"id\":\"b\",\"t\":\"x\x01y\"},{\"id\":\"c\"}]", "a c", "{\"id\":\"b\",\"t\":\"x\x01y\"}"},
		{"a line end", "[{\"id\":\"b\",\"t\":\"x\ny\"} , {\"id\":\"c\"}]", "c", "{\"id\":\"b\",\"t\":\"x\ny\"}"},
		{"NaN", `[{"id":"a"},{"id":"b","v":NaN,"more":[{"id":"inner"}]},{"id":"c"},{"id":"d"}]`, "a c d", `{"id":"b","v":NaN,"more":[{"id":"inner"}]}`},
		{"the last one", `[{"id":"a"},{"id":"b","v":NaN}]`, "a", `{"id":"b","v":NaN}`},
		{"all of them", `[{"id":"a","v":NaN},{"id":"b","v":-Infinity}]`, "", `{"id":"a","v":NaN} {"id":"b","v":-Infinity}`},
		{"a quotation mark too many", `[{"id":"a","t":"say "hi"},{"id":"b"},{"id":"c"}]`, "b c", `{"id":"a","t":"say "hi"}`},
		{"two quotation marks", `[{"id":"a","t":"say "hi" now"},{"id":"b"}]`, "b", `{"id":"a","t":"say "hi" now"}`},
		{"no comma", `[{"id":"a" "t":1},{"id":"b"}]`, "b", `{"id":"a" "t":1}`},
	}
	for _, test := range tests {
		for _, padding := range []int{0, 1 << 10, 100 << 10} { // whatever is read at a time
			t.Run(fmt.Sprintf("%s/%d", test.name, padding), func(t *testing.T) {
				pad := strings.Repeat(`{"id":"p"},`, padding/11)
				s := newService(t)
				s.list("x")
				n := s.answers("/blob/x", "["+pad+test.body[1:])
				f := s.items(t, "/list")
				to := newSink()
				if _, err := read(t, s.options(), f, to); err != nil {
					t.Fatal(err)
				}
				if got := strings.TrimSpace(strings.ReplaceAll(to.ids("x"), "p ", "")); strings.TrimPrefix(got, "p") != test.ids {
					t.Errorf("records %q, want %q", got, test.ids)
				}
				var kept []string
				for _, d := range to.damaged {
					_, raw, _ := strings.Cut(d, ": ")
					kept = append(kept, raw)
				}
				if got := strings.Join(kept, " "); got != test.damage || *n != 1 {
					t.Errorf("kept %q, want %q, in %d requests", got, test.damage, *n)
				}
			})
		}
	}
	t.Run("in a page, with what follows", func(t *testing.T) {
		s := newService(t)
		second := s.answers("/2", `{"value":[{"id":"z"}]}`)
		s.answers("/r", `{"a":[1],"value":[{"id":"a"},{"id":"b","v":NaN},{"id":"c"}],"@odata.nextLink":"`+s.URL+`/2"}`)
		to := newSink()
		if _, err := read(t, s.options(), s.feed(t, "/r"), to); err != nil || to.ids("") != "a c z" || len(to.damaged) != 1 || *second != 1 {
			t.Errorf("%q, %q, %v", to.ids(""), to.damaged, err)
		}
	})
}

// TestWrongAnswers: successes that are no answer to what was asked are errors that say what they hold.
func TestWrongAnswers(t *testing.T) {
	tests := []struct {
		name, body string
		says       []string
		attempts   int
	}{
		{"an error beside records", `{"value":[{"id":"a"}],"error":{"code":"Partial","message":"a shard is down"}}`, []string{"Partial", "a shard is down"}, 4},
		{"no records path", `{"values":[{"id":"a"}],"count":1}`, []string{`"value"`, `"values", "count"`}, 3},
		{"a message", `{"Message":"An error has occurred."}`, []string{`"Message": An error has occurred.`}, 3},
		{"nothing", `{}`, []string{"it holds nothing"}, 3},
		{"no key", `{"value":[{"Id":"a","Name":"x"},{"Id":"b"}]}`, []string{`no record has the feed's key "id"`, `"Id", "Name"`}, 3},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newService(t)
			n := s.answers("/r", test.body)
			_, err := read(t, s.options(), s.feed(t, "/r"), newSink())
			for _, text := range test.says {
				if err == nil || !strings.Contains(err.Error(), text) {
					t.Errorf("error is %v, want %q in it", err, text)
				}
			}
			if *n != test.attempts {
				t.Errorf("%d attempts, want %d", *n, test.attempts)
			}
		})
	}
	t.Run("an item", func(t *testing.T) {
		s := newService(t)
		s.list("x", "y")
		s.answers("/blob/x", `{"Message":"An error has occurred."}`)
		s.answers("/blob/y", `[{"id":"1"}]`)
		to := newSink()
		_, err := read(t, s.options(), s.items(t, "/list"), to)
		if !is[*Incomplete](err) || !strings.Contains(err.Error(), "An error has occurred.") || to.ids("x") != "" || to.ids("y") != "1" {
			t.Errorf("%v; %q and %q", err, to.ids("x"), to.ids("y"))
		}
	})
	t.Run("items without a time", func(t *testing.T) {
		s := newService(t)
		s.answers("/list", `[{"contentId":"x","contentUri":"/blob/x"}]`)
		s.answers("/blob/x", `[{"id":"1"}]`)
		f := s.items(t, "/list")
		f.Cursor = &definition.Cursor{Field: "contentCreated"}
		if _, err := read(t, s.options(), f, newSink()); err == nil || !strings.Contains(err.Error(), `no listed item has the cursor's field "contentCreated"; they hold "contentId", "contentUri"`) {
			t.Errorf("error is %v", err)
		}
	})
	t.Run("optional records", func(t *testing.T) {
		s := newService(t)
		s.answers("/r", `{"count":0}`)
		f := s.feed(t, "/r")
		f.RecordsOptional = true
		if _, err := read(t, s.options(), f, newSink()); err != nil {
			t.Error(err)
		}
	})
	t.Run("single records without a key", func(t *testing.T) {
		s := newService(t)
		s.answers("/r", `{"value":[{"x":1},{"x":2},{"id":"a"},{"x":3}]}`)
		to := newSink()
		if _, err := read(t, s.options(), s.feed(t, "/r"), to); err != nil || len(to.whole[""]) != 4 || to.whole[""][2] != "a" {
			t.Errorf("%q, %v", to.whole, err)
		}
	})
	t.Run("any part of the key", func(t *testing.T) {
		s := newService(t)
		s.answers("/r", `{"value":[{"id":"a"}]}`)
		f := s.feed(t, "/r")
		f.Key = []string{"riskState", "id"}
		if _, err := read(t, s.options(), f, newSink()); err != nil {
			t.Error(err)
		}
	})
}

// TestFurtherPageUnread: the beginning of a list is never taken for the whole.
func TestFurtherPageUnread(t *testing.T) {
	for _, test := range []struct {
		name, link, body string
		paging           definition.Paging
		says             string // "": the page is read
	}{
		{"unsaid", "", `"@odata.nextLink":"/r?p=2"`, definition.Paging{Style: "none", Unsaid: true}, "a further page in @odata.nextLink, where nothing is said of paging: write paging: {style: odata}"},
		{"one page is wanted", "", `"@odata.nextLink":"/r?p=2"`, definition.Paging{Style: "none"}, ""},
		{"another place", "", `"@odata.nextLink":"/r?p=2"`, definition.Paging{Style: "link"}, `the style "link" does not look there`},
		{"a short page that is not the last", `</r?page=2>; rel="next"`, `"n":1`, definition.Paging{Style: "page", Param: "page", Size: 100, Start: 1}, "in its Link header"},
		{"the last page", `</r?page=1>; rel="prev"`, `"n":1`, definition.Paging{Style: "page", Param: "page", Size: 100, Start: 1}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newService(t)
			s.mux.HandleFunc("/r", func(w http.ResponseWriter, r *http.Request) {
				if test.link != "" {
					w.Header().Set("Link", test.link)
				}
				fmt.Fprintf(w, `{"value":[{"id":"a"}],%s}`, test.body)
			})
			f := s.feed(t, "/r")
			f.Paging = test.paging
			_, err := read(t, s.options(), f, newSink())
			if test.says == "" && err != nil || test.says != "" && (err == nil || !strings.Contains(err.Error(), test.says)) {
				t.Errorf("%v, want %q", err, test.says)
			}
		})
	}
}

// TestUndatedRecordsAreTold: a cursor's field that none of the first records has is said, once, and what they hold. A few
// may lack it by chance.
func TestUndatedRecordsAreTold(t *testing.T) {
	s := newService(t)
	s.answers("/r", `{"value":[{"id":"a"},{"id":"b","when":1}]}`)
	rounds := enoughUndated / 2
	var log strings.Builder
	o := s.options()
	o.Log = slog.New(slog.NewTextHandler(&log, nil))
	f := s.feed(t, "/r")
	f.Cursor = &definition.Cursor{Field: "at"}
	reader, err := read(t, o, f, newSink())
	if err != nil {
		t.Fatal(err)
	}
	for round := 2; round <= 2*rounds; round++ {
		if told := strings.Contains(log.String(), "cursor.field"); told && round <= rounds {
			t.Fatalf("told before round %d: %s", round, log.String())
		}
		if err := reader.Read(t.Context(), Window{}, newSink()); err != nil {
			t.Fatal(err)
		}
	}
	if strings.Count(log.String(), "cursor.field=at") != 1 || !strings.Contains(log.String(), `when`) {
		t.Error(log.String())
	}
	log.Reset()
	f.Cursor.Field = "when"
	if reader, err = read(t, o, f, newSink()); err != nil {
		t.Fatal(err)
	}
	for range 2 * rounds {
		if err := reader.Read(t.Context(), Window{}, newSink()); err != nil || strings.Contains(log.String(), "cursor.field") {
			t.Fatalf("%v\n%s", err, log.String())
		}
	}
}

// TestRulesSeeSuccesses: an answer with 200 can be truncated, or too early.
func TestRulesSeeSuccesses(t *testing.T) {
	s := newService(t)
	s.answers("/full", `{"value":[{"id":"a"}],"truncated":true}`)
	f := s.feed(t, "/full")
	f.Errors = rules(t, "body.truncated == true", definition.ThenNarrow)
	if _, err := read(t, s.options(), f, newSink()); !is[*Narrow](err) || !strings.Contains(err.Error(), "by a rule of the feed (then: narrow)") {
		t.Errorf("error is %T %v", err, err)
	}
}

// TestTooEarly: what a service says of how far back it keeps.
func TestTooEarly(t *testing.T) {
	for _, test := range []struct {
		name, at, message string
		want              time.Time
	}{
		{"it says", `split(error.message, " is ")[1]`, "Minimum allowed time for activityDateTime is 2026-02-22T08:00:00Z", time.Date(2026, 2, 22, 8, 0, 0, 0, time.UTC)},
		{"it says something else", `error.message`, "too early", time.Time{}},
		{"it does not say", "", "too early", time.Time{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newService(t)
			s.mux.HandleFunc("/r", func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(400)
				fmt.Fprintf(w, `{"error":{"code":"AF20030","message":%q}}`, test.message)
			})
			f := s.feed(t, "/r")
			f.Errors = rules(t, `error.code == "AF20030"`, definition.ThenTooEarly)
			if test.at != "" {
				f.Errors[0].At = program(t, test.at)
			}
			_, err := read(t, s.options(), f, newSink())
			early, ok := errors.AsType[*TooEarly](err)
			if !ok || !early.At.Equal(test.want) || !strings.Contains(err.Error(), test.message) {
				t.Errorf("error is %T %v, at %v", err, err, early)
			}
		})
	}
}

// TestGoneIsNotGivenUp: as long as the sink does not give it up, an item is missing.
func TestGoneIsNotGivenUp(t *testing.T) {
	s := newService(t)
	s.list("a", "b")
	s.answers("/blob/a", `[{"id":"1"}]`)
	s.mux.HandleFunc("/blob/b", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(400)
		io.WriteString(w, `{"error":{"code":"AF20050"}}`)
	})
	f := s.items(t, "/list")
	f.Errors = rules(t, `error.code == "AF20050"`, definition.ThenSkip)
	to := newSink()
	to.keep = true
	_, err := read(t, s.options(), f, to)
	if !is[*Incomplete](err) || !strings.Contains(err.Error(), "AF20050") || len(to.skipped) != 0 || to.ids("a") != "1" {
		t.Errorf("%v, skipped %q", err, to.skipped)
	}
}

// TestEndless: pages without records and items without end are given up, with the reason.
func TestEndless(t *testing.T) {
	t.Run("empty pages", func(t *testing.T) {
		s := newService(t)
		n := 0
		s.mux.HandleFunc("/r", func(w http.ResponseWriter, r *http.Request) {
			n++
			fmt.Fprintf(w, `{"value":[],"@odata.nextLink":"%s/r?p=%d"}`, s.URL, n)
		})
		if _, err := read(t, s.options(), s.feed(t, "/r"), newSink()); err == nil || n != 100 || !strings.Contains(err.Error(), "100 pages in a row") {
			t.Errorf("%d pages, %v", n, err)
		}
	})
	t.Run("ninety-nine and a record", func(t *testing.T) {
		s := newService(t)
		n := 0
		s.mux.HandleFunc("/r", func(w http.ResponseWriter, r *http.Request) {
			n++
			record := ""
			if n%99 == 0 {
				record = `{"id":"a"}`
			}
			next := fmt.Sprintf(`,"@odata.nextLink":"%s/r?p=%d"`, s.URL, n)
			if n == 200 {
				next = ""
			}
			fmt.Fprintf(w, `{"value":[%s]%s}`, record, next)
		})
		if _, err := read(t, s.options(), s.feed(t, "/r"), newSink()); err != nil {
			t.Error(err)
		}
	})
	t.Run("an item", func(t *testing.T) {
		b := newBody(t.Context(), endless{}, time.Minute, func(error) {})
		n, err := io.Copy(io.Discard, struct{ io.Reader }{b})
		if err == nil || !strings.Contains(err.Error(), "shows no end") || n > largestBody+1<<20 {
			t.Errorf("%d bytes, %v", n, err)
		}
	})
}

// endless is a body without end.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// TestClock: the service's clock is known before the first window is asked for.
func TestClock(t *testing.T) {
	for _, test := range []struct{ ahead, want time.Duration }{
		{12 * time.Minute, 12 * time.Minute}, {-time.Hour, -time.Hour}, {3 * time.Second, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := serviceInMemory()
			s.transport = inMemory{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Date", time.Now().Add(test.ahead).UTC().Format(http.TimeFormat))
				s.Config.Handler.ServeHTTP(w, r)
			})}
			r, err := NewReader(NewClient(s.options()), s.feed(t, "/r"), "", nil)
			if err != nil {
				t.Fatal(err)
			}
			ahead, known := r.Clock(t.Context())
			if !known || (ahead-test.want).Abs() > time.Second {
				t.Errorf("%v ahead, %t; want %v", ahead, known, test.want)
			}
			if len(s.asked()) != 0 {
				t.Error("the feed was asked for")
			}
		})
	}
}

// TestLostSubscription: content says that there is none, so it is started whatever the list says; and a start that
// is refused keeps its reason.
func TestLostSubscription(t *testing.T) {
	s := newService(t)
	s.answers("/subs", `[{"contentType":"A","status":"enabled"}]`)
	starts := 0
	s.mux.HandleFunc("POST /start", func(w http.ResponseWriter, r *http.Request) {
		starts++
		w.WriteHeader(400)
		io.WriteString(w, `{"error":{"code":"AF10001","message":"The permission set is not enough"}}`)
	})
	f := s.feed(t, "/r")
	f.Subscribe = &definition.Subscribe{
		List: definition.Request{URL: template(t, s.URL+"/subs")}, Active: program(t, `status == "enabled"`),
		Start: definition.Request{Method: "POST", URL: template(t, s.URL+"/start")}, Wait: 15 * time.Minute,
	}
	r, err := NewReader(NewClient(s.options()), f, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.Subscribe(t.Context(), time.Time{}, false); err != nil || starts != 0 {
		t.Errorf("%v, %d starts of what is enabled", err, starts)
	}
	at, _, err := r.Subscribe(t.Context(), time.Time{}, true)
	if err == nil || starts != 1 || !strings.Contains(err.Error(), "AF10001") {
		t.Errorf("%v, %d starts", err, starts)
	}
	_, _, err = r.Subscribe(t.Context(), at, true)
	if wait, ok := errors.AsType[*SubscribeWait](err); !ok || starts != 1 || !strings.Contains(wait.Error(), "AF10001") {
		t.Errorf("%v, %d starts within the wait", err, starts)
	}
	if _, _, err := r.Subscribe(t.Context(), time.Now().Add(-time.Hour), true); err == nil || starts != 2 {
		t.Errorf("%v, %d starts after the wait", err, starts)
	}
}
