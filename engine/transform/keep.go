package transform

import (
	"bytes"

	"github.com/secure60/s60-m365-connector/engine/rawjson"
)

// Redacted is a record, a JSON object, as its mapping lets others see it: for what is kept of it
// elsewhere. It has the members of the record, changed by the rules that name the fields which they would
// become; the record itself comes back where nothing redacts. What is no JSON becomes an empty object.
func (m *Mapper) Redacted(record []byte) []byte {
	if m.redact == nil {
		return record
	}
	m.failed = m.failed[:0]
	scratch, ok := m.flatten(m.scratch[:0], record)
	if m.scratch = scratch; cap(scratch) > keepText {
		m.scratch = nil
	}
	record = bytes.TrimSpace(record)
	if !ok || record[0] != '{' {
		return []byte("{}")
	}
	holding := m.redact.holding(m.machine, m.failedCondition)
	for _, active := range []uint64{m.redact.always, holding} {
		if m.redact.active = active; active != 0 {
			record = m.kept(prefix, record)
		}
	}
	return record
}

// kept is a value of a record, whose field would have this name, as the active rules leave it; nil if they
// take it away.
func (f *flattener) kept(name string, raw []byte) []byte {
	switch raw[0] {
	case 'n': // null is no field
		return raw
	case '{':
		return container(raw, func(member string, value []byte) []byte {
			return f.kept(name+"_"+flatName(member), value)
		})
	}
	if f.spreads(name) {
		raw = f.redact.list(name, raw)
	}
	return f.redact.changed(raw, f.leaf(name).changes)
}

// list is an array, or the JSON text of one, whose elements have names, as the active rules leave it.
func (r *redactor) list(name string, raw []byte) []byte {
	switch raw[0] {
	case '[':
		return r.named(name, raw, true)
	case '"':
		text := bytes.TrimSpace(rawjson.Unescape(nil, view(raw[1:len(raw)-1])))
		if len(text) > 0 && text[0] == '[' && new(rawjson.Scanner).Valid(text) {
			return rawjson.AppendString(nil, view(r.named(name, text, true)))
		}
	}
	return raw
}
