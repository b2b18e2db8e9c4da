// Package transform turns one record into one event: it flattens the record
// and computes the fields of a mapping.
//
// # The record's own fields
//
// Each scalar of the record becomes a field: "event_" and its path, joined with
// "_", every character but ASCII letters, digits and "_" turned into "_". Its
// JSON text is copied as it stands. null and empty objects are dropped; an array
// becomes its compact JSON as a text, and so does an object more than 64 levels
// deep. A field that arrives at a name that the event has already gets the
// first free one of name_2, name_3, … A record that is no object becomes
// event_value.
//
// An array named under pairs is spread by the names of its elements: {"Name":
// n, "Value": v} (or name, key, Key; value) becomes event_<array>_<n>, other members
// of the element event_<array>_<n>_<member>; also where the array comes as JSON
// text. If an element has no name, or nothing but a name, or if the array would
// make more than 256 fields, it is kept as text too. An expression that names
// the array reads that text in any case.
//
// # Computed fields
//
// For each field the rule that applies last wins. A value that is nil or ""
// leaves the field out; a constant of its name then stays. timestamp,
// operation, outcome, source_type and message_text are in every event and have
// defaults. A list or a map is written as its JSON text. A rule that fails
// leaves its field out, and error_mapping names mapping, field and cause. So it does
// where the record's time cannot be read, as the event then has that of its reading.
//
// # How it works
//
// One pass over the record validates it, appends its fields to the event and
// notes those that expressions read (flatten.go, pairs.go); names are learned (learned.go).
// The few fields that cases ask for most tell kinds of records. For each kind
// that is met there is a plan: the conditions that are left to ask, and the event
// with all that is the same for the kind filled in (plan.go, draft.go, compose.go). Kinds that come
// often get plans for those of their records that have the same fields (special.go), which take what depends on one field from
// the record before (recall.go). Then the fields are
// computed, each when the first reads it (mapper.go). compile.go and order.go make all this out of a
// mapping, explain.go says what of it was used. In the steady
// state nothing is allocated; BenchmarkMapping compares this with the obvious
// design and with a bare scan.
package transform

import (
	"sync"
	"time"

	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/expression"
)

// Options are what every event of a mapping has in common.
type Options struct {
	// Constants are fields of every event (vendor, product, …), which computed
	// fields of the same name replace. Values are scalars.
	Constants []Constant
	// Now is the time of collection, for a record whose own time is unknown.
	// It is time.Now unless given.
	Now func() time.Time
	// PseudonymKey is the key of pseudonyms.
	PseudonymKey []byte
	// KnownFields are further names of fields that records are known to have, a * at the end standing for
	// any further characters.
	KnownFields []string
	// Patience is how long the expressions of one record may take together: those that are too late fail. 0: as long as
	// they take.
	Patience time.Duration
}

// Constant is a field with a fixed value: a string, bool, int or float64.
type Constant struct {
	Name  string
	Value any
}

// FieldError is a computed field that failed on a record. The event lacks the
// field and names the failure in error_mapping.
type FieldError struct {
	Field string // of a case's condition: "when" and its place
	Cause string
}

// Mapping is a compiled mapping. It is immutable and may be shared.
//
// Its rules stand in the order in which they apply: the fields of the mapping,
// then those of each mapping that it includes and of their cases, then its own
// cases. A rule that applies later wins, even when it gives nil.
type Mapping struct {
	name        string
	sourceType  string // "": name
	options     Options
	pairs       map[string]bool
	tables      map[string]any
	unit        *expression.Unit
	link        sync.Once      // of the unit
	fields      []string       // names of computed fields, in order of appearance
	fieldOf     map[string]int // name -> index in fields
	read        []bool         // by field: another expression reads it
	rules       []rule
	programs    []*expression.Program // of the rules
	targets     []int16               // of the rules: their fields
	timestamp   int                   // the field of this name, and
	message     int                   // of message_text
	base        []int16               // by field: the rule that applies unconditionally at first, or noRule
	bare        *plan                 // of records without a plan of their own: all steps
	steps       []step                // those whose conditions read computed fields at the end, in the order in which they can be answered
	expressions []*compiled
	telling     []int // slots that tell kinds of records
	redact      []redaction
	drops       []filter
	samples     []filter
	known       knownNames
	values      []knownValues
	planning    planning
}

// rule is one expression for one field.
type rule struct {
	field      int
	expression *compiled
	mapping    string // that it stands in
	when       string // the condition of the case it belongs to, empty if none
}

// Origin is where in a mapping something stands.
type Origin struct {
	Mapping string         // name of the mapping, which may be an included one
	Pos     definition.Pos // of the expression
	Source  string         // the expression; empty for what no expression gave
	Case    string         // the condition of the case it belongs to, empty if none
}

// compiled is an expression, or a condition, of a mapping.
type compiled struct {
	program *expression.Program
	text    definition.Text
	parts   []*compiled // of a condition, see compiler.parts
}

// step applies rules if its conditions hold.
type step struct {
	when  []*compiled // all must hold, beside those of the groups around
	all   []*compiled // with those of the groups around
	rules []int16
	skip  int // steps to pass over where the first step of a group does not apply
}
