package expression

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/builtin"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
)

// Error is an expression that does not compile. Offset and Length count runes
// within the source of the expression.
type Error struct {
	Message string
	Offset  int
	Length  int
}

func (e *Error) Error() string { return e.Message }

// Options are what expressions may refer to.
type Options struct {
	// Allowed reports whether an expression may use this name. A name that is
	// not allowed is refused at compile time, so that a typo cannot pass as an
	// absent value. A nil Allowed allows every name.
	Allowed func(name string) bool
	// Expected describes the allowed names for a person, for the error text.
	Expected string
	// Names are allowed names that an error may suggest in place of an unknown
	// one. They need not be all that Allowed allows.
	Names []string
	// Computed are names whose values the machine asks for when they are read.
	Computed []string
	// Constants are names with fixed values (a mapping's tables). The values
	// must not change afterwards.
	Constants map[string]any
	// Let gives the expression for which a name stands, parsed by the same unit, nil where it stands for none.
	// An error is why the name cannot stand here.
	Let func(name string) (*Program, error)
}

// Name is a name that an expression reads from its environment, and where.
// Offset and Length count runes.
type Name struct {
	Name   string
	Offset int
	Length int
	Let    bool // it is read by the value of let whose name stands there
}

// Unit compiles expressions that are evaluated over the same record, by one
// [Machine]: what stands in several of them is computed once. Parse them all,
// then Link.
type Unit struct {
	options  Options
	slots    map[string]int // by name: the computed names first
	programs []*Program

	same      *identities
	memos     map[int32]int // of nodes, by their numbers
	variables int
	pool      []Value // elements of constant lists and maps
	tables    map[uintptr]map[string]Value
	lists     map[ast.Node]Value // constant ones, in the pool
	declared  map[declared]int   // variables
	searches  map[ast.Node]*search
	patterns  map[string]func(string) bool
	kept      []map[string]any // so that the addresses of tables stay theirs
}

// Program is one compiled expression. It may be used by several goroutines at
// once, each with a machine of its own.
type Program struct {
	field int // the slot of the field that the expression is and nothing else, or notField or isFixed
	eval  eval
	cond  cond
	fixed Value // of a constant

	source   string
	body     ast.Node   // as it is written
	lets     []*Program // whose names it reads, each behind those that it reads itself
	name     string     // for which it stands, of a value of let
	syntax   ast.Node   // the body behind its lets
	names    []Name
	unit     *Unit
	pure     bool      // see Pure
	sure     bool      // it was found to be, see Sure
	reads    []int     // see Reads
	machines sync.Pool // of *Machine, of a program that is a unit of its own
}

const (
	notField = -1
	isFixed  = -2
)

// NewUnit begins a unit.
func NewUnit(options Options) *Unit {
	u := &Unit{
		options: options,
		slots:   make(map[string]int),
		same:    &identities{numbers: make(map[ast.Node]int32), known: make(map[string]int32)},
		memos:   make(map[int32]int),
		tables:  make(map[uintptr]map[string]Value),

		lists:    make(map[ast.Node]Value),
		declared: make(map[declared]int),
		searches: make(map[ast.Node]*search),
		patterns: make(map[string]func(string) bool),
	}
	for i, name := range options.Computed {
		u.slots[name] = i
	}
	return u
}

// Slot is where a machine holds a name; ok is false if no expression reads it.
func (u *Unit) Slot(name string) (i int, ok bool) {
	i, ok = u.slots[name]
	return i, ok
}

const (
	maxNodes = 2000
	maxLoops = 3 // loops within loops
)

// config makes the language that the parser knows: no function but those of this
// package, and expr's own that take a predicate.
var config = sync.OnceValue(func() *conf.Config {
	c := conf.New(map[string]any{})
	c.Strict = false
	c.Optimize = false
	c.MaxNodes = maxNodes
	for name := range c.Builtins {
		if _, ok := loops[name]; !ok {
			delete(c.Builtins, name)
			c.Disabled[name] = true
		}
	}
	for name := range functions {
		c.Functions[name] = &builtin.Function{Name: name}
	}
	return c
})

// Parse parses an expression and checks it. The error is an *Error.
func (u *Unit) Parse(source string) (*Program, error) {
	if strings.TrimSpace(source) == "" {
		return nil, &Error{Message: "the expression is empty"}
	}
	tree, err := parser.ParseWithConfig(source, config())
	if err != nil {
		return nil, asError(err)
	}
	p, failure := u.program(source, tree.Node)
	if failure != nil {
		return nil, failure
	}
	for _, name := range p.names {
		if _, ok := u.slots[name.Name]; !ok {
			u.slots[name.Name] = len(u.slots)
		}
	}
	u.programs = append(u.programs, p)
	return p, nil
}

// ParseLet parses the expression for which a name stands.
func (u *Unit) ParseLet(name, source string) (*Program, error) {
	p, err := u.Parse(source)
	if err == nil {
		p.name = name
	}
	return p, err
}

