package expression

import (
	"net/netip"
	"strconv"
	"strings"
)

// AppendIP appends the bare address that s holds, alone or in a list: without
// port, brackets, zone or IPv4-in-IPv6 prefix, an IPv6 one in its canonical
// form. ok is false if there is none, as where it is redacted (203.0.113.XXX).
func AppendIP(dst []byte, s string) (out []byte, ok bool) {
	if n := dottedQuad(s); n > 0 && (n == len(s) || s[n] == ':' && allDigits(s[n+1:])) {
		return append(dst, s[:n]...), true // most are written as they should be
	}
	address, _, ok := splitAddress(s)
	if !ok {
		return dst, false
	}
	return address.AppendTo(dst), true
}

// Port is the port that s names beside an address or a host, or is itself.
func Port(s string) (int, bool) {
	s = trimSpace(s)
	colon := strings.LastIndexByte(s, ':')
	port := s[colon+1:]
	switch first := strings.IndexByte(s, ':'); {
	case colon < 0: // a number, or nothing that names a port
	case s[0] == '[':
		if !strings.HasSuffix(s[:colon], "]") {
			return 0, false
		}
	case first != colon: // an IPv6 address, mostly without a port
		if strings.Count(s, ":") < 8 && strings.IndexByte(s, '.') < 0 {
			return 0, false
		}
		_, found, ok := splitAddress(s)
		if !ok {
			return 0, false
		}
		port = found
	}
	if port == "" || len(port) > 5 || !allDigits(port) {
		return 0, false
	}
	n, err := strconv.Atoi(port)
	if err != nil || n < 1 || n > 65535 {
		return 0, false
	}
	return n, true
}

// dottedQuad is the length of the IPv4 address at the front of s, 0 if there is
// none.
func dottedQuad(s string) int {
	i := 0
	for part := range 4 {
		if part > 0 {
			if i >= len(s) || s[i] != '.' {
				return 0
			}
			i++
		}
		from, n := i, 0
		for i < len(s) && i-from < 4 && isDigit(s[i]) {
			n = n*10 + int(s[i]-'0')
			i++
		}
		if i == from || n > 255 || s[from] == '0' && i-from > 1 {
			return 0
		}
	}
	return i
}

func allDigits(s string) bool {
	for i := 0; i < len(s); i++ {
		if !isDigit(s[i]) {
			return false
		}
	}
	return true
}

// splitAddress parses the first address of a list.
func splitAddress(s string) (address netip.Addr, port string, ok bool) {
	for s != "" {
		item := s
		comma := strings.IndexByte(s, ',')
		if comma < 0 {
			comma = strings.IndexByte(s, ';')
		}
		if comma >= 0 {
			item, s = s[:comma], s[comma+1:]
		} else {
			s = ""
		}
		if address, port, ok = parseAddress(trimSpace(item)); ok {
			return address, port, true
		}
	}
	return netip.Addr{}, "", false
}

func trimSpace(s string) string {
	for s != "" && s[0] <= ' ' {
		s = s[1:]
	}
	for s != "" && s[len(s)-1] <= ' ' {
		s = s[:len(s)-1]
	}
	return s
}

func parseAddress(s string) (address netip.Addr, port string, ok bool) {
	if s == "" {
		return address, "", false
	}
	if s[0] == '[' {
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return address, "", false
		}
		rest := s[end+1:]
		if rest != "" && (rest[0] != ':' || !allDigits(rest[1:])) {
			return address, "", false
		}
		address, ok = bare(s[1:end])
		return address, strings.TrimPrefix(rest, ":"), ok
	}
	colons := strings.Count(s, ":")
	if colons == 1 {
		colon := strings.IndexByte(s, ':')
		address, ok = bare(s[:colon])
		return address, s[colon+1:], ok && allDigits(s[colon+1:])
	}
	if address, ok = bare(s); ok || colons < 2 {
		return address, "", ok
	}
	// An IPv6 address and a port without brackets is told by its ninth group,
	// or by the IPv4 address before the port.
	colon := strings.LastIndexByte(s, ':')
	address, ok = bare(s[:colon])
	return address, s[colon+1:], ok && allDigits(s[colon+1:])
}

// bare parses an address without its zone. ParseAddr's error is an
// allocation, so what cannot be an address never gets there.
func bare(s string) (netip.Addr, bool) {
	if zone := strings.IndexByte(s, '%'); zone >= 0 {
		s = s[:zone]
	}
	if len(s) < 2 || len(s) > 45 {
		return netip.Addr{}, false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; !isDigit(c) && c != '.' && c != ':' && (c|0x20 < 'a' || c|0x20 > 'f') {
			return netip.Addr{}, false
		}
	}
	address, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}, false
	}
	return address.Unmap(), true
}
