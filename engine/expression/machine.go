package expression

import (
	"errors"
	"fmt"
	"time"
	"unsafe"

	"github.com/secure60/s60-m365-connector/engine/rawjson"
)

// Limits of one expression on one record, beyond which it fails.
const (
	MaxText   = 16 << 20 // bytes of all texts that it builds
	MaxValues = 1 << 18  // elements of all lists and maps that it builds
	MaxSteps  = 100_000  // of its loops together
)

var (
	errTooLong      = fmt.Errorf("the texts that it builds grow over %d MiB", MaxText>>20)
	errTooMany      = fmt.Errorf("the lists that it builds grow over %d elements", MaxValues)
	errTooSlow      = errors.New("there was no time left for it: the mapping takes too long on this record")
	errTooManySteps = fmt.Errorf("the expression takes more than %d steps on this data", MaxSteps)
)

// Machine evaluates the expressions of a unit over one record after the other.
// It holds the record's fields and scratch space: each goroutine needs one of
// its own. Between two calls of [Machine.Begin], a value that was computed once
// is not computed again.
type Machine struct {
	unit    *Unit
	compute func(i int) Value // of a computed name

	record    uint64   // counts records; what bears another number is of another record
	present   []uint64 // a bit for each slot that was set
	refs      []ref    // by name: where a field of the record stands
	source    string   // the record
	slots     []slot   // by name
	memos     []slot   // calls that are answered once for a record
	variables []Value

	arena  []byte      // texts of this record
	values []Value     // elements of lists and maps: the unit's constants, then those of this record
	times  []time.Time // of this record
	stack  []Value     // arguments and elements that are being gathered

	run run

	patience time.Duration // 0: a record may take as long as it takes
	deadline time.Time     // of the record
}

// slot is a value that was set for a record.
type slot struct {
	record uint64
	Value
}

// ref is where a field of the record stands in its text. Most fields of a record are never
// read, so that as little as possible is kept of each.
type ref struct {
	start uint32
	what  uint32 // its kind, and its length from the fifth bit on
}

const (
	inSlot     = iota // it is in the machine's slot
	refText           // the inside of a JSON string without escapes
	refEscaped        // or with escapes
	refNumber
)

// MaxRefs is how long a record may be, in bytes, whose fields the machine is told by their places.
const MaxRefs = 1<<28 - 1

// run is what one evaluation uses up.
type run struct {
	failure error // the first
	steps   int
	arena   int // where in the machine's texts and values it began
	values  int
}

// start begins an evaluation.
func (m *Machine) start() {
	m.run = run{arena: len(m.arena), values: len(m.values)}
}

// NewMachine makes a machine. compute gives the values of the computed names,
// by their index in Options.Computed; it may evaluate expressions of the unit.
func (u *Unit) NewMachine(compute func(i int) Value) *Machine {
	return &Machine{
		unit:      u,
		compute:   compute,
		record:    1,
		slots:     make([]slot, len(u.slots)),
		refs:      make([]ref, len(u.slots)),
		present:   make([]uint64, len(u.slots)/64+1),
		memos:     make([]slot, len(u.memos)),
		variables: make([]Value, u.variables),
		values:    u.pool[:len(u.pool):len(u.pool)],
	}
}

// keepArena and keepValues are how much scratch space, in bytes and in values,
// is kept from one record to the next.
const (
	keepArena  = 1 << 20
	keepValues = 1 << 14
)

// SetPatience bounds how long the expressions of one record may take together; those that are too late fail. For machines
// that evaluate what strangers write.
func (m *Machine) SetPatience(d time.Duration) { m.patience = d }

// late reports whether the record's time is over, and then fails.
func (m *Machine) late() bool {
	over := time.Now().After(m.deadline)
	if over {
		m.fail(errTooSlow)
	}
	return over
}

// Begin forgets the record before.
func (m *Machine) Begin() {
	if m.patience > 0 {
		m.deadline = time.Now().Add(m.patience)
	}
	m.record++
	clear(m.present)
	if m.arena = m.arena[:0]; cap(m.arena) > keepArena {
		m.arena = nil
	}
	if m.values = m.values[:len(m.unit.pool)]; cap(m.values) > len(m.values)+keepValues {
		m.values = m.unit.pool[:len(m.unit.pool):len(m.unit.pool)]
	}
	if cap(m.stack) > keepValues {
		m.stack = nil
	}
	m.times, m.stack = m.times[:0], m.stack[:0]
}

// Over tells the machine the text of the record, of which fields are told by their places: of not more than
// [MaxRefs] bytes, which must not change before the next Begin.
func (m *Machine) Over(record []byte) { m.source = view(record) }

// SetTextAt sets a field of the record to what stands there, as SetText does; so does
// SetNumberAt, for SetNumber.
func (m *Machine) SetTextAt(i, start, end int, escaped bool) {
	kind := refText
	if escaped {
		kind = refEscaped
	}
	m.setAt(i, start, end, kind)
}

func (m *Machine) SetNumberAt(i, start, end int) { m.setAt(i, start, end, refNumber) }

func (m *Machine) setAt(i, start, end, kind int) {
	m.refs[i] = ref{uint32(start), uint32((end-start)<<4 | kind)}
	m.present[uint(i)/64] |= 1 << (uint(i) % 64)
}

// SetText and SetNumber, SetBool and SetJSON set a field of the record to what
// stands there. Their texts, which must be valid, are read when they are needed,
// and must not change before the next Begin. raw is the inside of a JSON string.
func (m *Machine) SetText(i int, raw []byte, escaped bool) {
	v := Value{kind: textKind, text: view(raw), safe: true}
	if escaped {
		v.kind = escapedKind
	}
	m.Set(i, v)
}

