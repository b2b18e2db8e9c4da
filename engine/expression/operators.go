package expression

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
	"unsafe"
)

// equal says whether a == b: nil equals nil only, numbers by value, and values
// of different types never.
func (m *Machine) equal(a, b Value) bool {
	switch a.kind {
	case textKind:
		return b.IsText(a.text)
	case nilKind, boolKind, durationKind:
		return a.kind == b.kind && a.bits == b.bits
	case timeKind:
		return b.kind == timeKind && m.times[a.bits].Equal(m.times[b.bits])
	case listKind:
		return b.kind == listKind && slices.EqualFunc(m.elements(a), m.elements(b), m.equal)
	case mapKind:
		return b.kind == mapKind && slices.EqualFunc(m.members(a), m.members(b), m.equal)
	}
	order, ok := m.compare(a, b)
	return ok && order == 0
}

// compare orders two values of one type; ok is false where they have none.
func (m *Machine) compare(a, b Value) (order int, ok bool) {
	switch a.kind {
	case textKind:
		return strings.Compare(a.text, b.text), b.kind == textKind
	case durationKind:
		return cmp.Compare(a.bits, b.bits), b.kind == durationKind
	case timeKind:
		if b.kind != timeKind {
			return 0, false
		}
		return m.times[a.bits].Compare(m.times[b.bits]), true
	case numberKind, intKind, floatKind:
	default:
		return 0, false
	}
	i, whole := a.whole()
	j, wholeToo := b.whole()
	if whole && wholeToo {
		return cmp.Compare(i, j), true
	}
	if a.kind == numberKind && b.kind == numberKind && a.text == b.text {
		return 0, true // beyond what a float64 can tell apart
	}
	f, _ := a.number()
	g, ok := b.number()
	if !ok || math.IsNaN(f) || math.IsNaN(g) {
		return 0, false
	}
	return cmp.Compare(f, g), true
}

// texts compares two texts; for what is no text the answer is false.
func (m *Machine) texts(a, b Value, holds func(s, t string) bool) bool {
	s, _, ok := m.text(a)
	if !ok {
		return false
	}
	t, _, ok := m.text(b)
	return ok && holds(s, t)
}

// in says whether v is in a list or is a key of a map; of anything else it is
// not.
func (m *Machine) in(v, of Value) bool {
	switch of.kind {
	case listKind:
		return slices.ContainsFunc(m.elements(of), func(element Value) bool { return m.equal(v, element) })
	case mapKind:
		name, _, ok := m.text(v)
		return ok && m.find(of, name) >= 0
	}
	return false
}

// find is where the value of a member stands among the elements of a map, -1
// if it has none.
func (m *Machine) find(of Value, name string) int {
	list := m.elements(of)
	for i := len(list) - 2; i >= 0; i -= 2 {
		if list[i].text == name {
			return i + 1
		}
	}
	return -1
}

// member is v[key]: a member of a map, an element of a list (from its end when
// negative), a character of a text. What is not there is nil.
func (m *Machine) member(v, key Value) Value {
	switch v.kind {
	case mapKind:
		if name, _, ok := m.text(key); ok {
			if i := m.find(v, name); i >= 0 {
				return m.elements(v)[i]
			}
		}
	case listKind:
		list := m.elements(v)
		if i, ok := index(key, len(list)); ok {
			return list[i]
		}
	case textKind:
		if i, ok := index(key, utf8.RuneCountInString(v.text)); ok {
			return Value{kind: textKind, text: runes(v.text, i, i+1), safe: v.safe}
		}
	}
	return Value{}
}

// index is key as an index into length elements.
func index(key Value, length int) (int, bool) {
	i, ok := key.count()
	if !ok {
		return 0, false
	}
	if i < 0 {
		i += length
	}
	return i, i >= 0 && i < length
}

// runes are the characters [from, to) of s, which must be within it.
func runes(s string, from, to int) string {
	start, n := len(s), 0
	for i := range s {
		if n == from {
			start = i
		}
		if n == to {
			return s[start:i]
		}
		n++
	}
	return s[start:]
}

// unbounded stands for a bound of [from:to] that is not written: nil is one
// that is unknown.
var unbounded = Value{kind: boolKind, bits: -1}

// slice is v[from:to] of a list or of the characters of a text, bounds cut to
// what is there; a negative bound counts from the end.
func (m *Machine) slice(v, from, to Value) (Value, error) {
	var length int
	switch v.kind {
	case nilKind:
		return v, nil
	case textKind:
		length = utf8.RuneCountInString(v.text)
	case listKind:
		length = len(m.elements(v))
	default:
		return Value{}, fmt.Errorf("a %s has no [from:to]", v.name())
	}
	bound := func(v Value, missing int) (int, bool) {
		if v == unbounded {
			return missing, true
		}
		f, ok := v.number()
		i := int(max(min(f, 1<<53), -(1 << 53)))
		if i < 0 {
			i += length
		}
		return min(max(i, 0), length), ok
	}
	a, ok := bound(from, 0)
	b, okToo := bound(to, length)
	if !ok || !okToo {
		if from.kind == nilKind || to.kind == nilKind {
			return Value{}, nil
		}
		return Value{}, errors.New("[from:to] needs numbers")
	}
	a = min(a, b)
	if v.kind == textKind {
		return Value{kind: textKind, text: runes(v.text, a, b), safe: v.safe}, nil
	}
	first, _ := v.span()
	return spanOf(listKind, first+a, first+b), nil
}

