package transform

import (
	"fmt"
	"strings"

	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/expression"
)

// let is a value that expressions name.
type let struct {
	definition.MappingField
	program *expression.Program
	busy    bool // it is being parsed
}

// checkLet checks a value at its own place, whether or not anything names it.
func (c *compiler) checkLet(name definition.Text) {
	_, isField := c.m.fieldOf[name.Value]
	switch {
	case isField:
		c.problem(name, 0, 0, "%s is a computed field: a value needs another name", name.Value)
	case strings.HasPrefix(name.Value, prefix+"_"):
		c.problem(name, 0, 0, "%s is a name for fields of the record: a value needs another", name.Value)
	case name.Value == "tables" || !expression.Free(name.Value):
		c.problem(name, 0, 0, "%s means something in expressions: a value needs another name", name.Value)
	}
	_, _ = c.let(name.Value) // it reports what is wrong
}

// let is what a name stands for, parsed when it is first met, so that values may name each other in any order.
// What does not compile is reported once, and is nil for those that name it.
func (c *compiler) let(name string) (*expression.Program, error) {
	l := c.lets[name]
	switch {
	case l == nil:
		return nil, nil
	case l.program != nil:
		return l.program, nil
	case l.busy:
		return nil, fmt.Errorf("%s is part of its own value", name)
	}
	l.busy = true
	parse := func(source string) (*expression.Program, error) { return c.m.unit.ParseLet(name, source) }
	if e := c.parsed(l.Expr, parse); e != nil {
		l.program = e.program
		return l.program, nil
	}
	var err error
	l.program, err = parse("nil")
	return l.program, err
}
