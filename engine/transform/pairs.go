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

// spread flattens the array at i by the names of its elements. If an element
// has no name, or nothing but one, the array is kept as JSON text too.
func (f *flattener) spread(n *node, i int) int {
	b, start := f.in, i
	fits := true
	i = rawjson.SkipSpace(b, i+1)
	if i < len(b) && b[i] == ']' {
		return i + 1
	}
	var last *node
	for {
		if i >= len(b) {
			return rawjson.Bad
		}
		if kid, at := f.named(n, last, i); kid != nil {
			// The name stands first, as it mostly does.
			last = kid
			if i = f.members(kid, at); i == rawjson.Bad {
				return rawjson.Bad
			}
		} else if b[i] == '{' {
			end, name := f.elementName(i)
			if end == rawjson.Bad {
				return rawjson.Bad
			}
			fits = len(name) > 0 && f.element(f.child(n, string(name)), i) && fits
			i = end
		} else {
			end, _ := f.scan.Value(b, i)
			if end == rawjson.Bad {
				return rawjson.Bad
			}
			fits = false
			i = end
		}
		i = rawjson.SkipSpace(b, i)
		if i >= len(b) {
			return rawjson.Bad
		}
		if b[i] == ']' {
			break
		}
		if b[i] != ',' {
			return rawjson.Bad
		}
		i = rawjson.SkipSpace(b, i+1)
	}
	if !fits {
		return f.json(n, start)
	}
	return i + 1
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
