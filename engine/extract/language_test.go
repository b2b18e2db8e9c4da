package extract

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/engine/definition"
)

// jsonBody makes a request's body of JSON, whose texts may hold ${…}.
func jsonBody(t testing.TB, text string) *definition.Body {
	t.Helper()
	return requestOf(t, "body: "+text).Body
}

// TestBodies: what is sent, how it is named, and that a body means POST.
func TestBodies(t *testing.T) {
	for _, test := range []struct {
		name        string
		request     definition.Request
		method, typ string
		want        string
	}{
		{"a query", definition.Request{Body: jsonBody(t, `{"Query":"EmailEvents | where Timestamp between (datetime(${window.from}) .. datetime(${window.to}))","n":5,"list":[true,null,"<${TENANT_ID}>"]}`)}, "POST", "application/json",
			`{"Query":"EmailEvents | where Timestamp between (datetime(2026-03-01T10:00:00Z) .. datetime(2026-03-01T11:00:00Z))","list":[true,null,"<t>"],"n":5}`},
		{"a form", definition.Request{Form: []definition.Field{{Name: "q", Value: template(t, "a&b=${TENANT_ID} é")}, {Name: "n", Value: template(t, "1")}}}, "POST", "application/x-www-form-urlencoded",
			"q=a%26b%3Dt+%C3%A9&n=1"},
		{"a method of its own", definition.Request{Method: "PUT", Body: jsonBody(t, `{}`)}, "PUT", "application/json", `{}`},
		{"none", definition.Request{}, "GET", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newService(t)
			attempts := 0
			s.mux.HandleFunc("/r", func(w http.ResponseWriter, r *http.Request) {
				raw, _ := io.ReadAll(r.Body)
				if string(raw) != test.want || r.Method != test.method || r.Header.Get("Content-Type") != test.typ {
					t.Errorf("%s of %q: %s\nwant %s", r.Method, r.Header.Get("Content-Type"), raw, test.want)
				}
				if attempts++; attempts == 1 { // whatever is sent is sent again
					w.WriteHeader(503)
					return
				}
				io.WriteString(w, `{"value":[{"id":"a"}]}`)
			})
			f := s.feed(t, "/r")
			test.request.URL = f.Request.URL
			f.Request = test.request
			to := newSink()
			if _, err := read(t, s.options(), f, to); err != nil || to.ids("") != "a" {
				t.Errorf("%q, %v", to.ids(""), err)
			}
		})
	}
}

// TestNumbersOfTime: a time that is a number is one in a body, and its digits in a query.
func TestNumbersOfTime(t *testing.T) {
	s := newService(t)
	s.mux.HandleFunc("/r", func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		if got, want := r.URL.RawQuery+" "+string(raw), `to=1772362800000 {"after":"1772359200000","from":1772359200000}`; got != want {
			t.Errorf("asked for %s, want %s", got, want)
		}
		io.WriteString(w, `{"value":[{"id":"a"}]}`)
	})
	f := s.feed(t, "/r")
	f.Cursor.Format = "unix_ms"
	f.Request.Query = []definition.Field{{Name: "to", Value: template(t, "${window.to}")}}
	f.Request.Body = jsonBody(t, `{"from":"${window.from}","after":"${string(window.from)}"}`)
	to := newSink()
	if _, err := read(t, s.options(), f, to); err != nil || to.ids("") != "a" {
		t.Errorf("%q, %v", to.ids(""), err)
	}
}

