package extract

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/engine/definition"
)

func TestSubscribe(t *testing.T) {
	long, short := time.Now().Add(-time.Hour), time.Now().Add(-time.Minute)
	tests := []struct {
		name        string
		list        string
		last        time.Time
		startStatus int
		startBody   string
		starts      int
		attempted   bool // now; else as last
		want        func(error) bool
	}{
		{"active", `[{"contentType":"Audit.General","status":"enabled","webhook":null}]`, time.Time{}, 0, "", 0, false, nil},
		{"never", `[]`, time.Time{}, 200, `{"contentType":"Audit.General","status":"enabled"}`, 1, true, nil},
		{"another is active", `[{"contentType":"Audit.Exchange","status":"enabled"}]`, time.Time{}, 200, ``, 1, true, nil},
		{"disabled", `[{"contentType":"Audit.General","status":"disabled"}]`, long, 200, ``, 1, true, nil},
		{"without status, and active all along", `[{"contentType":"Audit.General"}]`, time.Time{}, 400, `{"error":{"code":"AF20024","message":"The subscription is already enabled. No property change."}}`, 1, true, nil},
		{"elements of other shapes", `[null,7,"x",[{"contentType":3,"status":{}}],{"contentType":"Audit.General","status":"enabled"}]`, time.Time{}, 0, "", 0, false, nil},
		{"a wrapped list", `{"count":1,"value":[{"contentType":"Audit.General","status":"enabled"}]}`, time.Time{}, 0, "", 0, false, nil},
		{"an array within an element is no list", `[{"contentType":"Audit.General","status":"disabled","past":[{"contentType":"Audit.General","status":"enabled"}]}]`, long, 200, ``, 1, true, nil},
		{"too soon", `[]`, short, 0, "", 0, false, func(err error) bool {
			wait, ok := errors.AsType[*SubscribeWait](err)
			return ok && wait.Until.Equal(short.Add(15*time.Minute))
		}},
		{"a last start in the future, of a clock that was wrong", `[]`, time.Now().Add(24 * time.Hour), 200, ``, 1, true, nil},
		{"no list, but an error", `{"Message":"An error has occurred."}`, long, 0, "", 0, false, func(err error) bool {
			return strings.Contains(err.Error(), "An error has occurred.")
		}},
		{"an empty body, active all along", ``, long, 400, `{"error":{"code":"AF20024","message":"The subscription is already enabled. No property change."}}`, 1, true, nil},
		{"an empty body, which does not say that there was none", ``, long, 200, ``, 1, true, nil},
		{"refused", `[]`, time.Time{}, 400, `{"error":{"code":"StartSubscription [x]","message":"Tenant x does not exist."}}`, 1, true, func(err error) bool {
			status, ok := errors.AsType[*StatusError](err)
			return ok && strings.Contains(status.Message, "does not exist")
		}},
		{"failing, and never asked twice", `[]`, time.Time{}, 503, ``, 1, true, func(err error) bool {
			status, ok := errors.AsType[*StatusError](err)
			return ok && status.Status == 503
		}},
		{"throttled, and never asked twice", `[]`, time.Time{}, 429, ``, 1, true, func(err error) bool {
			status, ok := errors.AsType[*StatusError](err)
			return ok && status.Status == 429
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newService(t)
			starts := 0
			s.mux.HandleFunc("GET /list", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, test.list) })
			s.mux.HandleFunc("POST /start", func(w http.ResponseWriter, r *http.Request) {
				starts++
				if got := r.URL.RawQuery; got != "contentType=Audit.General&PublisherIdentifier=t" {
					t.Errorf("query is %s", got)
				}
				if r.ContentLength != 0 || r.Header.Get("Content-Length") == "" && len(r.TransferEncoding) > 0 {
					t.Errorf("content length is %d, %v", r.ContentLength, r.TransferEncoding)
				}
				w.WriteHeader(test.startStatus)
				io.WriteString(w, test.startBody)
			})
			f := s.items(t, "/content")
			f.ForEach = &definition.ForEach{Variable: "content_type"}
			f.Subscribe = &definition.Subscribe{
				List:   definition.Request{URL: template(t, s.URL+"/list")},
				Active: program(t, `contentType == content_type && status == "enabled"`),
				Start: definition.Request{Method: "POST", URL: template(t, s.URL+"/start"), Query: []definition.Field{
					{Name: "contentType", Value: template(t, "${content_type}")}, {Name: "PublisherIdentifier", Value: template(t, "${TENANT_ID}")}}},
				Already: program(t, `error.code == "AF20024"`),
				Wait:    15 * time.Minute,
			}
			r, err := NewReader(NewClient(s.options()), f, "Audit.General", map[string]any{"TENANT_ID": "t"})
			if err != nil {
				t.Fatal(err)
			}
			begun := time.Now()
			attempted, off, err := r.Subscribe(t.Context(), test.last, false)
			if test.want == nil && err != nil || test.want != nil && !test.want(err) {
				t.Errorf("error is %v", err)
			}
			if err != nil && !strings.Contains(err.Error(), "feed test (Audit.General): subscription: ") {
				t.Errorf("%v: does not say where", err)
			}
			if starts != test.starts {
				t.Errorf("%d starts, want %d", starts, test.starts)
			}
			if want := starts > 0 && test.list != "" && !strings.Contains(test.startBody, "AF20024"); off != want { // whether a start that failed took effect is not known
				t.Errorf("off: %v, want %v", off, want)
			}
			if test.attempted && (attempted.Before(begun.Truncate(0)) || attempted.After(time.Now())) || !test.attempted && !attempted.Equal(test.last) {
				t.Errorf("attempted at %v", attempted)
			}
		})
	}
	t.Run("a start that never left is no attempt", func(t *testing.T) {
		s := newService(t)
		s.mux.HandleFunc("GET /list", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, `[]`) })
		f := s.items(t, "/content")
		f.Subscribe = &definition.Subscribe{
			List: definition.Request{URL: template(t, s.URL+"/list")}, Active: program(t, "false"),
			Start: definition.Request{Method: "POST", URL: template(t, "http://127.0.0.1:1/start")}, Wait: time.Hour,
		}
		r, err := NewReader(NewClient(s.options()), f, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		if attempted, _, err := r.Subscribe(t.Context(), time.Time{}, false); err == nil || !attempted.IsZero() {
			t.Errorf("attempted at %v, %v", attempted, err)
		}
	})
	t.Run("nothing to subscribe", func(t *testing.T) {
		s := newService(t)
		r, err := NewReader(NewClient(s.options()), s.feed(t, "/r"), "", nil)
		if err != nil {
			t.Fatal(err)
		}
		if attempted, _, err := r.Subscribe(t.Context(), long, false); err != nil || !attempted.Equal(long) {
			t.Errorf("attempted at %v, %v", attempted, err)
		}
	})
}
