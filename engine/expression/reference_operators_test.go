package expression_test

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/secure60/s60-m365-connector/engine/expression"
)

// This file holds the reference's operators.

// Equal says whether a == b: nil equals nil only, numbers by value, and
// values of different types never.
func Equal(a, b any) bool {
	a, b = normal(a), normal(b)
	switch x := a.(type) {
	case nil:
		return b == nil
	case bool:
		y, ok := b.(bool)
		return ok && x == y
	case string:
		y, ok := b.(string)
		return ok && x == y
	case int, float64, Number:
		c, ok := compareNumbers(a, b)
		return ok && c == 0
	case []any:
		y, ok := b.([]any)
		if !ok || len(x) != len(y) {
			return false
		}
		for i := range x {
			if !Equal(x[i], y[i]) {
				return false
			}
		}
		return true
	case map[string]any:
		y, ok := b.(map[string]any)
		if !ok || len(x) != len(y) {
			return false
		}
		for k, v := range x {
			if w, ok := y[k]; !ok || !Equal(v, w) {
				return false
			}
		}
		return true
	case time.Time:
		y, ok := b.(time.Time)
		return ok && x.Equal(y)
	case time.Duration:
		y, ok := b.(time.Duration)
		return ok && x == y
	}
	return false
}

// Compare orders two values of one type; ok is false where they have none.
func Compare(a, b any) (c int, ok bool) {
	a, b = normal(a), normal(b)
	switch x := a.(type) {
	case string:
		y, ok := b.(string)
		return strings.Compare(x, y), ok
	case int, float64, Number:
		return compareNumbers(a, b)
	case time.Time:
		y, ok := b.(time.Time)
		return x.Compare(y), ok
	case time.Duration:
		y, ok := b.(time.Duration)
		return cmp.Compare(x, y), ok
	}
	return 0, false
}

func compareNumbers(a, b any) (int, bool) {
	i, f, whole, ok := number(a)
	j, g, wholeToo, okToo := number(b)
	if !ok || !okToo {
		return 0, false
	}
	if whole && wholeToo {
		return cmp.Compare(i, j), true
	}
	if n, isNumber := a.(Number); isNumber {
		if m, both := b.(Number); both && n == m {
			return 0, true // beyond what a float64 can tell apart
		}
	}
	if math.IsNaN(f) || math.IsNaN(g) {
		return 0, false
	}
	return cmp.Compare(f, g), true
}

// truth is a value as a condition: nil is false.
func truth(v any) (bool, error) {
	switch v := v.(type) {
	case bool:
		return v, nil
	case nil:
		return false, nil
	}
	return false, fmt.Errorf("a %s is neither true nor false", kind(v))
}

// Add is a + b: nil when a side is nil, text with a text on either side, and
// the sum of numbers.
func Add(a, b any) (any, error) {
	a, b = normal(a), normal(b)
	if a == nil || b == nil {
		return nil, nil
	}
	_, textA := a.(string)
	_, textB := b.(string)
	if textA || textB {
		x, okX := Text(a)
		y, okY := Text(b)
		if !okX || !okY {
			return nil, fmt.Errorf("a %s and a %s cannot be added", kind(a), kind(b))
		}
		if len(x)+len(y) > MaxText {
			return nil, ErrTooLong
		}
		return x + y, nil
	}
	switch x := a.(type) {
	case time.Time:
		if d, ok := b.(time.Duration); ok {
			return x.Add(d), nil
		}
	case time.Duration:
		switch y := b.(type) {
		case time.Time:
			return y.Add(x), nil
		case time.Duration:
			return x + y, nil
		}
	}
	return arithmetic("+", a, b)
}