// TestPagingInTheBody: parameters stand at paths of the request's body, and numbers are numbers.
func TestPagingInTheBody(t *testing.T) {
	for _, test := range []struct {
		name   string
		paging definition.Paging
		first  string
		want   []string
	}{
		{"offset", definition.Paging{Style: definition.PagingOffset, Param: "page.from", SizeParam: "page.size", Size: 2, In: definition.InBody}, `{"q":"x","page":{"sort":"up"}}`,
			[]string{`{"page":{"from":0,"size":2,"sort":"up"},"q":"x"}`, `{"page":{"from":2,"size":2,"sort":"up"},"q":"x"}`}},
		{"in a list", definition.Paging{Style: definition.PagingPage, Param: "requests.0.page", Size: 2, Start: 1, In: definition.InBody}, `{"requests":[{"q":"x"},{}]}`,
			[]string{`{"requests":[{"page":1,"q":"x"},{}]}`, `{"requests":[{"page":2,"q":"x"},{}]}`}},
		{"a token", definition.Paging{Style: definition.PagingBody, Path: "next", Param: "cursor", In: definition.InBody}, `{"q":"x"}`,
			[]string{`{"q":"x"}`, `{"cursor":"t\u00261","q":"x"}`}},
		{"a number", definition.Paging{Style: definition.PagingBody, Path: "number", Param: "cursor", In: definition.InBody}, `{"q":"x"}`,
			[]string{`{"q":"x"}`, `{"cursor":12345678901234567890,"q":"x"}`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newService(t)
			var got []string
			s.mux.HandleFunc("POST /r", func(w http.ResponseWriter, r *http.Request) {
				raw, _ := io.ReadAll(r.Body)
				got = append(got, strings.ReplaceAll(string(raw), "&", `\u0026`))
				if len(got) == 1 {
					io.WriteString(w, `{"value":[{"id":"a"},{"id":"b"}],"next":"t&1","number":12345678901234567890}`)
				} else {
					io.WriteString(w, `{"value":[{"id":"c"}]}`)
				}
			})
			f := s.feed(t, "/r")
			f.Request.Method, f.Request.Body, f.Paging = "", jsonBody(t, test.first), test.paging
			to := newSink()
			if _, err := read(t, s.options(), f, to); err != nil || to.ids("") != "a b c" || !slices.Equal(got, test.want) {
				t.Errorf("%q, %v, sent\n%s", to.ids(""), err, strings.Join(got, "\n"))
			}
		})
	}
}

// TestExpandByTemplate: a document of several pages for each listed item, without keys, with fields of the item.
func TestExpandByTemplate(t *testing.T) {
	s := newService(t)
	s.answers("/users", `{"value":[{"id":"a/b","name":"A \"x\""},{"id":"c","name":"C"}]}`)
	first := 0
	s.mux.HandleFunc("POST /users/{id}/history", func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		if want := fmt.Sprintf(`{"for":%q}`, r.PathValue("id")); string(raw) != want || r.Header.Get("X-Name") == "" || r.URL.Query().Get("tenant") != "t" {
			t.Errorf("%s with %s, header %q", r.URL, raw, r.Header.Get("X-Name"))
		}
		id := r.PathValue("id")
		switch r.URL.Query().Get("p") {
		case "":
			fmt.Fprintf(w, `{"value":[{"id":"%s1"},{"id":"%s2","name":"own"}],"@odata.nextLink":"%s"}`, id, id, s.URL+"/users/"+url.PathEscape(id)+"/history?tenant=t&p=2")
		case "2":
			if first++; first == 1 { // the second page breaks off behind what the first attempt took
				fmt.Fprintf(w, `{"value":[{"id":"%s3"},`, id)
				return
			}
			fmt.Fprintf(w, `{"value":[{"id":"%s3"},{"id":"%s4"}]}`, id, id)
		}
	})
	f := s.feed(t, "/users")
	f.Expand = &definition.Expand{
		Request: definition.Request{
			URL: template(t, s.URL+"/users/${item.id}/history"), Body: jsonBody(t, `{"for":"${item.id}"}`),
			Headers: []definition.Field{{Name: "X-Name", Value: template(t, "${item.name}")}},
			Query:   []definition.Field{{Name: "tenant", Value: template(t, "${TENANT_ID}")}},
		},
		Paging: definition.Paging{Style: definition.PagingOData}, Records: "value", Concurrency: 1,
		Add: []definition.Assignment{{Name: "user", Value: program(t, "item.id")}, {Name: "name", Value: program(t, "item.name")}},
	}
	f.Cursor = nil
	to := newSink()
	var records []string
	to.each = func(raw []byte) { records = append(records, string(raw)) }
	if _, err := read(t, s.options(), f, to); err != nil {
		t.Fatal(err)
	}
	want := []string{
		`{"user":"a/b","name":"A \"x\"","id":"a/b1"}`, `{"user":"a/b","id":"a/b2","name":"own"}`, `{"user":"a/b","name":"A \"x\"","id":"a/b3"}`, `{"user":"a/b","name":"A \"x\"","id":"a/b4"}`,
		`{"user":"c","name":"C","id":"c1"}`, `{"user":"c","id":"c2","name":"own"}`, `{"user":"c","name":"C","id":"c3"}`, `{"user":"c","name":"C","id":"c4"}`,
	}
	if !slices.Equal(records, want) {
		t.Errorf("records\n%s\nwant\n%s", strings.Join(records, "\n"), strings.Join(want, "\n"))
	}
	if to.ended != 2 || !slices.Equal(to.asked, []string{"", ""}) {
		t.Errorf("%d sources were ended, Known was asked of %q", to.ended, to.asked)
	}
}

