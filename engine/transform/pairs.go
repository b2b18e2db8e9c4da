package transform

import "github.com/secure60/s60-m365-connector/engine/rawjson"

// This file spreads arrays of named values, such as
//
//	"Parameters": [{"Name": "Identity", "Value": "x"}, …]
//
// into fields: event_Parameters_Identity.

// isNameKey and isValueKey are the names that such elements give their members.
func isNameKey(key []byte) bool {
	switch string(key) {
	case "name", "Name", "key", "Key":
		return true
	}
	return false
}

func isValueKey(key string) bool { return key == "value" || key == "Value" }

// maxSpread is how many fields an array is spread into at most.
const maxSpread = 256

// spread flattens the array at i by the names of its elements. If an element
// has no name, or nothing but one, or if there are too many, the array is kept
// as JSON text too. Expressions that name the array read that text in any case.
func (f *flattener) spread(n *node, i int) int {
	most, over := f.most, f.over
	f.most, f.over = min(most, f.fields+maxSpread), false
	end, fits := f.elements(n, i)
	fits = fits && !f.over
	f.most, f.over = most, over
	if end == rawjson.Bad || end == i+2 {
		return end
	}
	if !fits {
		return f.json(n, i)
	}
	if l := f.leafOf(n); l.slot >= 0 && l.event != f.event {
		if raw := f.in[i:end]; l.changes == nil && !n.below {
			f.machine.SetJSON(int(l.slot), raw, false)
		} else if redacted := f.redacted(l, n, raw); redacted != nil {
			f.see(l, redacted)
			f.hold(l, n, f.n, redacted)
		}
	}
	return end
}

// spreadText spreads an array that comes as JSON text, raw being the inside of
// the string; ok is false if it is none.
func (f *flattener) spreadText(n *node, raw []byte) (ok bool) {
	if len(raw) < 2 || raw[0] != '[' {
		return false
	}
	start := len(f.decoded)
	f.decoded = rawjson.Unescape(f.decoded, view(raw))
	text := f.decoded[start:len(f.decoded):len(f.decoded)]
	if !f.scan.Valid(text) {
		return false
	}
	outer, near := f.in, f.near
	f.in, f.near = text, false
	f.spread(n, 0)
	f.in, f.near = outer, near
	return true
}

// elements flattens the elements of the array at i; fits says that all of it is
// in fields now.
func (f *flattener) elements(n *node, i int) (end int, fits bool) {
	b := f.in
	fits = true
	i = rawjson.SkipSpace(b, i+1)
	if i < len(b) && b[i] == ']' {
		return i + 1, true
	}
	var last *node
	for {
		if i >= len(b) {
			return rawjson.Bad, false
		}
		if kid, at := f.named(n, last, i); kid != nil {
			// The name stands first, as it mostly does.
			last = kid
			if i = f.members(kid, at); i == rawjson.Bad {
				return rawjson.Bad, false
			}
		} else if b[i] == '{' {
			end, name := f.elementName(i)
			if end == rawjson.Bad {
				return rawjson.Bad, false
			}
			fits = len(name) > 0 && f.element(f.child(n, string(name)), i) && fits
			i = end
		} else {
			end, _ := f.scan.Value(b, i)
			if end == rawjson.Bad {
				return rawjson.Bad, false
			}
			fits = false
			i = end
		}
		i = rawjson.SkipSpace(b, i)
		if i >= len(b) {
			return rawjson.Bad, false
		}
		if b[i] == ']' {
			break
		}
		if b[i] != ',' {
			return rawjson.Bad, false
		}
		i = rawjson.SkipSpace(b, i+1)
	}
	return i + 1, fits
}

