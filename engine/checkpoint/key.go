package checkpoint

import (
	"crypto/sha256"
	"encoding/binary"
)

// KeyOf is the key of a record, or of a listed item, of a feed: the first 128
// bits of a SHA-256 over the feed's name and the parts, each preceded by its length,
// so that ("ab", "c") and ("a", "bc") differ. At 21 million keys, two meet by
// chance with a probability below 1e-24.
func KeyOf[P ~string | ~[]byte](feed string, parts ...P) Key {
	var stack [256]byte
	b := appendText(stack[:0], feed)
	for _, p := range parts {
		b = binary.AppendUvarint(b, uint64(len(p)))
		b = append(b, p...)
	}
	sum := sha256.Sum256(b)
	return Key(sum[:16])
}

// appendText appends s preceded by its length.
func appendText(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// cutText takes what appendText wrote off the front of b.
func cutText(b []byte) (s string, rest []byte, ok bool) {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > uint64(len(b)-size) {
		return "", nil, false
	}
	return string(b[size : size+int(n)]), b[size+int(n):], true
}
