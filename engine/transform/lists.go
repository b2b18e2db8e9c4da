package transform

import (
	"unsafe"

	"github.com/expr-lang/expr/ast"

	"github.com/secure60/s60-m365-connector/engine/expression"
)

// This file reads JSON within fields, json(event_x)[0].name, and loops over its
// lists, find(json(event_x), .type == 1), without decoding it: a value of
// jsonKind is the text of a list or a map, and its members are found by
// walking over it.

// bytesOf is a string as bytes, without a copy; they must not be written.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// jsonValue is the value at i of a valid JSON text, and where it ends.
func (m *Mapper) jsonValue(text []byte, i int) (value, int) {
	switch text[i] {
	case '"':
		end, class := scanString(text, i+1)
		raw := view(text[i+1 : end])
		if class == plain {
			return value{kind: textKind, text: raw, safe: true}, end + 1
		}
		start := len(m.arena)
		m.arena = unescape(m.arena, raw)
		return value{kind: textKind, text: view(m.arena[start:])}, end + 1
	case '{', '[':
		end, _ := m.scan.value(text, i)
		return value{kind: jsonKind, text: view(text[i:end])}, end
	case 't':
		return boolean(true), i + 4
	case 'f':
		return boolean(false), i + 5
	case 'n':
		return value{}, i + 4
	}
	end := scanNumber(text, i)
	return value{kind: numberKind, text: view(text[i:end])}, end
}

// maxDecoded is how deep the JSON in a field may be nested, as for the
// standard library.
const maxDecoded = 10_000

// decode is json(v).
func (m *Mapper) decode(v value) value {
	if v.kind != textKind {
		return v // nil, or decoded already
	}
	text := bytesOf(v.text)
	i := skipSpace(text, 0)
	m.scan.deepest = 0
	end, _ := m.scan.value(text, i)
	if end == bad || skipSpace(text, end) != len(text) || m.scan.deepest > maxDecoded {
		return value{}
	}
	v, _ = m.jsonValue(text, i)
	return v
}

// json compiles json(x). An array of the record is known to be JSON.
func (k *closures) json(arg ast.Node) eval {
	v := k.eval(arg)
	if v == nil {
		return nil
	}
	slot, isSlot := k.slotOfNode(arg)
	return func(m *Mapper) value {
		if isSlot {
			s := &m.slots[slot]
			if s.event != m.event {
				return value{}
			}
			if s.kind == slotJSON || s.kind == slotCompact {
				return value{kind: jsonKind, text: s.text}
			}
		}
		return m.decode(v(m))
	}
}

// list is a value of listKind: the values from and to in Mapper.list.
func list(from, to int) value {
	return value{kind: listKind, bits: int64(from)<<32 | int64(to)}
}

func (v value) span() (from, to int) { return int(v.bits >> 32), int(v.bits & (1<<32 - 1)) }

// elements walks over a list.
type elements struct {
	text  []byte // of jsonKind, and the position in it
	at    int
	boxed []any // of otherKind
	from  int   // of listKind, in Mapper.list
	to    int
}

// elements begins to walk over v; ok is false if it is no list.
func (m *Mapper) elements(v value) (e elements, ok bool) {
	switch v.kind {
	case jsonKind:
		if v.text[0] != '[' {
			return e, false
		}
		e.text = bytesOf(v.text)
		if e.at = skipSpace(e.text, 1); e.text[e.at] == ']' {
			e.at = len(e.text)
		}
		return e, true
	case listKind:
		e.from, e.to = v.span()
		return e, true
	case otherKind:
		e.boxed, ok = expression.List(m.kept[v.bits])
		return e, ok
	}
	return e, false
}

// next is the next element; ok is false at the end.
func (m *Mapper) next(e *elements) (v value, ok bool) {
	switch {
	case e.at < len(e.text):
		v, e.at = m.jsonValue(e.text, e.at)
		if e.at = skipSpace(e.text, e.at); e.text[e.at] == ',' {
			e.at = skipSpace(e.text, e.at+1)
		} else {
			e.at = len(e.text)
		}
		return v, true
	case len(e.boxed) > 0:
		v, e.boxed = m.keep(e.boxed[0]), e.boxed[1:]
		return v, true
	case e.from < e.to:
		v = m.list[e.from]
		e.from++
		return v, true
	}
	return value{}, false
}

