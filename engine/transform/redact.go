package transform

import (
	"bytes"
	"regexp"
	"strconv"
	"strings"

	"github.com/secure60/s60-m365-connector/engine/expression"
	"github.com/secure60/s60-m365-connector/engine/rawjson"
)

// This file redacts: fields are changed as the record is flattened, so that
// nothing behind it sees what they were. A rule with a condition needs the whole
// record first: what it may change is noted, and changed in the event, and in
// what expressions read, once the condition is known to hold.
//
// The pattern of a rule is the name of a flat field, and may go on with a path
// into the JSON that the field holds: event_Details.*.Value. A * stands for any
// run of characters, in a path for those of one step. What is kept as JSON
// instead of fields of its own (too deep, too many, no name) is redacted by the
// names that its fields would have. A text that looks like JSON and is none is
// redacted as a whole: better too much than half.
//
// What is redacted already stays as it is, so that what a store keeps of a record, which
// [Mapper.Redacted] gives, may come back as a record.

// maxRedact is how many rules a mapping and what it includes may have.
const maxRedact = 64

// redaction is one rule.
type redaction struct {
	patterns []pattern
	when     []*compiled // all must hold; nothing in it reads a computed field
	with     string
}

// redactor holds the rules of a mapping for a flattener.
type redactor struct {
	rules  []redaction
	key    []byte // of pseudonyms
	all    uint64
	always uint64 // the rules without a condition
	active uint64 // those that are applied now

	held       []held
	pseudonyms map[string]string
}

// held is a field of the event in hand that rules with a condition may change.
type held struct {
	leaf       *leaf
	node       *node
	start, end int    // of its name and value in the event; the same where only expressions read it
	raw        []byte // its value in the record, as the rules without a condition leave it
}

// maxPseudonyms is how many pseudonyms are kept for the values that come again.
const maxPseudonyms = 4096

// change is what a rule does at a field: to all of it, or where its path leads.
type change struct {
	rule int
	path []string
}

// changes are those of the rules that name a field, or the field whose former value it holds.
func (r *redactor) changes(name string) (list []change) {
	now := present(name)
	for i, rule := range r.rules {
		for _, p := range rule.patterns {
			if matches(p.name, name) || now != name && matches(p.name, now) {
				list = append(list, change{i, p.path})
			}
		}
	}
	return list
}

// former begins the names of the fields with which a snapshot tells what was before.
const former = prefix + "_before_"

// present is the name of the field of which the field called name holds the former value;
// name itself where it holds none.
func present(name string) string {
	if rest, ok := strings.CutPrefix(name, former); ok {
		return prefix + "_" + rest
	}
	return name
}

// changed is the value raw of a field, a JSON value, as the active rules leave
// it; nil if they remove it. raw itself comes back where they leave it alone.
func (r *redactor) changed(raw []byte, changes []change) []byte {
	for _, c := range changes {
		if r.active&(1<<c.rule) == 0 {
			continue
		}
		if raw = r.follow(raw, c.path, r.rules[c.rule].with); raw == nil {
			return nil
		}
	}
	return raw
}

// follow changes what lies at the end of a path.
func (r *redactor) follow(raw []byte, path []string, with string) []byte {
	if len(path) == 0 {
		return r.apply(raw, with)
	}
	switch raw[0] {
	case '[', '{':
		return container(raw, func(name string, value []byte) []byte {
			if !matches(path[0], name) {
				return value
			}
			return r.follow(value, path[1:], with)
		})
	case '"':
		text := rawjson.Unescape(nil, view(raw[1:len(raw)-1]))
		inner := bytes.TrimSpace(bytes.TrimPrefix(text, []byte("\ufeff")))
		if len(inner) == 0 || !strings.ContainsRune("[{\"", rune(inner[0])) {
			return raw
		}
		if !new(rawjson.Scanner).Valid(inner) {
			if inner[0] == '"' && !quoted.Match(inner) {
				return raw // a sentence that begins with a quotation
			}
			return r.apply(raw, with)
		}
		out := r.follow(inner, path, with)
		switch {
		case out == nil:
			return nil
		case bytes.Equal(out, inner):
			return raw
		}
		return rawjson.AppendString(nil, view(out))
	}
	return raw
}

// quoted is how JSON within a JSON text begins, however often it was put into one: what was cut off may lack its end.
var quoted = regexp.MustCompile(`^(?:[\s"\\]|\\[nrt]|\x{feff}|\\ufeff)*[{\[]`)

// container is a list or a map, each of its values as change leaves it: nil takes
// it away. Names are unescaped; elements are named by their
// index.
func container(b []byte, change func(name string, value []byte) []byte) []byte {
	var scan rawjson.Scanner
	i := 0
	closing := b[i] + 2
	dst := []byte{b[i]}
	first := true
	i = rawjson.SkipSpace(b, i+1)
	for n := 0; b[i] != closing; n++ {
		name, key := strconv.Itoa(n), []byte(nil)
		if closing == '}' {
			end, _ := rawjson.ScanString(b, i+1)
			key = b[i : end+1]
			name = string(rawjson.Unescape(nil, view(key[1:len(key)-1])))
			i = rawjson.SkipSpace(b, rawjson.SkipSpace(b, end+1)+1)
		}
		end, _ := scan.Value(b, i)
		if value := change(name, b[i:end]); value != nil {
			if !first {
				dst = append(dst, ',')
			}
			first = false
			if key != nil {
				dst = append(append(dst, key...), ':')
			}
			dst = append(dst, value...)
		}
		if i = rawjson.SkipSpace(b, end); b[i] == ',' {
			i = rawjson.SkipSpace(b, i+1)
		}
	}
	return append(dst, closing)
}

