package extract

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"sync"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	// largestRecord bounds one record, and a body that cannot be streamed. Real
	// records are a thousand times smaller.
	largestRecord = 32 << 20
	// largestEnvelope bounds what is kept of a body beside its records.
	largestEnvelope = 1 << 20
)

// split reads a JSON body, gives each record at path to take as it arrives,
// and returns the rest of the body: the envelope, the records' array in it
// empty. The body is one record in memory at a time.
//
// path is a gjson path. An array at its end holds the records, arrays within
// it too (as those of "groups.#.items"); an object is one record; null or
// nothing is none. What is null within an array is no record. Records are
// valid JSON in UTF-8, valid only during the call.
//
// An object that is the only record is given to check first, with the envelope. A record of an array
// that is no JSON is given to damaged, if what is around it is. Where the
// path leads nowhere, the error is an *oddError, unless the records are optional.
// The error is that of what it calls, a *brokenError, an *oddError, or a *shapeError.
func split(from io.Reader, path string, optional bool, to splitTo) (envelope []byte, err error) {
	buffered := buffers.Get().(*bufio.Reader)
	buffered.Reset(from)
	defer func() {
		buffered.Reset(nil)
		buffers.Put(buffered)
	}()
	if bom, err := buffered.Peek(3); err == nil && bytes.Equal(bom, []byte("\xef\xbb\xbf")) {
		buffered.Discard(3)
	}
	if empty, err := blank(buffered); err != nil {
		return nil, &brokenError{err: err}
	} else if empty {
		return nil, nil
	}
	if first, err := buffered.Peek(1); err == nil && first[0] == '<' {
		return nil, &brokenError{err: errors.New("an HTML or XML page instead of JSON")}
	}
	segments, ok := streamable(path)
	if !ok {
		return splitWhole(buffered, path, optional, to)
	}
	metered := &meter{from: buffered}
	s := &splitter{
		meter:    metered,
		decoder:  newDecoder(metered),
		path:     path,
		segments: segments,
		optional: optional,
		to:       to,
	}
	if err := s.document(); err != nil {
		return nil, err
	}
	return s.envelope, nil
}

// buffers are between bodies and who splits them: most bodies are a small part of one.
var buffers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 16<<10) }}

// splitTo takes what split finds. damaged may be nil: a record that is no JSON then breaks the body.
type splitTo struct {
	check   func(envelope []byte) error
	take    func(raw []byte) error
	damaged func(raw []byte, reason string) error
}

func newDecoder(from io.Reader) *jsontext.Decoder {
	return jsontext.NewDecoder(from, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}

// splitAnswer splits the body of an answer. A success without a body is an
// answer that was cut off before its first byte, not a list of nothing, unless
// its status says that there is none.
func (r *Reader) splitAnswer(answered *http.Response, from io.Reader, path string, optional bool, to splitTo) ([]byte, error) {
	envelope, err := split(from, path, optional, to)
	if err == nil && len(envelope) == 0 && answered.StatusCode != http.StatusNoContent {
		return nil, &brokenError{err: errors.New("an empty body instead of JSON")}
	}
	return envelope, err
}

// blank skips white space and reports whether nothing follows.
func blank(r *bufio.Reader) (bool, error) {
	for {
		b, err := r.ReadByte()
		switch {
		case err == io.EOF:
			return true, nil
		case err != nil:
			return false, err
		case b != ' ' && b != '\t' && b != '\r' && b != '\n':
			return false, r.UnreadByte()
		}
	}
}

// valid replaces what is not UTF-8.
func valid(raw []byte) []byte {
	if utf8.Valid(raw) {
		return raw
	}
	return bytes.ToValidUTF8(raw, []byte("\uFFFD"))
}

func kindName(k jsontext.Kind) string {
	switch k {
	case '"':
		return "string"
	case '0':
		return "number"
	case 't', 'f':
		return "boolean"
	case 'n':
		return "null"
	case '[':
		return "array"
	}
	return "object"
}