// named is the member of a JSON object, the last of its name.
func (m *Mapper) named(object value, name string) value {
	text := bytesOf(object.text)
	i := skipSpace(text, 1)
	found := -1
	for text[i] == '"' {
		end, class := scanString(text, i+1)
		key := view(text[i+1 : end])
		if class != plain {
			start := len(m.arena)
			m.arena = unescape(m.arena, key)
			key = view(m.arena[start:])
		}
		i = skipSpace(text, skipSpace(text, end+1)+1)
		if key == name {
			found = i
		}
		if c := text[i]; c == '{' || c == '[' {
			i, _ = m.scan.value(text, i)
		} else {
			i = scanScalar(text, i)
		}
		if i = skipSpace(text, i); text[i] == '}' {
			break
		}
		i = skipSpace(text, i+1)
	}
	if found < 0 {
		return value{}
	}
	v, _ := m.jsonValue(text, found)
	return v
}

// memberOf is v[key] with a key that is known in advance: a name, or an index
// from the front.
func (k *closures) memberOf(of eval, key any) eval {
	switch key := key.(type) {
	case string:
		return func(m *Mapper) value {
			v := of(m)
			switch {
			case v.kind < otherKind || v.kind == listKind:
				return value{}
			case v.kind == jsonKind && v.text[0] == '{':
				return m.named(v, key)
			case v.kind == jsonKind:
				return value{}
			}
			return m.keep(expression.Member(m.any(v), key))
		}
	case int:
		if key < 0 {
			return nil
		}
		return func(m *Mapper) value {
			v := of(m)
			if v.kind == jsonKind && v.text[0] == '{' || v.kind == otherKind || v.kind < otherKind {
				if v.kind == nilKind {
					return v
				}
				return m.keep(expression.Member(m.any(v), key))
			}
			e, _ := m.elements(v)
			for range key {
				if _, ok := m.next(&e); !ok {
					return value{}
				}
			}
			out, _ := m.next(&e)
			return out
		}
	}
	return nil
}

// loop compiles a function with a predicate over one list; nil for those that
// only the machine runs.
func (k *closures) loop(n *ast.BuiltinNode) eval {
	var run func(m *Mapper, e elements, index int, body eval, holds cond) value
	switch n.Name {
	case "map":
		run = mapLoop
	case "filter":
		run = filterLoop
	case "find":
		run = findLoop
	case "any":
		run = func(m *Mapper, e elements, index int, _ eval, holds cond) value {
			return boolean(m.search(e, index, holds, true))
		}
	case "none":
		run = func(m *Mapper, e elements, index int, _ eval, holds cond) value {
			return boolean(!m.search(e, index, holds, true))
		}
	case "all":
		run = func(m *Mapper, e elements, index int, _ eval, holds cond) value {
			return boolean(!m.search(e, index, holds, false))
		}
	case "count":
		run = countLoop
	default:
		return nil
	}
	if len(n.Arguments) != 2 {
		return nil
	}
	predicate, ok := n.Arguments[1].(*ast.PredicateNode)
	over := k.eval(n.Arguments[0])
	if !ok || over == nil {
		return nil
	}
	index := k.variables
	k.variables++
	k.scope = append(k.scope, variable{"#", index})
	var body eval
	var holds cond
	if n.Name == "map" {
		body = k.eval(predicate.Node)
	} else {
		holds = k.cond(predicate.Node)
	}
	k.scope = k.scope[:len(k.scope)-1]
	if body == nil && holds == nil {
		return nil
	}
	return func(m *Mapper) value {
		v := over(m)
		if v.kind == nilKind {
			return v
		}
		e, ok := m.elements(v)
		if !ok {
			_, err := expression.Operate("list", m.any(v))
			return m.fail(err)
		}
		return run(m, e, index, body, holds)
	}
}

// step takes the next element as that of the loop.
func (m *Mapper) step(e *elements, index int) bool {
	v, ok := m.next(e)
	if !ok || m.failure != nil {
		return false
	}
	if m.steps++; m.steps > expression.MaxSteps {
		m.fail(expression.ErrTooManySteps)
		return false
	}
	m.variables[index] = v
	return true
}

// search says whether the condition is what for some element.
func (m *Mapper) search(e elements, index int, holds cond, what bool) bool {
	for m.step(&e, index) {
		if holds(m) == what {
			return true
		}
	}
	return false
}

