package expression_test

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"
)

// This file holds the reference's functions of lists, maps and numbers.

// length counts characters of a text, elements of a list, members of a map.
func length(args []any) (any, error) {
	switch v := args[0].(type) {
	case []any:
		return len(v), nil
	case map[string]any:
		return len(v), nil
	}
	s, ok := Text(args[0])
	if !ok {
		return nil, notText(args[0])
	}
	return utf8.RuneCountInString(s), nil
}

func take(args []any) (any, error) {
	list, ok := args[0].([]any)
	if !ok {
		return nil, notList(args[0])
	}
	n, err := whole("the second argument", args[1])
	if err != nil {
		return nil, err
	}
	return list[:min(max(n, 0), len(list))], nil
}

// names are the keys of a map in order, so that a result is the same on every
// run.
func names(m map[string]any) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}

func keys(args []any) (any, error) {
	m, ok := args[0].(map[string]any)
	if !ok {
		return nil, notMap(args[0])
	}
	return normal(names(m)), nil
}

func values(args []any) (any, error) {
	m, ok := args[0].(map[string]any)
	if !ok {
		return nil, notMap(args[0])
	}
	out := make([]any, 0, len(m))
	for _, name := range names(m) {
		out = append(out, m[name])
	}
	return out, nil
}

func toPairs(args []any) (any, error) {
	m, ok := args[0].(map[string]any)
	if !ok {
		return nil, notMap(args[0])
	}
	out := make([]any, 0, len(m))
	for _, name := range names(m) {
		out = append(out, []any{name, m[name]})
	}
	return out, nil
}

func fromPairs(args []any) (any, error) {
	list, ok := args[0].([]any)
	if !ok {
		return nil, notList(args[0])
	}
	m := make(map[string]any, len(list))
	for _, v := range list {
		pair, ok := normal(v).([]any)
		if !ok || len(pair) != 2 {
			return nil, errors.New("every element must be a pair [name, value]")
		}
		name, ok := Text(pair[0])
		if !ok {
			return nil, notText(pair[0])
		}
		m[name] = pair[1]
	}
	return m, nil
}

func reverse(args []any) (any, error) {
	list, ok := args[0].([]any)
	if !ok {
		return nil, notList(args[0])
	}
	out := slices.Clone(list)
	slices.Reverse(out)
	return out, nil
}

func uniq(args []any) (any, error) {
	list, ok := args[0].([]any)
	if !ok {
		return nil, notList(args[0])
	}
	out := make([]any, 0, len(list))
	texts := make(map[string]bool)
	for _, v := range list {
		if s, ok := v.(string); ok {
			if texts[s] {
				continue
			}
			texts[s] = true
		} else if In(v, out) {
			continue
		}
		out = append(out, v)
	}
	return out, nil
}

// concat joins lists; a nil adds nothing and any other value itself.
func concat(args []any) (any, error) {
	out := []any{}
	for _, v := range args {
		switch v := v.(type) {
		case nil:
		case []any:
			out = append(out, v...)
		default:
			out = append(out, v)
		}
	}
	return out, nil
}

func flatten(args []any) (any, error) {
	list, ok := args[0].([]any)
	if !ok {
		return nil, notList(args[0])
	}
	out := []any{}
	for _, v := range list {
		if inner, ok := normal(v).([]any); ok {
			flat, err := flatten([]any{inner})
			if err != nil {
				return nil, err
			}
			out = append(out, flat.([]any)...)
		} else {
			out = append(out, v)
		}
	}
	return out, nil
}

func sortList(args []any) (any, error) {
	list, ok := args[0].([]any)
	if !ok {
		return nil, notList(args[0])
	}
	sign := 1
	if len(args) == 2 {
		switch args[1] {
		case "asc":
		case "desc":
			sign = -1
		default:
			return nil, errors.New(`the order must be "asc" or "desc"`)
		}
	}
	out := slices.Clone(list)
	slices.SortStableFunc(out, func(a, b any) int {
		c, _ := Compare(a, b)
		return c * sign
	})
	return out, nil
}

// toInt is int(x): a number loses its fraction, a text is read as a number
// first; what is no number is nil. A whole number that no int holds stays as
// it is.
func toInt(args []any) (any, error) {
	v := args[0]
	if s, ok := v.(string); ok {
		if v = parseText(s); v == nil {
			return nil, nil
		}
	}
	switch n := v.(type) {
	case int:
		return n, nil
	case float64, Number:
		_, f, _, ok := number(n)
		switch {
		case !ok || math.IsNaN(f) || math.IsInf(f, 0):
			return nil, nil
		case math.Abs(f) < 1<<63:
			return int(f), nil
		}
		if n, ok := n.(Number); ok && strings.Trim(string(n), "-0123456789") == "" {
			return n, nil
		}
	}
	return nil, nil
}

