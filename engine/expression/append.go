package expression

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/secure60/s60-m365-connector/engine/rawjson"
)

// This file writes values.

// AppendKey appends what tells a field of the record from others: its kind and
// its text.
func (m *Machine) AppendKey(dst []byte, i int) []byte {
	v := m.field(i)
	dst = append(dst, byte(v.kind), byte(len(v.text)), byte(len(v.text)>>8), byte(v.bits))
	return append(dst, v.text...)
}

// AppendJSON appends a value as compact JSON: map keys sorted, numbers digit for
// digit, and no character escaped that JSON does not ask to be.
func (m *Machine) AppendJSON(dst []byte, v Value) ([]byte, error) {
	var err error
	switch v.kind {
	case nilKind:
		return append(dst, "null"...), nil
	case textKind:
		return rawjson.AppendString(dst, v.text), nil
	case numberKind:
		return append(dst, v.text...), nil
	case intKind:
		return strconv.AppendInt(dst, v.bits, 10), nil
	case boolKind:
		return strconv.AppendBool(dst, v.bits != 0), nil
	case floatKind:
		f := math.Float64frombits(uint64(v.bits))
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return dst, fmt.Errorf("%v is not a number that JSON can hold", f)
		}
		return appendFloat(dst, f), nil
	case listKind:
		dst = append(dst, '[')
		for i, element := range m.elements(v) {
			if i > 0 {
				dst = append(dst, ',')
			}
			if dst, err = m.AppendJSON(dst, element); err != nil {
				return dst, err
			}
		}
		return append(dst, ']'), nil
	case mapKind:
		dst = append(dst, '{')
		for i, member := range m.members(v) {
			if i > 0 {
				dst = append(dst, ",:"[i%2])
			}
			if dst, err = m.AppendJSON(dst, member); err != nil {
				return dst, err
			}
		}
		return append(dst, '}'), nil
	}
	text, _, _ := m.text(v)
	return rawjson.AppendString(dst, text), nil
}

// appendScalar appends a value as a field of an event: a list or a map is its
// JSON as a text.
func (m *Machine) appendScalar(dst []byte, v Value) ([]byte, error) {
	if v.kind != listKind && v.kind != mapKind {
		return m.AppendJSON(dst, v)
	}
	text, err := m.AppendJSON(nil, v)
	return rawjson.AppendString(dst, view(text)), err
}

// AppendNamed appends a value as a field of an event behind its name, as JSON
// writes both: nothing for what is nil or "".
func (m *Machine) AppendNamed(dst []byte, name string, v Value) ([]byte, error) {
	if v.Nothing() {
		return dst, nil
	}
	if v.kind == textKind && v.safe {
		at := len(dst)
		size := len(name) + len(v.text) + 2
		dst = slices.Grow(dst, size)[:at+size]
		at += copy(dst[at:], name)
		dst[at] = '"'
		copy(dst[at+1:], v.text)
		dst[len(dst)-1] = '"'
		return dst, nil
	}
	before := len(dst)
	dst, err := m.appendScalar(append(dst, name...), v)
	if err != nil {
		dst = dst[:before]
	}
	return dst, err
}

// AppendField appends a field of the record likewise.
func (m *Machine) AppendField(dst []byte, name string, i int) []byte {
	dst, _ = m.AppendNamed(dst, name, m.field(i)) // a scalar, of which each can be written
	return dst
}

// IsOneLine says that a value is a text that JSON writes as it stands, without
// any control character.
func (v Value) IsOneLine() bool {
	return v.safe && v.kind == textKind && strings.IndexByte(v.text, 0x7f) < 0 && strings.IndexByte(v.text, 0xc2) < 0
}
