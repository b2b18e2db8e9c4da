package extract

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/tidwall/gjson"

	"github.com/secure60/s60-m365-connector/engine/transport"
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

// splitter is the state of one split.
type splitter struct {
	meter    *meter
	decoder  *jsontext.Decoder
	path     string
	segments []segment
	optional bool
	to       splitTo
	taken    int // records, the damaged ones too
	cut      int // bytes of damaged records

	envelope []byte
	lone     []byte // a record that is not in an array, taken at the end
	found    bool   // the path led somewhere
}

func (s *splitter) document() error {
	switch kind := s.decoder.PeekKind(); kind {
	case '{', '[', 'n':
	default:
		if _, err := s.decoder.ReadToken(); err != nil {
			return s.broken(err)
		}
		return &brokenError{err: fmt.Errorf("the body is a bare JSON %s", kindName(kind))}
	}
	array := s.decoder.PeekKind() == '['
	if err := s.value(s.segments, false); err != nil {
		return err
	}
	if array && !s.found && !bytes.Equal(s.envelope, []byte("[]")) {
		return &shapeError{fmt.Sprintf("the body is an array, but the feed looks for records at %q in an object; \"@this\" means the body itself", s.path)}
	}
	// The end must be reached: a checksum, or the end that a cut-off body
	// lacks, comes after the last byte of the JSON.
	if _, err := s.decoder.ReadToken(); err != io.EOF {
		if err == nil {
			err = errors.New("there is more after the end of the JSON value")
		}
		return s.broken(err)
	}
	if s.lone == nil && (s.found || s.optional) {
		return nil
	}
	if err := s.to.check(s.envelope); err != nil {
		return err
	}
	if s.lone == nil {
		return noRecords(s.path, s.envelope)
	}
	return s.to.take(s.lone)
}

// value reads the next value, which the rest of the path leads into. each says
// that it is within the array that "#" stands for.
func (s *splitter) value(rest []segment, each bool) error {
	kind := s.decoder.PeekKind()
	if len(rest) == 0 {
		return s.target(kind, each)
	}
	switch next := rest[0]; {
	case kind == '{' && !next.each:
		return s.object(func(name string) (bool, []segment) { return name == next.name, rest[1:] }, each)
	case kind == '[' && next.each:
		return s.array(func(int) bool { return true }, rest[1:], true)
	case kind == '[' && next.index >= 0:
		return s.array(func(i int) bool { return i == next.index }, rest[1:], each)
	}
	return s.keep()
}

func (s *splitter) object(into func(name string) (bool, []segment), each bool) error {
	if err := s.token(); err != nil {
		return err
	}
	s.write("{")
	found := false
	for s.decoder.PeekKind() != '}' {
		token, err := s.decoder.ReadToken()
		if err != nil {
			return s.broken(err)
		}
		name := token.String()
		mark := len(s.envelope)
		if s.envelope[mark-1] != '{' {
			s.write(",")
		}
		quoted, _ := jsontext.AppendQuote(nil, name) // invalid UTF-8 is replaced
		s.write(string(quoted) + ":")
		if match, rest := into(name); match && !found {
			outer := s.found
			s.found = false
			err = s.value(rest, each)
			found = s.found
			s.found = s.found || outer
		} else {
			err = s.keep()
		}
		if err != nil {
			return err
		}
		if len(s.envelope) > largestEnvelope {
			s.envelope = s.envelope[:mark] // the member is too large to be told
		}
	}
	s.write("}")
	return s.token()
}

func (s *splitter) array(enter func(int) bool, rest []segment, each bool) error {
	if err := s.token(); err != nil {
		return err
	}
	s.write("[")
	for i := 0; s.decoder.PeekKind() != ']'; i++ {
		if !enter(i) {
			if err := s.skip(); err != nil {
				return err
			}
			continue
		}
		// Elements that were entered are told no more than the records are:
		// there may be millions.
		mark := len(s.envelope)
		err := s.value(rest, each)
		s.envelope = s.envelope[:mark]
		if err != nil {
			return err
		}
	}
	if each {
		s.found = true
	}
	s.write("]")
	return s.token()
}

// target reads what the path leads to.
func (s *splitter) target(kind jsontext.Kind, each bool) error {
	s.found = true
	switch {
	case kind == '[':
		return s.elements()
	case kind == 'n':
		s.write("null")
		return s.token()
	case each:
		return s.record()
	case kind == '{':
		raw, err := s.read()
		if err != nil {
			return err
		}
		s.lone = valid(slices.Clone(raw))
		if len(s.envelope)+len(s.lone) <= largestEnvelope {
			s.write(string(s.lone))
		} else {
			s.write("{}")
		}
		return nil
	}
	token, err := s.decoder.ReadToken()
	if err != nil {
		return s.broken(err)
	}
	return &shapeError{fmt.Sprintf("the body holds a %s where the feed looks for records (%q)", kindName(token.Kind()), s.path)}
}

// elements reads an array of records, and of arrays of records.
func (s *splitter) elements() error {
	if err := s.token(); err != nil {
		return err
	}
	for {
		var err error
		switch s.decoder.PeekKind() {
		case ']':
			s.write("[]")
			return s.token()
		case '[':
			mark := len(s.envelope)
			err = s.elements()
			s.envelope = s.envelope[:mark]
		case 'n':
			err = s.token()
		default:
			err = s.record()
		}
		if err != nil {
			return err
		}
	}
}

func (s *splitter) record() error {
	raw, err := s.read()
	if broken, is := errors.AsType[*brokenError](err); is {
		return s.damage(broken)
	}
	if err != nil {
		return err
	}
	s.taken++
	return s.to.take(valid(raw))
}

