// Package transport holds the habits of HTTP that reading and delivering have in
// common, each of them once: how connections are made and given up, how long an answer
// asks to be left alone, how long to wait between attempts, which hosts are this one,
// and how a text from outside may stand in a line.
//
// A [Transport] speaks TLS 1.2 at least, trusts what the host trusts, and uses the
// proxy of the environment. Where HTTP/2 is spoken it spreads requests over several
// connections, if it is told to, because all requests of one share its window. A
// request whose answer breaks the rules of a header line is asked once more in a way
// that mends it (see mend.go); the host is strictly spoken to again after a minute.
// [Transport.Renew] leaves connections behind that have died in silence.
package transport

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// Options are what transports differ in. Zero values mean the defaults named.
type Options struct {
	// HeaderTimeout is how long an answer may take to begin once the request is
	// sent; 0: no limit.
	HeaderTimeout time.Duration
	// Idle is how many idle connections are kept to one host; 64. With fewer than
	// requests at a time, connections are made anew.
	Idle int
	// Connections is over how many connections the requests to one host are spread
	// where HTTP/2 is spoken; 1.
	Connections int
	// Uncompressed says that answers are not asked for in compressed form.
	Uncompressed bool
	// Roots is what is trusted; nil: what the host trusts.
	Roots *x509.CertPool
}

// smallBody is the size up to which the body of a request leaves in one write with its header.
const smallBody = 16 << 10

// Transport carries requests. Its methods may be called from several goroutines.
type Transport struct {
	lanes   []lane
	mending *http.Transport

	mu     sync.Mutex
	sloppy map[string]time.Time // hosts whose header lines are mended, and until when
}

// lane is one of the connections of HTTP/2 to each host, or any number of those of HTTP/1.1.
type lane struct {
	transport atomic.Pointer[http.Transport]
	busy      atomic.Int64 // requests that wait for their answer
}

// New makes a transport.
func New(options Options) *Transport {
	secure := func(protocols ...string) *tls.Config {
		return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: options.Roots, NextProtos: protocols}
	}
	const patience = 10 * time.Second // for a connection, and for its handshake
	dialer := &net.Dialer{Timeout: patience, KeepAlive: 30 * time.Second}
	idle := cmp.Or(options.Idle, 64)
	strict := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		OnProxyConnectResponse: proxyAnswered,
		DialContext:            dialer.DialContext,
		ForceAttemptHTTP2:      true,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 15 * time.Second},
		TLSClientConfig:        secure(),
		TLSHandshakeTimeout:    patience,
		ResponseHeaderTimeout:  options.HeaderTimeout,
		ExpectContinueTimeout:  time.Second,
		MaxIdleConns:           max(100, 2*idle),
		MaxIdleConnsPerHost:    idle,
		IdleConnTimeout:        45 * time.Second, // load balancers drop idle connections after a minute: be first
		DisableCompression:     options.Uncompressed,
		// What a service says beside its body is not held beyond reason.
		MaxResponseHeaderBytes: 1 << 20,
		WriteBufferSize:        smallBody + 4<<10,
	}
	mending := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		OnProxyConnectResponse: proxyAnswered,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return mend(dialer.DialContext(ctx, network, address))
		},
		DialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			d := tls.Dialer{NetDialer: dialer, Config: secure("http/1.1")}
			return mend(d.DialContext(ctx, network, address))
		},
		TLSClientConfig:       secure(),
		ResponseHeaderTimeout: options.HeaderTimeout,
		DisableKeepAlives:     true,
		DisableCompression:    options.Uncompressed,
	}
	t := &Transport{lanes: make([]lane, max(options.Connections, 1)), mending: mending, sloppy: map[string]time.Time{}}
	for i := range t.lanes {
		t.lanes[i].transport.Store(strict.Clone())
	}
	return t
}

// proxyAnswered tells a refusal of the proxy's own from one of the service: by itself it
// would read as a bare "Forbidden".
func proxyAnswered(_ context.Context, proxy *url.URL, connect *http.Request, answer *http.Response) error {
	if answer.StatusCode == http.StatusOK {
		return nil
	}
	refused := &ProxyError{Text: fmt.Sprintf("the proxy %s does not connect to %s: HTTP %s", proxy.Host, connect.Host, answer.Status), Remedy: "let the proxy pass it"}
	if answer.StatusCode == http.StatusProxyAuthRequired {
		refused.Remedy = "write user and password into HTTPS_PROXY"
	}
	return refused
}

// ProxyError is a proxy's own refusal.
type ProxyError struct{ Text, Remedy string }

// Error implements error.
func (e *ProxyError) Error() string { return e.Text + "; " + e.Remedy }

// mendFor is how long a host whose header lines had to be mended is spoken to in that
// way, which knows neither HTTP/2 nor a second request on a connection.
const mendFor = time.Minute

// RoundTrip implements [http.RoundTripper].
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	t.mu.Lock()
	until, sloppy := t.sloppy[r.URL.Host]
	if sloppy && time.Now().After(until) {
		delete(t.sloppy, r.URL.Host)
		sloppy = false
	}
	t.mu.Unlock()
	if sloppy {
		return t.mending.RoundTrip(r)
	}
	l := t.lane()
	answer, err := l.transport.Load().RoundTrip(r)
	l.busy.Add(-1)
	if _, malformed := errors.AsType[textproto.ProtocolError](err); !malformed {
		return answer, err
	}
	t.mu.Lock()
	t.sloppy[r.URL.Host] = time.Now().Add(mendFor)
	t.mu.Unlock()
	if r.Method != http.MethodGet {
		return nil, err // the caller decides whether it may be sent again
	}
	return t.mending.RoundTrip(r)
}

// lane takes the first of the lanes that have the fewest requests: where there are few, one connection does.
func (t *Transport) lane() *lane {
	best := &t.lanes[0]
	for i := range t.lanes {
		if l := &t.lanes[i]; l.busy.Load() < best.busy.Load() {
			best = l
		}
	}
	best.busy.Add(1)
	return best
}

// Renew has all requests from now on use connections made anew. Requests under way keep
// theirs. It is for connections of HTTP/2 that have died in silence: they outlive the
// request that waited in vain, and would take the next one.
func (t *Transport) Renew() {
	for i := range t.lanes {
		old := t.lanes[i].transport.Load()
		if t.lanes[i].transport.CompareAndSwap(old, old.Clone()) {
			old.CloseIdleConnections()
		}
	}
}

// CloseIdleConnections gives idle connections back.
func (t *Transport) CloseIdleConnections() {
	for i := range t.lanes {
		t.lanes[i].transport.Load().CloseIdleConnections()
	}
}
