package rawjson

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// This file reads and writes what stands in strings.

// scanEscape gives the length of the escape at i, 0 if it is none. A surrogate
// pair is one escape.
func scanEscape(b []byte, i int) (size, class int) {
	if i+1 >= len(b) {
		return 0, 0
	}
	switch b[i+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2, Escaped
	case 'u':
		r := hex4(b, i+2)
		switch {
		case r < 0:
			return 0, 0
		case r < 0xd800 || r > 0xdfff:
			return 6, Escaped
		case r < 0xdc00 && i+7 < len(b) && b[i+6] == '\\' && b[i+7] == 'u':
			if low := hex4(b, i+8); low >= 0xdc00 && low <= 0xdfff {
				return 12, Escaped
			}
		}
		return 6, Lone
	}
	return 0, 0
}

// hex4 is the number that four hexadecimal digits write, -1 if they do not.
func hex4[T []byte | string](b T, i int) rune {
	if i+4 > len(b) {
		return -1
	}
	var r rune
	for j := i; j < i+4; j++ {
		c := b[j]
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return -1
		}
		r = r<<4 | rune(c)
	}
	return r
}

// Unescape appends the text that the inside of a valid string stands for, in
// valid UTF-8: a Lone surrogate becomes U+FFFD.
func Unescape(dst []byte, raw string) []byte {
	for i := 0; i < len(raw); {
		c := raw[i]
		if c != '\\' {
			dst = append(dst, c)
			i++
			continue
		}
		switch c = raw[i+1]; c {
		case 'u':
			r := hex4(raw, i+2)
			i += 6
			if r >= 0xd800 && r <= 0xdfff {
				low := rune(-1)
				if r < 0xdc00 && i+1 < len(raw) && raw[i] == '\\' && raw[i+1] == 'u' {
					low = hex4(raw, i+2)
				}
				if low >= 0xdc00 && low <= 0xdfff {
					r = (r-0xd800)<<10 | (low - 0xdc00) + 0x10000
					i += 6
				} else {
					r = utf8.RuneError
				}
			}
			dst = utf8.AppendRune(dst, r)
			continue
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'n':
			c = '\n'
		case 'r':
			c = '\r'
		case 't':
			c = '\t'
		}
		dst = append(dst, c)
		i += 2
	}
	return dst
}

// CopyPlain copies a string from the position i after its opening quote to dst at n, up to and with the
// closing quote, and gives the position behind that; Bad if it is not plain, or where b or dst end within a
// word of it: what is in dst from n on is then of no use.
func CopyPlain(dst []byte, n int, b []byte, i int) (end int) {
	for i+WordSize <= len(b) && n+WordSize <= len(dst) {
		w := binary.LittleEndian.Uint64(b[i:])
		binary.LittleEndian.PutUint64(dst[n:], w)
		if marks := special(w); marks != 0 {
			i += bits.TrailingZeros64(marks) >> 3
			if b[i] != '"' {
				return Bad
			}
			return i + 1
		}
		i += WordSize
		n += WordSize
	}
	return Bad
}

// WordSize is the room, in bytes, that [Quote] wants beyond what it writes.
const WordSize = 8

// Quote writes a valid, compact JSON text to dst at n as a JSON string, and
// gives the position behind it. Such a text holds no control characters, so
// quotes and backslashes are all there is to escape. dst must have room for
// twice the text, two quotes and a word.
func Quote(dst []byte, n int, text []byte) int {
	dst[n] = '"'
	n++
	for i := 0; i < len(text); {
		if i+WordSize <= len(text) {
			w := binary.LittleEndian.Uint64(text[i:])
			quote, backslash := w^ones*'"', w^ones*'\\'
			marks := ((quote-ones)&^quote | (backslash-ones)&^backslash) & highs
			binary.LittleEndian.PutUint64(dst[n:], w)
			if marks == 0 {
				i += WordSize
				n += WordSize
				continue
			}
			at := bits.TrailingZeros64(marks) >> 3
			i += at
			n += at
		}
		if c := text[i]; c == '"' || c == '\\' {
			dst[n] = '\\'
			n++
		}
		dst[n] = text[i]
		n++
		i++
	}
	dst[n] = '"'
	return n + 1
}

// Compact appends a valid JSON text without the white space between its
// tokens.
func Compact(dst, raw []byte) []byte {
	for i := 0; i < len(raw); {
		switch c := raw[i]; {
		case c == '"':
			end, _ := ScanString(raw, i+1)
			dst = append(dst, raw[i:end+1]...)
			i = end + 1
		case isSpace(c):
			i++
		default:
			dst = append(dst, c)
			i++
		}
	}
	return dst
}
