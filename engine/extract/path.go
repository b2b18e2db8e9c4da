package extract

import (
	"strconv"
	"strings"
)

// segment is a part of a path that can be followed in a stream: the name of a
// member, which is an index too if it is a number, or each element of an array.
type segment struct {
	name  string
	index int // -1: none
	each  bool
}

// streamable parses a path that needs no more than following names, indexes
// and one "#"; ok is false for all else that gjson knows.
func streamable(path string) (segments []segment, ok bool) {
	if path == "@this" || path == "" {
		return nil, true
	}
	// A '{' or '[' first is a multipath, '!' a literal, '@' a modifier, ".." JSON lines.
	if strings.ContainsAny(path[:1], "@!{[.") {
		return nil, false
	}
	var name []byte
	escaped, each := false, false
	end := func() bool {
		s := segment{name: string(name), index: -1}
		switch {
		case s.name == "":
			return false
		case s.name == "#" && !escaped:
			if each {
				return false
			}
			s.each, each = true, true
		case !escaped && len(s.name) < 9:
			if n, err := strconv.ParseUint(s.name, 10, 31); err == nil {
				s.index = int(n)
			}
		}
		segments = append(segments, s)
		name, escaped = name[:0], false
		return true
	}
	for i := 0; i < len(path); i++ {
		switch c := path[i]; {
		case c == '\\':
			if i++; i == len(path) {
				return nil, false
			}
			name, escaped = append(name, path[i]), true
		case c == '.':
			if !end() {
				return nil, false
			}
		case c == '|' || c == '*' || c == '?' || c == '@' || c == '!' || c == '{' || c == '[' || c < ' ' || c > '~',
			c == '#' && len(name) > 0, len(name) == 1 && name[0] == '#' && !escaped:
			return nil, false
		default:
			name = append(name, c)
		}
	}
	if !end() || segments[len(segments)-1].each { // "a.#" is a count
		return nil, false
	}
	return segments, true
}