// add is a + b: nil when a side is nil, text with a text on either side, and
// the sum of numbers.
func (m *Machine) add(a, b Value) (Value, error) {
	if a.kind == nilKind || b.kind == nilKind {
		return Value{}, nil
	}
	if a.kind == textKind || b.kind == textKind {
		return m.concat(a, b)
	}
	switch {
	case a.kind == durationKind && b.kind == durationKind:
		return Value{kind: durationKind, bits: a.bits + b.bits}, nil
	case a.kind == timeKind && b.kind == durationKind:
		return m.time(m.times[a.bits].Add(time.Duration(b.bits))), nil
	case a.kind == durationKind && b.kind == timeKind:
		return m.time(m.times[b.bits].Add(time.Duration(a.bits))), nil
	}
	return m.arithmetic("+", a, b)
}

// concat joins two texts. Where the first was built last, as in a + b + c, the
// second is appended to it.
func (m *Machine) concat(a, b Value) (Value, error) {
	x, safe, ok := m.text(a)
	if !ok {
		return Value{}, fmt.Errorf("a %s and a %s cannot be added", a.name(), b.name())
	}
	start := len(m.arena) - len(x)
	if len(x) == 0 || start < m.run.arena || unsafe.StringData(x) != unsafe.SliceData(m.arena[start:]) {
		if start = len(m.arena); !m.room(len(x)) {
			return Value{}, errTooLong
		}
		m.arena = append(m.arena, x...)
	}
	safeToo, ok := m.write(b)
	if !ok {
		return Value{}, fmt.Errorf("a %s and a %s cannot be added", a.name(), b.name())
	}
	return m.built(start, safe && safeToo)
}

// arithmetic computes with two numbers; nil with anything is nil.
func (m *Machine) arithmetic(operator string, a, b Value) (Value, error) {
	if a.kind == nilKind || b.kind == nilKind {
		return Value{}, nil
	}
	if operator == "-" {
		switch {
		case a.kind == timeKind && b.kind == timeKind:
			return Value{kind: durationKind, bits: int64(m.times[a.bits].Sub(m.times[b.bits]))}, nil
		case a.kind == timeKind && b.kind == durationKind:
			return m.time(m.times[a.bits].Add(-time.Duration(b.bits))), nil
		case a.kind == durationKind && b.kind == durationKind:
			return Value{kind: durationKind, bits: a.bits - b.bits}, nil
		}
	}
	f, ok := a.number()
	g, okToo := b.number()
	if !ok || !okToo {
		return Value{}, fmt.Errorf("%s needs two numbers, not a %s and a %s", operator, a.name(), b.name())
	}
	i, whole := a.whole()
	j, wholeToo := b.whole()
	whole = whole && wholeToo
	var result float64
	switch operator {
	case "+":
		if sum := i + j; whole && (sum > i) == (j > 0) {
			return Value{kind: intKind, bits: sum}, nil
		}
		result = f + g
	case "-":
		if difference := i - j; whole && (difference < i) == (j > 0) {
			return Value{kind: intKind, bits: difference}, nil
		}
		result = f - g
	case "*":
		if whole && (i == 0 || j == 0) {
			return integer(0), nil
		}
		if p := i * j; whole && p/j == i && !(i == math.MinInt64 && j == -1) && !(j == math.MinInt64 && i == -1) {
			return Value{kind: intKind, bits: p}, nil
		}
		result = f * g
	case "/":
		if g == 0 {
			return Value{}, errors.New("division by zero")
		}
		result = f / g
	case "%":
		switch {
		case !whole:
			return Value{}, errors.New("% needs whole numbers")
		case j == 0:
			return Value{}, errors.New("division by zero")
		case j == -1:
			return integer(0), nil
		}
		return Value{kind: intKind, bits: i % j}, nil
	default: // ** and ^
		result = math.Pow(f, g)
	}
	if math.IsNaN(result) || math.IsInf(result, 0) {
		return Value{}, fmt.Errorf("the result of %s is not a number", operator)
	}
	return float(result), nil
}

func negate(v Value) (Value, error) {
	if i, ok := v.whole(); ok && i != math.MinInt64 {
		return Value{kind: intKind, bits: -i}, nil
	}
	switch v.kind {
	case nilKind:
		return v, nil
	case durationKind:
		return Value{kind: durationKind, bits: -v.bits}, nil
	case numberKind:
		if positive, negative := strings.CutPrefix(v.text, "-"); negative {
			return Value{kind: numberKind, text: positive}, nil
		}
		return Value{kind: numberKind, text: "-" + v.text}, nil
	}
	f, ok := v.number()
	if !ok {
		return Value{}, fmt.Errorf("- needs a number, not a %s", v.name())
	}
	return float(-f), nil
}

// count is a..b, both included.
func (m *Machine) count(a, b Value) (Value, error) {
	if a.kind == nilKind || b.kind == nilKind {
		return Value{}, nil
	}
	i, ok := a.whole()
	j, okToo := b.whole()
	if !ok || !okToo {
		return Value{}, errors.New(".. needs two whole numbers")
	}
	if j >= i && uint64(j)-uint64(i) >= MaxSteps {
		return Value{}, fmt.Errorf(".. of more than %d numbers", MaxSteps)
	}
	start := len(m.stack)
	for ; i <= j; i++ {
		m.stack = append(m.stack, Value{kind: intKind, bits: i})
		if i == math.MaxInt64 {
			break
		}
	}
	return m.gathered(listKind, start), nil
}

// key is a value as the name of a member.
func (m *Machine) key(v Value) Value {
	s, safe, _ := m.text(v)
	return Value{kind: textKind, text: s, safe: safe}
}