func findLoop(m *Mapper, e elements, index int, _ eval, holds cond) value {
	for m.step(&e, index) {
		v := m.variables[index]
		if holds(m) {
			return v
		}
	}
	return value{}
}

func countLoop(m *Mapper, e elements, index int, _ eval, holds cond) value {
	n := 0
	for m.step(&e, index) {
		if holds(m) {
			n++
		}
	}
	return value{kind: intKind, bits: int64(n)}
}

// mapLoop and filterLoop gather their results behind each other in
// Mapper.pending, as a loop within adds results of its own meanwhile, and move
// them to Mapper.list at the end.
func mapLoop(m *Mapper, e elements, index int, body eval, _ cond) value {
	start := len(m.pending)
	for m.step(&e, index) {
		v := body(m)
		m.pending = append(m.pending, v)
	}
	return m.gathered(start)
}

func filterLoop(m *Mapper, e elements, index int, _ eval, holds cond) value {
	start := len(m.pending)
	for m.step(&e, index) {
		v := m.variables[index]
		if holds(m) {
			m.pending = append(m.pending, v)
		}
	}
	return m.gathered(start)
}

func (m *Mapper) gathered(start int) value {
	from := len(m.list)
	m.list = append(m.list, m.pending[start:]...)
	m.pending = m.pending[:start]
	return list(from, len(m.list))
}

// flatten is flatten(v) of a list.
func (m *Mapper) flatten1(v value) {
	e, _ := m.elements(v)
	for {
		v, ok := m.next(&e)
		if !ok {
			return
		}
		if _, isList := m.elements(v); isList {
			m.flatten1(v)
		} else {
			m.pending = append(m.pending, v)
		}
	}
}

// listCall compiles the functions that take lists: nil for others.
func (k *closures) listCall(name string, args []eval, general eval) eval {
	if len(args) == 0 {
		return nil
	}
	over := args[0]
	switch {
	case name == "join":
		return k.join(args, general)
	case name == "flatten" && len(args) == 1:
		return func(m *Mapper) value {
			v := over(m)
			if v.kind != jsonKind && v.kind != listKind || v.kind == jsonKind && v.text[0] != '[' {
				return general(m)
			}
			start := len(m.pending)
			m.flatten1(v)
			return m.gathered(start)
		}
	case name == "uniq" && len(args) == 1:
		return func(m *Mapper) value {
			v := over(m)
			e, ok := m.elements(v)
			if !ok {
				return general(m)
			}
			start := len(m.pending)
			for {
				v, ok := m.next(&e)
				if !ok {
					return m.gathered(start)
				}
				if len(m.pending)-start > 64 { // a long list is for a map
					m.pending = m.pending[:start]
					return general(m)
				}
				if !m.among(m.pending[start:], v) {
					m.pending = append(m.pending, v)
				}
			}
		}
	}
	return nil
}

func (m *Mapper) among(values []value, v value) bool {
	for _, w := range values {
		if m.equal(v, w) {
			return true
		}
	}
	return false
}

// join is join(list, separator): elements that are nil are left out.
func (k *closures) join(args []eval, general eval) eval {
	return func(m *Mapper) value {
		v := args[0](m)
		separator := value{kind: textKind, safe: true}
		if len(args) == 2 {
			separator = args[1](m)
		}
		e, ok := m.elements(v)
		if !ok || separator.kind != textKind {
			return general(m)
		}
		// The arena also takes the texts of elements, so that they are gathered
		// before they are joined.
		first := len(m.pending)
		for {
			v, ok := m.next(&e)
			if !ok {
				break
			}
			if v.kind >= otherKind {
				m.pending = m.pending[:first]
				return general(m)
			}
			if v.kind != nilKind {
				m.pending = append(m.pending, v)
			}
		}
		start := len(m.arena)
		safe := separator.safe
		for i, v := range m.pending[first:] {
			if i > 0 {
				m.arena = append(m.arena, separator.text...)
			}
			at := len(m.arena)
			text, textSafe, _ := m.textOf(v)
			m.arena = append(m.arena[:at], text...)
			safe = safe && textSafe
			if len(m.arena)-start > expression.MaxText {
				m.pending = m.pending[:first]
				return general(m)
			}
		}
		m.pending = m.pending[:first]
		return value{kind: textKind, text: view(m.arena[start:]), safe: safe}
	}
}
