package expression

import (
	"encoding/base64"
	"errors"
	"strings"
	"time"
	"unicode/utf8"
)

// This file holds the functions of text and time.

// part is a function that gives a part of its first text, by its second or by
// one that is fixed.
func part(fixed string, f func(s, by string) string) func(m *Machine, args []Value) (Value, error) {
	return func(m *Machine, args []Value) (Value, error) {
		s, safe, ok := m.text(args[0])
		if !ok {
			return Value{}, notText(args[0])
		}
		by := fixed
		if len(args) == 2 {
			if by, _, ok = m.text(args[1]); !ok {
				return Value{}, notText(args[1])
			}
		}
		return Value{kind: textKind, text: f(s, by), safe: safe}, nil
	}
}

func trim(m *Machine, v Value) (Value, error) {
	s, safe, ok := m.text(v)
	if !ok {
		return Value{}, notText(v)
	}
	return Value{kind: textKind, text: strings.TrimSpace(s), safe: safe}, nil
}

// letters is lower or upper: from and to bound the ASCII letters that change.
func letters(from, to byte, change func(rune) rune) func(m *Machine, v Value) (Value, error) {
	return func(m *Machine, v Value) (Value, error) {
		s, safe, ok := m.text(v)
		if !ok {
			return Value{}, notText(v)
		}
		i := 0
		for i < len(s) && s[i] < utf8.RuneSelf && (s[i] < from || s[i] > to) {
			i++
		}
		if i == len(s) {
			return Value{kind: textKind, text: s, safe: safe}, nil
		}
		start := len(m.arena)
		m.arena = append(m.arena, s...)
		for ; i < len(s); i++ {
			c := s[i]
			if c >= utf8.RuneSelf {
				m.arena = m.arena[:start+i]
				for _, r := range s[i:] {
					m.arena = utf8.AppendRune(m.arena, change(r))
				}
				break
			}
			if c >= from && c <= to {
				m.arena[start+i] = c ^ 0x20
			}
		}
		return m.built(start, safe)
	}
}

// optional is a function of a text that gives a text or nil; lists and maps
// give nil too. What it gives holds no character that JSON would escape.
func optional(f func(dst []byte, s string) ([]byte, bool)) func(m *Machine, v Value) (Value, error) {
	return func(m *Machine, v Value) (Value, error) {
		s, _, ok := m.text(v)
		if !ok {
			return Value{}, nil
		}
		start := len(m.arena)
		if m.arena, ok = f(m.arena, s); !ok {
			m.arena = m.arena[:start]
			return Value{}, nil
		}
		return m.built(start, true)
	}
}

// splitter is split, or splitAfter: keep is 1 where a part keeps its separator.
func splitter(keep int) func(m *Machine, args []Value) (Value, error) {
	return func(m *Machine, args []Value) (Value, error) {
		s, safe, ok := m.text(args[0])
		if !ok {
			return Value{}, notText(args[0])
		}
		separator, err := m.asText(args[1])
		if err != nil {
			return Value{}, err
		}
		most := -1
		if len(args) == 3 {
			if most, err = whole("the third argument", args[2]); err != nil {
				return Value{}, err
			}
		}
		start := len(m.stack)
		for most != 0 && len(m.stack)-start <= MaxValues {
			at := strings.Index(s, separator)
			if separator == "" { // into characters
				if _, at = utf8.DecodeRuneInString(s); at == len(s) {
					at = -1
				}
				if s == "" {
					break
				}
			}
			if at < 0 || len(m.stack)-start == most-1 {
				m.stack = append(m.stack, Value{kind: textKind, text: s, safe: safe})
				break
			}
			m.stack = append(m.stack, Value{kind: textKind, text: s[:at+keep*len(separator)], safe: safe})
			s = s[at+len(separator):]
		}
		return m.gathered(listKind, start), nil
	}
}

// replace writes only where something is replaced.
func replace(m *Machine, args []Value) (Value, error) {
	s, safe, ok := m.text(args[0])
	if !ok {
		return Value{}, notText(args[0])
	}
	old, err := m.asText(args[1])
	if err != nil {
		return Value{}, err
	}
	by, safeToo, ok := m.text(args[2])
	if !ok {
		return Value{}, notText(args[2])
	}
	n := -1
	if len(args) == 4 {
		if n, err = whole("the fourth argument", args[3]); err != nil {
			return Value{}, err
		}
	}
	found := strings.Count(s, old)
	if n >= 0 {
		found = min(found, n)
	}
	if found == 0 {
		return Value{kind: textKind, text: s, safe: safe}, nil
	}
	if !m.room(len(s) + found*(len(by)-len(old))) {
		return Value{}, errTooLong
	}
	start := len(m.arena)
	for ; found > 0; found-- {
		at := strings.Index(s, old)
		if old == "" && len(m.arena) > start { // between characters
			_, at = utf8.DecodeRuneInString(s)
		}
		m.arena = append(append(m.arena, s[:at]...), by...)
		s = s[at+len(old):]
	}
	m.arena = append(m.arena, s...)
	return m.built(start, safe && safeToo)
}

