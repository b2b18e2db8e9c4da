package transform

import (
	"fmt"
	"strings"
	"time"

	"github.com/secure60/s60-m365-connector/engine/expression"
)

// Mapper applies a mapping. It holds scratch space: each goroutine needs one of
// its own.
type Mapper struct {
	m *Mapping
	flattener
	fixed    []byte   // constants that no computed field replaces, each with a comma before it
	fallback []string // by field: the JSON of the constant of its name, empty if there is none
	keys     []string // by field: `,"name":`

	winner []int // by field: the rule that applies, or -1
	values []any
	known  []uint64 // by field: the event for which values holds
	env    map[string]any
	failed []FieldError
}

// NewMapper makes a mapper whose events carry the given further constants
// (source_name, the partition's own).
func (m *Mapping) NewMapper(constants ...Constant) *Mapper {
	mapper := &Mapper{
		m:        m,
		fallback: make([]string, len(m.fields)),
		keys:     make([]string, len(m.fields)),
		winner:   make([]int, len(m.fields)),
		values:   make([]any, len(m.fields)),
		known:    make([]uint64, len(m.fields)),
		env:      make(map[string]any),
	}
	mapper.slotOf, mapper.pairs = m.slotOf, m.pairs
	mapper.slots = make([]slot, len(m.slotOf))
	mapper.forget()
	for i, name := range m.fields {
		mapper.keys[i] = `,"` + name + `":`
	}
	fixed := make(map[string]string)
	var order []string
	for _, list := range [][]Constant{m.options.Constants, constants} {
		for _, c := range list {
			value, err := expression.JSON(c.Value)
			if err != nil || c.Value == nil || c.Value == "" {
				continue
			}
			if field, ok := m.fieldOf[c.Name]; ok {
				mapper.fallback[field] = value
				continue
			}
			if fixed[c.Name] == "" {
				order = append(order, c.Name)
			}
			fixed[c.Name] = value
		}
	}
	for _, name := range order {
		mapper.fixed = append(mapper.fixed, ',')
		mapper.fixed = append(expression.AppendString(mapper.fixed, name), ':')
		mapper.fixed = append(mapper.fixed, fixed[name]...)
	}
	return mapper
}

// Append appends the event of a record to dst, as one line of compact JSON
// without a line feed. record is valid JSON in UTF-8. A record is never
// refused: what fails is in the event's error_mapping and in failed, which is
// valid until the next call. What is not JSON becomes event_value as a text.
func (m *Mapper) Append(dst, record []byte) (event []byte, failed []FieldError) {
	start := len(dst)
	m.failed = m.failed[:0]
	dst = append(dst, m.fixed...)
	dst, ok := m.flatten(dst, record)
	if !ok {
		m.failed = append(m.failed, FieldError{Field: prefix + "_value", Cause: "the record is not valid JSON and is kept as text"})
		dst = append(dst, `,"`+prefix+`_value":`...)
		dst = expression.AppendString(dst, string(record))
	}
	m.choose()
	for field := range m.m.fields {
		dst = m.appendField(dst, field)
	}
	if len(m.failed) > 0 {
		dst = m.appendFailures(dst)
	}
	if len(dst) == start {
		return append(dst, "{}"...), nil
	}
	dst[start] = '{'
	return append(dst, '}'), m.failed
}

// choose finds the rule that applies for each field.
func (m *Mapper) choose() {
	copy(m.winner, m.m.base)
	for i := 0; i < len(m.m.steps); i++ {
		s := &m.m.steps[i]
		if !m.apply(s) {
			i += s.skip
		}
	}
	for i := range m.m.late {
		m.apply(&m.m.late[i])
	}
}

func (m *Mapper) apply(s *step) bool {
	for _, when := range s.when {
		if !m.holds(when) {
			return false
		}
	}
	for _, r := range s.rules {
		field := m.m.rules[r].field
		m.winner[field] = max(m.winner[field], r)
	}
	return true
}

func (m *Mapper) holds(when *compiled) bool {
	holds, err := when.program.Bool(m.environment(when))
	if err != nil {
		pos := when.text.Pos()
		m.failed = append(m.failed, FieldError{Field: fmt.Sprintf("when (%s:%d)", pos.File, pos.Line), Cause: err.Error()})
	}
	return holds
}

