package transform

import (
	"math"
	"unsafe"

	"github.com/secure60/s60-m365-connector/engine/expression"
	"github.com/secure60/s60-m365-connector/engine/rawjson"
)

// This file flattens a record. One pass over its bytes validates it, appends
// each scalar to the event as it stands under its flat name, and notes the
// values that expressions read. Nothing is decoded that no expression asks for.
// learned.go knows the names.

const (
	// maxDepth is how many objects within each other get fields of their own;
	// what lies deeper is kept as JSON text.
	maxDepth = 64
	// The trie is forgotten when it holds more than this, as it may where names
	// are free-form: it then learns anew.
	maxNodes   = 16 << 10
	maxLearned = 8 << 20 // bytes of names
)

// flattener holds what is learned and the event being written.
type flattener struct {
	machine *expression.Machine
	slotOf  func(name string) (int, bool)
	pairs   map[string]bool // flat names, without event_, of arrays that are spread

	root    *node
	leaves  map[string]*leaf
	learned int // bytes
	nodes   int

	scan  rawjson.Scanner
	event uint64
	in    []byte
	near  bool   // in is the record, and the machine knows
	out   []byte // the event, up to n, and room for more
	n     int
	text  []byte // scratch

	fields  int    // of the event so far
	most    int    // how many it may have
	over    bool   // something was left out as it would have more
	decoded []byte // JSON texts of the record that were spread

	redact *redactor // nil: nothing is redacted

	known   *knownNames
	unknown []Unknown
}

const prefix = "event"

// flatten appends the fields of a record to dst, each with a comma before it.
// ok is false for what is not valid JSON; dst is then as before.
func (f *flattener) flatten(dst, record []byte) (out []byte, ok bool) {
	if f.nodes > maxNodes || f.learned > maxLearned {
		f.forget()
	}
	f.event++
	f.in, f.out, f.n = record, dst[:cap(dst)], len(dst)
	f.fields, f.most = 0, math.MaxInt
	if f.decoded = f.decoded[:0]; cap(f.decoded) > keepText {
		f.decoded = nil
	}
	f.machine.Begin()
	if f.near = len(record) <= expression.MaxRefs; f.near {
		f.machine.Over(record)
	}
	if f.redact != nil {
		f.redact.active, f.redact.held = f.redact.always, f.redact.held[:0]
	}
	i := rawjson.SkipSpace(record, 0)
	if i < len(record) && record[i] == '{' {
		i = f.object(f.root, i)
	} else {
		i = f.value(f.child(f.root, "value"), i)
	}
	out = f.out[:f.n]
	f.in, f.out = nil, nil
	if i == rawjson.Bad || rawjson.SkipSpace(record, i) != len(record) {
		f.machine.Begin() // no field holds
		return out[:len(dst)], false
	}
	return out, true
}

// object flattens the object at i.
func (f *flattener) object(n *node, i int) int {
	b := f.in
	i = rawjson.SkipSpace(b, i+1)
	if i < len(b) && b[i] == '}' {
		return i + 1
	}
	var last *node
	for {
		var kid *node
		if kid, i = f.member(n, last, i); i == rawjson.Bad {
			return rawjson.Bad
		}
		last = kid
		if i = f.value(kid, i); i == rawjson.Bad {
			return rawjson.Bad
		}
		if i < len(b) && b[i] <= ' ' {
			i = rawjson.SkipSpace(b, i)
		}
		if i >= len(b) {
			return rawjson.Bad
		}
		switch b[i] {
		case '}':
			return i + 1
		case ',':
			i++
			if i < len(b) && b[i] <= ' ' {
				i = rawjson.SkipSpace(b, i)
			}
		default:
			return rawjson.Bad
		}
	}
}

// member reads a name and its colon, and gives the node of the member and the
// position of its value. last is the member before it, nil for the first.
func (f *flattener) member(n, last *node, i int) (*node, int) {
	b := f.in
	if i >= len(b) || b[i] != '"' {
		return nil, rawjson.Bad
	}
	i++
	after := &n.first
	if last != nil {
		after = &last.next
	}
	guess := after.last
	if !guess.leads(b, i) {
		guess = after.other
		if guess.leads(b, i) {
			after.last, after.other = guess, after.last
		} else {
			guess = nil
		}
	}
	if guess != nil {
		i += len(guess.member)
		if i < len(b) && b[i] <= ' ' {
			i = rawjson.SkipSpace(b, i)
		}
		return guess, i
	}
	end, _ := rawjson.ScanString(b, i)
	if end == rawjson.Bad {
		return nil, rawjson.Bad
	}
	kid := n.kids[string(b[i:end])]
	if kid == nil {
		kid = f.child(n, string(b[i:end]))
	}
	after.last, after.other = kid, after.last
	i = rawjson.SkipSpace(b, end+1)
	if i >= len(b) || b[i] != ':' {
		return nil, rawjson.Bad
	}
	return kid, rawjson.SkipSpace(b, i+1)
}