func (m *Machine) SetNumber(i int, raw []byte) { m.Set(i, Value{kind: numberKind, text: view(raw)}) }

func (m *Machine) SetBool(i int, b bool) { m.Set(i, boolean(b)) }

// SetJSON sets a field to a list or a map, which reads as its compact text.
func (m *Machine) SetJSON(i int, raw []byte, compact bool) {
	v := Value{kind: textKind, text: view(raw)}
	if !compact {
		v.kind = spacedKind
	}
	m.Set(i, v)
}

// Set sets a name for this record.
func (m *Machine) Set(i int, v Value) {
	m.slots[i] = slot{m.record, v}
	m.refs[i] = ref{}
	m.present[i/64] |= 1 << (i % 64)
}

// Unset takes a field from the record.
func (m *Machine) Unset(i int) {
	m.present[i/64] &^= 1 << (i % 64)
}

// Forget forgets what was computed of fields that have changed.
func (m *Machine) Forget() { clear(m.memos) }

// field is a field of the record.
func (m *Machine) field(i int) Value {
	if !m.has(i) {
		return Value{}
	}
	if r := m.refs[i]; r.what&15 == refText {
		return Value{kind: textKind, text: m.at(r), safe: true}
	}
	return m.other(i)
}

// has says whether the record has a field.
func (m *Machine) has(i int) bool { return m.present[uint(i)/64]&(1<<(uint(i)%64)) != 0 }

// at is the text of a field that stands in the record.
func (m *Machine) at(r ref) string { return m.source[r.start:][:r.what>>4] }

// other is a field of the record that is no text without escapes.
func (m *Machine) other(i int) Value {
	s, r := &m.slots[i], m.refs[i]
	switch r.what & 15 {
	case refNumber:
		return Value{kind: numberKind, text: m.at(r)}
	case refEscaped:
		m.Set(i, Value{kind: escapedKind, text: m.at(r)})
	}
	if s.kind >= escapedKind {
		return m.read(s)
	}
	return s.Value
}

// fieldText is a field of the record where text is asked for.
func (m *Machine) fieldText(i int) (string, bool) {
	if !m.has(i) {
		return "", false
	}
	if r := m.refs[i]; r.what&15 == refText || r.what&15 == refNumber {
		return m.at(r), true
	}
	text, _, ok := m.text(m.field(i))
	return text, ok
}

// Field is a field of the record, as expressions see it.
func (m *Machine) Field(i int) Value { return m.field(i) }

// read reads a field for the first time.
func (m *Machine) read(s *slot) Value {
	start := len(m.arena)
	if s.kind == escapedKind {
		m.arena = rawjson.Unescape(m.arena, s.text)
	} else {
		m.arena = rawjson.Compact(m.arena, bytesOf(s.text))
	}
	s.Value = text(view(m.arena[start:]))
	return s.Value
}

// Computed is the value of a computed name.
func (m *Machine) Computed(i int) Value {
	s := &m.slots[i]
	if s.record != m.record {
		outer := m.run // what asks for the name goes on afterwards
		s.Value = m.compute(i)
		s.record, m.run = m.record, outer
	}
	return s.Value
}

// Ready is the value of a computed name that was asked for before.
func (m *Machine) Ready(i int) (v Value, ok bool) {
	s := &m.slots[i]
	return s.Value, s.record == m.record
}

// SetComputed sets a computed name that was not asked for yet.
func (m *Machine) SetComputed(i int, v Value) { m.slots[i] = slot{m.record, v} }

// fail notes a failure, the first of an evaluation. The evaluation goes on, its
// result is thrown away.
func (m *Machine) fail(err error) Value {
	if m.run.failure == nil {
		m.run.failure = err
	}
	return Value{}
}

// step counts what a loop does, so that loops within loops end.
func (m *Machine) step() bool {
	if m.run.steps++; m.run.steps > MaxSteps {
		m.fail(errTooManySteps)
	}
	if m.patience > 0 && m.run.steps%16 == 0 {
		m.late()
	}
	return m.run.failure == nil
}

// room says whether an expression may build as much more text.
func (m *Machine) room(size int) bool { return len(m.arena)-m.run.arena+size <= MaxText }

// built is the text that was appended to the arena from start on.
func (m *Machine) built(start int, safe bool) (Value, error) {
	if !m.room(0) {
		m.arena = m.arena[:start]
		return Value{}, errTooLong
	}
	return Value{kind: textKind, text: view(m.arena[start:]), safe: safe}, nil
}

// write appends the text of a value to the arena; ok is false if it has none.
func (m *Machine) write(v Value) (safe, ok bool) {
	at := len(m.arena)
	text, safe, ok := m.text(v) // which may write digits there
	m.arena = append(m.arena[:at], text...)
	return safe, ok
}

// gathered makes a list or a map of what the stack holds from start on.
func (m *Machine) gathered(kind kind, start int) Value {
	from := len(m.values)
	if from-m.run.values+len(m.stack)-start > MaxValues {
		m.stack = m.stack[:start]
		return m.fail(errTooMany)
	}
	m.values = append(m.values, m.stack[start:]...)
	m.stack = m.stack[:start]
	return spanOf(kind, from, len(m.values))
}

// listOf makes a list of values.
func (m *Machine) listOf(values []Value) Value {
	start := len(m.stack)
	m.stack = append(m.stack, values...)
	return m.gathered(listKind, start)
}

func (m *Machine) time(t time.Time) Value {
	m.times = append(m.times, t)
	return Value{kind: timeKind, bits: int64(len(m.times) - 1)}
}

// bytesOf is a string as bytes, without a copy; they must not be written.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