// environment are the values of the names that an expression reads.
func (m *Mapper) environment(e *compiled) map[string]any {
	for _, name := range e.program.Names() {
		if field, ok := m.m.fieldOf[name.Name]; ok {
			m.value(field) // which uses the environment itself
		}
	}
	clear(m.env)
	for _, name := range e.program.Names() {
		if field, ok := m.m.fieldOf[name.Name]; ok {
			m.env[name.Name] = m.values[field]
		} else {
			m.env[name.Name] = m.slots[m.m.slotOf[name.Name]].value(m.event)
		}
	}
	return m.env
}

// value is a slot's value; nil if the record lacks it.
func (s *slot) value(event uint64) any {
	if s.event != event {
		return nil
	}
	switch s.kind {
	case slotText:
		return string(s.raw)
	case slotEscaped:
		return string(unescape(nil, s.raw))
	case slotNumber:
		return expression.ParseNumber(string(s.raw))
	case slotTrue, slotFalse:
		return s.kind == slotTrue
	}
	return string(compactJSON(nil, s.raw))
}

// value is the value of a computed field: that of its rule, of the constant of
// its name, or of its default, the first that is neither nil nor "".
func (m *Mapper) value(field int) any {
	if m.known[field] == m.event {
		return m.values[field]
	}
	m.known[field], m.values[field] = m.event, nil // for a default that reads what reads it
	m.values[field] = m.compute(field)
	return m.values[field]
}

func (m *Mapper) compute(field int) any {
	if r := m.winner[field]; r >= 0 {
		e := m.m.rules[r].expression
		v, err := e.program.Eval(m.environment(e))
		if err != nil {
			m.failed = append(m.failed, FieldError{Field: m.m.fields[field], Cause: err.Error()})
		} else if v != nil && v != "" {
			return v
		}
	}
	if constant := m.fallback[field]; constant != "" {
		v, _ := expression.DecodeJSON(constant)
		return v
	}
	return m.defaultOf(m.m.fields[field])
}

func (m *Mapper) defaultOf(name string) any {
	switch name {
	case "timestamp":
		return m.m.options.Now().UTC().Format(time.RFC3339Nano)
	case "operation":
		if out, ok := expression.AppendKebab(nil, m.m.name); ok {
			return string(out)
		}
	case "outcome":
		return "success"
	case "source_type":
		return m.m.name
	case "message_text":
		return m.defaultMessage()
	}
	return nil
}

// defaultMessage says who did what from where, as far as the event knows.
func (m *Mapper) defaultMessage() any {
	var b strings.Builder
	add := func(before, name string) {
		field, ok := m.m.fieldOf[name]
		if !ok {
			return
		}
		if text, ok := expression.Text(m.value(field)); ok && text != "" {
			if b.Len() > 0 {
				b.WriteByte(' ')
			}
			b.WriteString(before + text)
		}
	}
	add("", "operation")
	add("by ", "user_name")
	add("from ", "ip_src_address")
	if field := m.m.fieldOf["outcome"]; m.value(field) == "failure" {
		b.WriteString(" failed")
	}
	return b.String()
}

func (m *Mapper) appendField(dst []byte, field int) []byte {
	v := m.value(field)
	if v == nil || v == "" {
		return dst
	}
	var err error
	before := len(dst)
	dst = append(dst, m.keys[field]...)
	switch v.(type) {
	case []any, map[string]any:
		var text string
		text, err = expression.JSON(v)
		dst = expression.AppendString(dst, text)
	default:
		dst, err = expression.AppendJSON(dst, v)
	}
	if err != nil {
		m.failed = append(m.failed, FieldError{Field: m.m.fields[field], Cause: err.Error()})
		return dst[:before]
	}
	return dst
}

// appendFailures writes what failed where a person looks for it.
func (m *Mapper) appendFailures(dst []byte) []byte {
	var b strings.Builder
	b.WriteString("mapping " + m.m.name + ":")
	for i, failure := range m.failed {
		if i > 0 {
			b.WriteByte(';')
		}
		b.WriteString(" " + failure.Field + ": " + failure.Cause)
	}
	dst = append(dst, `,"`+errorField+`":`...)
	return expression.AppendString(dst, b.String())
}

func appendText(dst, text []byte) []byte { return expression.AppendString(dst, string(text)) }
