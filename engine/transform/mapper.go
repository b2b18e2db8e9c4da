package transform

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/secure60/s60-m365-connector/engine/expression"
	"github.com/secure60/s60-m365-connector/engine/rawjson"
)

// Mapper applies a mapping. It holds scratch space: each goroutine needs one of
// its own.
type Mapper struct {
	m *Mapping
	flattener
	fixed    []byte             // constants that no computed field replaces, each with a comma before it
	fallback []expression.Value // by field: what it is where no rule gives a value
	always   []bool             // by field: there is a value where no rule gives one
	keys     []string           // by field: `,"name":`

	winner []int16 // by field: the rule that applies, or noRule; of a plan also less, see there
	own    []int16 // room for it
	plan   *plan   // of the record in hand, nil: none
	kind   *kind   // likewise
	recall *recall // of the special plan of the record in hand
	planner
	failed []FieldError
	stamp  expression.Value // what a rule gave for the timestamp of this event

	scratch []byte              // of Redacted
	filters []*filter           // the drops and samples that hold for this event
	judged  []map[string]string // by field of few values: those that were met; nil where it is not told
	last    []string            // of them, the one that was met last
}

// NewMapper makes a mapper whose events carry the given further constants
// (source_name, the partition's own).
func (m *Mapping) NewMapper(constants ...Constant) *Mapper { return m.Mappers(constants...)() }

// Mappers makes mappers with the same constants. What one of them learned of kinds of records the others need not learn.
func (m *Mapping) Mappers(constants ...Constant) (another func() *Mapper) {
	shared := &m.planning
	if slices.ContainsFunc(constants, func(c Constant) bool { _, ok := m.fieldOf[c.Name]; return ok }) {
		shared = &planning{} // the constants are part of what is known of a kind
	}
	return func() *Mapper { return m.newMapper(shared, constants) }
}

// Redacts says whether records of the mapping are changed before anything reads
// them: what stands in for them elsewhere must be, too.
func (m *Mapper) Redacts() bool { return m.redact != nil }

