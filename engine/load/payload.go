package load

import (
	"bytes"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
)

// payload is the body of a request, made once and sent as often as need be. Its
// buffers are used again for the next.
type payload struct {
	content []byte // what is sent
	plain   []byte
	packed  bytes.Buffer
	zip     *gzip.Writer
	// open counts the readers that the transport has not closed: it may go on
	// reading after an answer has come, and content may not change before it
	// has stopped.
	open sync.WaitGroup
}

// maxKeptBytes is the largest buffer that is kept for the next payload.
const maxKeptBytes = 4 << 20

func newPayload() *payload { return &payload{} }

// fill lays events into the body. A single event that is not compressed is
// sent as it lies, without a copy.
func (p *payload) fill(format string, zip bool, events [][]byte) error {
	if cap(p.plain) > maxKeptBytes {
		p.plain = nil
	}
	plain := p.plain[:0]
	switch format {
	case FormatObject:
		p.content = events[0]
	case FormatArray:
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
	for _, event := range events {
		dst = append(append(dst, event...), '\n')
	}
	return dst
}

func (p *payload) size() int { return len(p.content) }

// reader gives a reader of the content. Its Close is counted.
func (p *payload) reader() io.ReadCloser {
	p.open.Add(1)
	r := &payloadReader{payload: p}
	r.Reset(p.content)
	return r
}

// settle waits until nobody reads the content any more.
func (p *payload) settle() { p.open.Wait() }

type payloadReader struct {
	bytes.Reader
	payload *payload
	once    sync.Once
}

func (r *payloadReader) Close() error {
	r.once.Do(r.payload.open.Done)
	return nil
}
