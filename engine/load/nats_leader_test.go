package load

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// leaderless is a NATS server in virtual time whose stream has no leader for a while: what is published then is neither stored nor
// answered, as on a cluster. It takes a millisecond for each message.
type leaderless struct {
	from, until int // the messages that come while there is no leader, whoever sends them; from the first on for at least
	gone        time.Duration

	mu      sync.Mutex // two connections may have messages for a moment
	came    int
	back    time.Time
	stored  map[string]bool // by id
	last    time.Time       // something was stored
	longest time.Duration   // nothing was
}

func (s *leaderless) dial(context.Context, string, string) (net.Conn, error) {
	here, there := net.Pipe()
	go s.serve(there)
	return here, nil
}

// serve speaks as much of the protocol as a publisher needs; https://docs.nats.io/reference/reference-protocols/nats-protocol.
// It reads on while messages wait to be stored: the client writes with a lock held, for which no virtual time passes.
func (s *leaderless) serve(conn net.Conn) {
	defer conn.Close()
	came := make(chan []string, s.until+natsPending) // of a message: where the answer goes, and its headers
	defer close(came)
	go func() {
		for msg := range came {
			if time.Sleep(time.Millisecond); s.store(msg[1]) {
				ack := `{"stream":"` + testStream + `","seq":1}`
				fmt.Fprintf(conn, "MSG %s 1 %d\r\n%s\r\n", msg[0], len(ack), ack)
			}
		}
	}()
	fmt.Fprint(conn, `INFO {"server_id":"a","version":"2.15.3","headers":true,"max_payload":1048576,"jetstream":true}`+"\r\n")
	for in := bufio.NewReader(conn); ; {
		line, err := in.ReadString('\n')
		if err != nil {
			return // the client has left
		}
		switch words := strings.Fields(line); words[0] {
		case "PING":
			fmt.Fprint(conn, "PONG\r\n")
		case "HPUB": // subject, where the answer goes, bytes of the headers and of all
			var head, size int
			fmt.Sscan(words[3]+" "+words[4], &head, &size) //nolint:errcheck // a message that cannot be read is not stored, which fails the test
			body := make([]byte, size+2)
			if _, err := io.ReadFull(in, body); err != nil {
				return
			}
			came <- []string{words[2], string(body[:head])}
		}
	}
}

func (s *leaderless) store(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if s.came++; s.came == s.from {
		s.back = now.Add(s.gone)
	}
	if s.came >= s.from && s.came <= s.until || now.Before(s.back) {
		return false
	}
	if !s.last.IsZero() {
		s.longest = max(s.longest, now.Sub(s.last))
	}
	s.stored[id], s.last = true, now
	return true
}

// TestNATSLeaderGone: a publisher goes on within ten seconds once the stream has a leader, and each event is stored.
func TestNATSLeaderGone(t *testing.T) {
	for name, gone := range map[string]time.Duration{
		"what was on its way is lost": 0,
		"an election":                 3 * time.Second,
		"a long one":                  20 * time.Second,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := &leaderless{from: 2000, until: 2100, gone: gone, stored: map[string]bool{}}
				d := newJetStream(Config{
					Kind: KindNATS, Address: Address{Kind: KindNATS, Hosts: []string{"nats:4222"}, Name: testSubject},
					Timeout: DefaultTimeout, Retry: Retry{}.withDefaults(), Logger: slog.New(slog.DiscardHandler),
				}, server.dial)
				batch := testBatch(0, 5000)
				if refused, err := d.Deliver(t.Context(), batch); err != nil || len(refused) > 0 {
					t.Errorf("%d events were refused, %v", len(refused), err)
				}
				if err := d.Close(); err != nil {
					t.Error(err)
				}
				synctest.Wait()
				if len(server.stored) != len(batch.Events) {
					t.Errorf("%d of %d events are stored", len(server.stored), len(batch.Events))
				}
				if most := gone + 10*time.Second; server.longest > most || server.longest < natsAck {
					t.Errorf("nothing was stored for %v, want %v at most", server.longest, most)
				}
			})
		})
	}
}
