package expression

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode"
)

// function is one function of the language. Unless takesNil, a nil among its
// arguments makes the result nil without a call. What it builds lies in the
// machine; args are the machine's too.
type function struct {
	min, max int // number of arguments; max -1: any
	takesNil bool
	one      func(m *Machine, v Value) (Value, error) // with one argument
	call     func(m *Machine, args []Value) (Value, error)
}

const many = -1

// of1 is a function of one argument.
func of1(f func(m *Machine, v Value) (Value, error)) function { return function{1, 1, false, f, nil} }

// functions are all functions but those that take a predicate.
var functions map[string]function

func init() {
	functions = map[string]function{
		// text
		"lower":       of1(letters('A', 'Z', unicode.ToLower)),
		"upper":       of1(letters('a', 'z', unicode.ToUpper)),
		"trim":        {1, 2, false, trim, part("", strings.Trim)},
		"trimPrefix":  {1, 2, false, nil, part(" ", strings.TrimPrefix)},
		"trimSuffix":  {1, 2, false, nil, part(" ", strings.TrimSuffix)},
		"split":       {2, 3, false, nil, splitter(0)},
		"splitAfter":  {2, 3, false, nil, splitter(1)},
		"replace":     {3, 4, false, nil, replace},
		"repeat":      {2, 2, false, nil, repeat},
		"join":        {1, 2, false, nil, join},
		"indexOf":     {2, 2, false, nil, indexer(strings.Index)},
		"lastIndexOf": {2, 2, false, nil, indexer(strings.LastIndex)},
		"hasPrefix": {2, 2, false, nil, func(m *Machine, a []Value) (Value, error) {
			return boolean(m.texts(a[0], a[1], strings.HasPrefix)), nil
		}},
		"hasSuffix": {2, 2, false, nil, func(m *Machine, a []Value) (Value, error) {
			return boolean(m.texts(a[0], a[1], strings.HasSuffix)), nil
		}},
		"toBase64":   of1(toBase64),
		"fromBase64": of1(fromBase64),
		"words":      {0, many, true, nil, words},
		"kebab":      of1(optional(AppendKebab)),
		"domain":     of1(optional(AppendDomain)),
		"ip":         of1(optional(AppendIP)),
		"time":       of1(optional(AppendTime)),
		"port":       of1(port),
		"json":       of1(fromJSON),
		"fromJSON":   of1(fromJSON),

		// conversion
		"string": of1(toText),
		"toJSON": of1(toJSON),
		"int":    of1(toInt),
		"float":  of1(toFloat),
		"type":   {1, 1, true, nil, func(_ *Machine, a []Value) (Value, error) { return text(typeOf(a[0])), nil }},

		// numbers
		"abs":     of1(abs),
		"ceil":    of1(rounding(math.Ceil)),
		"floor":   of1(rounding(math.Floor)),
		"round":   of1(rounding(math.Round)),
		"max":     {1, many, true, nil, extreme(1)},
		"min":     {1, many, true, nil, extreme(-1)},
		"mean":    {1, many, true, nil, mean},
		"median":  {1, many, true, nil, median},
		"bitand":  bits(func(x, y int) int { return x & y }),
		"bitor":   bits(func(x, y int) int { return x | y }),
		"bitxor":  bits(func(x, y int) int { return x ^ y }),
		"bitnand": bits(func(x, y int) int { return x &^ y }),
		"bitshl":  bits(func(x, y int) int { return x << uint(y) }),
		"bitshr":  bits(func(x, y int) int { return x >> uint(y) }),
		"bitushr": bits(func(x, y int) int { return int(uint(x) >> uint(y)) }),
		"bitnot": of1(func(_ *Machine, v Value) (Value, error) {
			i, err := whole("bitnot", v)
			return integer(^i), err
		}),

		// lists and maps
		"len":       of1(length),
		"first":     of1(func(m *Machine, v Value) (Value, error) { return m.member(v, integer(0)), nil }),
		"last":      of1(func(m *Machine, v Value) (Value, error) { return m.member(v, integer(-1)), nil }),
		"get":       {2, 2, false, nil, func(m *Machine, a []Value) (Value, error) { return m.member(a[0], a[1]), nil }},
		"take":      {2, 2, false, nil, take},
		"keys":      of1(keys),
		"values":    of1(values),
		"toPairs":   of1(toPairs),
		"fromPairs": of1(fromPairs),
		"reverse":   of1(reverse),
		"uniq":      of1(uniq),
		"concat":    {1, many, true, nil, concat},
		"flatten":   of1(flatten),
		"sort":      {1, 2, false, nil, sortList},

		// time
		"now":      {0, 0, true, nil, func(m *Machine, _ []Value) (Value, error) { return m.time(time.Now().UTC()), nil }},
		"date":     {1, 2, false, nil, date},
		"duration": of1(duration),
	}
}

func notText(v Value) error   { return fmt.Errorf("a %s is not text", v.name()) }
func notList(v Value) error   { return fmt.Errorf("a %s is not a list", v.name()) }
func notMap(v Value) error    { return fmt.Errorf("a %s is not a map", v.name()) }
func notNumber(v Value) error { return fmt.Errorf("a %s is not a number", v.name()) }

// asText is an argument that must be text.
func (m *Machine) asText(v Value) (string, error) {
	s, _, ok := m.text(v)
	if !ok {
		return "", notText(v)
	}
	return s, nil
}

func whole(what string, v Value) (int, error) {
	i, ok := v.count()
	if !ok {
		return 0, fmt.Errorf("%s must be a whole number, not a %s", what, v.name())
	}
	return i, nil
}

func typeOf(v Value) string {
	switch v.kind {
	case textKind:
		return "string"
	case listKind:
		return "array"
	case intKind, floatKind, numberKind:
		if _, ok := v.whole(); ok {
			return "int"
		}
		return "float"
	}
	return v.name()
}

func toBase64(m *Machine, v Value) (Value, error) {
	s, err := m.asText(v)
	if err != nil || !m.room(base64.StdEncoding.EncodedLen(len(s))) {
		return Value{}, cmp.Or(err, errTooLong)
	}
	start := len(m.arena)
	m.arena = base64.StdEncoding.AppendEncode(m.arena, bytesOf(s))
	return m.built(start, true)
}