// arithmetic computes with two numbers; nil with anything is nil.
func arithmetic(operator string, a, b any) (any, error) {
	a, b = normal(a), normal(b)
	if a == nil || b == nil {
		return nil, nil
	}
	if operator == "-" {
		switch x := a.(type) {
		case time.Time:
			switch y := b.(type) {
			case time.Time:
				return x.Sub(y), nil
			case time.Duration:
				return x.Add(-y), nil
			}
		case time.Duration:
			if y, ok := b.(time.Duration); ok {
				return x - y, nil
			}
		}
	}
	i, f, whole, ok := number(a)
	j, g, wholeToo, okToo := number(b)
	if !ok || !okToo {
		return nil, fmt.Errorf("%s needs two numbers, not a %s and a %s", operator, kind(a), kind(b))
	}
	whole = whole && wholeToo
	var result float64
	switch operator {
	case "+":
		if sum := i + j; whole && (sum > i) == (j > 0) {
			return sum, nil
		}
		result = f + g
	case "-":
		if difference := i - j; whole && (difference < i) == (j > 0) {
			return difference, nil
		}
		result = f - g
	case "*":
		if whole {
			if i == 0 || j == 0 {
				return 0, nil
			}
			if p := i * j; p/j == i && !(i == math.MinInt && j == -1) && !(j == math.MinInt && i == -1) {
				return p, nil
			}
		}
		result = f * g
	case "/":
		if g == 0 {
			return nil, errors.New("division by zero")
		}
		result = f / g
	case "%":
		if !whole {
			return nil, errors.New("% needs whole numbers")
		}
		if j == 0 {
			return nil, errors.New("division by zero")
		}
		if j == -1 {
			return 0, nil
		}
		return i % j, nil
	case "**", "^":
		result = math.Pow(f, g)
	}
	if math.IsNaN(result) || math.IsInf(result, 0) {
		return nil, fmt.Errorf("the result of %s is not a number", operator)
	}
	return result, nil
}

func negate(v any) (any, error) {
	if v == nil {
		return nil, nil
	}
	if d, ok := v.(time.Duration); ok {
		return -d, nil
	}
	if n, ok := v.(Number); ok {
		if strings.HasPrefix(string(n), "-") {
			return ParseNumber(string(n[1:])), nil
		}
		return ParseNumber("-" + string(n)), nil
	}
	i, f, whole, ok := number(v)
	switch {
	case !ok:
		return nil, fmt.Errorf("- needs a number, not a %s", kind(v))
	case whole && i != math.MinInt:
		return -i, nil
	}
	return -f, nil
}

// Contains reports whether the text a holds b. Numbers are taken as text;
// for anything else the answer is false.
func Contains(a, b any) bool { return texts(a, b, strings.Contains) }

// HasPrefix reports whether a begins with b, as [Contains] takes them.
func HasPrefix(a, b any) bool { return texts(a, b, strings.HasPrefix) }

// HasSuffix reports whether a ends with b, as [Contains] takes them.
func HasSuffix(a, b any) bool { return texts(a, b, strings.HasSuffix) }

func texts(a, b any, f func(s, t string) bool) bool {
	s, ok := Text(a)
	if !ok {
		return false
	}
	t, ok := Text(b)
	return ok && f(s, t)
}

func matches(a, pattern any) (bool, error) {
	s, ok := Text(a)
	if !ok {
		return false, nil
	}
	re, ok := pattern.(*regexp.Regexp)
	if !ok {
		text, ok := Text(pattern)
		if !ok {
			return false, nil
		}
		var err error
		if re, err = regexp.Compile(text); err != nil {
			return false, fmt.Errorf("matches: %w", err)
		}
	}
	return re.MatchString(s), nil
}

// Set is a constant list that `in` looks up instead of walking.
type Set struct {
	texts map[string]struct{}
	rest  []any
}

// NewSet makes a set of the values.
func NewSet(values []any) *Set {
	s := &Set{texts: make(map[string]struct{}, len(values))}
	for _, v := range values {
		if text, ok := v.(string); ok {
			s.texts[text] = struct{}{}
		} else {
			s.rest = append(s.rest, v)
		}
	}
	return s
}

// HasText says whether the text is in the set. It does not allocate.
func (s *Set) HasText(text string) bool {
	_, ok := s.texts[text]
	return ok
}