func repeat(m *Machine, args []Value) (Value, error) {
	s, safe, ok := m.text(args[0])
	if !ok {
		return Value{}, notText(args[0])
	}
	n, err := whole("the second argument", args[1])
	switch {
	case err != nil:
		return Value{}, err
	case n < 0:
		return Value{}, errors.New("the second argument is negative")
	case n > MaxText || !m.room(len(s)*n):
		return Value{}, errTooLong
	}
	start := len(m.arena)
	for range n {
		m.arena = append(m.arena, s...)
	}
	return m.built(start, safe)
}

// join joins what is there: elements that are nil are left out.
func join(m *Machine, args []Value) (Value, error) {
	if args[0].kind != listKind {
		return Value{}, notList(args[0])
	}
	separator := Value{kind: textKind, safe: true}
	if len(args) == 2 {
		separator = m.key(args[1])
		if _, err := m.asText(args[1]); err != nil {
			return Value{}, err
		}
	}
	return m.joined(m.elements(args[0]), separator)
}

// joined joins the texts of values, but nil.
func (m *Machine) joined(list []Value, separator Value) (Value, error) {
	start, safe, some := len(m.arena), separator.safe, false
	for _, v := range list {
		if v.kind == nilKind {
			continue
		}
		if some {
			m.arena = append(m.arena, separator.text...)
		}
		some = true
		safeToo, ok := m.write(v)
		if !ok {
			return Value{}, notText(v)
		}
		if safe = safe && safeToo; !m.room(0) {
			break
		}
	}
	return m.built(start, safe)
}

// words joins what says something, with a space between.
func words(m *Machine, args []Value) (Value, error) {
	start := len(m.stack)
	for _, v := range args {
		if !v.Nothing() {
			m.stack = append(m.stack, v)
		}
	}
	v, err := m.joined(m.stack[start:], Value{kind: textKind, text: " ", safe: true})
	m.stack = m.stack[:start]
	return v, err
}

// indexer counts in characters, as len and [from:to] do.
func indexer(f func(s, part string) int) func(m *Machine, args []Value) (Value, error) {
	return func(m *Machine, args []Value) (Value, error) {
		s, err := m.asText(args[0])
		if err != nil {
			return Value{}, err
		}
		part, err := m.asText(args[1])
		if err != nil {
			return Value{}, err
		}
		at := f(s, part)
		if at >= 0 {
			at = utf8.RuneCountInString(s[:at])
		}
		return integer(at), nil
	}
}

func fromBase64(m *Machine, v Value) (Value, error) {
	s, err := m.asText(v)
	if err != nil {
		return Value{}, err
	}
	start := len(m.arena)
	if m.arena, err = base64.StdEncoding.AppendDecode(m.arena, bytesOf(s)); err != nil || !utf8.Valid(m.arena[start:]) {
		m.arena = m.arena[:start]
		return Value{}, nil
	}
	return m.built(start, false)
}

func port(m *Machine, v Value) (Value, error) {
	if s, _, ok := m.text(v); ok {
		if n, ok := Port(s); ok {
			return integer(n), nil
		}
	}
	return Value{}, nil
}

func fromJSON(m *Machine, v Value) (Value, error) {
	if v.kind != textKind {
		return v, nil // decoded already
	}
	return m.decode(v.text)
}

// toText is string(x): a list or a map becomes its compact JSON.
func toText(m *Machine, v Value) (Value, error) {
	if s, safe, ok := m.text(v); ok {
		return Value{kind: textKind, text: s, safe: safe}, nil
	}
	return toJSON(m, v)
}

func toJSON(m *Machine, v Value) (Value, error) {
	start := len(m.arena)
	out, err := m.AppendJSON(m.arena, v)
	if err != nil {
		return Value{}, err
	}
	m.arena = out
	return m.built(start, false)
}

// date is a time to compute with, where time(x) gives one as text. With a
// second argument it reads a Go time layout.
func date(m *Machine, args []Value) (Value, error) {
	if args[0].kind == timeKind {
		return args[0], nil
	}
	s, err := m.asText(args[0])
	if err != nil {
		return Value{}, err
	}
	layout := time.RFC3339Nano
	if len(args) == 2 {
		if layout, err = m.asText(args[1]); err != nil {
			return Value{}, err
		}
	} else if out, ok := AppendTime(nil, s); ok {
		s = string(out)
	}
	t, err := time.Parse(layout, s)
	if err != nil {
		return Value{}, nil
	}
	return m.time(t.UTC()), nil
}

func duration(m *Machine, v Value) (Value, error) {
	if v.kind == durationKind {
		return v, nil
	}
	s, err := m.asText(v)
	if err != nil {
		return Value{}, err
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return Value{}, nil
	}
	return Value{kind: durationKind, bits: int64(d)}, nil
}