// named recognizes {"Name":"…", at i, and gives the node of that name and the
// position behind the comma; nil where the element begins in another way.
func (f *flattener) named(n, last *node, i int) (*node, int) {
	b := f.in
	size := 0
	for _, opening := range [...]string{`{"Name":"`, `{"name":"`, `{"key":"`, `{"Key":"`} {
		if len(b)-i > len(opening) && string(b[i:i+len(opening)]) == opening {
			size = len(opening)
			break
		}
	}
	if size == 0 {
		return nil, 0
	}
	i += size
	after := &n.first
	if last != nil {
		after = &last.next
	}
	guess := after.last
	var end int
	if guess != nil && len(b)-i > len(guess.key) && b[i+len(guess.key)] == '"' && string(b[i:i+len(guess.key)]) == guess.key {
		end = i + len(guess.key)
	} else {
		if end, _ = rawjson.ScanString(b, i); end == rawjson.Bad {
			return nil, 0
		}
		guess = nil
	}
	if end == i || end+2 >= len(b) || b[end+1] != ',' || b[end+2] != '"' {
		return nil, 0
	}
	if guess == nil {
		if guess = n.kids[string(b[i:end])]; guess == nil {
			guess = f.child(n, string(b[i:end]))
		}
		after.last, after.other = guess, after.last
	}
	return guess, end + 2
}

// members flattens the members of an element from the one at i, its name being
// behind.
func (f *flattener) members(n *node, i int) int {
	b := f.in
	for {
		var at *node
		const value = `"Value":`
		if len(b)-i > len(value) && (string(b[i:i+len(value)]) == value || string(b[i:i+len(value)]) == `"value":`) {
			at, i = n, rawjson.SkipSpace(b, i+len(value))
		} else {
			var kid *node
			if kid, i = f.member(n, nil, i); i == rawjson.Bad {
				return rawjson.Bad
			}
			if at = kid; isValueKey(kid.key) {
				at = n
			}
		}
		if i = f.value(at, i); i == rawjson.Bad {
			return rawjson.Bad
		}
		i = rawjson.SkipSpace(b, i)
		if i >= len(b) {
			return rawjson.Bad
		}
		if b[i] == '}' {
			return i + 1
		}
		if b[i] != ',' {
			return rawjson.Bad
		}
		i = rawjson.SkipSpace(b, i+1)
	}
}

// elementName validates the object at i and gives the text, as in JSON, of the
// member that names it; name is empty if there is none.
func (f *flattener) elementName(i int) (end int, name []byte) {
	b := f.in
	end, _ = f.scan.Value(b, i)
	if end == rawjson.Bad {
		return rawjson.Bad, nil
	}
	i = rawjson.SkipSpace(b, i+1)
	for i < end && b[i] == '"' {
		keyEnd, _ := rawjson.ScanString(b, i+1)
		key := b[i+1 : keyEnd]
		i = rawjson.SkipSpace(b, rawjson.SkipSpace(b, keyEnd+1)+1)
		if isNameKey(key) && b[i] == '"' {
			valueEnd, _ := rawjson.ScanString(b, i+1)
			return end, b[i+1 : valueEnd]
		}
		i, _ = f.scan.Value(b, i)
		i = rawjson.SkipSpace(b, rawjson.SkipSpace(b, i)+1)
	}
	return end, nil
}

// element flattens the members of the object at i, which is valid, but its
// name: the value under the name of n, the others below it. It reports whether
// there were any.
func (f *flattener) element(n *node, i int) (any bool) {
	b := f.in
	named := false
	i = rawjson.SkipSpace(b, i+1)
	for b[i] == '"' {
		keyEnd, _ := rawjson.ScanString(b, i+1)
		key := b[i+1 : keyEnd]
		i = rawjson.SkipSpace(b, rawjson.SkipSpace(b, keyEnd+1)+1)
		switch {
		case !named && isNameKey(key) && b[i] == '"':
			named = true
			i, _ = f.scan.Value(b, i)
		default:
			any = true
			at := n
			if !isValueKey(string(key)) {
				if at = n.kids[string(key)]; at == nil {
					at = f.child(n, string(key))
				}
			}
			i = f.value(at, i)
		}
		i = rawjson.SkipSpace(b, i)
		if b[i] == '}' {
			break
		}
		i = rawjson.SkipSpace(b, i+1)
	}
	return any
}
