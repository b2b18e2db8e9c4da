package extract

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/textproto"
	"sync"
	"time"
)

// This file is for services whose header lines end in a stray carriage return,
// as some have been seen to end the line that names the next page. net/http refuses the
// whole answer. Such a host is then spoken to over a connection of its own for
// each request, where the first line is sure to be a header line, and can be mended.

// sloppyTransport mends the headers of hosts that need it.
type sloppyTransport struct {
	strict, mending *http.Transport

	mu    sync.Mutex
	hosts map[string]bool
}

// NewTransport makes a transport that the clients of several tenants may share. It speaks TLS 1.2
// at least, trusts what the host trusts, and uses the proxy of the environment.
// An answer may take headerTimeout to begin; 0: 5 minutes. Up to so many idle connections
// are kept to one host; 0: 64. With fewer than requests at a time, connections are made anew.
func NewTransport(headerTimeout time.Duration, connections int) http.RoundTripper {
	t := newTransport(cmp.Or(headerTimeout, defaultHeaderTimeout), nil)
	if connections > 0 {
		t.strict.MaxIdleConnsPerHost = connections
		t.strict.MaxIdleConns = max(t.strict.MaxIdleConns, 2*connections)
	}
	return t
}

// newTransport makes the transport of a client. roots is what it trusts; nil: what the host does.
func newTransport(headerTimeout time.Duration, roots *x509.CertPool) *sloppyTransport {
	secure := func(protocols ...string) *tls.Config {
		return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots, NextProtos: protocols}
	}
	dialer := &net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}
	strict := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           dialer.DialContext,
		ForceAttemptHTTP2:     true,
		HTTP2:                 &http.HTTP2Config{SendPingTimeout: time.Minute, PingTimeout: 20 * time.Second},
		TLSClientConfig:       secure(),
		TLSHandshakeTimeout:   20 * time.Second,
		ResponseHeaderTimeout: headerTimeout,
		ExpectContinueTimeout: time.Second,
		MaxIdleConns:          100,
		MaxIdleConnsPerHost:   64,
		IdleConnTimeout:       90 * time.Second,
	}
	mending := &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return mend(dialer.DialContext(ctx, network, address))
		},
		DialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			d := tls.Dialer{NetDialer: dialer, Config: secure("http/1.1")}
			return mend(d.DialContext(ctx, network, address))
		},
		TLSClientConfig:       secure(),
		ResponseHeaderTimeout: headerTimeout,
		DisableKeepAlives:     true,
	}
	return &sloppyTransport{strict: strict, mending: mending, hosts: map[string]bool{}}
}

// RoundTrip implements [http.RoundTripper].
func (t *sloppyTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	t.mu.Lock()
	sloppy := t.hosts[r.URL.Host]
	t.mu.Unlock()
	if sloppy {
		return t.mending.RoundTrip(r)
	}
	answer, err := t.strict.RoundTrip(r)
	if _, malformed := errors.AsType[textproto.ProtocolError](err); !malformed {
		return answer, err
	}
	t.mu.Lock()
	t.hosts[r.URL.Host] = true
	t.mu.Unlock()
	if r.Method != http.MethodGet {
		return nil, err // the caller decides whether it may be sent again
	}
	return t.mending.RoundTrip(r)
}

// mendedConn is a connection for one request, whose answer's header lines are
// mended on the way in.
type mendedConn struct {
	net.Conn
	from *bufio.Reader
	line []byte // mended, not yet read
	body bool   // the header has ended
}

func mend(c net.Conn, err error) (net.Conn, error) {
	if err != nil {
		return nil, err
	}
	return &mendedConn{Conn: c, from: bufio.NewReaderSize(c, 64<<10)}, nil
}

func (c *mendedConn) Read(p []byte) (int, error) {
	for len(c.line) == 0 {
		if c.body {
			return c.from.Read(p)
		}
		line, err := c.from.ReadSlice('\n')
		if err != nil && len(line) == 0 {
			return 0, err
		}
		if end, whole := bytes.CutSuffix(line, []byte("\n")); whole {
			text := bytes.TrimRight(end, "\r")
			c.line = append(bytes.ReplaceAll(text, []byte("\r"), []byte(" ")), "\r\n"...)
			c.body = len(text) == 0
		} else {
			c.line = bytes.Clone(line) // too long, or the last of a connection that broke
		}
	}
	n := copy(p, c.line)
	c.line = c.line[n:]
	return n, nil
}
