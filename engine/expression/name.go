package expression

import (
	"strings"
)

// AppendKebab appends s in lower kebab-case, ASCII letters and digits only:
// "Add member to role." gives add-member-to-role, "FileAccessedExtended"
// file-accessed-extended, "MCASLogin" mcas-login. A digit belongs to the word
// before it. ok is false if nothing remains.
func AppendKebab(dst []byte, s string) (out []byte, ok bool) {
	start := len(dst)
	apart := false // the next letter begins a word
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '\'': // user's is one word
			continue
		case isUpper(c):
			if !apart && i > 0 {
				before := s[i-1]
				apart = isLower(before) || isDigit(before) || isUpper(before) && beginsWord(s, i)
			}
		case isLower(c), isDigit(c):
		default:
			if strings.HasPrefix(s[i:], "\u2019") { // the typographic apostrophe
				i += len("\u2019") - 1
				continue
			}
			apart = true
			continue
		}
		if apart && len(dst) > start {
			dst = append(dst, '-')
		}
		apart = false
		if isUpper(c) {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst, len(dst) > start
}

// beginsWord says whether the capital s[i], after another one, is the first
// letter of a word and not part of an acronym: the L of MCASLogin, but neither
// the D of GUIDs nor the A of OAuth nor the P of IPv6.
func beginsWord(s string, i int) bool {
	if i+1 >= len(s) || !isLower(s[i+1]) {
		return false
	}
	if s[i+1] == 's' && (i+2 == len(s) || !isLower(s[i+2])) {
		return false
	}
	return !strings.HasPrefix(s[i-1:], "OAuth") && !strings.HasPrefix(s[i-1:], "IPv")
}

func isUpper(c byte) bool { return 'A' <= c && c <= 'Z' }
func isLower(c byte) bool { return 'a' <= c && c <= 'z' }
func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// AppendDomain appends the domain, in lower case, of an e-mail address, a user
// principal name, a URL or a plain host name with a dot in it. ok is false if
// there is none.
func AppendDomain(dst []byte, s string) (out []byte, ok bool) {
	s = trimSpace(s)
	if colon := strings.IndexByte(s, ':'); colon >= 0 && strings.HasPrefix(s[colon:], "://") {
		rest := s[colon+len("://"):]
		if end := strings.IndexAny(rest, "/?#\\"); end >= 0 {
			rest = rest[:end]
		}
		rest = rest[strings.LastIndexByte(rest, '@')+1:] // user:password@
		if colon := strings.LastIndexByte(rest, ':'); colon >= 0 && !strings.HasSuffix(rest, "]") {
			rest = rest[:colon]
		}
		return appendHost(dst, rest, false)
	}
	if at := strings.LastIndexByte(s, '@'); at >= 0 {
		if at == 0 {
			return dst, false
		}
		return appendHost(dst, strings.TrimSuffix(s[at+1:], ">"), false)
	}
	return appendHost(dst, s, true)
}

// appendHost appends a host name in lower case if it is one.
func appendHost(dst []byte, host string, dotted bool) (out []byte, ok bool) {
	host = strings.TrimSuffix(host, ".")
	if host == "" || host[0] == '.' || dotted && strings.IndexByte(host, '.') < 0 {
		return dst, false
	}
	start := len(dst)
	dst = append(dst, host...)
	for i, c := range dst[start:] {
		switch hostBytes[c] {
		case 0:
			return dst[:start], false
		case 'A':
			dst[start+i] = c + 'a' - 'A'
		case ':':
			if dotted {
				return dst[:start], false
			}
		}
	}
	if label := host[strings.LastIndexByte(host, '.')+1:]; dotted && allDigits(label) { // an address
		return dst[:start], false
	}
	return dst, true
}

// hostBytes says of each byte how it may stand in a host name: a as it is, A in
// lower case, : only where there may be a port or an IPv6 address, 0 not at all.
var hostBytes = func() (kinds [256]byte) {
	for c := range kinds {
		switch c := byte(c); {
		case isLower(c), isDigit(c), c == '-', c == '.', c == '_', c >= 0x80:
			kinds[c] = 'a'
		case isUpper(c):
			kinds[c] = 'A'
		case c == ':', c == '[', c == ']':
			kinds[c] = ':'
		}
	}
	return kinds
}()
