package shared

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
)

const (
	// patience is how long one message waits for servers that do not answer, see within.
	patience = 5 * time.Second
	// slowest is how many bytes a second go to the servers at least. A batch of the engine has 17,000 keys
	// at most, which are 272 KiB, and 1 MiB of objects; no message has more than messageLimit.
	slowest = 32 << 10
)

// within is how long an answer may take to so many bytes.
func within(answer time.Duration, bytes int) time.Duration {
	return answer + time.Duration(bytes)*time.Second/slowest
}

// errMoved: an earlier message of the same claim came in between, so what was to be
// published may no longer be true.
var errMoved = errors.New("an earlier message of this replica was stored meanwhile")

// holding is one claim of a partition, and where its writer is in the subject.
type holding struct {
	mu      chan struct{} // holds one token while nobody publishes
	session string
	writer  string // this claim, in the ids of its messages
	sent    int    // messages
	last    uint64 // message of the subject, as the writer knows
}

// newHolding is a claim, of whoever has locked s.mu.
func (s *Store) newHolding(session string, last uint64) *holding {
	s.claims++
	h := &holding{mu: make(chan struct{}, 1), session: session, last: last, writer: fmt.Sprintf("%s.%d.", s.writer, s.claims)}
	h.unlock()
	return h
}

func (h *holding) unlock() { h.mu <- struct{}{} }

// publish appends m to its subject, if its last message is still the one that h knows, and
// moves h on to it. checkpoint.ErrFenced: somebody else has written there, h is at that message. Any
// other error leaves open whether m was stored.
//
// An answer that does not come says nothing of what happened, and neither does a
// refusal of what may have been sent twice. The last message of the subject tells: it
// is m itself; or an earlier one of h whose answer never came, and then m still has its
// place behind it (errMoved, if again is false); or somebody else's, even of
// another claim of this store.
func (s *Store) publish(ctx context.Context, h *holding, m *message, again bool) (err error) {
	m.Session = h.session
	msg, err := m.encode(s.opts.Name)
	if err != nil {
		return fmt.Errorf("%s: %w", m.name(), err)
	}
	h.sent++
	id := fmt.Sprint(h.writer, h.sent)
	msg.Header.Set(headerID, id)
	ctx, cancel := context.WithTimeout(ctx, within(patience, len(msg.Data)))
	defer cancel()
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		seq, err := s.try(ctx, msg, h.last)
		if err == nil {
			h.last = seq
			return nil
		}
		refused := code(err) == jetstream.JSErrCodeStreamWrongLastSequence || code(err) == jetstream.JSErrCodeStreamWrongLastSequenceConstant
		if !refused && (code(err) != 0 || errors.Is(err, nats.ErrMaxPayload)) {
			return s.failed("writing", err) // the server has decided
		}
		last, writer, askErr := s.last(ctx, msg.Subject)
		switch {
		case askErr != nil:
			if errors.Is(askErr, jetstream.ErrStreamNotFound) {
				s.check(s.ctx)
			}
			err = askErr
		case writer == id:
			h.last = last
			return nil
		case last == h.last:
			// Not stored, or on its way still; then its twin is refused.
		case strings.HasPrefix(writer, h.writer):
			h.last = last
			if !again {
				return errMoved
			}
			continue
		default:
			h.last = last
			s.check(s.ctx) // whether it is a stream that has lost messages
			if over := s.over(); over != nil {
				return over
			}
			return checkpoint.ErrFenced
		}
		select {
		case <-ctx.Done():
			return s.failed("writing", err)
		case <-s.ctx.Done():
			return s.over()
		case <-time.After(wait):
		}
	}
}

// try publishes once.
func (s *Store) try(ctx context.Context, msg *nats.Msg, last uint64) (seq uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, within(askTimeout, len(msg.Data)))
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	ack, err := s.js.PublishMsg(ctx, msg, jetstream.WithExpectLastSequencePerSubject(last))
	if err != nil {
		return 0, err
	}
	return ack.Sequence, nil
}

// last is the last message of a subject: its sequence, 0 for none, and its id.
func (s *Store) last(ctx context.Context, subject string) (seq uint64, id string, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	msg, err := s.stream.GetLastMsgForSubject(ctx, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, "", nil
	}
	if err != nil {
		return 0, "", err
	}
	return msg.Sequence, msg.Header.Get(headerID), nil
}
