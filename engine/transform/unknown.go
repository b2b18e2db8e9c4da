package transform

import (
	"slices"
	"strings"
	"unicode"

	"github.com/secure60/s60-m365-connector/engine/definition"
)

// This file notes what of a record its mapping does not know: a field when its name is learned,
// which is once, a value when it is met for the first time. A record of what is known costs a
// search in a map for each field of few values.

// Kinds of what can be unknown, beside those that a mapping gives its values.
const unknownField = "field"

// Unknown is something of a record that its mapping does not know.
type Unknown struct {
	Kind  string // field, record-type, operation or value
	Name  string // of the field
	Value string // of a field of few values
}

// Unknown is what the mapping does not know of the records since it was asked last. What this mapper has met
// before is mostly not noted again. The list is valid until the next record.
func (m *Mapper) Unknown() []Unknown {
	list := m.unknown
	m.unknown = list[:0]
	return list
}

// knownNames are names of fields of records. Without any, all are known.
type knownNames struct {
	exact    map[string]bool
	prefixes []string
}

func (k *knownNames) add(name string) {
	if k.exact == nil {
		k.exact = make(map[string]bool)
	}
	if before, ok := strings.CutSuffix(name, "*"); ok {
		k.prefixes = append(k.prefixes, before)
		name = strings.TrimSuffix(before, "_") // of an array that is spread
	}
	k.exact[name] = true
}

// has says whether a name is known, that of a former value or with the _2 of a second field of a name, too.
func (k *knownNames) has(name string) bool {
	if k.exact == nil || k.exact[name] || slices.ContainsFunc(k.prefixes, func(p string) bool { return strings.HasPrefix(name, p) }) {
		return true
	}
	if now := present(name); now != name {
		return k.has(now)
	}
	digits := strings.TrimRight(name, "0123456789")
	before, counted := strings.CutSuffix(digits, "_")
	return counted && len(digits) < len(name) && k.has(before)
}

// ofEngine are the fields that the engine adds to records.
var ofEngine = []string{prefix + "_change", prefix + "_changed", prefix + "_value"}

// knownValues are the values that the mapping knows of a field.
type knownValues struct {
	kind  string
	name  string
	value *compiled
	is    *compiled
	when  []*compiled // all must hold
}

// mostJudged is how many values of a field a mapper remembers, and mostNoted how much that is unknown is noted
// until somebody asks.
const (
	mostJudged = 4096
	mostNoted  = 64
)

// known compiles what a mapping knows.
func (c *compiler) known(m *definition.Mapping, guards []*compiled, next func(definition.Text) *compiled) {
	for _, name := range m.KnownFields {
		c.m.known.add(name.Value)
	}
	for _, v := range m.KnownValues {
		value, is := next(v.Field), next(v.Is)
		if value == nil || is == nil {
			continue
		}
		kind := v.Kind
		if kind == "" {
			kind = "value"
		}
		c.m.values = append(c.m.values, knownValues{kind, v.Field.Value, value, is, guards})
	}
}

// noteField notes a field whose name has just been learned.
func (f *flattener) noteField(l *leaf) {
	if f.known.has(l.name) || l.changes != nil || len(f.unknown) == mostNoted || !told(l.name) {
		return
	}
	f.unknown = append(f.unknown, Unknown{Kind: unknownField, Name: l.name})
}

// noteValues notes values that the mapping does not know. Those that are the same
// for all records of a kind are judged with the first.
func (m *Mapper) noteValues() {
	for i := range m.m.values {
		v := &m.m.values[i]
		if m.judged[i] == nil {
			continue // it is redacted
		}
		if m.kind != nil && m.kind.judged && m.kind.steady[i] {
			continue
		}
		value, err := v.value.program.Value(m.machine)
		if err != nil || value.Nothing() {
			continue
		}
		text, ok := m.machine.Text(value)
		if !ok {
			continue
		}
		if text == m.last[i] {
			continue
		}
		if judged, ok := m.judged[i][text]; ok {
			m.last[i] = judged
			continue
		}
		if !m.all(v.when) {
			continue
		}
		if len(m.judged[i]) == mostJudged {
			clear(m.judged[i])
		}
		text = strings.Clone(text)
		m.judged[i][text], m.last[i] = text, text
		if known, err := v.is.program.Holds(m.machine); err == nil && !known && told(text) && len(m.unknown) < mostNoted {
			m.unknown = append(m.unknown, Unknown{v.kind, v.name, text})
		}
	}
	if m.kind != nil {
		m.kind.judged = true
	}
}

// all says whether all conditions hold.
func (m *Mapper) all(when []*compiled) bool {
	for _, w := range when {
		if holds, _ := w.program.Holds(m.machine); !holds {
			return false
		}
	}
	return true
}

// told says whether a name or a value may be told: what could be data of a person may not.
func told(text string) bool {
	if len(text) > 80 || strings.ContainsRune(text, '@') || strings.ContainsFunc(text, unicode.IsControl) {
		return false
	}
	digits := 0
	for i := 0; i < len(text); i++ { // an id, an address, a number of somebody
		switch c := text[i]; {
		case isDigit(c):
			if digits++; digits == 7 {
				return false
			}
		case c|0x20-'a' < 26 || c == ' ':
			digits = 0
		}
	}
	return true
}
