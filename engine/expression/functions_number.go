package expression

import (
	"math"
	"slices"
	"strconv"
	"strings"
)

// This file holds the functions of numbers, and conversions to them.

// toInt is int(x): a number loses its fraction, a text is read as a number
// first; what is no number is nil. A whole number that no int holds stays as
// it is.
func toInt(_ *Machine, v Value) (Value, error) {
	if v.kind == textKind {
		v = parseText(v.text)
	}
	if i, ok := v.whole(); ok {
		return Value{kind: intKind, bits: i}, nil
	}
	f, ok := v.number()
	switch {
	case !ok || math.IsNaN(f) || math.IsInf(f, 0):
	case math.Abs(f) < 1<<63:
		return integer(int(f)), nil
	case v.kind == numberKind && strings.Trim(v.text, "-0123456789") == "":
		return v, nil
	}
	return Value{}, nil
}

// toFloat is float(x): a number as a floating-point one, a text read as a
// number first; what is no number is nil.
func toFloat(_ *Machine, v Value) (Value, error) {
	if v.kind == textKind {
		v = parseText(v.text)
	}
	f, ok := v.number()
	if !ok || math.IsNaN(f) || math.IsInf(f, 0) {
		return Value{}, nil
	}
	return float(f), nil
}

// parseText reads a number out of a text that holds nothing else.
func parseText(s string) Value {
	s = strings.TrimSpace(s)
	if i, ok := parseInt(s); ok {
		return Value{kind: intKind, bits: i}
	}
	if s == "" || strings.Trim(s, "+-.0123456789eE") != "" { // no Inf, NaN, hexadecimal, underscores
		return Value{}
	}
	if i, err := strconv.ParseInt(s, 10, 64); err == nil { // +7, 007
		return Value{kind: intKind, bits: i}
	}
	if strings.Trim(s, "0123456789") == "" {
		return Value{kind: numberKind, text: strings.TrimLeft(s, "0")}
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return Value{}
	}
	return float(f)
}

func abs(m *Machine, v Value) (Value, error) {
	f, ok := v.number()
	if !ok {
		return Value{}, notNumber(v)
	}
	if i, ok := v.whole(); ok && i >= 0 {
		return v, nil
	} else if ok {
		return negate(v)
	}
	return float(math.Abs(f)), nil
}

func rounding(f func(float64) float64) func(*Machine, Value) (Value, error) {
	return func(_ *Machine, v Value) (Value, error) {
		if _, ok := v.whole(); ok {
			return v, nil
		}
		x, ok := v.number()
		if !ok {
			return Value{}, notNumber(v)
		}
		return float(f(x)), nil
	}
}

func bits(f func(x, y int) int) function {
	return function{2, 2, false, nil, func(_ *Machine, args []Value) (Value, error) {
		x, err := whole("the first argument", args[0])
		if err != nil {
			return Value{}, err
		}
		y, err := whole("the second argument", args[1])
		if err != nil {
			return Value{}, err
		}
		return integer(f(x, y)), nil
	}}
}

// numbers are those among the values and in the lists among them; nil is passed
// over.
func (m *Machine) numbers(out, list []Value) ([]Value, error) {
	var err error
	for _, v := range list {
		if v.kind == listKind {
			if out, err = m.numbers(out, m.elements(v)); err != nil {
				return nil, err
			}
			continue
		}
		if v.kind == nilKind {
			continue
		}
		if _, ok := v.number(); !ok {
			return nil, notNumber(v)
		}
		out = append(out, v)
	}
	return out, nil
}

func extreme(sign int) func(*Machine, []Value) (Value, error) {
	return func(m *Machine, args []Value) (best Value, err error) {
		list, err := m.numbers(nil, args)
		if err != nil || len(list) == 0 {
			return Value{}, err
		}
		best = list[0]
		for _, v := range list[1:] {
			if c, ok := m.compare(v, best); ok && c*sign > 0 {
				best = v
			}
		}
		return best, nil
	}
}

func (m *Machine) floats(args []Value) ([]float64, error) {
	list, err := m.numbers(nil, args)
	out := make([]float64, len(list))
	for i, v := range list {
		out[i], _ = v.number()
	}
	return out, err
}

func mean(m *Machine, args []Value) (Value, error) {
	list, err := m.floats(args)
	if err != nil || len(list) == 0 {
		return Value{}, err
	}
	var sum float64
	for _, f := range list {
		sum += f
	}
	return float(sum / float64(len(list))), nil
}

func median(m *Machine, args []Value) (Value, error) {
	list, err := m.floats(args)
	if err != nil || len(list) == 0 {
		return Value{}, err
	}
	slices.Sort(list)
	middle := len(list) / 2
	if len(list)%2 == 1 {
		return float(list[middle]), nil
	}
	return float((list[middle-1] + list[middle]) / 2), nil
}
