package expression

import (
	"github.com/secure60/s60-m365-connector/engine/rawjson"
)

// This file reads the JSON in a text, for json(text).

// maxNested is how deep the JSON in a text may be nested.
const maxNested = 10_000

// decode is the value that a JSON text holds, nil if it is not one JSON value.
func (m *Machine) decode(s string) (Value, error) {
	b := bytesOf(s)
	start := len(m.stack)
	v, end := m.parse(b, rawjson.SkipSpace(b, 0), 0)
	m.stack = m.stack[:start]
	if end == rawjson.Bad || rawjson.SkipSpace(b, end) != len(b) {
		return Value{}, nil
	}
	return v, nil
}

// parse parses the JSON value at i, and gives the position behind it.
func (m *Machine) parse(b []byte, i, depth int) (Value, int) {
	if i >= len(b) {
		return Value{}, rawjson.Bad
	}
	switch b[i] {
	case '"':
		end, class := rawjson.ScanString(b, i+1)
		if end == rawjson.Bad {
			return Value{}, end
		}
		return m.string(b[i+1:end], class), end + 1
	case '{', '[':
		return m.container(b, i, depth)
	case 't':
		return boolean(true), rawjson.ScanWord(b, i, "true")
	case 'f':
		return boolean(false), rawjson.ScanWord(b, i, "false")
	case 'n':
		return Value{}, rawjson.ScanWord(b, i, "null")
	}
	end := rawjson.ScanNumber(b, i)
	if end == rawjson.Bad {
		return Value{}, end
	}
	return Value{kind: numberKind, text: view(b[i:end])}, end
}

func (m *Machine) string(raw []byte, class int) Value {
	if class == rawjson.Plain {
		return Value{kind: textKind, text: view(raw), safe: true}
	}
	start := len(m.arena)
	m.arena = rawjson.Unescape(m.arena, view(raw))
	return text(view(m.arena[start:]))
}

// container parses the list or the map at i.
func (m *Machine) container(b []byte, i, depth int) (Value, int) {
	start, kind := len(m.stack), listKind
	if b[i] == '{' {
		kind = mapKind
	}
	closing := b[i] + 2 // } and ] are two after their opening ones
	if depth >= maxNested {
		return Value{}, rawjson.Bad
	}
	i = rawjson.SkipSpace(b, i+1)
	if i < len(b) && b[i] == closing {
		return m.gathered(kind, start), i + 1
	}
	for {
		if kind == mapKind {
			if i >= len(b) || b[i] != '"' {
				return Value{}, rawjson.Bad
			}
			end, class := rawjson.ScanString(b, i+1)
			if end == rawjson.Bad {
				return Value{}, rawjson.Bad
			}
			m.stack = append(m.stack, m.string(b[i+1:end], class))
			if i = rawjson.SkipSpace(b, end+1); i >= len(b) || b[i] != ':' {
				return Value{}, rawjson.Bad
			}
			i = rawjson.SkipSpace(b, i+1)
		}
		v, end := m.parse(b, i, depth+1)
		if end == rawjson.Bad || m.run.failure != nil {
			return Value{}, rawjson.Bad
		}
		m.stack = append(m.stack, v)
		if len(m.stack)-start > MaxValues {
			m.fail(errTooMany)
			return Value{}, rawjson.Bad
		}
		i = rawjson.SkipSpace(b, end)
		if i >= len(b) {
			return Value{}, rawjson.Bad
		}
		if b[i] == closing {
			return m.gathered(kind, start), i + 1
		}
		if b[i] != ',' {
			return Value{}, rawjson.Bad
		}
		i = rawjson.SkipSpace(b, i+1)
	}
}
