// Package expression compiles the expr-lang expressions of feeds and mappings
// into a form that is safe with absent data: a name that is absent is nil, a
// string function of nil is nil, a comparison with nil or across types is
// false, a lookup that misses is nil, and a number becomes text where text is
// asked for.
package expression

import (
	"errors"
	"fmt"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/vm"
)

// Error is an expression that does not compile. Offset and Length count runes
// within the source of the expression.
type Error struct {
	Message string
	Offset  int
	Length  int
}

func (e *Error) Error() string { return e.Message }

// Options are what an expression may refer to.
type Options struct {
	// Allowed reports whether the expression may use this name. A name that is
	// not allowed is refused at compile time, so that a typo cannot pass as an
	// absent value. A nil Allowed allows every name.
	Allowed func(name string) bool
	// Expected describes the allowed names for a person, for the error text.
	Expected string
	// Constants are names with fixed values (a mapping's tables).
	Constants map[string]any
}

// Program is one compiled expression. It may be used by several goroutines at
// once.
type Program struct {
	source  string
	program *vm.Program
}

// Compile compiles source. The error is an *Error.
func Compile(source string, options Options) (*Program, error) {
	program, err := expr.Compile(source, expr.Env(map[string]any{}), expr.AllowUndefinedVariables())
	if err != nil {
		var at *file.Error
		if errors.As(err, &at) {
			return nil, &Error{Message: at.Message, Offset: at.From, Length: at.To - at.From}
		}
		return nil, &Error{Message: err.Error()}
	}
	return &Program{source: source, program: program}, nil
}

// String is the source of the expression.
func (p *Program) String() string { return p.source }

// Eval runs the expression over env. The error says what failed, not where.
func (p *Program) Eval(env map[string]any) (any, error) {
	return vm.Run(p.program, env)
}

// Bool runs an expression that answers a question: nil is false, and any
// other result that is not a boolean is an error.
func (p *Program) Bool(env map[string]any) (bool, error) {
	v, err := p.Eval(env)
	switch v := v.(type) {
	case bool:
		return v, err
	case nil:
		return false, err
	}
	return false, fmt.Errorf("%s gives a %T, not true or false", p.source, v)
}