// value flattens the value at i under the name of n.
func (f *flattener) value(n *node, i int) int {
	b := f.in
	if i >= len(b) {
		return rawjson.Bad
	}
	if f.fields >= f.most {
		f.over = true
		end, _ := f.scan.Value(b, i)
		return end
	}
	var end int
	kind := b[i]
	switch kind {
	case '"':
		if end = f.plain(n, i); end != rawjson.Bad {
			return end
		}
		at, class := rawjson.ScanString(b, i+1)
		if at == rawjson.Bad {
			return rawjson.Bad
		}
		end = at + 1
		if n.pairs && f.spreadText(n, b[i+1:at]) {
			return end
		}
		if class != rawjson.Plain {
			if class == rawjson.Lone {
				f.lone(n, b[i:end])
				return end
			}
			kind = '\\'
		}
	case '{':
		if n.depth >= maxDepth {
			return f.json(n, i)
		}
		return f.object(n, i)
	case '[':
		if n.pairs {
			return f.spread(n, i)
		}
		return f.json(n, i)
	case 't':
		end = rawjson.ScanWord(b, i, "true")
	case 'f':
		end = rawjson.ScanWord(b, i, "false")
	case 'n':
		return rawjson.ScanWord(b, i, "null")
	default:
		end = rawjson.ScanNumber(b, i)
	}
	if end == rawjson.Bad {
		return rawjson.Bad
	}
	l, raw := f.field(n), b[i:end]
	if l.changes != nil {
		f.redactable(l, n, raw)
		return end
	}
	f.room(len(l.out) + len(raw))
	at := f.n + copy(f.out[f.n:], l.out)
	f.n = at + copy(f.out[at:], raw)
	switch slot := int(l.slot); {
	case slot < 0:
	case !f.near || kind == 't' || kind == 'f':
		f.see(l, raw)
	case kind == '"' || kind == '\\':
		f.machine.SetTextAt(slot, i+1, end-1, kind == '\\')
	default:
		f.machine.SetNumberAt(slot, i, end)
	}
	return end
}

// plain flattens the string at i, as most are: without escapes, and nothing to be done about it but to copy it. Bad
// leaves it to value, with nothing done.
func (f *flattener) plain(n *node, i int) (end int) {
	l := n.leaf
	if l == nil || n.pairs || l.event == f.event || l.changes != nil {
		return rawjson.Bad
	}
	f.room(len(l.out) + roomForText)
	at := f.n + copy(f.out[f.n:], l.out)
	f.out[at] = '"'
	end = rawjson.CopyPlain(f.out, at+1, f.in, i+1)
	if end == rawjson.Bad {
		return end
	}
	f.n = at + end - i
	l.event, l.twins = f.event, 0
	f.fields++
	switch slot := int(l.slot); {
	case slot < 0:
	case f.near:
		f.machine.SetTextAt(slot, i+1, end-1, false)
	default:
		f.see(l, f.in[i:end])
	}
	return end
}

// roomForText is enough for most texts.
const roomForText = 512

// room makes sure that so many bytes fit behind the event.
func (f *flattener) room(size int) {
	if len(f.out)-f.n < size {
		f.grow(size)
	}
}

func (f *flattener) grow(size int) {
	out := append(f.out[:f.n], make([]byte, size+len(f.in)+1024)...)
	f.out = out[:cap(out)]
}

// write appends to the event.
func (f *flattener) write(l *leaf) {
	f.room(len(l.out))
	f.n += copy(f.out[f.n:], l.out)
}

// written takes over an event that was appended to.
func (f *flattener) written(out []byte) { f.n, f.out = len(out), out[:cap(out)] }

// lone flattens a string with half a surrogate pair.
func (f *flattener) lone(n *node, raw []byte) {
	l := f.field(n)
	if l.changes != nil {
		f.redactable(l, n, raw)
		return
	}
	raw = raw[1 : len(raw)-1]
	if l.slot >= 0 {
		f.machine.SetText(int(l.slot), raw, true)
	}
	f.write(l)
	f.text = rawjson.Unescape(f.text[:0], view(raw))
	f.written(rawjson.AppendString(f.out[:f.n], view(f.text)))
}

// json keeps the value at i as its compact JSON text.
func (f *flattener) json(n *node, i int) int {
	end, compact := f.scan.Value(f.in, i)
	if end == rawjson.Bad {
		return rawjson.Bad
	}
	l, raw := f.field(n), f.in[i:end]
	if l.changes != nil || n.below && (n.pairs || raw[0] == '{') {
		f.redactable(l, n, raw)
		return end
	}
	if l.slot >= 0 {
		f.machine.SetJSON(int(l.slot), raw, compact)
	}
	f.write(l)
	f.quote(raw, compact)
	return end
}

// quote appends a list or a map as a text.
func (f *flattener) quote(raw []byte, compact bool) {
	if !compact {
		f.text = rawjson.Compact(f.text[:0], raw)
		raw = f.text
	}
	f.room(2*len(raw) + 2 + rawjson.WordSize)
	f.n = rawjson.Quote(f.out, f.n, raw)
}

func isDigit(c byte) bool { return c-'0' <= 9 }

// view is b as a string, without a copy. It holds as long as b is not written.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
