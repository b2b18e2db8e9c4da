package transform

import (
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
	"unsafe"

	"github.com/secure60/s60-m365-connector/engine/expression"
	"github.com/secure60/s60-m365-connector/engine/rawjson"
)

// This file flattens a record. One pass over its bytes validates it, appends
// each scalar to the event as it stands under its flat name, and notes the
// values that expressions read. Nothing is decoded that no expression asks for.
//
// The names are learned: a trie holds a node for each path that was met, with
// the flat name ready to be appended and the member that followed it last
// time, which is tried before any search.

const (
	// maxDepth is how many objects within each other get fields of their own;
	// what lies deeper is kept as JSON text.
	maxDepth = 64
	// The trie is forgotten when it holds more than this, as it may where names
	// are free-form: it then learns anew.
	maxNodes   = 16 << 10
	maxLearned = 8 << 20 // bytes of names
)

// node is a path in records. What each record asks for stands first.
type node struct {
	member string // `key":` as in the record, after its opening quote
	leaf   *leaf
	next   follower // the member of the same object that follows it
	depth  int32
	pairs  bool // an array here is spread by the names of its elements
	below  bool // redaction may change what would be fields below it

	first follower         // the member that comes first in it
	key   string           // the key as in the record, escapes and all
	name  string           // flat name
	kids  map[string]*node // by key
}

// follower remembers the two members that came last at a place.
type follower struct{ last, other *node }

// leads says whether the key of n stands in b at i, with its closing quote and
// a colon.
func (n *node) leads(b []byte, i int) bool {
	return n != nil && len(b)-i >= len(n.member) && string(b[i:i+len(n.member)]) == n.member
}

// leaf is a field of the event.
type leaf struct {
	out     string   // `,"name":`
	event   uint64   // the last event that has it
	slot    int32    // of the expressions that read it, or -1
	twins   int32    // fields of that event that arrived at its name later
	changes []change // what redaction does to it
	name    string
}

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

func (f *flattener) forget() {
	f.root = &node{name: prefix}
	f.leaves = make(map[string]*leaf)
	f.learned, f.nodes = 0, 0
}

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

// child is the node of a member, made if it is not there. key is as in JSON,
// escapes and all.
func (f *flattener) child(n *node, key string) *node {
	if kid := n.kids[key]; kid != nil {
		return kid
	}
	text := key
	if strings.IndexByte(key, '\\') >= 0 {
		text = string(rawjson.Unescape(nil, key))
	}
	kid := &node{key: key, member: key + `":`, name: n.name + "_" + flatName(text), depth: n.depth + 1}
	kid.pairs = f.spreads(kid.name)
	kid.below = f.redact != nil && f.redact.below(kid.name)
	if n.kids == nil {
		n.kids = make(map[string]*node)
	}
	n.kids[key] = kid
	f.nodes++
	f.learned += 2*len(key) + len(kid.name) + 200
	return kid
}

// spreads says whether an array of this flat name is spread by the names of its elements.
func (f *flattener) spreads(name string) bool {
	return f.pairs[strings.TrimPrefix(name, prefix+"_")] || f.pairs[strings.TrimPrefix(present(name), prefix+"_")]
}

// flatName keeps ASCII letters, digits and "_" of a name; every other character
// becomes a "_".
func flatName(name string) string {
	clean := true
	for i := 0; i < len(name); i++ {
		if !isNameByte(name[i]) {
			clean = false
			break
		}
	}
	if clean {
		return name
	}
	out := make([]byte, 0, len(name))
	for _, r := range name {
		if r < utf8.RuneSelf && isNameByte(byte(r)) {
			out = append(out, byte(r))
		} else {
			out = append(out, '_')
		}
	}
	return string(out)
}

func isNameByte(c byte) bool { return c == '_' || isDigit(c) || c|0x20-'a' < 26 }

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
	if l.slot >= 0 {
		slot := int(l.slot)
		switch {
		case kind == 't' || kind == 'f':
			f.machine.SetBoolAt(slot, kind == 't')
		case kind == '"' || kind == '\\':
			if f.near {
				f.machine.SetTextAt(slot, i+1, end-1, kind == '\\')
			} else {
				f.machine.SetText(slot, raw[1:len(raw)-1], kind == '\\')
			}
		case f.near:
			f.machine.SetNumberAt(slot, i, end)
		default:
			f.machine.SetNumber(slot, raw)
		}
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
		f.machine.SetText(slot, f.in[i+1:end-1], false)
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

// field is the field at n: the first of its name in this event, or one with a
// suffix that makes it so.
func (f *flattener) field(n *node) *leaf {
	l := f.leafOf(n)
	if l.event == f.event {
		l = f.twin(l)
	}
	l.event, l.twins = f.event, 0
	f.fields++
	return l
}

func (f *flattener) leafOf(n *node) *leaf {
	if n.leaf == nil {
		n.leaf = f.leaf(n.name)
		both := n.member + n.leaf.out // which are read one after the other
		n.member, n.leaf.out = both[:len(n.member)], both[len(n.member):]
	}
	return n.leaf
}

func (f *flattener) leaf(name string) *leaf {
	l := f.leaves[name]
	if l == nil {
		l = &leaf{name: name, out: `,"` + name + `":`, slot: -1}
		if slot, ok := f.slotOf(name); ok {
			l.slot = int32(slot)
		}
		if f.redact != nil {
			l.changes = f.redact.changes(name)
		}
		f.noteField(l)
		f.leaves[name] = l
		f.learned += 2*len(name) + 150
	}
	return l
}

// twin is the field for a further value that arrives at the name of l.
func (f *flattener) twin(l *leaf) *leaf {
	if l.twins == 0 {
		l.twins = 1
	}
	for {
		l.twins++
		t := f.leaf(l.name + "_" + strconv.Itoa(int(l.twins)))
		if t.event != f.event {
			f.nodes++ // so that they count towards forgetting
			t.changes = l.changes
			return t
		}
	}
}

func isDigit(c byte) bool { return c-'0' <= 9 }

// view is b as a string, without a copy. It holds as long as b is not written.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