// TestTemplateLeadsElsewhere: what an item says cannot send the token to another host.
func TestTemplateLeadsElsewhere(t *testing.T) {
	s := newService(t)
	s.answers("/list", `{"value":[{"id":"a","url":"https://elsewhere.example/x"}]}`)
	f := s.feed(t, "/list")
	f.Expand = &definition.Expand{Request: definition.Request{URL: template(t, "${item.url}")}, Records: "value", Concurrency: 1}
	f.Cursor = nil
	if _, err := read(t, s.options(), f, newSink()); err == nil || !strings.Contains(err.Error(), "elsewhere.example") || !strings.Contains(err.Error(), "the token goes nowhere else") {
		t.Errorf("error is %v", err)
	}
}

// TestDelta: the link at the end is the position of the next read; an expired one begins anew.
func TestDelta(t *testing.T) {
	s := newService(t)
	s.mux.HandleFunc("/users/delta", func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Query().Get("t") {
		case "":
			fmt.Fprintf(w, `{"value":[{"id":"a"}],"@odata.nextLink":"%s/users/delta?t=skip"}`, s.URL)
		case "skip":
			fmt.Fprintf(w, `{"value":[{"id":"b"}],"@odata.deltaLink":"%s/users/delta?t=d1"}`, s.URL)
		case "d1":
			fmt.Fprintf(w, `{"value":[{"id":"a","@removed":{"reason":"deleted"}}],"@odata.deltaLink":"%s/users/delta?t=d2"}`, s.URL)
		case "old":
			w.WriteHeader(410)
			io.WriteString(w, `{"error":{"code":"syncStateNotFound"}}`)
		case "none":
			io.WriteString(w, `{"value":[]}`)
		}
	})
	f := s.feed(t, "/users/delta")
	f.Paging.Delta, f.Window, f.Cursor = true, nil, nil
	reader, err := NewReader(NewClient(s.options()), f, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ from, ids, to string }{{"", "a b", "d1"}, {"d1", "a", "d2"}} {
		to, w := newSink(), Window{}
		if test.from != "" {
			w.Delta = s.URL + "/users/delta?t=" + test.from
		}
		if err := reader.Read(t.Context(), w, to); err != nil || to.ids("") != test.ids || to.delta != s.URL+"/users/delta?t="+test.to {
			t.Errorf("from %q: %q, then %q, %v", test.from, to.ids(""), to.delta, err)
		}
	}
	to := newSink()
	if err := reader.Read(t.Context(), Window{Delta: s.URL + "/users/delta?t=old"}, to); !is[*ResetWindow](err) || to.delta != "" {
		t.Errorf("an expired link: %v", err)
	}
	if err := reader.Read(t.Context(), Window{Delta: s.URL + "/users/delta?t=none"}, to); err == nil || !strings.Contains(err.Error(), "deltaLink") {
		t.Errorf("no link at the end: %v", err)
	}
	if err := reader.Read(t.Context(), Window{Delta: "https://elsewhere.example/x"}, to); err == nil || !strings.Contains(err.Error(), "elsewhere.example") {
		t.Errorf("a link elsewhere: %v", err)
	}
}

