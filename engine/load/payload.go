package load

import (
	"bytes"
	"context"
	"io"
	"net/http/httptrace"
	"slices"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/gzip"
)

// payload is the body of a request, made once and sent as often as need be. Its
// buffers are used again for the next.
//
// The transport may go on reading a body after its answer has come, and memory
// that it reads must not change before it has stopped: it tells when it has sent a
// body, and where it does not, the buffers are left to it.
type payload struct {
	content []byte // what is sent
	plain   []byte
	packed  bytes.Buffer
	zip     *gzip.Writer
	sending *sending
	events  int // in it
}

// sending counts how often the transport began to send the buffers of a payload, and was done with it.
type sending struct {
	requests    int32
	begun, done atomic.Int32
	trace       httptrace.ClientTrace
}

func newSending() *sending {
	s := &sending{}
	s.trace.GotConn = func(httptrace.GotConnInfo) { s.begun.Add(1) }
	s.trace.WroteRequest = func(httptrace.WroteRequestInfo) { s.done.Add(1) }
	return s
}

// over reports whether nothing reads the buffers any more.
func (s *sending) over() bool {
	return s != nil && s.begun.Load() >= s.requests && s.begun.Load() == s.done.Load()
}

// followed is the context of a request with the body.
func (p *payload) followed(ctx context.Context) context.Context {
	p.sending.requests++
	return httptrace.WithClientTrace(ctx, &p.sending.trace)
}

// smallBytes is the size up to which a body leaves in one write with its headers.
const smallBytes = 16 << 10

// maxKeptBytes is the largest buffer that is kept for the next payload.
const maxKeptBytes = 4 << 20

// fill lays events into the body.
func (p *payload) fill(format string, zip bool, events [][]byte) error {
	p.events = len(events)
	if !p.sending.over() {
		p.plain, p.packed, p.sending = nil, bytes.Buffer{}, newSending()
	}
	if cap(p.plain) > maxKeptBytes {
		p.plain = nil
	}
	plain := p.plain[:0]
	switch format {
	case FormatObject:
		plain = append(plain, events[0]...)
	case FormatArray:
		plain = slices.Grow(plain, 1+bytesOf(events))
		for i, event := range events {
			separator := byte(',')
			if i == 0 {
				separator = '['
			}
			plain = append(append(plain, separator), event...)
		}
		plain = append(plain, ']')
	case FormatNDJSON:
		plain = appendLines(plain, events)
	}
	p.plain, p.content = plain, plain
	if !zip {
		return nil
	}
	if p.packed.Cap() > maxKeptBytes {
		p.packed = bytes.Buffer{}
	}
	p.packed.Reset()
	if p.zip == nil {
		w, err := gzip.NewWriterLevel(&p.packed, gzip.BestSpeed)
		if err != nil {
			return err
		}
		p.zip = w
	} else {
		p.zip.Reset(&p.packed)
	}
	if _, err := p.zip.Write(p.content); err != nil {
		return err
	}
	if err := p.zip.Close(); err != nil {
		return err
	}
	p.content = p.packed.Bytes()
	return nil
}

// appendLines appends events, each a line.
func appendLines(dst []byte, events [][]byte) []byte {
	dst = slices.Grow(dst, bytesOf(events))
	for _, event := range events {
		dst = append(append(dst, event...), '\n')
	}
	return dst
}

// bytesOf is the size of events with one byte more for each.
func bytesOf(events [][]byte) int {
	n := len(events)
	for _, event := range events {
		n += len(event)
	}
	return n
}

func (p *payload) size() int { return len(p.content) }

// reader gives a reader of the content, which says when it moves. The transport sends the headers ahead of any reader
// that it does not know, and two packets for a small event halve the rate.
func (p *payload) reader(moves func()) io.ReadCloser {
	content := bytes.NewReader(p.content)
	if len(p.content) > smallBytes {
		return io.NopCloser(&movingReader{content, moves})
	}
	return io.NopCloser(content)
}

type movingReader struct {
	content io.Reader
	moves   func()
}

func (r *movingReader) Read(dst []byte) (int, error) {
	r.moves()
	return r.content.Read(dst)
}

// clock ends a request that stands still, or takes too long.
type clock struct {
	timer *time.Timer
	until time.Time
}

func startClock(patience time.Duration, until time.Time, stop context.CancelCauseFunc) *clock {
	return &clock{until: until, timer: time.AfterFunc(min(patience, time.Until(until)), func() {
		if time.Now().Before(until) {
			stop(errStill)
		} else {
			stop(context.DeadlineExceeded)
		}
	})}
}

// moves says that the request may stand still for so long from now on.
func (c *clock) moves(patience time.Duration) { c.timer.Reset(min(patience, time.Until(c.until))) }
