package transform

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/expr-lang/expr/ast"

	"github.com/secure60/s60-m365-connector/engine/expression"
)

// This file compiles calls of functions. A function that is not here is called
// as expressions in general call it.

// memo makes that an expression which stands in the mapping several times is
// answered once for an event.
func (k *closures) memo(n ast.Node, e eval) eval {
	name := n.String()
	if e == nil || k.uses[name] < 2 || k.readsScope(n) {
		return e
	}
	i, ok := k.memos[name]
	if !ok {
		i = len(k.memos)
		k.memos[name] = i
	}
	return func(m *Mapper) value {
		memo := &m.memos[i]
		if memo.event == m.event {
			return memo.value
		}
		v := e(m)
		if m.failure == nil { // a failure must show in each expression that meets it
			m.memos[i] = answered{event: m.event, value: v}
		}
		return v
	}
}

// readsScope says whether a node depends on a variable of let or a loop.
func (k *closures) readsScope(n ast.Node) bool {
	if len(k.scope) == 0 {
		return false
	}
	r := scopeReader{scope: k.names()}
	ast.Walk(&n, &r)
	return r.reads
}

type scopeReader struct {
	scope []string
	reads bool
}

func (r *scopeReader) Visit(n *ast.Node) {
	switch n := (*n).(type) {
	case *ast.PointerNode:
		r.reads = true
	case *ast.IdentifierNode:
		r.reads = r.reads || slices.Contains(r.scope, n.Value)
	}
}

// answered is what a call gave for an event.
type answered struct {
	event uint64
	value value
}

func (k *closures) call(n *ast.CallNode) eval {
	name := n.Callee.(*ast.IdentifierNode).Value
	args := k.evals(n.Arguments)
	if args == nil && len(n.Arguments) > 0 {
		return nil
	}
	general := func(m *Mapper) value {
		boxed := make([]any, len(args))
		for i, arg := range args {
			boxed[i] = m.any(arg(m))
		}
		v, err := expression.Call(name, boxed...)
		if err != nil {
			return m.fail(err)
		}
		return m.keep(v)
	}
	if e := k.listCall(name, args, general); e != nil {
		return e
	}
	if len(args) == 1 {
		arg := args[0]
		switch name {
		case "json":
			return k.json(n.Arguments[0])
		case "lower":
			return letters(arg, 'A', 'Z', unicode.ToLower, general)
		case "upper":
			return letters(arg, 'a', 'z', unicode.ToUpper, general)
		case "ip":
			return optional(arg, expression.AppendIP)
		case "time":
			return optional(arg, expression.AppendTime)
		case "kebab":
			return optional(arg, expression.AppendKebab)
		case "domain":
			return optional(arg, expression.AppendDomain)
		case "port":
			return func(m *Mapper) value {
				if text, _, ok := m.textOf(arg(m)); ok {
					if n, ok := expression.Port(text); ok {
						return value{kind: intKind, bits: int64(n)}
					}
				}
				return value{}
			}
		case "string":
			return whole(arg, general, func(m *Mapper, text string, safe bool) value {
				return value{kind: textKind, text: text, safe: safe}
			})
		case "trim":
			return whole(arg, general, func(m *Mapper, text string, safe bool) value {
				return value{kind: textKind, text: strings.TrimSpace(text), safe: safe}
			})
		case "len":
			return func(m *Mapper) value {
				v := arg(m)
				if e, ok := m.elements(v); ok {
					n := 0
					for _, more := m.next(&e); more; _, more = m.next(&e) {
						n++
					}
					return value{kind: intKind, bits: int64(n)}
				}
				if v.kind == nilKind {
					return v
				}
				text, _, ok := m.textOf(v)
				if !ok {
					return m.called("len", v)
				}
				return value{kind: intKind, bits: int64(utf8.RuneCountInString(text))}
			}
		case "int":
			return func(m *Mapper) value {
				v := arg(m)
				if i, ok := v.integer(); ok {
					return value{kind: intKind, bits: i}
				}
				if v.kind == textKind {
					if i, ok := parseInt(v.text); ok {
						return value{kind: intKind, bits: i}
					}
				}
				if v.kind == nilKind {
					return v
				}
				return m.called("int", v)
			}
		case "first":
			if call, ok := n.Arguments[0].(*ast.CallNode); ok {
				if part := k.part(call, &ast.IntegerNode{Value: 0}); part != nil {
					return part
				}
			}
			return k.memberOf(arg, 0)
		case "last":
			if call, ok := n.Arguments[0].(*ast.CallNode); ok {
				if part := k.part(call, &ast.IntegerNode{Value: -1}); part != nil {
					return part
				}
			}
		}
	}
	if len(args) == 2 {
		switch name {
		case "trim":
			return two(args, general, strings.Trim)
		case "trimPrefix":
			return two(args, general, strings.TrimPrefix)
		case "trimSuffix":
			return two(args, general, strings.TrimSuffix)
		case "hasPrefix":
			return nilWithNil(args, k.texts("startsWith", n.Arguments[0], n.Arguments[1]))
		case "hasSuffix":
			return nilWithNil(args, k.texts("endsWith", n.Arguments[0], n.Arguments[1]))
		}
	}
	switch name {
	case "words":
		return words(args)
	case "replace":
		if len(args) == 3 {
			return replace(args)
		}
	}
	return general
}