func (m *Mapping) newMapper(shared *planning, constants []Constant) *Mapper {
	m.link.Do(m.unit.Link)
	mapper := &Mapper{
		m:        m,
		fallback: make([]expression.Value, len(m.fields)),
		always:   make([]bool, len(m.fields)),
		keys:     make([]string, len(m.fields)),
		own:      make([]int16, len(m.fields)),
	}
	mapper.machine = m.unit.NewMachine(mapper.compute)
	mapper.machine.SetPatience(m.options.Patience)
	mapper.slotOf, mapper.pairs, mapper.known = m.unit.Slot, m.pairs, &m.known
	if len(m.redact) > 0 {
		mapper.redact = &redactor{rules: m.redact, key: m.options.PseudonymKey, pseudonyms: make(map[string]string)}
		for i, rule := range m.redact {
			mapper.redact.all |= 1 << i
			if len(rule.when) == 0 {
				mapper.redact.always |= 1 << i
			}
		}
	}
	mapper.judged = make([]map[string]string, len(m.values))
	mapper.last = make([]string, len(m.values))
	for i, v := range m.values {
		if mapper.redact == nil || mapper.redact.changes(v.name) == nil {
			mapper.judged[i] = make(map[string]string)
		}
	}
	mapper.forget()
	for i, name := range m.fields {
		mapper.keys[i] = `,"` + name + `":`
		mapper.fallback[i] = expression.Constant(m.defaultOf(name))
		mapper.always[i] = !mapper.fallback[i].Nothing() || name == "timestamp" || name == "message_text"
	}
	fixed := make(map[string]string)
	var order []string
	mapper.planning = shared
	for _, list := range [][]Constant{m.options.Constants, constants} {
		for _, c := range list {
			v := expression.Constant(c.Value)
			text, err := mapper.machine.AppendJSON(nil, v)
			if err != nil || v.Nothing() {
				continue
			}
			if field, ok := m.fieldOf[c.Name]; ok {
				mapper.fallback[field] = v
				mapper.always[field] = true
				continue
			}
			if fixed[c.Name] == "" {
				order = append(order, c.Name)
			}
			fixed[c.Name] = string(text)
		}
	}
	for _, name := range order {
		mapper.fixed = append(mapper.fixed, ',')
		mapper.fixed = append(rawjson.AppendString(mapper.fixed, name), ':')
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
	m.failed, m.stamp = m.failed[:0], expression.Value{}
	if cap(m.text) > keepText {
		m.text = nil
	}
	dst = append(dst, m.fixed...)
	dst, ok := m.record(dst, record)
	if !ok {
		text, kept := string(record), "text"
		if m.redact != nil {
			text, kept = Digest(record), "length and digest"
		}
		m.failed = append(m.failed, FieldError{Field: prefix + "_value", Cause: "the record is not valid JSON and is kept as " + kept})
		dst = append(dst, `,"`+prefix+`_value":`...)
		dst = rawjson.AppendString(dst, text)
	}
	m.plan, m.recall = nil, nil
	if m.kind = m.kindOf(); m.kind != nil {
		m.plan = m.fitting(m.kind)
		m.recall = m.kind.recalled(m.plan)
		m.follow(m.plan)
		dst = m.appendParts(dst, m.plan)
	} else {
		m.follow(m.m.bare)
		for field, r := range m.winner {
			if r >= 0 || m.always[field] {
				dst = m.appendField(dst, field, m.m.read[field])
			}
		}
	}
	if len(m.m.drops)+len(m.m.samples) > 0 {
		m.filter()
	}
	if len(m.m.values) > 0 {
		m.noteValues()
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

// record appends the fields of a record, redacted.
func (m *Mapper) record(dst, record []byte) (out []byte, ok bool) {
	out, ok = m.flatten(dst, record)
	if !ok || m.redact == nil || len(m.redact.held) == 0 {
		return out, ok
	}
	if holding := m.redact.holding(m.machine, m.failedCondition); holding != 0 {
		out = m.settle(out, holding)
		m.machine.Forget() // what conditions computed of what was there
	}
	return out, true
}

// Time is the time of the event that Append gave last, as its mapping tells it;
// ok is false where it tells none.
func (m *Mapper) Time() (t time.Time, ok bool) {
	text, _ := m.machine.Text(m.stamp)
	t, err := time.Parse(time.RFC3339Nano, text)
	return t, err == nil
}

// failedCondition notes why a condition failed, if it did. It then does not hold.
func (m *Mapper) failedCondition(when *compiled, err error) {
	if err != nil {
		pos := when.text.Pos()
		m.failed = append(m.failed, FieldError{Field: fmt.Sprintf("when (%s:%d)", pos.File, pos.Line), Cause: err.Error()})
	}
}

// keepText is how much scratch space, in bytes, is kept from one event to the
// next.
const keepText = 1 << 20

// compute is the value of a computed field: that of its rule, of the constant of
// its name, or of its default, the first that is neither nil nor "".
func (m *Mapper) compute(field int) expression.Value {
	r := m.winner[field]
	if r < noRule {
		return m.plan.value(r)
	}
	if r >= 0 {
		program := m.m.programs[r]
		if m.plan != nil && m.plan.programs != nil && r == m.plan.winner[field] && m.plan.programs[field] != nil {
			program = m.plan.programs[field]
		}
		v, err := program.Value(m.machine)
		if err == nil && !v.Nothing() {
			if field == m.m.timestamp {
				m.stamp = v
			}
			return v
		} else if err == nil && field == m.m.timestamp {
			m.untimed(r)
		}
		return m.instead(field, err)
	}
	return m.instead(field, nil)
}

// instead is the value of a field of which the rule failed or gave nothing.
func (m *Mapper) instead(field int, err error) expression.Value {
	if err != nil {
		m.failed = append(m.failed, FieldError{Field: m.m.fields[field], Cause: err.Error()})
	}
	switch v := m.fallback[field]; {
	case !v.Nothing() || !m.always[field]:
		return v
	case field == m.m.timestamp:
		return expression.Constant(m.m.options.Now().UTC().Truncate(time.Millisecond).Format(time.RFC3339Nano))
	}
	return m.defaultMessage(field)
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

// inDefaultMessage are the fields that it reads.
var inDefaultMessage = []string{"operation", "user_name", "ip_src_address", "outcome", "message_text"}

// defaultMessage says who did what from where, as far as the event knows.
func (m *Mapper) defaultMessage(own int) expression.Value {
	m.machine.Set(own, expression.Value{}) // what it says of others must not depend on itself
	var b strings.Builder
	add := func(before, name string) {
		field, ok := m.m.fieldOf[name]
		if !ok {
			return
		}
		if text, ok := m.machine.Text(m.machine.Computed(field)); ok && text != "" {
			if b.Len() > 0 {
				b.WriteByte(' ')
			}
			b.WriteString(before + text)
		}
	}
	add("", "operation")
	add("by ", "user_name")
	add("from ", "ip_src_address")
	if m.machine.Computed(m.m.fieldOf["outcome"]).IsText("failure") {
		b.WriteString(" failed")
	}
	return expression.Constant(b.String())
}

// appendField appends the value of a field, if it has one.
func (m *Mapper) appendField(dst []byte, field int, read bool) []byte {
	var v expression.Value
	if read {
		v = m.machine.Computed(field)
	} else {
		v = m.compute(field)
	}
	return m.appendValue(dst, field, m.keys[field], v)
}

func (m *Mapper) appendValue(dst []byte, field int, key string, v expression.Value) []byte {
	if field == m.m.message && !v.Nothing() && !v.IsOneLine() {
		if text, ok := m.machine.Text(v); ok {
			return rawjson.AppendString(append(dst, key...), oneLine(text))
		}
	}
	dst, err := m.machine.AppendNamed(dst, key, v)
	if err != nil {
		m.failed = append(m.failed, FieldError{Field: m.m.fields[field], Cause: err.Error()})
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
	return rawjson.AppendString(dst, b.String())
}
