// Package errors takes the place of github.com/cockroachdb/errors in the build
// that is shipped. Pebble makes its errors with that package, which can also
// send an error to another machine or to a crash reporter, and for that brings
// two protobuf libraries along. Nobody does either here.
//
// This one has the functions that Pebble calls, with the same messages and the
// same answers of [Is] and [As]. What it does not keep: the stack of the place
// where an error was made, and which parts of a message are safe to report.
package errors

import (
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/cockroachdb/redact"
)

// message is an error that begins with text, or is text alone.
type message struct {
	text  string
	cause error // may be nil
}

func (m *message) Error() string { return m.text }
func (m *message) Unwrap() error { return m.cause }

// note is an error with something that only %+v shows: a detail, a hint, or an
// error that happened besides and is not among the causes.
type note struct {
	cause error
	title string
	value any
}

func (n *note) Error() string { return n.cause.Error() }
func (n *note) Unwrap() error { return n.cause }

// Format implements [fmt.Formatter].
func (n *note) Format(s fmt.State, verb rune) {
	if verb == 'v' && s.Flag('+') {
		fmt.Fprintf(s, "%+v\n%s: %+v", n.cause, n.title, n.value)
		return
	}
	fmt.Fprintf(s, fmt.FormatString(s, verb), n.cause.Error())
}

// New is an error of that text.
func New(text string) error { return &message{text: text} }

// Newf is an error of the formatted text, and of the error that %w names.
func Newf(format string, args ...any) error {
	text, cause := redact.HelperForErrorf(format, args...)
	return besides(&message{text.StripMarkers(), cause}, args)
}

// Errorf is [Newf].
func Errorf(format string, args ...any) error { return Newf(format, args...) }

// AssertionFailedf is [Newf]; nothing asks whether an error is such a one.
func AssertionFailedf(format string, args ...any) error { return Newf(format, args...) }

// Wrap puts text in front of an error; nil stays nil.
func Wrap(err error, text string) error {
	if err == nil || text == "" {
		return err
	}
	return &message{text + ": " + err.Error(), err}
}

// Wrapf puts the formatted text in front of an error; nil stays nil.
func Wrapf(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	if format != "" || len(args) > 0 {
		err = Wrap(err, redact.Sprintf(format, args...).StripMarkers())
	}
	return besides(err, args)
}

// besides keeps the errors among the arguments of a message for %+v.
func besides(err error, args []any) error {
	for _, arg := range args {
		if other, ok := arg.(error); ok {
			err = WithSecondaryError(err, other)
		}
	}
	return err
}

// WithStack gives the error as it is.
func WithStack(err error) error { return err }

// WithDetailf adds what %+v shows.
func WithDetailf(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &note{err, "detail", fmt.Sprintf(format, args...)}
}

// WithHintf adds what %+v shows.
func WithHintf(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &note{err, "hint", fmt.Sprintf(format, args...)}
}

// WithSafeDetails adds what %+v shows.
func WithSafeDetails(err error, format string, args ...any) error {
	return WithDetailf(err, "%s", redact.Sprintf(format, args...).StripMarkers())
}

// WithSecondaryError adds what %+v shows; [Is] and [As] do not look at it.
func WithSecondaryError(err, other error) error {
	if err == nil || other == nil {
		return err
	}
	return &note{err, "besides", other}
}

// CombineErrors is the first error, with the second besides it, or the second
// where the first is nil.
func CombineErrors(err, other error) error {
	if err == nil {
		return other
	}
	return WithSecondaryError(err, other)
}

// Join is the standard library's.
func Join(errs ...error) error { return errors.Join(errs...) }

// As is the standard library's.
func As(err error, target any) bool { return errors.As(err, target) }

// UnwrapAll is the innermost cause.
func UnwrapAll(err error) error {
	for {
		cause := errors.Unwrap(err)
		if cause == nil {
			return err
		}
		err = cause
	}
}

// Safe marks a value as one that may be reported.
func Safe(v any) redact.SafeValue { return redact.Safe(v) }

// mark is what two errors have in common that are the same to [Is], though not
// one object: the text, and the types from the error down to its innermost cause.
type mark struct {
	text  string
	types []reflect.Type
}

func markOf(err error) mark {
	if m, ok := err.(*marked); ok {
		return m.mark
	}
	m := mark{text: err.Error()}
	for ; err != nil; err = errors.Unwrap(err) {
		m.types = append(m.types, reflect.TypeOf(err))
	}
	return m
}

type marked struct {
	error
	mark mark
}

func (m *marked) Unwrap() error { return m.error }

// Format implements [fmt.Formatter].
func (m *marked) Format(s fmt.State, verb rune) {
	fmt.Fprintf(s, fmt.FormatString(s, verb), m.error)
}

// Mark makes [Is] find reference in err, whose message and causes stay.
func Mark(err, reference error) error {
	if err == nil {
		return nil
	}
	return &marked{err, markOf(reference)}
}

// Is is the standard library's, and true as well where err, or one of its
// causes, has the mark of reference.
func Is(err, reference error) bool {
	if err == nil || reference == nil {
		return err == reference
	}
	if errors.Is(err, reference) || slices.ContainsFunc(branches(err), func(e error) bool { return Is(e, reference) }) {
		return true
	}
	want := markOf(reference)
	for ; err != nil; err = errors.Unwrap(err) {
		if m := markOf(err); m.text == want.text && slices.Equal(m.types, want.types) {
			return true
		}
	}
	return false
}

// branches are the errors that the first joined one among the causes holds.
func branches(err error) []error {
	for ; err != nil; err = errors.Unwrap(err) {
		if joined, ok := err.(interface{ Unwrap() []error }); ok {
			return joined.Unwrap()
		}
	}
	return nil
}
