package extract

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/tidwall/gjson"
)

// largestDamage bounds what is cut out of one body. What is damaged beyond that is no
// list of records with a mistake in it.
const largestDamage = 4 << 20

// damage cuts a record that is no JSON out of the body: a raw control character in a text, NaN, a
// quotation mark too many. It ends where its braces do, or else where a record begins with the same
// name as this one. The body is read on from there; if it then does not come to its end, it was
// broken and not damaged.
func (s *splitter) damage(broken *brokenError) error {
	if s.to.damaged == nil || s.meter.failed != nil {
		return broken
	}
	unread := append([]byte(nil), s.decoder.UnreadBuffer()...)
	unread = bytes.TrimLeft(unread, " \t\r\n,")
	raw, err := cutRecord(unread, s.meter, largestDamage-s.cut)
	if err != nil {
		return broken.saying(raw.read)
	}
	end := raw.end
	s.cut += end
	// A decoder cannot be told to go on: a new one is led to where the old one was.
	lead := s.lead()
	rest := bytes.TrimLeft(raw.read[end:], " \t\r\n")
	if len(rest) > 0 && rest[0] == ',' {
		rest = rest[1:]
	}
	s.decoder = newDecoder(io.MultiReader(bytes.NewReader(lead), bytes.NewReader(rest), s.meter))
	for range bytes.Count(lead, []byte{'{'})*2 + bytes.Count(lead, []byte{'['}) {
		if _, err := s.decoder.ReadToken(); err != nil {
			return s.broken(err)
		}
	}
	s.taken++
	return s.to.damaged(raw.read[:end], broken.err.Error())
}

// lead is the shortest text that opens what is open now.
func (s *splitter) lead() []byte {
	var lead []byte
	for depth := 1; depth <= s.decoder.StackDepth(); depth++ {
		if kind, _ := s.decoder.StackIndex(depth); kind == '{' {
			lead = append(lead, `{"":`...)
		} else {
			lead = append(lead, '[')
		}
	}
	return lead
}

// cutting is a record that is no JSON and what was read with it.
type cutting struct {
	read []byte
	end  int // of the record
}

var errNoEnd = errors.New("no end of the record was found")

// cutRecord finds the end of the record with which the bytes at hand, and then from, begin.
func cutRecord(read []byte, from io.Reader, most int) (cutting, error) {
	if most <= 0 {
		return cutting{}, fmt.Errorf("more than %d MB of records are no JSON", largestDamage>>20)
	}
	scan := braces{}
	at := 0
	for {
		for ; at < len(read); at++ {
			if scan.ends(read[at]) {
				if ended := read[:at+1]; follows(read[at+1:], from, &read) {
					return cutting{read: read, end: len(ended)}, nil
				}
				return cutting{read: read}, errNoEnd
			}
		}
		if len(read) > most {
			break
		}
		buffer := make([]byte, 16<<10)
		n, err := from.Read(buffer)
		read = append(read, buffer[:n]...)
		if err != nil && n == 0 {
			break
		}
	}
	// The braces do not end: a quotation mark is missing, or one too many.
	if end := nextLike(read); end > 0 {
		return cutting{read: read, end: end}, nil
	}
	return cutting{read: read}, errNoEnd
}

// saying is the error with the words of a service that cannot write a record, and ends the body with an error object where
// the record broke off.
func (e *brokenError) saying(read []byte) *brokenError {
	at := bytes.LastIndex(read, []byte(`{"error":`))
	if at < 0 {
		return e
	}
	said := gjson.GetBytes(read[at:], "error")
	rest := read[min(at+said.Index+len(said.Raw), len(read)):]
	code, message := said.Get("code").String(), said.Get("message").String()
	if code == "" || len(bytes.Trim(rest, "}] \t\r\n")) > 0 {
		return e
	}
	return &brokenError{err: fmt.Errorf("the service broke off with %s: %s (%w)", code, message, e.err), at: e.at}
}

// follows reports whether, behind a record, the array goes on or ends.
func follows(rest []byte, from io.Reader, read *[]byte) bool {
	for {
		if rest = bytes.TrimLeft(rest, " \t\r\n"); len(rest) > 0 {
			return rest[0] == ',' || rest[0] == ']'
		}
		buffer := make([]byte, 512)
		n, err := from.Read(buffer)
		*read = append(*read, buffer[:n]...)
		rest = buffer[:n]
		if err != nil && n == 0 {
			return false
		}
	}
}

// braces finds where those of a record end that need not be JSON.
type braces struct {
	depth           int
	quoted, escaped bool
}

func (b *braces) ends(c byte) bool {
	switch {
	case b.escaped:
		b.escaped = false
	case b.quoted:
		b.escaped, b.quoted = c == '\\', c != '"'
	case c == '"':
		b.quoted = true
	case c == '{' || c == '[':
		b.depth++
	case c == '}' || c == ']':
		b.depth--
		return b.depth == 0
	}
	return false
}

// nextLike is where a record ends behind which another one begins with the same name and is JSON;
// 0 if there is none.
func nextLike(read []byte) int {
	colon := bytes.IndexByte(read, ':')
	if colon < 0 || colon > 256 || len(read) == 0 || read[0] != '{' {
		return 0
	}
	start := read[:colon+1]
	for from := len(start); ; {
		i := bytes.Index(read[from:], start)
		if i < 0 {
			return 0
		}
		at := from + i
		before := bytes.TrimRight(read[:at], " \t\r\n")
		if comma, is := bytes.CutSuffix(before, []byte{','}); is {
			if _, err := newDecoder(bytes.NewReader(read[at:])).ReadValue(); err == nil {
				return len(bytes.TrimRight(comma, " \t\r\n"))
			}
		}
		from = at + 1
	}
}
