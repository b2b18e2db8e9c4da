package simulator

import "strconv"

// mix is the finaliser of splitmix64: a cheap, well distributed 64-bit hash.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9
	x = (x ^ (x >> 27)) * 0x94d049bb133111eb
	return x ^ (x >> 31)
}

// unit maps a hash to [0, 1).
func unit(h uint64) float64 { return float64(h>>11) / (1 << 53) }

// Classes of records: those of a feed's schedule, and those a test published
// on top of it. They are numbered apart, so that neither moves the other.
const (
	scheduled = 0
	published = 1
)

// recordID names one record of one feed.
type recordID struct {
	feed  uint8
	class uint8
	index uint64
}

const mask61 = 1<<61 - 1

// idCipher turns record ids into GUIDs and back: a four-round Feistel network
// over the 122 free bits of a version 4 GUID. One half carries the record, the
// other a constant that tells our own ids from any other text.
type idCipher struct {
	keys  [4]uint64
	check uint64
}

func newIDCipher(seed uint64) *idCipher {
	c := &idCipher{check: mix(seed^0x5ec0de) & mask61}
	for i := range c.keys {
		c.keys[i] = mix(seed + uint64(i)*0x9e3779b97f4a7c15)
	}
	return c
}

func (c *idCipher) seal(id recordID) (hi, lo uint64) {
	l, r := c.check, uint64(id.feed)<<52|uint64(id.class)<<48|id.index&(1<<48-1)
	for _, k := range c.keys {
		l, r = r, l^mix(r^k)&mask61
	}
	return l, r
}

func (c *idCipher) unseal(hi, lo uint64) (recordID, bool) {
	l, r := hi, lo
	for i := len(c.keys) - 1; i >= 0; i-- {
		l, r = r^mix(l^c.keys[i])&mask61, l
	}
	if l != c.check {
		return recordID{}, false
	}
	return recordID{feed: uint8(r >> 52), class: uint8(r >> 48 & 0xf), index: r & (1<<48 - 1)}, true
}

const hexDigits = "0123456789abcdef"

func appendHex(dst []byte, v uint64, digits int) []byte {
	for shift := 4 * (digits - 1); shift >= 0; shift -= 4 {
		dst = append(dst, hexDigits[v>>shift&0xf])
	}
	return dst
}

// appendGUID writes 122 bits as a version 4 GUID.
func appendGUID(dst []byte, hi, lo uint64) []byte {
	hi &= mask61
	lo &= mask61
	dst = appendHex(dst, hi>>29, 8)
	dst = append(dst, '-')
	dst = appendHex(dst, hi>>13&0xffff, 4)
	dst = append(dst, '-', '4')
	dst = appendHex(dst, hi>>1&0xfff, 3)
	dst = append(dst, '-')
	tail := 1<<63 | hi&1<<61 | lo
	dst = appendHex(dst, tail>>48, 4)
	dst = append(dst, '-')
	return appendHex(dst, tail&(1<<48-1), 12)
}

// randomGUID is a GUID that names no record.
func randomGUID(dst []byte, seed uint64) []byte {
	return appendGUID(dst, mix(seed), mix(seed^0xabcdef))
}

func guidText(seed uint64) string { return string(randomGUID(nil, seed)) }

// parseGUID reads the 122 bits of a version 4 GUID of exactly 36 characters.
func parseGUID(s string) (hi, lo uint64, ok bool) {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' || s[14] != '4' {
		return 0, 0, false
	}
	a, err1 := strconv.ParseUint(s[:8]+s[9:13]+s[14:18], 16, 64)
	b, err2 := strconv.ParseUint(s[19:23]+s[24:], 16, 64)
	if err1 != nil || err2 != nil || b>>62 != 2 {
		return 0, 0, false
	}
	return a>>16<<13 | a&0xfff<<1 | b>>61&1, b & mask61, true
}

// find looks for one of our record ids in text: the whole of it, or, as in
// directory audit ids, a GUID inside it.
func (c *idCipher) find(text string) (recordID, bool) {
	for i := 0; i+36 <= len(text); i++ {
		if hi, lo, ok := parseGUID(text[i : i+36]); ok {
			if id, ok := c.unseal(hi, lo); ok {
				return id, true
			}
		}
	}
	return recordID{}, false
}
