package transport

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// stray answers with header lines as no Go server would write them, for as long as it is told to.
func stray(t *testing.T, until func(r *http.Request) bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !until(r) {
			fmt.Fprint(w, r.RemoteAddr)
			return
		}
		connection, buffered, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer connection.Close()
		body := "{\"value\":[{\"id\":1},\r\r\n{\"id\":2}]}"
		fmt.Fprintf(buffered, "HTTP/1.1 200 OK\r\nX-Long: %s\r\nnextPAGEuri:   http://%s/r?p=2 \r\r\nX-Mid: a\rb\r\nContent-Length: %d\r\n\r\n%s",
			strings.Repeat("x", 100<<10), r.Host, len(body), body)
		buffered.Flush()
	})
}

func get(t *testing.T, client *http.Client, address string) (body string, header http.Header) {
	t.Helper()
	answered, err := client.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer answered.Body.Close()
	raw, err := io.ReadAll(answered.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw), answered.Header
}

func TestStrayCarriageReturn(t *testing.T) {
	for name, start := range map[string]func(http.Handler) *httptest.Server{"plain": httptest.NewServer, "TLS": httptest.NewTLSServer} {
		t.Run(name, func(t *testing.T) {
			asked := 0
			s := start(stray(t, func(*http.Request) bool { asked++; return true }))
			defer s.Close()
			roots := x509.NewCertPool()
			if s.Certificate() != nil {
				roots.AddCert(s.Certificate())
			}
			client := &http.Client{Transport: New(Options{Roots: roots})}
			for range 2 {
				body, header := get(t, client, s.URL+"/r")
				if !strings.Contains(body, "\r\r\n") || strings.TrimSpace(header.Get("NextPageUri")) != "http://"+s.Listener.Addr().String()+"/r?p=2" {
					t.Errorf("%q, next %q", body, header.Get("NextPageUri"))
				}
			}
			if asked != 3 {
				t.Errorf("%d requests, want 3: one that was refused, and two", asked)
			}
		})
	}
}

// TestStrayOnce: one malformed header does not cost a host its connections for good.
func TestStrayOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, served := 0, 0
		handler := stray(t, func(*http.Request) bool { asked++; return asked == 1 })
		server := &http.Server{Handler: handler, ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				served++
			}
		}}
		l := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
		go server.Serve(l)
		defer server.Close()
		tr := New(Options{})
		for i := range tr.lanes {
			tr.lanes[i].transport.Load().DialContext = l.dial
		}
		tr.mending.DialContext = l.dial
		client := &http.Client{Transport: tr}
		get(t, client, "http://service/r") // malformed, and asked again
		get(t, client, "http://service/r")
		if served != 3 {
			t.Errorf("%d connections while it mends, want one for each of 3 requests", served)
		}
		time.Sleep(mendFor + time.Second)
		for range 5 {
			get(t, client, "http://service/r")
		}
		if served != 4 {
			t.Errorf("%d connections, want one more for the five requests after a minute", served-3)
		}
		tr.CloseIdleConnections()
	})
}

// pipeListener is a network in memory, for virtual time.
type pipeListener struct {
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

func (l *pipeListener) dial(context.Context, string, string) (net.Conn, error) {
	here, there := net.Pipe()
	l.conns <- there
	return here, nil
}

// TestTransport: HTTP/2 where it is offered, and nothing below TLS 1.2.
func TestTransport(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto) }))
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	client := http.Client{Transport: New(Options{Roots: roots})}
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

// TestLanes: HTTP/2 spreads requests over connections, and one at a time needs only one. Renew
// leaves them all behind.
func TestLanes(t *testing.T) {
	var mu sync.Mutex
	from := map[string]int{}
	together := make(chan struct{}, 100)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		from[r.RemoteAddr]++
		mu.Unlock()
		if r.URL.Path == "/together" {
			together <- struct{}{}
			for len(together) < 8 {
				time.Sleep(time.Millisecond)
			}
		}
	}))
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	tr := New(Options{Roots: roots, Connections: 4})
	defer tr.CloseIdleConnections()
	client := &http.Client{Transport: tr}
	for range 5 {
		get(t, client, s.URL)
	}
	if len(from) != 1 {
		t.Errorf("%d connections for one request after the other", len(from))
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { get(t, client, s.URL+"/together") })
	}
	wg.Wait()
	if len(from) != 4 {
		t.Errorf("%d connections for 8 requests, want 4: %v", len(from), from)
	}
	tr.Renew()
	get(t, client, s.URL)
	if len(from) != 5 {
		t.Errorf("%d connections after all were left behind, want a fifth", len(from))
	}
}

// A refusal of the proxy's own is not taken for one of the service.
func TestProxyRefuses(t *testing.T) {
	for status, want := range map[int]string{http.StatusForbidden: "HTTP 403 Forbidden; let the proxy pass it", http.StatusProxyAuthRequired: "write user and password into HTTPS_PROXY"} {
		proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(status) }))
		defer proxy.Close()
		address, _ := url.Parse(proxy.URL)
		strict := New(Options{}).lanes[0].transport.Load()
		strict.Proxy = http.ProxyURL(address)
		_, err := (&http.Client{Transport: strict}).Get("https://login.example/token")
		if err == nil || !strings.Contains(err.Error(), "the proxy "+address.Host+" does not connect to login.example:443: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%d: %v", status, err)
		}
	}
}
