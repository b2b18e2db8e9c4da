package load

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/secure60/s60-m365-connector/engine/transport"
)

// secure starts a server with TLS, and gives a collector's destination of it.
func secure(t *testing.T, version uint16, trusted bool, handler http.Handler, config Config) Destination {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.EnableHTTP2 = true
	server.TLS = &tls.Config{MaxVersion: version, MinVersion: tls.VersionTLS10}
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.StartTLS()
	t.Cleanup(server.Close)
	config.Kind, config.URL, config.Retry = KindCollector, server.URL, quick
	if trusted {
		roots := x509.NewCertPool()
		roots.AddCert(server.Certificate())
		config.Transport = transport.New(transport.Options{Roots: roots})
	}
	return mustOpen(t, config)
}

func TestHTTP2(t *testing.T) {
	eachFormat(t, func(t *testing.T, format string) {
		sink := &server{}
		sink.set(func(_ http.ResponseWriter, r *request) int {
			switch {
			case r.number == 3:
				return 0 // a stream that is reset
			case r.holds(`"id":7,`):
				return http.StatusBadRequest
			}
			return http.StatusOK
		})
		var protocol atomic.Int64
		d := secure(t, tls.VersionTLS13, true, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			protocol.Store(int64(r.ProtoMajor))
			sink.ServeHTTP(w, r)
		}), Config{Format: format})
		events := testEvents(0, 50)
		refused := deliver(t, d, events)
		if len(refused) != 1 || refused[0].Index != 7 {
			t.Errorf("refused: %v", refused)
		}
		wantEvents(t, sink.received(), append(testEvents(0, 7), testEvents(8, 42)...), false)
		if protocol.Load() != 2 {
			t.Errorf("HTTP/%d was spoken", protocol.Load())
		}
	})
}

// As TestEventsAreNotReadAfterDeliver, over HTTP/2. Run with -race.
func TestEventsAreNotReadAfterDeliverOverHTTP2(t *testing.T) {
	d := secure(t, tls.VersionTLS13, true, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusRequestEntityTooLarge)
	}), Config{})
	event := []byte(`{"note":"` + strings.Repeat("x", 3<<20) + `"}`)
	for range 5 {
		if refused := deliver(t, d, [][]byte{event}); len(refused) != 1 {
			t.Errorf("refused: %v", refused)
		}
		for i := range event {
			event[i]++
		}
	}
}

// What a person is to do about a certificate that is not taken depends on what is wrong with it.
func TestCertificateAdvice(t *testing.T) {
	for _, test := range []struct {
		err  error
		want string
	}{
		{x509.CertificateInvalidError{Reason: x509.Expired}, "Renew its certificate"},
		{x509.UnknownAuthorityError{}, "SSL_CERT_FILE"},
	} {
		if got := describe(fmt.Errorf("dial: %w", &tls.CertificateVerificationError{Err: test.err})); got.class != transient || !strings.Contains(got.advice, test.want) {
			t.Errorf("%v: %+v, want the advice %q", test.err, got, test.want)
		}
	}
	if got := describe(errors.New("reset")); got.advice != "" {
		t.Errorf("%+v", got)
	}
}

// A server that cannot be trusted gets no event, and the log says what to do.
func TestUntrustedServers(t *testing.T) {
	tests := []struct {
		name    string
		version uint16
		trusted bool
		want    string
	}{
		{"unknown authority", tls.VersionTLS13, false, "SSL_CERT_FILE"},
		{"old TLS", tls.VersionTLS11, true, "protocol version"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			sink := &server{}
			sink.set(nil)
			logs, logger := newLogs(t)
			d := secure(t, test.version, test.trusted, sink, Config{Logger: logger})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan error)
			go func() {
				_, err := d.Deliver(ctx, Batch{Events: testEvents(0, 1)})
				done <- err
			}()
			eventually(t, "failed attempts", func() bool { return d.State().Retries > failuresUntilDown })
			if logs.count("level=WARN", test.want) != 1 || sink.requests.Load() != 0 {
				t.Errorf("%d requests; log:\n%s", sink.requests.Load(), logs)
			}
			cancel()
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
}
