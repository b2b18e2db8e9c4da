package load

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"
)

// payload is the body of a request, made once and sent as often as need be. Its
// buffers are used again for the next.
//
// The transport may go on reading a body after its answer has come, so memory
// that it reads must not change before it has stopped. A small body is a copy
// that nobody uses again; of a large one, the readers are counted. (A counted
// reader for all would be simpler, but the transport sends the headers ahead of
// any reader that it does not know, and two packets for a small event halve
// the rate.)
type payload struct {
	content []byte // what is sent
	plain   []byte
	packed  bytes.Buffer
	zip     *gzip.Writer
	open    sync.WaitGroup // readers of content that the transport has not closed
	events  int            // in it

	still    *time.Timer // of the request under way: ends it when it stands still
	patience time.Duration
}

// smallBytes is the size up to which a body leaves in one write with its headers.
const smallBytes = 16 << 10

// maxKeptBytes is the largest buffer that is kept for the next payload.
const maxKeptBytes = 4 << 20

// fill lays events into the body.
func (p *payload) fill(format string, zip bool, events [][]byte) error {
	p.events = len(events)
	if err := p.encode(format, zip, events); err != nil {
		return err
	}
	if len(p.content) <= smallBytes {
		p.content = bytes.Clone(p.content)
	}
	return nil
}

// encode points content at the body, in a buffer or in the event itself.
func (p *payload) encode(format string, zip bool, events [][]byte) error {
	if cap(p.plain) > maxKeptBytes {
		p.plain = nil
	}
	plain := p.plain[:0]
	switch format {
	case FormatObject:
		p.content = events[0]
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
		p.plain, p.content = plain, plain
	case FormatNDJSON:
		plain = appendLines(plain, events)
		p.plain, p.content = plain, plain
	}
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

// reader gives a reader of the content.
func (p *payload) reader() io.ReadCloser {
	if len(p.content) <= smallBytes {
		return io.NopCloser(bytes.NewReader(p.content))
	}
	p.open.Add(1)
	return &payloadReader{payload: p, content: p.content}
}

// settle waits until nobody reads memory that will be used again.
func (p *payload) settle() { p.open.Wait() }

// payloadReader is a reader that is counted until it is closed, and reads
// nothing after that: HTTP/2 closes a body while it is being read.
type payloadReader struct {
	payload *payload
	mu      sync.Mutex
	content []byte // what is left to read
	closed  bool
}

func (r *payloadReader) Read(dst []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed:
		return 0, errBodyClosed
	case len(r.content) == 0:
		return 0, io.EOF
	}
	n := copy(dst, r.content)
	r.content = r.content[n:]
	r.payload.still.Reset(r.payload.patience)
	return n, nil
}

func (r *payloadReader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		r.closed, r.content = true, nil
		r.payload.open.Done()
	}
	return nil
}

var errBodyClosed = errors.New("the request was given up")