// called calls a function of one argument as expressions in general call it.
func (m *Mapper) called(name string, arg value) value {
	v, err := expression.Call(name, m.any(arg))
	if err != nil {
		return m.fail(err)
	}
	return m.keep(v)
}

// whole is a function of one text: nil of nil, and in general of a list or a
// map.
func whole(arg eval, general eval, f func(m *Mapper, text string, safe bool) value) eval {
	return func(m *Mapper) value {
		v := arg(m)
		if v.kind == textKind {
			return f(m, v.text, v.safe)
		}
		if v.kind == nilKind {
			return v
		}
		text, safe, ok := m.textOf(v)
		if !ok || v.kind >= otherKind {
			return general(m)
		}
		return f(m, text, safe)
	}
}

// optional is a function of one text that gives a text, or nil. What it gives
// holds no character that JSON would escape.
func optional(arg eval, f func(dst []byte, s string) ([]byte, bool)) eval {
	return func(m *Mapper) value {
		v := arg(m)
		if v.kind == nilKind {
			return v
		}
		text, _, ok := m.textOf(v)
		if !ok {
			return value{}
		}
		start := len(m.arena)
		if m.arena, ok = f(m.arena, text); !ok {
			m.arena = m.arena[:start]
			return value{}
		}
		return value{kind: textKind, text: view(m.arena[start:]), safe: true}
	}
}

// letters is lower or upper: from and to bound the ASCII letters that change.
func letters(arg eval, from, to byte, change func(rune) rune, general eval) eval {
	return whole(arg, general, func(m *Mapper, text string, safe bool) value {
		i := 0
		for i < len(text) && text[i] < utf8.RuneSelf && (text[i] < from || text[i] > to) {
			i++
		}
		if i == len(text) {
			return value{kind: textKind, text: text, safe: safe}
		}
		start := len(m.arena)
		arena := append(m.arena, text...)
		for ; i < len(text); i++ {
			c := text[i]
			if c >= utf8.RuneSelf {
				arena = arena[:start+i]
				for _, r := range text[i:] {
					arena = utf8.AppendRune(arena, change(r))
				}
				break
			}
			if c >= from && c <= to {
				arena[start+i] = c ^ 0x20
			}
		}
		m.arena = arena
		return value{kind: textKind, text: view(arena[start:]), safe: safe}
	})
}

// two is a function of two texts that gives a part of the first.
func two(args []eval, general eval, f func(text, other string) string) eval {
	first, second := args[0], args[1]
	return func(m *Mapper) value {
		a, b := first(m), second(m)
		if a.kind >= otherKind || b.kind >= otherKind {
			return general(m)
		}
		text, safe, ok := m.textOf(a)
		other, _, okToo := m.textOf(b)
		if !ok || !okToo {
			return value{}
		}
		return value{kind: textKind, text: f(text, other), safe: safe}
	}
}

// nilWithNil is a condition written as a function: nil if an argument is.
func nilWithNil(args []eval, c cond) eval {
	if c == nil {
		return nil
	}
	return func(m *Mapper) value {
		a, b := args[0](m), args[1](m)
		if a.kind == nilKind || b.kind == nilKind {
			return value{}
		}
		return boolean(c(m))
	}
}

// part is split(text, separator)[index] with a constant separator and index,
// without making the list; nil if the call is another.
func (k *closures) part(call *ast.CallNode, key ast.Node) eval {
	if name := call.Callee.(*ast.IdentifierNode).Value; name != "split" || len(call.Arguments) != 2 {
		return nil
	}
	by, ok := k.constant(call.Arguments[1])
	separator, isText := by.(string)
	at, okToo := k.constant(key)
	index, isInt := at.(int)
	arg := k.eval(call.Arguments[0])
	if !ok || !okToo || !isText || !isInt || separator == "" || arg == nil {
		return nil
	}
	general := k.operation("member", call, key)
	return whole(arg, general, func(m *Mapper, text string, safe bool) value {
		out, ok := nth(text, separator, index)
		if !ok {
			return value{}
		}
		return value{kind: textKind, text: out, safe: safe}
	})
}

// nth is the part of a split at an index, from the end if it is negative.
func nth(text, separator string, index int) (string, bool) {
	for ; index > 0; index-- {
		at := strings.Index(text, separator)
		if at < 0 {
			return "", false
		}
		text = text[at+len(separator):]
	}
	if index == 0 {
		part, _, _ := strings.Cut(text, separator)
		return part, true
	}
	// Separators are found from the front, so that overlapping ones count as
	// split counts them.
	parts := strings.Count(text, separator) + 1
	if index += parts; index < 0 {
		return "", false
	}
	return nth(text, separator, index)
}

// batch is how many parts of a text are held at once without an allocation.
const batch = 8

