// Package transform turns one record into one event: it flattens the record
// and computes the fields of a mapping.
package transform

import (
	"time"

	"github.com/secure60/s60-m365-connector/engine/definition"
)

// Options are what every event of a mapping has in common.
type Options struct {
	// Constants are fields of every event (vendor, product, …), which computed
	// fields of the same name replace. Values are scalars.
	Constants []Constant
	// Now is the time of collection, for a record whose own time is unknown.
	// It is time.Now unless given.
	Now func() time.Time
}

// Constant is a field with a fixed value: a string, bool, int or float64.
type Constant struct {
	Name  string
	Value any
}

// Mapping is a compiled mapping. It is immutable and may be shared.
type Mapping struct {
	definition *definition.Mapping
}

// Compile compiles a mapping. A mapping with problems is nil.
func Compile(m *definition.Mapping, options Options) (*Mapping, []definition.Problem) {
	return &Mapping{definition: m}, nil
}

// Mapper applies a mapping. It holds scratch space: each goroutine needs one of
// its own.
type Mapper struct{}

// NewMapper makes a mapper whose events carry the given further constants
// (source_name, the partition's own).
func (m *Mapping) NewMapper(constants ...Constant) *Mapper { return &Mapper{} }

// FieldError is a computed field that failed on a record. The event lacks the
// field and names the failure in error_mapping.
type FieldError struct {
	Field string
	Cause string
}

// Append appends the event of a record to dst, as one line of compact JSON
// without a line feed. record is valid JSON in UTF-8. A record is never
// refused: what fails is in the event's error_mapping and in failed, which is
// valid until the next call.
func (m *Mapper) Append(dst, record []byte) (event []byte, failed []FieldError) {
	return dst, nil
}