// program checks an expression, and puts the values of let that it names in front of it.
func (u *Unit) program(source string, body ast.Node) (*Program, *Error) {
	check := checker{options: u.options}
	check.node(body)
	p := &Program{source: source, body: body, lets: check.lets, syntax: body, names: check.names, unit: u, pure: !check.now}
	for _, let := range slices.Backward(p.lets) {
		p.syntax = &ast.VariableDeclaratorNode{Name: let.name, Value: let.body, Expr: p.syntax}
	}
	return p, check.err
}

// Link compiles what was parsed. No expression can be added afterwards.
func (u *Unit) Link() {
	for _, p := range u.programs {
		ast.Walk(&p.syntax, u.same)
	}
	u.same.known, u.same.key = nil, nil
	for _, p := range u.programs {
		c := compiler{unit: u}
		p.eval, p.cond = c.both(p.syntax)
		p.field = c.field(p.syntax)
		if v, ok := c.constant(p.syntax); ok {
			p.field, p.fixed = isFixed, c.pooled(v)
		}
	}
}

// Compile compiles an expression that is a unit of its own. The error is an
// *Error.
func Compile(source string, options Options) (*Program, error) {
	u := NewUnit(options)
	p, err := u.Parse(source)
	if err != nil {
		return nil, err
	}
	u.Link()
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

// typographic is expr's message for a quote that a text processor made.
var typographic = regexp.MustCompile(`^unrecognized character: U\+20[01][0-9A-F] '(.)'.*`)

// inWords says what expr says in the terms of a person who writes mappings.
func inWords(message string) string {
	switch {
	case message == "unexpected token EOF":
		return "the expression ends where something is still missing"
	case strings.HasSuffix(message, "exceeds maximum allowed nodes"):
		return fmt.Sprintf("the expression has more than %d parts: split it over several fields", maxNodes)
	case strings.HasSuffix(message, "cannot be mixed. Wrap either by parentheses."):
		return "?? and other operators need parentheses to say which comes first: (a ?? b) + c"
	case typographic.MatchString(message):
		return typographic.ReplaceAllString(message, "$1 is no quote here: write \" or '")
	case message == `unexpected token Operator("=")`:
		return "unexpected =: write == to compare"
	}
	return token.ReplaceAllString(message, "$1")
}

// String is the source of the expression.
func (p *Program) String() string { return p.source }

// Names are the names that the expression reads from its environment, each
// place where it stands, without constants.
func (p *Program) Names() []Name { return p.names }

// Field is the field of the record that the expression is and nothing else.
func (p *Program) Field() (slot int, ok bool) { return p.field, p.field >= 0 }

// IsNil says that the expression is nil.
func (p *Program) IsNil() bool { return p.field == isFixed && p.fixed.kind == nilKind }

// Pure says that the expression depends on nothing but the names that it reads.
func (p *Program) Pure() bool { return p.pure }

type visit func(ast.Node)

func (v visit) Visit(n *ast.Node) { v(*n) }

// Syntax is the expression as parsed. It must not be changed.
func (p *Program) Syntax() ast.Node { return p.syntax }

// Value evaluates the expression over the machine's record. The error says what
// failed, not where.
func (p *Program) Value(m *Machine) (Value, error) {
	switch {
	case p.field >= 0:
		return m.field(p.field), nil
	case p.field == isFixed:
		return p.fixed, nil
	}
	m.start()
	if m.patience > 0 && m.late() {
		return Value{}, m.run.failure
	}
	v := p.eval(m)
	if !m.room(0) {
		m.fail(errTooLong)
	}
	if m.run.failure != nil {
		return Value{}, m.run.failure
	}
	return v, nil
}

// Holds evaluates the expression as a condition: nil is false, and any other
// value that is no boolean is an error.
func (p *Program) Holds(m *Machine) (bool, error) {
	m.start()
	if m.patience > 0 && m.late() {
		return false, m.run.failure
	}
	holds := p.cond(m)
	return holds && m.run.failure == nil, m.run.failure
}

// Eval evaluates an expression that is a unit of its own over env, which may
// hold what encoding/json decodes, and strings and numbers of all types. The
// result shares nothing with env.
func (p *Program) Eval(env map[string]any) (any, error) {
	m, _ := p.machines.Get().(*Machine)
	if m == nil {
		m = p.unit.NewMachine(nil)
	}
	defer p.machines.Put(m)
	m.Begin()
	for name, i := range p.unit.slots {
		m.Set(i, m.keep(env[name]))
	}
	v, err := p.Value(m)
	if err != nil {
		return nil, err
	}
	return m.give(v), nil
}

// Bool evaluates like Eval an expression that answers a question: nil is false,
// and any other result that is not a boolean is an error.
func (p *Program) Bool(env map[string]any) (bool, error) {
	v, err := p.Eval(env)
	switch v := v.(type) {
	case bool:
		return v, err
	case nil:
		return false, err
	}
	return false, fmt.Errorf("%s gives a %s, not true or false", p.source, new(Machine).keep(v).name())
}