// named is the JSON value raw as the rules leave it that name the fields which it
// would have been flattened to under this name. spread says that it is an array
// whose elements have names.
func (r *redactor) named(name string, raw []byte, spread bool) []byte {
	switch {
	case raw[0] == '{':
		return container(raw, func(member string, value []byte) []byte {
			return r.named(name+"_"+flatName(member), value, false)
		})
	case raw[0] == '[' && spread:
		return container(raw, func(_ string, element []byte) []byte {
			if element[0] != '{' {
				return element
			}
			own := elementOf(element)
			if own == "" {
				return element
			}
			return container(element, func(member string, value []byte) []byte {
				switch {
				case isNameKey([]byte(member)):
					return value
				case isValueKey(member):
					return r.named(name+"_"+own, value, false)
				}
				return r.named(name+"_"+own+"_"+flatName(member), value, false)
			})
		})
	}
	return r.changed(raw, r.changes(name))
}

// elementOf is the flat name of an element of an array that is spread.
func elementOf(element []byte) string {
	f := flattener{in: element}
	_, name := f.elementName(0)
	return flatName(string(rawjson.Unescape(nil, view(name))))
}

// below says whether rules may name fields whose names begin with name and "_".
func (r *redactor) below(name string) bool {
	if now := present(name); now != name && r.below(now) {
		return true
	}
	name += "_"
	for _, rule := range r.rules {
		for _, p := range rule.patterns {
			literal, _, _ := strings.Cut(p.name, "*")
			if strings.HasPrefix(literal, name) || strings.HasPrefix(name, literal) && literal != p.name {
				return true
			}
		}
	}
	return false
}

// holding are the rules with conditions, which hold for the record that was
// flattened.
func (r *redactor) holding(m *expression.Machine, failed func(*compiled, error)) (mask uint64) {
next:
	for i, rule := range r.rules {
		for _, when := range rule.when {
			holds, err := when.program.Holds(m)
			if err != nil {
				failed(when, err)
				break // what cannot be told is redacted
			}
			if !holds {
				continue next
			}
		}
		mask |= 1 << i
	}
	return mask &^ r.always
}

// redacted is a JSON value at n as the active rules leave it, nil if they take it
// away.
func (f *flattener) redacted(l *leaf, n *node, raw []byte) []byte {
	if n.below && (n.pairs && raw[0] == '[' || raw[0] == '{') {
		raw = f.redact.named(n.name, raw, n.pairs)
	}
	return f.redact.changed(raw, l.changes)
}

// redactable appends a field that rules may change.
func (f *flattener) redactable(l *leaf, n *node, raw []byte) {
	start := f.n
	if raw = f.redacted(l, n, raw); raw != nil {
		f.put(l, raw)
		f.hold(l, n, start, raw)
	}
}

// hold notes a field that begins at start of the event.
func (f *flattener) hold(l *leaf, n *node, start int, raw []byte) {
	if f.redact.always != f.redact.all {
		f.redact.held = append(f.redact.held, held{l, n, start, f.n, raw})
	}
}

// put appends a field with a JSON value.
func (f *flattener) put(l *leaf, raw []byte) {
	f.see(l, raw)
	f.write(l)
	switch raw[0] {
	case '[', '{':
		f.quote(raw, false)
	case '"':
		if bytes.IndexByte(raw, '\\') < 0 {
			f.append(raw)
			break
		}
		f.text = rawjson.Unescape(f.text[:0], view(raw[1:len(raw)-1]))
		f.written(rawjson.AppendString(f.out[:f.n], view(f.text)))
	default:
		f.append(raw)
	}
}

// see shows a field with a JSON value to expressions.
func (f *flattener) see(l *leaf, raw []byte) {
	if l.slot < 0 {
		return
	}
	switch raw[0] {
	case '[', '{':
		f.machine.SetJSON(int(l.slot), raw, false)
	case '"':
		f.machine.SetText(int(l.slot), raw[1:len(raw)-1], bytes.IndexByte(raw, '\\') >= 0)
	case 't', 'f':
		f.machine.SetBool(int(l.slot), raw[0] == 't')
	default:
		f.machine.SetNumber(int(l.slot), raw)
	}
}

func (f *flattener) append(raw []byte) {
	f.room(len(raw))
	f.n += copy(f.out[f.n:], raw)
}

// settle changes the held fields of the event dst by the rules whose conditions
// hold.
func (f *flattener) settle(dst []byte, holding uint64) []byte {
	f.redact.active = holding
	from := f.redact.held[0].start
	f.decoded = append(f.decoded, dst[from:]...)
	old, at := f.decoded[len(f.decoded)-(len(dst)-from):], 0
	f.out, f.n = dst[:cap(dst)], from
	for _, h := range f.redact.held {
		f.append(old[at : h.start-from])
		at = h.end - from
		if h.leaf.slot >= 0 {
			f.machine.Unset(int(h.leaf.slot))
		}
		raw := f.redacted(h.leaf, h.node, h.raw)
		switch {
		case raw == nil:
		case h.start == h.end:
			f.see(h.leaf, raw)
		default:
			f.put(h.leaf, raw)
		}
	}
	f.append(old[at:])
	out := f.out[:f.n]
	f.out = nil
	return out
}
