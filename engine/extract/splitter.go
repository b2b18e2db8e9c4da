package extract

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

// This file follows a path into a body that is read as a stream.

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
