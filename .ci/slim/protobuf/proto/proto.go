// Package proto has the part of google.golang.org/protobuf/proto that is about
// values, not about messages: pointers to the optional ones. The metrics'
// library needs no more to write text, see .ci/slim.go.
package proto

// String is a pointer to the value.
func String(v string) *string { return &v }

// Float64 is a pointer to the value.
func Float64(v float64) *float64 { return &v }

// Int32 is a pointer to the value.
func Int32(v int32) *int32 { return &v }

// Int64 is a pointer to the value.
func Int64(v int64) *int64 { return &v }

// Uint32 is a pointer to the value.
func Uint32(v uint32) *uint32 { return &v }

// Uint64 is a pointer to the value.
func Uint64(v uint64) *uint64 { return &v }
