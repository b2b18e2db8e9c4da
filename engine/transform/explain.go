package transform

import (
	"encoding/json"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/secure60/s60-m365-connector/engine/definition"
)

// This file says where the fields of an event come from. None of it is in the path of events.

// Where a field of an event comes from.
const (
	FromRecord   = "record"   // a field of the record, under its flat name
	FromRule     = "rule"     // an expression of a mapping
	FromConstant = "constant" // a constant of every event
	FromDefault  = "default"  // what the engine says where nothing else does
	FromEngine   = "engine"   // error_mapping
)

// Explanation is a field of an event and where it comes from.
type Explanation struct {
	Field  string
	Value  json.RawMessage // nil: the rule gave nothing, and the event lacks the field
	From   string
	Origin Origin // of the rule that applies, also where it gave nothing and something else stood in
	Failed string // why the rule failed; empty if it did not
}

// Explain maps a record and says of each field of the event, in its order,
// where it comes from. Fields whose rule gave nothing, and for which nothing
// stood in, follow at the end.
func (m *Mapping) Explain(record []byte, constants ...Constant) []Explanation {
	mapper := m.NewMapper(constants...)
	mapper.off = true // a plan holds values, not where they come from
	event, failed := mapper.Append(nil, record)
	causes := make(map[string]string)
	for _, failure := range failed {
		causes[failure.Field] = failure.Cause
	}
	fixed := make(map[string]bool)
	for _, list := range [][]Constant{m.options.Constants, constants} {
		for _, c := range list {
			fixed[c.Name] = true
		}
	}
	var out []Explanation
	present := make(map[string]bool)
	gjson.ParseBytes(event).ForEach(func(name, value gjson.Result) bool {
		e := Explanation{Field: name.String(), Value: json.RawMessage(value.Raw)}
		present[e.Field] = true
		field, computed := m.fieldOf[e.Field]
		switch {
		case strings.HasPrefix(e.Field, prefix+"_"):
			e.From = FromRecord
		case e.Field == errorField:
			e.From = FromEngine
		case computed:
			e.From = FromDefault
			if fixed[e.Field] {
				e.From = FromConstant
			}
			if r := mapper.winner[field]; r >= 0 {
				e.Origin, e.Failed = m.rules[r].origin(), causes[e.Field]
				if mapper.gives(r) {
					e.From = FromRule
				}
			}
		default:
			e.From = FromConstant
		}
		out = append(out, e)
		return true
	})
	for field, name := range m.fields {
		if r := mapper.winner[field]; r >= 0 && !present[name] {
			out = append(out, Explanation{Field: name, From: FromRule, Origin: m.rules[r].origin(), Failed: causes[name]})
		}
	}
	return out
}

func (r *rule) origin() Origin {
	text := r.expression.text
	return Origin{Mapping: r.mapping, Pos: text.Pos(), Source: text.Value, Case: r.when}
}

// gives says whether a rule gives a value for the record that was mapped last.
func (m *Mapper) gives(r int16) bool {
	v, err := m.m.rules[r].expression.program.Value(m.machine)
	return err == nil && !v.Nothing()
}

// Reference is a place in a mapping that names a field of the record.
type Reference struct {
	Name   string // event_…
	Text   definition.Text
	Offset int // in characters within Text
	Length int
}

// References are all places where expressions name fields of the record, each
// expression once however often its mapping is included.
func (m *Mapping) References() []Reference {
	var out []Reference
	for _, e := range m.expressions {
		for _, name := range e.program.Names() {
			if _, computed := m.fieldOf[name.Name]; !computed && !name.Let {
				out = append(out, Reference{Name: name.Name, Text: e.text, Offset: name.Offset, Length: name.Length})
			}
		}
	}
	return out
}

// Fields are the names of the fields that the mapping computes, the
// always-fields among them.
func (m *Mapping) Fields() []string { return append([]string(nil), m.fields...) }
