package transform

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/secure60/s60-m365-connector/engine/expression"
)

// Mapper applies a mapping. It holds scratch space: each goroutine needs one of
// its own.
type Mapper struct {
	m *Mapping
	flattener
	evals    []eval   // of the mapping
	copies   []int32  // of the mapping
	fixed    []byte   // constants that no computed field replaces, each with a comma before it
	fallback []value  // by field: what it is where no rule gives a value
	always   []bool   // by field: there is a value where no rule gives one
	keys     []string // by field: `,"name":`

	winner    []int32 // by field: the rule that applies, or -1
	open      set     // steps that the selectors leave
	values    []value
	known     []uint64 // by field: the event for which values holds
	memos     []answered
	variables []value
	list      []value // elements of lists of this event
	pending   []value // elements of lists that are being made
	steps     int     // of the loops of the expression that runs
	kept      []any   // lists, maps and times of this event
	arena     []byte  // texts of this event
	failure   error   // of the expression that runs
	env       map[string]any
	failed    []FieldError
	stamp     string // what a rule gave for the timestamp of this event
}

// NewMapper makes a mapper whose events carry the given further constants
// (source_name, the partition's own).
func (m *Mapping) NewMapper(constants ...Constant) *Mapper {
	mapper := &Mapper{
		m:         m,
		fallback:  make([]value, len(m.fields)),
		always:    make([]bool, len(m.fields)),
		keys:      make([]string, len(m.fields)),
		winner:    make([]int32, len(m.fields)),
		open:      make(set, len(m.everything)),
		values:    make([]value, len(m.fields)),
		known:     make([]uint64, len(m.fields)),
		memos:     make([]answered, m.memos),
		variables: make([]value, m.variables),
		env:       make(map[string]any),
	}
	mapper.evals, mapper.copies = m.evals, m.copies
	mapper.slotOf, mapper.pairs = m.slotOf, m.pairs
	mapper.slots = make([]slot, len(m.slotOf))
	mapper.forget()
	for i, name := range m.fields {
		mapper.keys[i] = `,"` + name + `":`
		mapper.fallback[i], _ = constant(m.defaultOf(name))
		mapper.always[i] = mapper.fallback[i].kind != nilKind || name == "timestamp" || name == "message_text"
	}
	fixed := make(map[string]string)
	var order []string
	for _, list := range [][]Constant{m.options.Constants, constants} {
		for _, c := range list {
			text, err := expression.JSON(c.Value)
			if err != nil || c.Value == nil || c.Value == "" {
				continue
			}
			if field, ok := m.fieldOf[c.Name]; ok {
				mapper.fallback[field], _ = constant(c.Value)
				mapper.always[field] = true
				continue
			}
			if fixed[c.Name] == "" {
				order = append(order, c.Name)
			}
			fixed[c.Name] = text
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
	m.reset()
	dst = append(dst, m.fixed...)
	dst, ok := m.flatten(dst, record)
	if !ok {
		m.failed = append(m.failed, FieldError{Field: prefix + "_value", Cause: "the record is not valid JSON and is kept as text"})
		dst = append(dst, `,"`+prefix+`_value":`...)
		dst = expression.AppendString(dst, string(record))
	}
	m.choose()
	for field, r := range m.winner {
		if r >= 0 || m.always[field] {
			dst = m.appendField(dst, field, r)
		}
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

// Time is the time of the event that Append gave last, as its mapping tells it;
// ok is false where it tells none.
func (m *Mapper) Time() (t time.Time, ok bool) {
	t, err := time.Parse(time.RFC3339Nano, m.stamp)
	return t, err == nil
}

// failedCondition notes why a condition failed, if it did. It then does not hold.
func (m *Mapper) failedCondition(when *compiled) {
	if m.failure != nil {
		pos := when.text.Pos()
		m.failed = append(m.failed, FieldError{Field: fmt.Sprintf("when (%s:%d)", pos.File, pos.Line), Cause: m.failure.Error()})
		m.failure = nil
	}
}

// keepArena and keepList are how much scratch space, in bytes and in values, is
// kept from one event to the next.
const (
	keepArena = 1 << 20
	keepList  = 1 << 14
)

func (m *Mapper) reset() {
	m.failed, m.stamp = m.failed[:0], ""
	clear(m.kept)
	m.kept = m.kept[:0]
	if cap(m.arena) > keepArena {
		m.arena = nil
	}
	if cap(m.text) > keepArena {
		m.text = nil
	}
	m.arena = m.arena[:0]
	if cap(m.list) > keepList {
		m.list = nil
	}
	m.list, m.pending, m.steps = m.list[:0], m.pending[:0], 0
}

// environment are the values of the names that an expression reads, for expr's
// machine.
func (m *Mapper) environment(e *compiled) map[string]any {
	for _, name := range e.program.Names() {
		if field, ok := m.m.fieldOf[name.Name]; ok {
			m.value(field) // which uses the environment itself
		}
	}
	clear(m.env)
	for _, name := range e.program.Names() {
		if field, ok := m.m.fieldOf[name.Name]; ok {
			m.env[name.Name] = m.any(m.values[field])
		} else {
			m.env[name.Name] = m.any(m.slotValue(m.m.slotOf[name.Name]))
		}
	}
	return m.env
}

// value is the value of a computed field: that of its rule, of the constant of
// its name, or of its default, the first that is neither nil nor "".
func (m *Mapper) value(field int) value {
	if m.known[field] == m.event {
		return m.values[field]
	}
	v := m.compute(field)
	m.known[field], m.values[field] = m.event, v
	return v
}

func (m *Mapper) compute(field int) value {
	if r := m.winner[field]; r >= 0 {
		outer, steps := m.failure, m.steps
		m.failure, m.steps = nil, 0
		v := m.evals[r](m)
		failure := m.failure
		m.failure, m.steps = outer, steps
		if failure != nil {
			m.failed = append(m.failed, FieldError{Field: m.m.fields[field], Cause: failure.Error()})
		} else if v.kind != nilKind && (v.kind != textKind || v.text != "") {
			if m.m.fields[field] == "timestamp" {
				m.stamp = v.text
			}
			return v
		}
	}
	if v := m.fallback[field]; v.kind != nilKind {
		return v
	}
	if !m.always[field] {
		return value{}
	}
	switch m.m.fields[field] {
	case "timestamp":
		start := len(m.arena)
		m.arena = m.m.options.Now().UTC().Truncate(time.Millisecond).AppendFormat(m.arena, time.RFC3339Nano)
		return value{kind: textKind, text: view(m.arena[start:]), safe: true}
	case "message_text":
		return m.defaultMessage()
	}
	return value{}
}

// defaultOf is the value of an always-field that nothing gives, where it is
// the same for every record.
func (m *Mapping) defaultOf(name string) any {
	switch name {
	case "operation":
		if out, ok := expression.AppendKebab(nil, m.kind()); ok {
			return string(out)
		}
	case "outcome":
		return "success"
	case "source_type":
		return m.kind()
	}
	return nil
}

// kind is the source_type where nothing gives it: what a mapping extends keeps its own.
func (m *Mapping) kind() string {
	if m.sourceType != "" {
		return m.sourceType
	}
	return m.name
}

// defaultMessage says who did what from where, as far as the event knows.
func (m *Mapper) defaultMessage() value {
	// What it says of others must not depend on itself.
	own := m.m.fieldOf["message_text"]
	m.known[own], m.values[own] = m.event, value{}
	var b strings.Builder
	add := func(before, name string) {
		field, ok := m.m.fieldOf[name]
		if !ok {
			return
		}
		if text, _, ok := m.textOf(m.value(field)); ok && text != "" {
			if b.Len() > 0 {
				b.WriteByte(' ')
			}
			b.WriteString(before + text)
		}
	}
	add("", "operation")
	add("by ", "user_name")
	add("from ", "ip_src_address")
	if m.value(m.m.fieldOf["outcome"]).text == "failure" {
		b.WriteString(" failed")
	}
	return value{kind: textKind, text: b.String()}
}

// appendField appends the value of a field. r is its rule, or -1.
func (m *Mapper) appendField(dst []byte, field int, r int32) []byte {
	message := m.m.fields[field] == "message_text"
	if r >= 0 && !message {
		if copied := m.copies[r]; copied >= 0 {
			// What the rule copies from the record is copied as it stands there.
			s := &m.slots[copied]
			switch {
			case s.event != m.event:
				if !m.always[field] {
					return dst
				}
			case s.kind == slotText && s.text != "":
				dst = append(append(dst, m.keys[field]...), '"')
				return append(append(dst, s.text...), '"')
			case s.kind == slotNumber:
				return append(append(dst, m.keys[field]...), s.text...)
			}
		}
	}
	var v value
	if m.m.read[field] {
		v = m.value(field)
	} else {
		v = m.compute(field)
	}
	switch v.kind {
	case nilKind:
		return dst
	case textKind:
		if v.text == "" {
			return dst
		}
		dst = append(dst, m.keys[field]...)
		if !v.safe && message {
			return expression.AppendString(dst, oneLine(v.text))
		}
		if !v.safe {
			return expression.AppendString(dst, v.text)
		}
		dst = append(dst, '"')
		dst = append(dst, v.text...)
		return append(dst, '"')
	case numberKind:
		return append(append(dst, m.keys[field]...), v.text...)
	case intKind:
		return strconv.AppendInt(append(dst, m.keys[field]...), v.bits, 10)
	case boolKind:
		return strconv.AppendBool(append(dst, m.keys[field]...), v.bits != 0)
	}
	before := len(dst)
	dst = append(dst, m.keys[field]...)
	var err error
	switch v := m.any(v).(type) {
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

// oneLine folds line ends and other control characters into spaces: a message
// is one line, whatever the record holds.
func oneLine(s string) string {
	if strings.IndexFunc(s, unicode.IsControl) < 0 {
		return s
	}
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return unicode.IsControl(r) || r == ' ' }), " ")
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