// read reads a whole value.
func (s *splitter) read() ([]byte, error) {
	s.meter.left = largestRecord
	s.meter.armed = true
	raw, err := s.decoder.ReadValue()
	s.meter.armed = false
	if err != nil {
		return nil, s.broken(err)
	}
	return raw, nil
}

// keep reads a value that is not on the path into the envelope, or past it
// where there is no room.
func (s *splitter) keep() error {
	depth := s.decoder.StackDepth()
	var kept bytes.Buffer
	encoder := jsontext.NewEncoder(&kept, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	s.meter.armed = true
	defer func() { s.meter.armed = false }()
	for {
		s.meter.left = largestRecord // for a single text
		token, err := s.decoder.ReadToken()
		if err != nil {
			return s.broken(err)
		}
		if err := encoder.WriteToken(token); err != nil {
			return &brokenError{err: err}
		}
		if s.decoder.StackDepth() == depth {
			s.write(string(bytes.TrimSpace(kept.Bytes())))
			return nil
		}
		if encoder.OutputOffset() > largestEnvelope {
			s.write("null") // too large to be told
			return s.leave(depth)
		}
	}
}

// leave reads past all that is left of the values open above depth.
func (s *splitter) leave(depth int) error {
	for s.decoder.StackDepth() > depth {
		read := s.skip
		if kind := s.decoder.PeekKind(); kind == '}' || kind == ']' {
			read = s.token
		}
		if err := read(); err != nil {
			return err
		}
	}
	return nil
}

func (s *splitter) skip() error {
	if err := s.decoder.SkipValue(); err != nil {
		return s.broken(err)
	}
	return nil
}

func (s *splitter) token() error {
	if _, err := s.decoder.ReadToken(); err != nil {
		return s.broken(err)
	}
	return nil
}

func (s *splitter) write(text string) {
	s.envelope = append(s.envelope, text...)
}

func (s *splitter) broken(err error) error {
	if s.meter.exceeded {
		return &shapeError{fmt.Sprintf("a single record is larger than %d MB", largestRecord>>20)}
	}
	broken := &brokenError{err: err, at: s.taken}
	if syntax, is := errors.AsType[*jsontext.SyntacticError](err); is && !errors.Is(err, io.ErrUnexpectedEOF) {
		broken.at++ // whatever the network did, it did not do this
		broken.err = syntax.Err
	} else if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		broken.err = errors.New("the JSON ends in the middle")
	}
	return broken
}

// meter bounds what is read for one value while it is armed.
type meter struct {
	from     io.Reader
	armed    bool
	left     int
	exceeded bool
	failed   error // of the body, as opposed to what it says
}

func (m *meter) Read(p []byte) (int, error) {
	if m.armed && m.left <= 0 {
		m.exceeded = true
		return 0, errors.New("value too large")
	}
	n, err := m.from.Read(p)
	m.left -= n
	if err != nil && err != io.EOF {
		m.failed = err
	}
	return n, err
}

// splitWhole is split for paths that need the body as a whole.
func splitWhole(from io.Reader, path string, optional bool, to splitTo) (envelope []byte, err error) {
	whole, err := io.ReadAll(io.LimitReader(from, largestRecord+1))
	if err != nil {
		return nil, &brokenError{err: err}
	}
	if len(whole) > largestRecord {
		return nil, &shapeError{fmt.Sprintf("the body is larger than %d MB and the path %q cannot be followed in a stream; a path of plain names can", largestRecord>>20, path)}
	}
	whole = valid(whole)
	if !gjson.ValidBytes(whole) {
		return nil, &brokenError{err: errors.New("the body is no valid JSON")}
	}
	if len(whole) <= largestEnvelope {
		envelope = whole
	}
	if err := to.check(envelope); err != nil {
		return nil, err
	}
	found := gjson.GetBytes(whole, path)
	switch {
	case found.Raw != "" && !gjson.Valid(found.Raw): // a path can hold a literal of its own
		err = &shapeError{fmt.Sprintf("what the path %q gives is no JSON", path)}
	case found.IsArray():
		err = eachRecord(found, to.take)
	case found.IsObject():
		err = to.take([]byte(found.Raw))
	case !found.Exists() && !optional:
		err = noRecords(path, envelope)
	case found.Exists() && found.Type != gjson.Null:
		err = &shapeError{fmt.Sprintf("the body holds a %s where the feed looks for records (%q)", strings.ToLower(found.Type.String()), path)}
	}
	return envelope, err
}

// noRecords is the error of a body in which the path leads nowhere.
func noRecords(path string, envelope []byte) error {
	return &oddError{fmt.Sprintf("the body holds no records at %q; it holds %s", path, members(envelope))}
}

// members names what an object holds, for a person who looks for something else, and what it says
// of an error.
func members(raw []byte) string {
	const most = 12
	object := gjson.ParseBytes(raw)
	if !object.IsObject() {
		return "no members, as it is no object"
	}
	var names []string
	more := 0
	object.ForEach(func(name, _ gjson.Result) bool {
		if len(names) < most {
			names = append(names, strconv.Quote(transport.OneLine(name.String(), 60)))
		} else {
			more++
		}
		return true
	})
	text := strings.Join(names, ", ")
	switch {
	case len(names) == 0:
		text = "nothing"
	case more > 0:
		text += fmt.Sprintf(" and %d more", more)
	}
	if message := newAnswer(0, nil, raw).message(); message != "" {
		text += ": " + message
	}
	return text
}

func eachRecord(array gjson.Result, take func([]byte) error) error {
	var err error
	array.ForEach(func(_, v gjson.Result) bool {
		switch {
		case v.IsArray():
			err = eachRecord(v, take)
		case v.Type != gjson.Null:
			err = take([]byte(v.Raw))
		}
		return err == nil
	})
	return err
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
