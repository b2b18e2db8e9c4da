package expression_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/secure60/s60-m365-connector/engine/expression"
)

// This file holds the reference's functions of texts and times.

func notText(v any) error { return fmt.Errorf("a %s is not text", kind(v)) }

// asTexts are the arguments as texts, all or an error.
func asTexts(args []any) (out [4]string, err error) {
	for i, v := range args {
		if i == len(out) {
			break
		}
		s, ok := Text(v)
		if !ok {
			return out, notText(v)
		}
		out[i] = s
	}
	return out, nil
}

func text1(f func(string) string) function {
	return function{1, 1, false, func(args []any) (any, error) {
		s, err := asTexts(args)
		if err != nil {
			return nil, err
		}
		return f(s[0]), nil
	}}
}

// optional1 is a function of a text that gives a text or nil; it is not
// defined for lists and maps, which give nil too.
func optional1(f func(dst []byte, s string) ([]byte, bool)) function {
	return function{1, 1, false, func(args []any) (any, error) {
		s, ok := Text(args[0])
		if !ok {
			return nil, nil
		}
		out, ok := f(nil, s)
		if !ok {
			return nil, nil
		}
		return string(out), nil
	}}
}

func trim(args []any) (any, error) {
	s, err := asTexts(args)
	if err != nil {
		return nil, err
	}
	if len(args) == 2 {
		return strings.Trim(s[0], s[1]), nil
	}
	return strings.TrimSpace(s[0]), nil
}

func cutter(f func(s, cut string) string) func([]any) (any, error) {
	return func(args []any) (any, error) {
		s, err := asTexts(args)
		if err != nil {
			return nil, err
		}
		if len(args) == 1 {
			s[1] = " "
		}
		return f(s[0], s[1]), nil
	}
}

func splitter(f func(s, separator string, n int) []string) func([]any) (any, error) {
	return func(args []any) (any, error) {
		s, err := asTexts(args[:2])
		if err != nil {
			return nil, err
		}
		n := -1
		if len(args) == 3 {
			if n, err = whole("the third argument", args[2]); err != nil {
				return nil, err
			}
		}
		return normal(f(s[0], s[1], n)), nil
	}
}

func replace(args []any) (any, error) {
	s, err := asTexts(args[:3])
	if err != nil {
		return nil, err
	}
	n := -1
	if len(args) == 4 {
		if n, err = whole("the fourth argument", args[3]); err != nil {
			return nil, err
		}
	}
	if grown := len(s[2]) - len(s[1]); grown > 0 && len(s[0])+strings.Count(s[0], s[1])*grown > MaxText {
		return nil, ErrTooLong
	}
	return strings.Replace(s[0], s[1], s[2], n), nil
}

func repeat(args []any) (any, error) {
	s, err := asTexts(args[:1])
	if err != nil {
		return nil, err
	}
	n, err := whole("the second argument", args[1])
	if err != nil {
		return nil, err
	}
	if n < 0 {
		return nil, errors.New("the second argument is negative")
	}
	if n > MaxText || len(s[0])*n > MaxText {
		return nil, ErrTooLong
	}
	return strings.Repeat(s[0], n), nil
}

// join joins what is there: elements that are nil are left out.
func join(args []any) (any, error) {
	list, ok := args[0].([]any)
	if !ok {
		return nil, notList(args[0])
	}
	separator := ""
	if len(args) == 2 {
		if separator, ok = Text(args[1]); !ok {
			return nil, notText(args[1])
		}
	}
	var b strings.Builder
	some := false
	for _, v := range list {
		if v = normal(v); v == nil {
			continue
		}
		s, ok := Text(v)
		if !ok {
			return nil, notText(v)
		}
		if some {
			b.WriteString(separator)
		}
		some = true
		if b.Len()+len(s) > MaxText {
			return nil, ErrTooLong
		}
		b.WriteString(s)
	}
	return b.String(), nil
}

// indexer counts in characters, as len and [from:to] do.
func indexer(f func(s, part string) int) func([]any) (any, error) {
	return func(args []any) (any, error) {
		s, err := asTexts(args)
		if err != nil {
			return nil, err
		}
		at := f(s[0], s[1])
		if at < 0 {
			return -1, nil
		}
		return utf8.RuneCountInString(s[0][:at]), nil
	}
}

func fromBase64(args []any) (any, error) {
	s, err := asTexts(args)
	if err != nil {
		return nil, err
	}
	out, err := base64.StdEncoding.DecodeString(s[0])
	if err != nil || !utf8.Valid(out) {
		return nil, nil
	}
	return string(out), nil
}

// words joins the arguments that say something with one space.
func words(args []any) (any, error) {
	var b strings.Builder
	for _, v := range args {
		if v == nil {
			continue
		}
		s, ok := Text(v)
		if !ok {
			return nil, notText(v)
		}
		if s == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		if b.Len()+len(s) > MaxText {
			return nil, ErrTooLong
		}
		b.WriteString(s)
	}
	return b.String(), nil
}

func port(args []any) (any, error) {
	s, ok := Text(args[0])
	if !ok {
		return nil, nil
	}
	if n, ok := expression.Port(s); ok {
		return n, nil
	}
	return nil, nil
}

func timeOf(args []any) (any, error) {
	s, ok := Text(args[0])
	if !ok {
		return nil, nil
	}
	out, ok := expression.AppendTime(nil, s)
	if !ok {
		return nil, nil
	}
	return string(out), nil
}

func fromJSON(args []any) (any, error) {
	s, ok := args[0].(string)
	if !ok {
		return args[0], nil // decoded already
	}
	v, ok := DecodeJSON(s)
	if !ok {
		return nil, nil
	}
	return v, nil
}

// toText is string(x): a list or a map becomes its compact JSON.
func toText(args []any) (any, error) {
	if s, ok := Text(args[0]); ok {
		return s, nil
	}
	return JSON(args[0])
}

// date is a time to compute with, where time(x) gives one as text. With a
// second argument it reads a Go time layout.
func date(args []any) (any, error) {
	if t, ok := args[0].(time.Time); ok {
		return t, nil
	}
	s, err := asTexts(args)
	if err != nil {
		return nil, err
	}
	layout := time.RFC3339Nano
	if len(args) == 2 {
		layout = s[1]
	} else if out, ok := expression.AppendTime(nil, s[0]); ok {
		s[0] = string(out)
	}
	t, err := time.Parse(layout, s[0])
	if err != nil {
		return nil, nil
	}
	return t.UTC(), nil
}

func duration(args []any) (any, error) {
	if d, ok := args[0].(time.Duration); ok {
		return d, nil
	}
	s, err := asTexts(args)
	if err != nil {
		return nil, err
	}
	d, err := time.ParseDuration(s[0])
	if err != nil {
		return nil, nil
	}
	return d, nil
}