// Has says whether the value is in the set: nil only if the set lists nil.
func (s *Set) Has(v any) bool {
	if text, ok := v.(string); ok {
		return s.HasText(text)
	}
	for _, w := range s.rest {
		if Equal(v, w) {
			return true
		}
	}
	return false
}

// In says whether v is in a list or is a key of a map; of anything else it is
// not.
func In(v, of any) bool {
	v = normal(v)
	switch of := of.(type) {
	case *Set:
		return of.Has(v)
	case map[string]any:
		key, ok := Text(v)
		if ok {
			_, ok = of[key]
		}
		return ok
	}
	if list, ok := normal(of).([]any); ok {
		for _, w := range list {
			if Equal(v, w) {
				return true
			}
		}
		return false
	}
	if m, ok := normal(of).(map[string]any); ok {
		return In(v, m)
	}
	return false
}

// Member is v[key]: a member of a map, an element of a list (from its end
// when negative), a character of a text. What is not there is nil.
func Member(v, key any) any {
	v, key = normal(v), normal(key)
	switch of := v.(type) {
	case map[string]any:
		if name, ok := Text(key); ok {
			return of[name]
		}
	case []any:
		if i, ok := index(key, len(of)); ok {
			return of[i]
		}
	case string:
		if i, ok := index(key, utf8.RuneCountInString(of)); ok {
			return runes(of, i, i+1)
		}
	}
	return nil
}

// index is key as an index into length elements.
func index(key any, length int) (int, bool) {
	i, f, whole, ok := number(key)
	if ok && !whole && f == math.Trunc(f) && math.Abs(f) < 1<<53 {
		i, whole = int(f), true
	}
	if !whole {
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

// slice is v[from:to] of a list or of the characters of a text, bounds cut to
// what is there; a negative bound counts from the end.
func slice(v, from, to any) (any, error) {
	if v == nil {
		return nil, nil
	}
	var length int
	text, isText := v.(string)
	list, isList := v.([]any)
	switch {
	case isText:
		length = utf8.RuneCountInString(text)
	case isList:
		length = len(list)
	default:
		return nil, fmt.Errorf("a %s has no [from:to]", kind(v))
	}
	bound := func(v any, missing int) (int, bool) {
		if v == absent {
			return missing, true
		}
		i, f, whole, ok := number(v)
		if !ok {
			return 0, false
		}
		if !whole {
			i = int(max(min(f, 1<<53), -(1 << 53)))
		}
		if i < 0 {
			i += length
		}
		return min(max(i, 0), length), true
	}
	a, ok := bound(from, 0)
	b, okToo := bound(to, length)
	if !ok || !okToo {
		if from == nil || to == nil {
			return nil, nil
		}
		return nil, errors.New("[from:to] needs numbers")
	}
	if a > b {
		a = b
	}
	if isText {
		return runes(text, a, b), nil
	}
	return list[a:b], nil
}

// Absent stands for a bound of [from:to] that is not written: nil is one that
// is unknown.
var Absent any = absent

var absent any = new(struct{ _ int })

// span is a..b, both included.
func span(a, b any) (any, error) {
	if a == nil || b == nil {
		return nil, nil
	}
	i, _, whole, _ := number(a)
	j, _, wholeToo, _ := number(b)
	if !whole || !wholeToo {
		return nil, errors.New(".. needs two whole numbers")
	}
	if j < i {
		return []any{}, nil
	}
	if uint64(j)-uint64(i) >= expression.MaxSteps {
		return nil, fmt.Errorf(".. of more than %d numbers", expression.MaxSteps)
	}
	list := make([]any, 0, j-i+1)
	for n := i; n <= j; n++ {
		list = append(list, n)
	}
	return list, nil
}

// function is one function of the language. Its arguments arrive normal; unless
// takesNil, a nil among them makes the result nil without a call.
type function struct {
	min, max int // number of arguments; max -1: any
	takesNil bool
	call     func(args []any) (any, error)
}
