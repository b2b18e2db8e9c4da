package expression

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"github.com/secure60/s60-m365-connector/engine/rawjson"
)

// Value is what an expression gives. It is passed in registers and owns
// nothing: its text and elements lie in the record, in the machine, in the unit
// or on the heap, and hold until the machine's next record.
type Value struct {
	text string
	bits int64 // of a bool, an integer, a float, a duration; where the rest lies in the machine
	kind kind
	safe bool // text that JSON writes as it stands
}

type kind uint8

const (
	nilKind      kind = iota
	boolKind          // bits: 0 or 1
	textKind          // text
	numberKind        // text: the digits, as JSON writes them
	intKind           // bits
	floatKind         // bits: math.Float64bits
	durationKind      // bits: nanoseconds
	timeKind          // bits: an index into Machine.times
	listKind          // bits: a span of Machine.values
	mapKind           // bits: a span of Machine.values that holds name, value, name, value, …

	// Fields of a record that nothing has read yet.
	escapedKind // text: the inside of a JSON string, escapes and all
	spacedKind  // text: JSON with white space between its tokens
)

func boolean(b bool) Value {
	if b {
		return Value{kind: boolKind, bits: 1}
	}
	return Value{kind: boolKind}
}

func integer(i int) Value { return Value{kind: intKind, bits: int64(i)} }

func float(f float64) Value { return Value{kind: floatKind, bits: int64(math.Float64bits(f))} }

func text(s string) Value { return Value{kind: textKind, text: s} }

func spanOf(kind kind, from, to int) Value {
	return Value{kind: kind, bits: int64(from)<<32 | int64(to)}
}

func (v Value) span() (from, to int) { return int(v.bits >> 32), int(v.bits & (1<<32 - 1)) }

// Nothing says that a value is nil or "".
func (v Value) Nothing() bool { return v.kind == nilKind || v.kind == textKind && v.text == "" }

// Same says that two values are written alike.
func (v Value) Same(w Value) bool { return v.kind == w.kind && v.bits == w.bits && v.text == w.text }

// On is a value with its text moved to where a copy of it is.
func (v Value) On(text []byte) Value {
	v.text = view(text)
	return v
}

// Raw is the text of a value; ok is false of lists, maps and times, which lie elsewhere.
func (v Value) Raw() (text string, ok bool) {
	return v.text, v.kind != listKind && v.kind != mapKind && v.kind != timeKind
}

// IsText says that a value is this text.
func (v Value) IsText(s string) bool { return v.kind == textKind && v.text == s }

// Constant is the value of a string, a bool, an int, a float64 or nil, which
// holds for ever.
func Constant(v any) Value {
	switch v := v.(type) {
	case bool:
		return boolean(v)
	case string:
		return Value{kind: textKind, text: v, safe: rawjson.IsPlain(v)}
	case int:
		return integer(v)
	case float64:
		return float(v)
	case Number:
		return Value{kind: numberKind, text: string(v)}
	}
	return Value{}
}

// name is what a value is, for a person.
func (v Value) name() string {
	return [...]string{"nil", "bool", "text", "number", "number", "number", "duration", "time", "list", "map", "text", "text"}[v.kind]
}

// view is b as a string, without a copy. It holds as long as b is not written.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// Number is the text of a JSON number that neither an int nor a float64 gives
// back digit for digit: a 64-bit identifier, 1.50, 1e400.
type Number string

