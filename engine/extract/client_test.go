package extract

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/secure60/s60-m365-connector/engine/definition"
)

func TestGet(t *testing.T) {
	s := newService(t)
	s.mux.HandleFunc("/good", func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer token-") {
			t.Errorf("Authorization is %q", r.Header.Get("Authorization"))
		}
		io.WriteString(w, `{"a":1}`)
	})
	s.mux.HandleFunc("/forbidden", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(403)
		io.WriteString(w, `{"error":{"code":"Authorization_RequestDenied","message":"Insufficient privileges to complete the operation."}}`)
	})
	s.mux.HandleFunc("/html", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, `<html>`) })
	s.mux.HandleFunc("/large", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `"%s"`, strings.Repeat("x", largestError))
	})
	c := NewClient(s.options())
	if got, err := c.Get(t.Context(), "scope", s.URL+"/good"); err != nil || string(got) != `{"a":1}` {
		t.Errorf("got %s, %v", got, err)
	}
	_, err := c.Get(t.Context(), "scope", s.URL+"/forbidden")
	if status, ok := errors.AsType[*StatusError](err); !ok || status.Status != 403 || status.Code != "Authorization_RequestDenied" {
		t.Errorf("error is %v", err)
	}
	for _, path := range []string{"/html", "/large"} {
		if got, err := c.Get(t.Context(), "scope", s.URL+path); err == nil {
			t.Errorf("%s gives %d bytes", path, len(got))
		}
	}
	if _, err := c.Get(t.Context(), "scope", "http://manage.example/x"); err == nil {
		t.Error("plain http was accepted")
	}
}

func TestProbe(t *testing.T) {
	s := newService(t)
	s.mux.HandleFunc("/r", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `{"value":[{"id":1},{"id":2}],"@odata.nextLink":"/r?p=2"}`)
	})
	r, err := NewReader(NewClient(s.options()), s.feed(t, "/r"), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := r.Probe(t.Context(), hour); err != nil || n != 2 || len(s.asked()) != 1 {
		t.Errorf("got %d records in %d requests, %v", n, len(s.asked()), err)
	}
	r, err = NewReader(NewClient(s.options()), s.feed(t, "/none"), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Probe(t.Context(), hour); err == nil || !strings.Contains(err.Error(), "feed test: ") {
		t.Errorf("error is %v", err)
	}
}

func TestNewReaderRefuses(t *testing.T) {
	s := newService(t)
	for name, change := range map[string]func(*definition.Feed){
		"paging style": func(f *definition.Feed) { f.Paging.Style = "odd" },
		"auth.scope":   func(f *definition.Feed) { f.Scope = template(t, "${MISSING}/.default") },
		"hosts[0]":     func(f *definition.Feed) { f.Hosts = []*definition.Template{template(t, "${MISSING}")} },
		`"http://x"`:   func(f *definition.Feed) { f.Hosts = []*definition.Template{template(t, "http://x")} },
	} {
		f := s.feed(t, "/r")
		change(f)
		if _, err := NewReader(NewClient(s.options()), f, "", nil); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: error is %v", name, err)
		}
	}
	for name, change := range map[string]func(*definition.Feed){
		"url":    func(f *definition.Feed) { f.Request.URL = template(t, "${MISSING}") },
		"no URL": func(f *definition.Feed) { f.Request.URL = template(t, "http://[") },
		"query a": func(f *definition.Feed) {
			f.Request.Query = []definition.Field{{Name: "a", Value: template(t, "${MISSING}")}}
		},
		"header b": func(f *definition.Feed) {
			f.Request.Headers = []definition.Field{{Name: "b", Value: template(t, "${MISSING}")}}
		},
	} {
		f := s.feed(t, "/r")
		change(f)
		if _, err := read(t, s.options(), f, newSink()); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: error is %v", name, err)
		}
	}
}

func TestSecretIsNotPrinted(t *testing.T) {
	credential, err := NewCredential(ClientSecret, "open sesame")
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(map[string]any{"c": credential})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{string(text), fmt.Sprint(credential), fmt.Sprintf("%#v %s %q %+v", credential, credential, credential, ClientOptions{Credential: credential})} {
		if strings.Contains(text, "sesame") {
			t.Errorf("printed: %s", text)
		}
	}
}
