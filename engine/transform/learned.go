package transform

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/secure60/s60-m365-connector/engine/rawjson"
)

// This file learns names: a trie holds a node for each path that was met, with
// the flat name ready to be appended and the member that followed it last
// time, which is tried before any search.

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

func (f *flattener) forget() {
	f.root = &node{name: prefix}
	f.leaves = make(map[string]*leaf)
	f.learned, f.nodes = 0, 0
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
