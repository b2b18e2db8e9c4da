package expression

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/checker"
	"github.com/expr-lang/expr/compiler"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
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
	// Names are allowed names that an error may suggest in place of an unknown
	// one. They need not be all that Allowed allows.
	Names []string
	// Constants are names with fixed values (a mapping's tables). The values
	// must not change afterwards.
	Constants map[string]any
}

// Name is a name that an expression reads from its environment, and where.
// Offset and Length count runes.
type Name struct {
	Name   string
	Offset int
	Length int
}

// Program is one compiled expression. It may be used by several goroutines at
// once.
type Program struct {
	source  string
	syntax  ast.Node
	names   []Name
	program *vm.Program
	loops   bool // it calls functions with predicates, whose steps are counted
}

// MaxSteps bounds the steps that the loops of an expression take together.
const MaxSteps = 100_000

const (
	maxNodes = 2000
	maxLoops = 3 // loops within loops
)

// config makes the language: no function but those of this package and
// expr's own that take a predicate, and no types known in advance.
var config = sync.OnceValue(func() *conf.Config {
	c := conf.New(map[string]any{})
	c.Strict = false
	c.Optimize = false
	c.MaxNodes = maxNodes
	for name := range c.Builtins {
		if _, ok := predicates[name]; !ok {
			delete(c.Builtins, name)
			c.Disabled[name] = true
		}
	}
	for name, f := range operations {
		c.Functions[name] = native(name, f)
	}
	for name := range functions {
		c.Functions[name] = native(name, func(args []any) (any, error) { return Call(name, args...) })
	}
	return c
})

// compiling guards the configuration, in which expr caches types.
var compiling sync.Mutex

// Compile compiles source. The error is an *Error.
func Compile(source string, options Options) (*Program, error) {
	if strings.TrimSpace(source) == "" {
		return nil, &Error{Message: "the expression is empty"}
	}
	compiling.Lock()
	defer compiling.Unlock()
	c := config()
	tree, err := parser.ParseWithConfig(source, c)
	if err != nil {
		return nil, asError(err)
	}
	p := &Program{source: source, syntax: tree.Node}
	check := checkNames{options: options}
	check.node(tree.Node)
	if check.err != nil {
		return nil, check.err
	}
	p.names, p.loops = check.names, check.loops
	rewrite := rewriter{constants: options.Constants}
	safe := rewrite.node(tree.Node)
	if rewrite.err != nil {
		return nil, rewrite.err
	}
	tree.Node = safe
	if _, err = checker.Check(tree, c); err != nil {
		return nil, asError(err)
	}
	if p.program, err = compiler.Compile(tree, c); err != nil {
		return nil, asError(err)
	}
	return p, nil
}

func asError(err error) *Error {
	var at *file.Error
	if errors.As(err, &at) {
		return &Error{Message: inWords(at.Message), Offset: at.From, Length: max(at.To-at.From, 1)}
	}
	return &Error{Message: inWords(err.Error())}
}

// token is how expr names a token in its messages.
var token = regexp.MustCompile(`token \w+\("(.*)"\)`)

// inWords says what expr says in the terms of a person who writes mappings.
func inWords(message string) string {
	switch {
	case message == "unexpected token EOF":
		return "the expression ends where something is still missing"
	case strings.HasSuffix(message, "exceeds maximum allowed nodes"):
		return fmt.Sprintf("the expression has more than %d parts: split it over several fields", maxNodes)
	case strings.HasSuffix(message, "cannot be mixed. Wrap either by parentheses."):
		return "?? and other operators need parentheses to say which comes first: (a ?? b) + c"
	}
	return token.ReplaceAllString(message, "$1")
}

// String is the source of the expression.
func (p *Program) String() string { return p.source }

// Names are the names that the expression reads from its environment, each
// place where it stands, without constants.
func (p *Program) Names() []Name { return p.names }

// Syntax is the expression as parsed, for those who compile it to a faster
// form. It must not be changed.
func (p *Program) Syntax() ast.Node { return p.syntax }

// Eval runs the expression over env. The error says what failed, not where.
// env is not changed; the result may share lists and maps with it.
func (p *Program) Eval(env map[string]any) (any, error) {
	if p.loops {
		own := make(map[string]any, len(p.names)+1)
		for _, name := range p.names {
			own[name.Name] = env[name.Name]
		}
		own[stepsName] = new(int)
		env = own
	} else if env == nil {
		env = map[string]any{}
	}
	v, err := vm.Run(p.program, env)
	if err != nil {
		return nil, asCause(err)
	}
	return normal(v), nil
}

// asCause is the error without the excerpt of the source that expr adds.
func asCause(err error) error {
	var at *file.Error
	if errors.As(err, &at) {
		if at.Prev != nil {
			return at.Prev
		}
		return errors.New(at.Message)
	}
	return err
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
	return false, fmt.Errorf("%s gives a %s, not true or false", p.source, kind(v))
}