// TestJob: started once, asked for until it is done, and read; a read that knows its id starts none.
func TestJob(t *testing.T) {
	s := newService(t)
	started, polls, state, at := 0, 0, "", ""
	s.mux.HandleFunc("POST /queries", func(w http.ResponseWriter, r *http.Request) {
		started++
		w.WriteHeader(201)
		fmt.Fprintf(w, `{"id":"q/%d","status":"notStarted"}`, started)
	})
	s.mux.HandleFunc("/queries/{id}", func(w http.ResponseWriter, r *http.Request) {
		polls++
		if r.PathValue("id") == "unknown" {
			w.WriteHeader(404)
			return
		}
		status := state
		if status == "" {
			status = map[bool]string{true: "running", false: "succeeded"}[polls < 2]
		}
		fmt.Fprintf(w, `{"id":%q,"status":%q,"error":{"message":"out of luck"},"at":%q}`, r.PathValue("id"), status, at)
	})
	s.mux.HandleFunc("/queries/{id}/records", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"value":[{"id":"of %s"}]}`, r.PathValue("id"))
	})
	f := s.feed(t, "/queries/${job.id}/records")
	f.Job = &definition.Job{
		Create: definition.Request{URL: template(t, s.URL+"/queries"), Body: jsonBody(t, `{"from":"${window.from}"}`)}, ID: "id",
		Poll: definition.Request{URL: template(t, s.URL+"/queries/${job.id}")},
		Done: program(t, `body.status == "succeeded"`), Failed: program(t, `body.status == "failed"`), Every: time.Second, Most: time.Minute,
	}
	reader, err := NewReader(NewClient(s.options()), f, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	to := newSink()
	if err := reader.Read(t.Context(), hour, to); err != nil || to.ids("") != "of q/1" || to.job != "q/1" || started != 1 || polls != 2 {
		t.Errorf("%q, job %q, %d starts, %d polls, %v", to.ids(""), to.job, started, polls, err)
	}
	again := hour
	again.Job, again.JobAt = "q/1", time.Now()
	to = newSink()
	if err := reader.Read(t.Context(), again, to); err != nil || to.ids("") != "of q/1" || started != 1 {
		t.Errorf("%q, %d starts, %v", to.ids(""), started, err)
	}
	// Where the result is, the answer to the last poll says.
	f.Job.Result, f.Request.URL = "at", template(t, "${job.result}")
	for result, want := range map[string]string{s.URL + "/queries/elsewhere/records": "of elsewhere", "https://other.example/records": "other.example", "": `has no result at "at"`} {
		at, to = result, newSink()
		err := reader.Read(t.Context(), again, to)
		if got := to.ids("") + fmt.Sprint(err); !strings.Contains(got, want) || started != 1 {
			t.Errorf("a result at %q gives %s", result, got)
		}
	}
	f.Job.Result = ""
	for name, change := range map[string]func(){
		"out of luck":          func() { state = "failed" },
		"it is not done after": func() { state = "running"; again.JobAt = time.Now().Add(-time.Hour) },
		"HTTP 404":             func() { again.Job = "unknown" },
	} {
		change()
		err := reader.Read(t.Context(), again, newSink())
		var failed *JobFailed
		if !errors.As(err, &failed) || started != 1 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestFallback: another request for the same records, where the first is not answered, for a time.
func TestFallback(t *testing.T) {
	s := newService(t)
	beta := 0
	s.mux.HandleFunc("/beta", func(w http.ResponseWriter, r *http.Request) {
		if beta++; beta > 2 {
			io.WriteString(w, `{"value":[{"id":"beta"}]}`)
			return
		}
		w.WriteHeader(400)
		io.WriteString(w, `{"error":{"message":"Resource not found for the segment"}}`)
	})
	s.answers("/v1", `{"value":[{"id":"v1"}]}`)
	f := s.feed(t, "/beta")
	f.Fallback = &definition.Fallback{When: program(t, "status == 400"), Request: definition.Request{URL: template(t, s.URL+"/v1")}, Recheck: time.Hour}
	reader, err := NewReader(NewClient(s.options()), f, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	expect := func(ids string, asked int, fallen bool) {
		t.Helper()
		to := newSink()
		if err := reader.Read(t.Context(), hour, to); err != nil || to.ids("") != ids || beta != asked || reader.Fallback().IsZero() == fallen {
			t.Errorf("%q after %d requests of the first, until %v, %v", to.ids(""), beta, reader.Fallback(), err)
		}
	}
	expect("v1", 1, true)
	expect("v1", 1, true)
	over := time.Now().Add(-time.Second)
	reader.fallback.Store(&over)
	expect("v1", 2, true)
	reader.fallback.Store(&over)
	expect("beta", 3, false)
	if n, err := reader.Probe(t.Context(), hour); n != 1 || err != nil {
		t.Errorf("probe: %d, %v", n, err)
	}
}

// FuzzPlaced: whatever the path, the value stands there and the body as it was is not changed.
func FuzzPlaced(f *testing.F) {
	for _, path := range []string{"a", "a.b", "list.0.c", "list.9", "list.-1", "n.x", "", ".", "a..b", "new.deep.er"} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		var first any
		const text = `{"a":{"b":1},"list":[{"c":2},3],"n":4}`
		if err := json.Unmarshal([]byte(text), &first); err != nil {
			t.Fatal(err)
		}
		out, err := placed(first, strings.Split(path, "."), "here")
		if after, _ := json.Marshal(first); string(after) != text {
			t.Errorf("%q changed the body: %s", path, after)
		}
		if err != nil {
			return
		}
		for _, name := range strings.Split(path, ".") {
			switch v := out.(type) {
			case map[string]any:
				out = v[name]
			case []any:
				var i int
				if fmt.Sscan(name, &i); i < 0 || i >= len(v) {
					t.Fatalf("%q leads to element %s", path, name)
				}
				out = v[i]
			}
		}
		if out != "here" {
			t.Errorf("%q leads to %v", path, out)
		}
	})
}

// FuzzDamage: whatever the bytes, records come through as JSON, and nothing loops.
func FuzzDamage(f *testing.F) {
	for _, text := range []string{
		`[{"id":"a"},{"id":"b","v":NaN},{"id":"c"}]`, "[{\"t\":\"\x01\"},{}]", `[{"a":"x"y"},{"a":1}]`, `{"value":[{"id":"b"{"error":{}}}`, `[[{"a":NaN}],[{"a":1}]]`,
		`{"g":[{"items":[{"a":NaN},{"a":2}]},{"items":[]}]}`, `[NaN,1]`, `[{"a":1},,{"a":2}]`, `[{"a":tru},{"a":2}`,
	} {
		f.Add(text, "@this")
		f.Add(text, "value")
		f.Add(text, "g.#.items")
	}
	f.Fuzz(func(t *testing.T, text, path string) {
		bytes := 0
		_, err := split(strings.NewReader(text), path, true, splitTo{
			check: func([]byte) error { return nil },
			take: func(raw []byte) error {
				if !json.Valid(raw) {
					t.Errorf("%q is no JSON", raw)
				}
				bytes += len(raw)
				return nil
			},
			damaged: func(raw []byte, reason string) error {
				if len(raw) == 0 || reason == "" {
					t.Errorf("damage %q for %q", raw, reason)
				}
				bytes += len(raw)
				return nil
			},
		})
		if err == nil && bytes > 3*len(text) { // a byte that is no UTF-8 becomes three
			t.Errorf("%d bytes came out of %d", bytes, len(text))
		}
	})
}
