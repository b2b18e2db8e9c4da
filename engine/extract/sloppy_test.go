package extract

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestStrayCarriageReturn: header lines as no Go server would write them.
func TestStrayCarriageReturn(t *testing.T) {
	answer := func(w http.ResponseWriter, r *http.Request) {
		connection, buffered, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer connection.Close()
		next := ""
		if r.URL.RawQuery == "" {
			next = fmt.Sprintf("nextPAGEuri:   http://%s/r?p=2 \r\r\n", r.Host)
		}
		body := "{\"value\":[{\"id\":1},\r\r\n{\"id\":2}]}"
		fmt.Fprintf(buffered, "HTTP/1.1 200 OK\r\nX-Long: %s\r\n%sX-Mid: a\rb\r\nContent-Length: %d\r\n\r\n%s", strings.Repeat("x", 100<<10), next, len(body), body)
		buffered.Flush()
	}
	t.Run("plain", func(t *testing.T) {
		s := newService(t)
		s.mux.HandleFunc("/r", answer)
		f := s.feed(t, "/r")
		f.Paging.Style, f.Paging.Header = "header", "NextPageUri"
		to := newSink()
		if _, err := read(t, s.options(), f, to); err != nil || to.ids("") != "1 2 1 2" {
			t.Errorf("got %q, %v", to.ids(""), err)
		}
		if got := len(s.asked()); got != 3 {
			t.Errorf("%d requests, want 3: one that was refused, and two", got)
		}
	})
	t.Run("TLS", func(t *testing.T) {
		s := httptest.NewTLSServer(http.HandlerFunc(answer))
		defer s.Close()
		roots := x509.NewCertPool()
		roots.AddCert(s.Certificate())
		client := http.Client{Transport: newTransport(time.Minute, roots)}
		answered, err := client.Get(s.URL + "/r")
		if err != nil {
			t.Fatal(err)
		}
		defer answered.Body.Close()
		body, err := io.ReadAll(answered.Body)
		if err != nil || !strings.Contains(string(body), "\r\r\n") || strings.TrimSpace(answered.Header.Get("NextPageUri")) != "http://"+s.Listener.Addr().String()+"/r?p=2" {
			t.Errorf("%s, %v, next %q", body, err, answered.Header.Get("NextPageUri"))
		}
	})
}

// TestTransport: HTTP/2 where it is offered, and nothing below TLS 1.2.
func TestTransport(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto) }))
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	client := http.Client{Transport: newTransport(time.Minute, roots)}
	answered, err := client.Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer answered.Body.Close()
	if body, _ := bufio.NewReader(answered.Body).ReadString('\n'); body != "HTTP/2.0" {
		t.Errorf("spoke %s", body)
	}
	old := httptest.NewUnstartedServer(http.NotFoundHandler())
	old.TLS = &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}
	old.Config.ErrorLog = log.New(io.Discard, "", 0)
	old.StartTLS()
	defer old.Close()
	roots.AddCert(old.Certificate())
	if answered, err := client.Get(old.URL); err == nil {
		answered.Body.Close()
		t.Error("spoke TLS 1.1")
	} else if _, refused := err.(net.Error); !refused {
		t.Errorf("error is %T %v", err, err)
	}
}
