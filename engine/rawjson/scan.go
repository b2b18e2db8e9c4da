// Package rawjson walks over JSON text and validates it, without decoding what
// nobody asks for, and writes texts as JSON. It promises that what it passes over is JSON in
// valid UTF-8, and that it allocates nothing but room in what it is given to append to.
//
// Positions are indexes into the text; [Bad] is the position of what is not
// JSON in valid UTF-8, and no function may be given it.
//
// How it works: eight bytes at a time are looked at as one word, in which those that end or complicate a
// string are marked by arithmetic; what is plain is thus passed over, or copied on the way, and only the
// rest byte by byte. A [Scanner] checks whole values (scan.go). [Unescape] and [Compact] give what a string stands for
// and a value without its spaces (text.go), [AppendString] and [Quote] write texts (append.go, text.go).
package rawjson

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// Bad is the position of what is not JSON.
const Bad = -1

// What a string holds, from the least to the most work it makes.
const (
	Plain   = iota // can be copied as it stands, and read as it stands
	Escaped        // has escapes
	Lone           // has an escaped half of a surrogate pair, which no UTF-8 can say
)

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// special marks the bytes of a word that end or complicate a string: a quote, a
// backslash, a control character, the first byte of a longer character. Only
// the lowest mark is exact. (x - ones) & highs marks the bytes of x that are zero,
// those over 0x80, which count as special anyway, and some above a zero one.
func special(w uint64) uint64 {
	quote, backslash := w^ones*'"', w^ones*'\\'
	return (quote - ones | (backslash - ones) | (w - ones*' ') | w) & highs
}

// ScanString walks over a string from the position after its opening quote to
// that of its closing one.
func ScanString(b []byte, i int) (end, class int) {
	for {
		for i+8 <= len(b) {
			if marks := special(binary.LittleEndian.Uint64(b[i:])); marks != 0 {
				i += bits.TrailingZeros64(marks) >> 3
				break
			}
			i += 8
		}
		if i >= len(b) {
			return Bad, class
		}
		switch c := b[i]; {
		case c == '"':
			return i, class
		case c == '\\':
			size, kind := scanEscape(b, i)
			if size == 0 {
				return Bad, class
			}
			class = max(class, kind)
			i += size
		case c < ' ':
			return Bad, class
		case c >= utf8.RuneSelf:
			r, size := utf8.DecodeRune(b[i:])
			if r == utf8.RuneError && size == 1 {
				return Bad, class
			}
			i += size
		default:
			i++
		}
	}
}

func isSpace(c byte) bool {
	return c <= ' ' && (c == ' ' || c == '\n' || c == '\r' || c == '\t')
}

// SkipSpace gives the position of the next byte that is no white space.
func SkipSpace(b []byte, i int) int {
	for i < len(b) && isSpace(b[i]) {
		i++
	}
	return i
}

func isDigit(c byte) bool { return c-'0' <= 9 }

// ScanNumber walks over a number.
func ScanNumber(b []byte, i int) int {
	if i < len(b) && b[i] == '-' {
		i++
	}
	if i >= len(b) || !isDigit(b[i]) {
		return Bad
	}
	if b[i] == '0' {
		i++
	} else {
		for i < len(b) && isDigit(b[i]) {
			i++
		}
	}
	if i < len(b) && b[i] == '.' {
		i++
		if i >= len(b) || !isDigit(b[i]) {
			return Bad
		}
		for i < len(b) && isDigit(b[i]) {
			i++
		}
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		if i >= len(b) || !isDigit(b[i]) {
			return Bad
		}
		for i < len(b) && isDigit(b[i]) {
			i++
		}
	}
	return i
}

// ScanWord walks over true, false or null.
func ScanWord(b []byte, i int, word string) int {
	if len(b)-i < len(word) || string(b[i:i+len(word)]) != word {
		return Bad
	}
	return i + len(word)
}

// scanScalar walks over a string, a number or a word.
func scanScalar(b []byte, i int) int {
	if i >= len(b) {
		return Bad
	}
	switch b[i] {
	case '"':
		end, _ := ScanString(b, i+1)
		if end == Bad {
			return Bad
		}
		return end + 1
	case 't':
		return ScanWord(b, i, "true")
	case 'f':
		return ScanWord(b, i, "false")
	case 'n':
		return ScanWord(b, i, "null")
	}
	return ScanNumber(b, i)
}

// Scanner walks over whole values. It does not recurse, so that a record may
// be nested as deep as it likes.
type Scanner struct {
	open    []byte // the brackets that are open
	Deepest int    // how many were, at most, since it was set to 0
}

// Value walks over the value at i. compact says that there is no white space
// between its tokens.
func (s *Scanner) Value(b []byte, i int) (end int, compact bool) {
	compact = true
	s.open = s.open[:0]
	for {
		// A value begins at i.
		if i >= len(b) {
			return Bad, compact
		}
		if c := b[i]; c == '{' || c == '[' {
			s.open = append(s.open, c)
			s.Deepest = max(s.Deepest, len(s.open))
			i++
			if i < len(b) && isSpace(b[i]) {
				i, compact = SkipSpace(b, i), false
			}
			if i >= len(b) || b[i] != c+2 { // } and ] are two after their opening ones
				if c == '{' {
					if i, compact = s.key(b, i, compact); i == Bad {
						return Bad, compact
					}
				}
				continue
			}
			s.open = s.open[:len(s.open)-1]
			i++
		} else if i = scanScalar(b, i); i == Bad {
			return Bad, compact
		}
		// A value ended at i.
		for {
			if len(s.open) == 0 {
				return i, compact
			}
			if i < len(b) && isSpace(b[i]) {
				i, compact = SkipSpace(b, i), false
			}
			if i >= len(b) {
				return Bad, compact
			}
			in := s.open[len(s.open)-1]
			if b[i] == in+2 {
				s.open = s.open[:len(s.open)-1]
				i++
				continue
			}
			if b[i] != ',' {
				return Bad, compact
			}
			i++
			if i < len(b) && isSpace(b[i]) {
				i, compact = SkipSpace(b, i), false
			}
			if in == '{' {
				if i, compact = s.key(b, i, compact); i == Bad {
					return Bad, compact
				}
			}
			break
		}
	}
}

// key walks over a member's name, the colon and the space around it.
func (s *Scanner) key(b []byte, i int, compact bool) (int, bool) {
	if i >= len(b) || b[i] != '"' {
		return Bad, compact
	}
	end, _ := ScanString(b, i+1)
	if end == Bad {
		return Bad, compact
	}
	if end+2 < len(b) && b[end+1] == ':' && !isSpace(b[end+2]) {
		return end + 2, compact
	}
	colon := SkipSpace(b, end+1)
	if colon >= len(b) || b[colon] != ':' {
		return Bad, compact
	}
	i = SkipSpace(b, colon+1)
	return i, compact && colon == end+1 && i == colon+1
}

// Valid says whether b is one JSON value in valid UTF-8.
func (s *Scanner) Valid(b []byte) bool {
	end, _ := s.Value(b, SkipSpace(b, 0))
	return end != Bad && SkipSpace(b, end) == len(b)
}
