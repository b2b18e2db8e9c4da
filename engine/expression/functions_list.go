package expression

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"unicode/utf8"
)

// This file holds the functions of lists and maps.

func notList(v any) error { return fmt.Errorf("a %s is not a list", kind(v)) }

func notMap(v any) error { return fmt.Errorf("a %s is not a map", kind(v)) }

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
