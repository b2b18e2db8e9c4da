package expression

import (
	"errors"
	"slices"
	"unicode/utf8"
)

// This file holds the functions of lists and maps.

// length counts characters of a text, elements of a list, members of a map.
func length(m *Machine, v Value) (Value, error) {
	switch v.kind {
	case listKind:
		return integer(len(m.elements(v))), nil
	case mapKind:
		return integer(len(m.members(v)) / 2), nil
	}
	s, err := m.asText(v)
	return integer(utf8.RuneCountInString(s)), err
}

func take(m *Machine, args []Value) (Value, error) {
	if args[0].kind != listKind {
		return Value{}, notList(args[0])
	}
	n, err := whole("the second argument", args[1])
	if err != nil {
		return Value{}, err
	}
	from, to := args[0].span()
	return spanOf(listKind, from, from+min(max(n, 0), to-from)), nil
}

// every makes a list of every second of a map's names and values in order.
func every(m *Machine, v Value, first int) (Value, error) {
	if v.kind != mapKind {
		return Value{}, notMap(v)
	}
	start := len(m.stack)
	members := m.members(v)
	for i := first; i < len(members); i += 2 {
		m.stack = append(m.stack, members[i])
	}
	return m.gathered(listKind, start), nil
}

func keys(m *Machine, v Value) (Value, error)   { return every(m, v, 0) }
func values(m *Machine, v Value) (Value, error) { return every(m, v, 1) }

func toPairs(m *Machine, v Value) (Value, error) {
	if v.kind != mapKind {
		return Value{}, notMap(v)
	}
	start := len(m.stack)
	for pair := range slices.Chunk(m.members(v), 2) {
		list := m.listOf(pair)
		m.stack = append(m.stack, list)
	}
	return m.gathered(listKind, start), nil
}

func fromPairs(m *Machine, v Value) (Value, error) {
	if v.kind != listKind {
		return Value{}, notList(v)
	}
	start := len(m.stack)
	defer func() { m.stack = m.stack[:start] }()
	for _, element := range m.elements(v) {
		if element.kind != listKind || len(m.elements(element)) != 2 {
			return Value{}, errors.New("every element must be a pair [name, value]")
		}
		pair := m.elements(element)
		if _, err := m.asText(pair[0]); err != nil {
			return Value{}, err
		}
		m.stack = append(m.stack, m.key(pair[0]), pair[1])
	}
	return m.gathered(mapKind, start), nil
}

func reverse(m *Machine, v Value) (Value, error) {
	if v.kind != listKind {
		return Value{}, notList(v)
	}
	out := m.listOf(m.elements(v))
	slices.Reverse(m.elements(out))
	return out, nil
}

// uniq keeps the first of elements that are equal.
func uniq(m *Machine, v Value) (Value, error) {
	if v.kind != listKind {
		return Value{}, notList(v)
	}
	start := len(m.stack)
	var texts map[string]bool // of a long list
	if list := m.elements(v); len(list) > 32 {
		texts = make(map[string]bool, len(list))
	}
	for _, element := range m.elements(v) {
		known := false
		if element.kind == textKind && texts != nil {
			known = texts[element.text]
			texts[element.text] = true
		} else {
			for _, other := range m.stack[start:] {
				if known = m.equal(element, other); known || texts != nil && !m.step() {
					break
				}
			}
		}
		if !known {
			m.stack = append(m.stack, element)
		}
	}
	return m.gathered(listKind, start), nil
}

// concat joins lists; a nil adds nothing and any other value itself.
func concat(m *Machine, args []Value) (Value, error) {
	start := len(m.stack)
	for _, v := range args {
		switch v.kind {
		case nilKind:
		case listKind:
			m.stack = append(m.stack, m.elements(v)...)
		default:
			m.stack = append(m.stack, v)
		}
	}
	return m.gathered(listKind, start), nil
}

func flatten(m *Machine, v Value) (Value, error) {
	if v.kind != listKind {
		return Value{}, notList(v)
	}
	start := len(m.stack)
	m.flatten(v)
	return m.gathered(listKind, start), nil
}

func (m *Machine) flatten(v Value) {
	for _, element := range m.elements(v) {
		if element.kind == listKind {
			m.flatten(element)
		} else {
			m.stack = append(m.stack, element)
		}
	}
}

func sortList(m *Machine, args []Value) (Value, error) {
	if args[0].kind != listKind {
		return Value{}, notList(args[0])
	}
	sign := 1
	if len(args) == 2 {
		var err error
		if sign, err = direct(args[1]); err != nil {
			return Value{}, err
		}
	}
	out := m.listOf(m.elements(args[0]))
	slices.SortStableFunc(m.elements(out), func(a, b Value) int {
		c, _ := m.compare(a, b)
		return c * sign
	})
	return out, nil
}

// direct is the sign of a sort order.
func direct(order Value) (sign int, err error) {
	switch {
	case order.IsText("asc"):
		return 1, nil
	case order.IsText("desc"):
		return -1, nil
	}
	return 0, errors.New(`the order must be "asc" or "desc"`)
}