// parseInt parses an integer that is written as JSON writes it.
func parseInt(text string) (int64, bool) {
	digits := text
	if digits != "" && digits[0] == '-' {
		digits = digits[1:]
	}
	if digits == "" || len(digits) > 19 || digits[0] == '0' && len(text) > 1 {
		return 0, false
	}
	if len(digits) == 19 {
		i, err := strconv.ParseInt(text, 10, 64)
		return i, err == nil
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

// whole is a value that is written as a whole number of 64 bits.
func (v Value) whole() (i int64, ok bool) {
	switch v.kind {
	case intKind:
		return v.bits, true
	case numberKind:
		return parseInt(v.text)
	}
	return 0, false
}

// number is a value as a floating-point number.
func (v Value) number() (f float64, ok bool) {
	switch v.kind {
	case intKind:
		return float64(v.bits), true
	case floatKind:
		return math.Float64frombits(uint64(v.bits)), true
	case numberKind:
		f, err := strconv.ParseFloat(v.text, 64)
		return f, err == nil || math.IsInf(f, 0)
	}
	return 0, false
}

// count is a value that is a whole number, however it is written.
func (v Value) count() (int, bool) {
	if i, ok := v.whole(); ok {
		return int(i), true
	}
	f, ok := v.number()
	if !ok || f != math.Trunc(f) || math.Abs(f) >= 1<<53 {
		return 0, false
	}
	return int(f), true
}

// digits is the value of the text of a JSON number; the text is copied.
func digits(s string) Value {
	if i, ok := parseInt(s); ok {
		return Value{kind: intKind, bits: i}
	}
	return Value{kind: numberKind, text: strings.Clone(s)}
}

// appendFloat appends f as encoding/json writes it.
func appendFloat(dst []byte, f float64) []byte {
	format := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	dst = strconv.AppendFloat(dst, f, format, -1, 64)
	if n := len(dst); format == 'e' && n >= 4 && dst[n-4] == 'e' && (dst[n-3] == '-' || dst[n-3] == '+') && dst[n-2] == '0' {
		dst[n-2] = dst[n-1]
		dst = dst[:n-1]
	}
	return dst
}

// text is a value where text is asked for: a text itself, a number with all its
// digits, true or false, a time in RFC 3339. nil, lists and maps are no text.
func (m *Machine) text(v Value) (text string, safe, ok bool) {
	start := len(m.arena)
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
		m.arena = strconv.AppendInt(m.arena, v.bits, 10)
	case floatKind:
		m.arena = appendFloat(m.arena, math.Float64frombits(uint64(v.bits)))
	case timeKind:
		m.arena = m.times[v.bits].UTC().AppendFormat(m.arena, time.RFC3339Nano)
	case durationKind:
		m.arena = append(m.arena, time.Duration(v.bits).String()...)
	default:
		return "", false, false
	}
	return view(m.arena[start:]), true, true
}

// Text is the text that [Value] stands for where text is asked for.
func (m *Machine) Text(v Value) (string, bool) {
	text, _, ok := m.text(v)
	return text, ok
}

// Kept is a value that holds beyond the record; ok is false of lists, maps and
// times.
func (v Value) Kept() (kept Value, ok bool) {
	text, ok := v.Raw()
	if !ok {
		return Value{}, false
	}
	v.text = strings.Clone(text)
	return v, true
}

// elements are those of a list, or the names and values of a map.
func (m *Machine) elements(v Value) []Value {
	from, to := v.span()
	return m.values[from:to]
}

// members are the names and values of a map in the order of the names, each
// name once: the last of it counts.
func (m *Machine) members(v Value) []Value {
	list := m.elements(v)
	order := make([]int, 0, len(list)/2)
	for i := 0; i < len(list); i += 2 {
		order = append(order, i)
	}
	slices.SortStableFunc(order, func(i, j int) int { return strings.Compare(list[i].text, list[j].text) })
	out := make([]Value, 0, len(list))
	for _, i := range order {
		if n := len(out); n > 0 && out[n-2].text == list[i].text {
			out[n-1] = list[i+1]
		} else {
			out = append(out, list[i], list[i+1])
		}
	}
	return out
}

// keep makes a value of what a caller may hold.
func (m *Machine) keep(v any) Value {
	switch v := v.(type) {
	case nil, bool, string, int, float64, Number:
		return Constant(v)
	case json.Number:
		return Value{kind: numberKind, text: string(v)}
	case time.Time:
		return m.time(v)
	case time.Duration:
		return Value{kind: durationKind, bits: int64(v)}
	case []byte:
		return text(base64.StdEncoding.EncodeToString(v))
	case []any:
		start := len(m.stack)
		for _, element := range v {
			kept := m.keep(element)
			m.stack = append(m.stack, kept)
		}
		return m.gathered(listKind, start)
	case map[string]any:
		start := len(m.stack)
		for name, member := range v {
			kept := m.keep(member)
			m.stack = append(m.stack, text(name), kept)
		}
		return m.gathered(mapKind, start)
	}
	switch r := reflect.ValueOf(v); {
	case r.Kind() == reflect.Pointer && r.IsNil():
		return Value{}
	case r.CanInt():
		return Value{kind: intKind, bits: r.Int()}
	case r.CanUint():
		return digits(strconv.FormatUint(r.Uint(), 10))
	case r.CanFloat():
		return float(r.Float())
	case r.Kind() == reflect.String:
		return text(r.String())
	case r.Kind() == reflect.Bool:
		return boolean(r.Bool())
	case r.Kind() == reflect.Slice:
		list := make([]any, r.Len())
		for i := range list {
			list[i] = r.Index(i).Interface()
		}
		return m.keep(list)
	case r.Kind() == reflect.Map && r.Type().Key().Kind() == reflect.String:
		members := make(map[string]any, r.Len())
		for _, key := range r.MapKeys() {
			members[key.String()] = r.MapIndex(key).Interface()
		}
		return m.keep(members)
	}
	return text(fmt.Sprint(v))
}

// give is a value for a caller, which shares nothing with the machine: nil,
// bool, string, int, float64, Number, []any, map[string]any, time.Time or
// time.Duration.
func (m *Machine) give(v Value) any {
	switch v.kind {
	case boolKind:
		return v.bits != 0
	case textKind:
		return strings.Clone(v.text)
	case numberKind:
		if i, ok := parseInt(v.text); ok {
			return int(i)
		}
		var buf [32]byte
		if f, err := strconv.ParseFloat(v.text, 64); err == nil && string(appendFloat(buf[:0], f)) == v.text {
			return f
		}
		return Number(strings.Clone(v.text))
	case intKind:
		return int(v.bits)
	case floatKind:
		return math.Float64frombits(uint64(v.bits))
	case timeKind:
		return m.times[v.bits]
	case durationKind:
		return time.Duration(v.bits)
	case listKind:
		out := []any{}
		for _, element := range m.elements(v) {
			out = append(out, m.give(element))
		}
		return out
	case mapKind:
		out := make(map[string]any)
		list := m.elements(v)
		for i := 0; i < len(list); i += 2 {
			out[strings.Clone(list[i].text)] = m.give(list[i+1])
		}
		return out
	}
	return nil
}
