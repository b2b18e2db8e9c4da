package load

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	natsd "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/twmb/franz-go/pkg/kfake"
)

// testBatch are testEvents with their ids.
func testBatch(first, n int) Batch {
	b := Batch{Events: testEvents(first, n), IDs: make([][16]byte, n), Key: "feed/part"}
	for i := range b.IDs {
		binary.BigEndian.PutUint64(b.IDs[i][8:], uint64(first+i))
	}
	return b
}

// delivery is a call to Deliver under way.
type delivery struct {
	t      *testing.T
	cancel context.CancelFunc
	done   chan error
}

func startDelivery(t *testing.T, d Destination, batch Batch) *delivery {
	ctx, cancel := context.WithCancel(t.Context())
	s := &delivery{t: t, cancel: cancel, done: make(chan error, 1)}
	t.Cleanup(cancel)
	go func() {
		refused, err := d.Deliver(ctx, batch)
		if len(refused) > 0 {
			err = errors.New("events were refused: " + refused[0].Reason)
		}
		s.done <- err
	}()
	return s
}

// end waits until the delivery has come to its good end.
func (s *delivery) end() {
	s.t.Helper()
	select {
	case err := <-s.done:
		if err != nil {
			s.t.Error(err)
		}
	case <-time.After(forever):
		s.t.Fatalf("the delivery took more than %s", forever)
	}
}

// giveUp ends the delivery's context, which it has to obey soon.
func (s *delivery) giveUp() {
	s.t.Helper()
	s.cancel()
	start := time.Now()
	if err := <-s.done; !errors.Is(err, context.Canceled) {
		s.t.Errorf("given up: %v", err)
	}
	if took := time.Since(start); took > time.Minute { // it might have gone on for ever
		s.t.Errorf("took %s to give up", took)
	}
}

// What the tests of both kinds of stream platform share: a trouble that needs a
// person is told once, loudly, with what to do, and the events wait.
func wantDenied(t *testing.T, d Destination, logs *logs, cause, advice string) {
	t.Helper()
	eventually(t, "attempts that are denied: "+cause, func() bool { return d.State().Advice != "" && d.State().Retries > 2 })
	if logs.count("level=ERROR", cause, advice, "nothing is lost") != 1 {
		t.Errorf("want one ERROR line with %q and %q:\n%s", cause, advice, logs)
	}
}

// TestStreamsOverTLS delivers to servers whose certificate is signed by an
// authority that SSL_CERT_FILE names, and not to the same ones without.
func TestStreamsOverTLS(t *testing.T) {
	web := httptest.NewTLSServer(nil) // has a certificate for 127.0.0.1
	defer web.Close()
	authority := filepath.Join(t.TempDir(), "authority.pem")
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw})
	if err := os.WriteFile(authority, certificate, 0o600); err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{Certificates: web.TLS.Certificates, MinVersion: tls.VersionTLS12}
	n := newNATS(t, func(o *natsd.Options) { o.TLSConfig = config })
	k := newKafka(t, kfake.TLS(config))
	both := newKafka(t, kfake.TLS(config), kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-512", "writer", testToken))
	login := both.address()
	login.User, login.Password = "writer", testToken

	trusted := inOwnProcess(t, "SSL_CERT_FILE="+authority)
	if trusted {
		n.create(jetstream.StreamConfig{})
	}
	for _, test := range []struct {
		name    string
		open    func(Config) Destination
		address Address
		cause   string // where the certificate is trusted, too
	}{
		{"nats with TLS", n.open, n.address(), ""},
		{"nats without, which the server does not take", n.open, n.address(), ""},
		{"kafka with TLS", k.open, k.address(), ""},
		{"kafka and a password with TLS", both.open, login, ""},
		{"kafka without", k.open, k.address(), "wants TLS (kafka+tls://)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			logs, logger := newLogs(t)
			test.address.TLS = strings.HasSuffix(test.name, "with TLS")
			d := test.open(Config{Address: test.address, Logger: logger})
			under := startDelivery(t, d, testBatch(0, 3))
			cause := test.cause
			if cause == "" && !trusted {
				cause = "SSL_CERT_FILE"
			}
			if cause == "" {
				under.end()
				return
			}
			eventually(t, "failed attempts", func() bool { return d.State().Retries > failuresUntilDown })
			if logs.count("level=WARN", cause) != 1 || d.State().Events != 0 {
				t.Errorf("want %q in the log:\n%s", cause, logs)
			}
			under.giveUp()
		})
	}
}

// Whoever sends events over a network in the open is told so.
func TestExposedStreams(t *testing.T) {
	for text, lines := range map[string]int{
		"nats://hunter:hunter2@stream.internal/a": 1, "kafka://stream.internal/a": 1, "tls://stream.internal/a": 0, "kafka+tls://stream.internal/a": 0,
		"nats://localhost/a": 0, "kafka://127.0.0.1/a": 0,
	} {
		logs, logger := newLogs(t)
		address, err := ParseAddress(text)
		if err != nil {
			t.Fatal(err)
		}
		mustOpen(t, Config{Kind: address.Kind, Address: address, Logger: logger})
		if logs.count("level=WARN", "without encryption", "stream.internal") != lines || logs.count("hunter") != 0 {
			t.Errorf("%s: want %d lines:\n%s", address, lines, logs)
		}
	}
}