// toFloat is float(x): a number as a floating-point one, a text read as a
// number first; what is no number is nil.
func toFloat(args []any) (any, error) {
	v := args[0]
	if s, ok := v.(string); ok {
		v = parseText(s)
	}
	_, f, _, ok := number(v)
	if !ok || math.IsNaN(f) || math.IsInf(f, 0) {
		return nil, nil
	}
	return f, nil
}

// parseText reads a number out of a text that holds nothing else.
func parseText(s string) any {
	s = strings.TrimSpace(s)
	if i, err := strconv.ParseInt(s, 10, 64); err == nil {
		return int(i)
	}
	if s == "" || strings.Trim(s, "+-.0123456789eE") != "" { // no Inf, NaN, hexadecimal, underscores
		return nil
	}
	if strings.Trim(s, "0123456789") == "" {
		return Number(strings.TrimLeft(s, "0"))
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return nil
	}
	return f
}

func typeOf(v any) string {
	switch v := normal(v).(type) {
	case string:
		return "string"
	case int:
		return "int"
	case float64, Number:
		return "float"
	case []any:
		return "array"
	default:
		return kind(v)
	}
}

func whole(what string, v any) (int, error) {
	if i, f, isWhole, ok := number(v); ok {
		if isWhole {
			return i, nil
		}
		if f == math.Trunc(f) && math.Abs(f) < 1<<53 {
			return int(f), nil
		}
	}
	return 0, fmt.Errorf("%s must be a whole number, not a %s", what, kind(v))
}

func notNumber(v any) error { return fmt.Errorf("a %s is not a number", kind(v)) }

func abs(args []any) (any, error) {
	i, f, isWhole, ok := number(args[0])
	switch {
	case !ok:
		return nil, notNumber(args[0])
	case isWhole && i >= 0:
		return i, nil
	case isWhole && i != math.MinInt:
		return -i, nil
	}
	return math.Abs(f), nil
}

func rounding(f func(float64) float64) function {
	return function{1, 1, false, func(args []any) (any, error) {
		i, x, isWhole, ok := number(args[0])
		switch {
		case !ok:
			return nil, notNumber(args[0])
		case isWhole:
			return i, nil
		}
		return f(x), nil
	}}
}

func bits(f func(x, y int) int) function {
	return function{2, 2, false, func(args []any) (any, error) {
		x, err := whole("the first argument", args[0])
		if err != nil {
			return nil, err
		}
		y, err := whole("the second argument", args[1])
		if err != nil {
			return nil, err
		}
		return f(x, y), nil
	}}
}

// spread are the numbers among the arguments and in the lists among them;
// nil is passed over.
func spread(args []any) ([]any, error) {
	var out []any
	for _, v := range args {
		if list, ok := v.([]any); ok {
			inner, err := spread(normals(list))
			if err != nil {
				return nil, err
			}
			out = append(out, inner...)
			continue
		}
		if v == nil {
			continue
		}
		if _, _, _, ok := number(v); !ok {
			return nil, notNumber(v)
		}
		out = append(out, v)
	}
	return out, nil
}

func normals(list []any) []any {
	out := make([]any, len(list))
	for i, v := range list {
		out[i] = normal(v)
	}
	return out
}

func extreme(sign int) func([]any) (any, error) {
	return func(args []any) (any, error) {
		list, err := spread(args)
		if err != nil || len(list) == 0 {
			return nil, err
		}
		best := list[0]
		for _, v := range list[1:] {
			if c, ok := compareNumbers(v, best); ok && c*sign > 0 {
				best = v
			}
		}
		return best, nil
	}
}

func floats(args []any) ([]float64, error) {
	list, err := spread(args)
	out := make([]float64, len(list))
	for i, v := range list {
		_, out[i], _, _ = number(v)
	}
	return out, err
}

func mean(args []any) (any, error) {
	list, err := floats(args)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	var sum float64
	for _, f := range list {
		sum += f
	}
	return sum / float64(len(list)), nil
}

func median(args []any) (any, error) {
	list, err := floats(args)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	sort.Float64s(list)
	middle := len(list) / 2
	if len(list)%2 == 1 {
		return list[middle], nil
	}
	return (list[middle-1] + list[middle]) / 2, nil
}