// words joins what the arguments say with a space.
func words(args []eval) eval {
	if len(args) > batch { // the words of words are the words
		return words(append([]eval{words(args[:batch])}, args[batch:]...))
	}
	return func(m *Mapper) value {
		var parts [batch]value
		for i, arg := range args {
			parts[i] = arg(m)
		}
		start := len(m.arena)
		allSafe := true
		for _, v := range parts[:len(args)] {
			if v.kind == nilKind {
				continue
			}
			if v.kind >= otherKind {
				m.arena = m.arena[:start]
				return m.called("words", v)
			}
			before := len(m.arena)
			if before > start {
				m.arena = append(m.arena, ' ')
			}
			at := len(m.arena)
			text, safe, _ := m.textOf(v) // which may write digits there
			if text == "" {
				m.arena = m.arena[:before]
				continue
			}
			m.arena = append(m.arena[:at], text...)
			allSafe = allSafe && safe
		}
		if len(m.arena)-start > expression.MaxText {
			return m.fail(fmt.Errorf("words: %w", expression.ErrTooLong))
		}
		return value{kind: textKind, text: view(m.arena[start:]), safe: allSafe}
	}
}

// sum compiles a + b + c …
func (k *closures) sum(n *ast.BinaryNode) eval {
	var terms []ast.Node
	for {
		terms = append([]ast.Node{n.Right}, terms...)
		left, ok := n.Left.(*ast.BinaryNode)
		if !ok || left.Operator != "+" {
			terms = append([]ast.Node{n.Left}, terms...)
			break
		}
		n = left
	}
	// From the first text on, all that follows is text too.
	if !k.isText(terms[0]) && !k.isText(terms[1]) {
		return k.add(terms)
	}
	parts := k.evals(terms)
	if parts == nil {
		return nil
	}
	return concat(parts)
}

func (k *closures) isText(n ast.Node) bool {
	v, ok := k.constant(n)
	_, isText := v.(string)
	return ok && isText
}

// add is a sum of which nothing is known.
func (k *closures) add(terms []ast.Node) eval {
	parts := k.evals(terms)
	if parts == nil {
		return nil
	}
	out := parts[0]
	for _, right := range parts[1:] {
		left := out
		out = func(m *Mapper) value {
			a := left(m)
			return m.add(a, right(m))
		}
	}
	return out
}

func (m *Mapper) add(a, b value) value {
	if a.kind == nilKind || b.kind == nilKind {
		return value{}
	}
	if (a.kind == textKind || b.kind == textKind) && a.kind < otherKind && b.kind < otherKind {
		x, xSafe, _ := m.textOf(a)
		y, ySafe, _ := m.textOf(b)
		start := len(m.arena)
		if len(x)+len(y) > expression.MaxText {
			return m.fail(expression.ErrTooLong)
		}
		m.arena = append(append(m.arena, x...), y...)
		return value{kind: textKind, text: view(m.arena[start:]), safe: xSafe && ySafe}
	}
	v, err := expression.Add(m.any(a), m.any(b))
	if err != nil {
		return m.fail(err)
	}
	return m.keep(v)
}

// concat joins texts, of which the first or the second is one for certain.
func concat(parts []eval) eval {
	if len(parts) > batch {
		return concat(append([]eval{concat(parts[:batch])}, parts[batch:]...))
	}
	return func(m *Mapper) value {
		var values [batch]value
		absent, odd := false, false
		for i, part := range parts {
			values[i] = part(m)
			absent = absent || values[i].kind == nilKind
			odd = odd || values[i].kind >= otherKind
		}
		if odd {
			sum := values[0]
			for _, v := range values[1:len(parts)] {
				sum = m.add(sum, v)
			}
			return sum
		}
		if absent {
			return value{}
		}
		start := len(m.arena)
		allSafe := true
		for _, v := range values[:len(parts)] {
			before := len(m.arena)
			text, safe, _ := m.textOf(v)
			m.arena = append(m.arena[:before], text...)
			allSafe = allSafe && safe
			if len(m.arena)-start > expression.MaxText {
				return m.fail(expression.ErrTooLong)
			}
		}
		return value{kind: textKind, text: view(m.arena[start:]), safe: allSafe}
	}
}

// replace writes only where something is replaced.
func replace(args []eval) eval {
	return func(m *Mapper) value {
		var values [3]value
		for i, arg := range args {
			values[i] = arg(m)
		}
		if values[0].kind != textKind || values[1].kind != textKind || values[2].kind != textKind || values[1].text == "" || len(values[0].text)*max(len(values[2].text), 1) > expression.MaxText {
			v, err := expression.Call("replace", m.any(values[0]), m.any(values[1]), m.any(values[2]))
			if err != nil {
				return m.fail(err)
			}
			return m.keep(v)
		}
		text, old, new := values[0].text, values[1].text, values[2].text
		at := strings.Index(text, old)
		if at < 0 {
			return values[0]
		}
		start := len(m.arena)
		for ; at >= 0; at = strings.Index(text, old) {
			m.arena = append(append(m.arena, text[:at]...), new...)
			text = text[at+len(old):]
		}
		m.arena = append(m.arena, text...)
		return value{kind: textKind, text: view(m.arena[start:]), safe: values[0].safe && values[2].safe}
	}
}
