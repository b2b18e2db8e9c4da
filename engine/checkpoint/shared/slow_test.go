package shared

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
)

// slowLine is the way to a server over which everything goes one after the other, whether anybody still waits for it or not. The
// server has one subject, and stores what was sent when its last message was the one that is.
type slowLine struct {
	jetstream.JetStream
	rate int // bytes a second; 0: nothing arrives

	mu     sync.Mutex
	free   time.Time
	stored []string // ids
}

// arrive does with what the server has stored what is asked, once so many bytes have arrived.
func (l *slowLine) arrive(ctx context.Context, bytes int, do func() error) error {
	done := make(chan error, 1)
	if l.rate > 0 {
		l.mu.Lock()
		if now := time.Now(); l.free.Before(now) {
			l.free = now
		}
		l.free = l.free.Add(time.Duration(bytes) * time.Second / time.Duration(l.rate))
		time.AfterFunc(time.Until(l.free), func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			done <- do()
		})
		l.mu.Unlock()
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *slowLine) PublishMsg(ctx context.Context, msg *nats.Msg, _ ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	l.mu.Lock()
	last := len(l.stored)
	l.mu.Unlock()
	err := l.arrive(ctx, len(msg.Data), func() error {
		if len(l.stored) != last {
			return &jetstream.APIError{ErrorCode: jetstream.JSErrCodeStreamWrongLastSequence}
		}
		l.stored = append(l.stored, msg.Header.Get(headerID))
		return nil
	})
	return &jetstream.PubAck{Sequence: uint64(last) + 1}, err
}

// slowStream is the stream at the end of the line.
type slowStream struct {
	jetstream.Stream
	line *slowLine
}

func (s slowStream) GetLastMsgForSubject(ctx context.Context, _ string) (*jetstream.RawStreamMsg, error) {
	msg := new(jetstream.RawStreamMsg)
	return msg, s.line.arrive(ctx, 100, func() error {
		n := len(s.line.stored)
		if n == 0 {
			return jetstream.ErrMsgNotFound
		}
		msg.Sequence, msg.Header = uint64(n), nats.Header{headerID: {s.line.stored[n-1]}}
		return nil
	})
}

// TestSlowServer: what is written has the time that a slow way takes for it, and is stored once; servers that are silent are given
// up all the same.
func TestSlowServer(t *testing.T) {
	const fullKeys = messageLimit/16 - 64 // in a message as large as there is
	for name, c := range map[string]struct {
		keys, rate int
		ok         bool
		most       time.Duration
	}{
		"a commit of 17,000 keys":         {17_000, slowest, true, 9 * time.Second},
		"a message as large as there is":  {fullKeys, slowest, true, 17 * time.Second},
		"a quick way":                     {fullKeys, 100 << 20, true, time.Second},
		"silent":                          {0, 0, false, patience + time.Second},
		"silent, with much to be written": {fullKeys, 0, false, patience + 17*time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				line := &slowLine{rate: c.rate}
				s := &Store{ctx: t.Context(), js: line, stream: slowStream{line: line}}
				h := s.newHolding("session", 0)
				began := time.Now()
				for range 2 {
					err := s.publish(t.Context(), h, &message{Kind: kindCommit, Feed: "feed", keys: make([]checkpoint.Key, c.keys)}, true)
					if (err == nil) != c.ok || !c.ok && !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("a message of %d keys at %d bytes a second: %v", c.keys, c.rate, err)
					}
				}
				if took := time.Since(began); took > 2*c.most {
					t.Errorf("two messages of %d keys at %d bytes a second took %v, want %v at most", c.keys, c.rate, took, 2*c.most)
				}
				if stored := len(line.stored); c.ok && (stored != 2 || h.last != 2) {
					t.Errorf("%d messages are stored, and the last known is %d, want 2", stored, h.last)
				}
			})
		})
	}
}

// TestSlowWayBack: a commit has the time that the largest message takes to come back into the view as well; one that does not come back
// is an error.
func TestSlowWayBack(t *testing.T) {
	for back, ok := range map[time.Duration]bool{time.Second: true, messageLimit / slowest * time.Second: true, time.Hour: false} {
		synctest.Test(t, func(t *testing.T) {
			view, err := checkpoint.Open(t.TempDir(), checkpoint.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer view.Close() //nolint:errcheck // the test has ended
			line := &slowLine{rate: 100 << 20}
			s := &Store{ctx: t.Context(), js: line, stream: slowStream{line: line}, nc: &nats.Conn{}, view: view, held: map[partitionName]*holding{}, moved: make(chan struct{})}
			n := partitionName{"feed", ""}
			s.held[n] = s.newHolding("session", 0)
			time.AfterFunc(back, func() {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.applied = 1
				close(s.moved)
				s.moved = make(chan struct{})
			})
			began := time.Now()
			err = s.commit(n, &checkpoint.Commit{Feed: "feed", Position: &checkpoint.Position{}})
			if (err == nil) != ok || len(line.stored) != 1 {
				t.Errorf("what came back after %v: %v, %d messages are stored", back, err, len(line.stored))
			}
			if took, most := time.Since(began), patience+17*time.Second; took > most {
				t.Errorf("what came back after %v took %v, want %v at most", back, took, most)
			}
			time.Sleep(back) // the way ends with the test
		})
	}
}
