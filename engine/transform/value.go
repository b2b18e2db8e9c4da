package transform

import (
	"math"
	"strconv"
	"unsafe"

	"github.com/secure60/s60-m365-connector/engine/expression"
)

// value is what a closure gives. It is passed in registers and owns nothing:
// its text lies in the record, in the mapper's arena, in the mapping or on the
// heap, and holds until the next event.
type value struct {
	text string
	bits int64 // of a bool, an integer, a float; an index into Mapper.kept
	kind kind
	safe bool // text that is written in JSON as it stands
}

type kind uint8

const (
	nilKind    kind = iota
	boolKind        // bits: 0 or 1
	textKind        // text
	numberKind      // text: the digits, as JSON writes them
	intKind         // bits
	floatKind       // bits: math.Float64bits
	otherKind       // a list, a map, a time or a duration: Mapper.kept[bits]
	jsonKind        // text: the JSON text of a list or a map
	listKind        // a list of values: Mapper.list[from:to], see list
)

func boolean(b bool) value {
	v := value{kind: boolKind}
	if b {
		v.bits = 1
	}
	return v
}

// safeText says whether JSON writes the text as it stands. The text is valid
// UTF-8, as all texts here are.
func safeText(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// view is b as a string, without a copy. It holds as long as b is not written.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// keep makes a value of anything.
func (m *Mapper) keep(v any) value {
	switch v := v.(type) {
	case nil:
		return value{}
	case bool:
		return boolean(v)
	case string:
		return value{kind: textKind, text: v}
	case int:
		return value{kind: intKind, bits: int64(v)}
	case float64:
		return value{kind: floatKind, bits: int64(math.Float64bits(v))}
	case expression.Number:
		return value{kind: numberKind, text: string(v)}
	}
	m.kept = append(m.kept, v)
	return value{kind: otherKind, bits: int64(len(m.kept) - 1)}
}

// constant makes a value that holds for ever; ok is false for lists and maps.
func constant(v any) (out value, ok bool) {
	switch v := v.(type) {
	case nil:
		return value{}, true
	case bool:
		return boolean(v), true
	case string:
		return value{kind: textKind, text: v, safe: safeText(v)}, true
	case int:
		return value{kind: intKind, bits: int64(v)}, true
	case float64:
		return value{kind: floatKind, bits: int64(math.Float64bits(v))}, true
	case expression.Number:
		return value{kind: numberKind, text: string(v)}, true
	}
	return value{}, false
}

// any is the value as expressions in general see it.
func (m *Mapper) any(v value) any {
	switch v.kind {
	case boolKind:
		return v.bits != 0
	case textKind:
		return v.text
	case numberKind:
		return expression.ParseNumber(v.text)
	case intKind:
		return int(v.bits)
	case floatKind:
		return math.Float64frombits(uint64(v.bits))
	case otherKind:
		return m.kept[v.bits]
	case jsonKind:
		decoded, _ := expression.DecodeJSON(v.text)
		return decoded
	case listKind:
		from, to := v.span()
		out := make([]any, 0, to-from)
		for _, element := range m.list[from:to] {
			out = append(out, m.any(element))
		}
		return out
	}
	return nil
}

// textOf is the value where text is asked for; ok is false for nil, lists and
// maps.
func (m *Mapper) textOf(v value) (text string, safe, ok bool) {
	switch v.kind {
	case textKind:
		return v.text, v.safe, true
	case numberKind:
		return v.text, true, true
	case boolKind:
		if v.bits != 0 {
			return "true", true, true
		}
		return "false", true, true
	case intKind:
		start := len(m.arena)
		m.arena = strconv.AppendInt(m.arena, v.bits, 10)
		return view(m.arena[start:]), true, true
	case floatKind:
		start := len(m.arena)
		m.arena = expression.AppendFloat(m.arena, math.Float64frombits(uint64(v.bits)))
		return view(m.arena[start:]), true, true
	case otherKind:
		text, ok = expression.Text(m.kept[v.bits])
		return text, false, ok
	}
	return "", false, false
}

// integer is a value that is a whole number written as one.
func (v value) integer() (int64, bool) {
	switch v.kind {
	case intKind:
		return v.bits, true
	case numberKind:
		return parseInt(v.text)
	}
	return 0, false
}

// parseInt reads the integers that JSON writes with up to 18 digits.
func parseInt(text string) (int64, bool) {
	digits := text
	if digits != "" && digits[0] == '-' {
		digits = digits[1:]
	}
	if digits == "" || len(digits) > 18 || digits[0] == '0' && len(text) > 1 {
		return 0, false
	}
	var n int64
	for i := 0; i < len(digits); i++ {
		c := digits[i] - '0'
		if c > 9 {
			return 0, false
		}
		n = n*10 + int64(c)
	}
	if len(digits) != len(text) {
		n = -n
	}
	return n, true
}

// slotValue is the value of a field of the record.
func (m *Mapper) slotValue(i int) value {
	s := &m.slots[i]
	if s.event != m.event {
		return value{}
	}
	switch s.kind {
	case slotText:
		return value{kind: textKind, text: s.text, safe: true}
	case slotNumber:
		return value{kind: numberKind, text: s.text}
	case slotTrue:
		return value{kind: boolKind, bits: 1}
	case slotFalse:
		return value{kind: boolKind}
	case slotEscaped:
		start := len(m.arena)
		m.arena = unescape(m.arena, s.text)
		return value{kind: textKind, text: view(m.arena[start:])}
	case slotCompact:
		return value{kind: textKind, text: s.text}
	default:
		start := len(m.arena)
		m.arena = compactJSON(m.arena, bytesOf(s.text))
		return value{kind: textKind, text: view(m.arena[start:])}
	}
}

func (m *Mapper) equal(a, b value) bool {
	if a.kind == textKind && b.kind == textKind {
		return a.text == b.text
	}
	if i, ok := a.integer(); ok {
		if j, ok := b.integer(); ok {
			return i == j
		}
	}
	if a.kind == nilKind || b.kind == nilKind {
		return a.kind == b.kind
	}
	if a.kind == boolKind && b.kind == boolKind {
		return a.bits == b.bits
	}
	if a.kind == textKind || b.kind == textKind || a.kind == boolKind || b.kind == boolKind {
		return false
	}
	return expression.Equal(m.any(a), m.any(b))
}

func (m *Mapper) compare(a, b value) (int, bool) {
	if i, ok := a.integer(); ok {
		if j, ok := b.integer(); ok {
			switch {
			case i < j:
				return -1, true
			case i > j:
				return 1, true
			}
			return 0, true
		}
	}
	if a.kind == nilKind || b.kind == nilKind {
		return 0, false
	}
	return expression.Compare(m.any(a), m.any(b))
}
