package transform

import (
	"strings"

	"github.com/secure60/s60-m365-connector/engine/expression"
)

// This file orders the conditions of a mapping: those that read computed fields come after what these need.

// order finds the steps whose conditions read computed fields, and an order in
// which all can be answered.
func (c *compiler) order() {
	m := c.m
	o := ordering{c: c, fields: make([]int, len(m.fields)), busy: make(map[int]bool)}
	for i := range o.fields {
		o.fields[i] = -1
	}
	o.definers = make([][]int, len(m.fields))
	o.rules = make([][]int16, len(m.fields))
	for i, s := range m.steps {
		for _, r := range s.rules {
			f := m.rules[r].field
			o.definers[f] = append(o.definers[f], i)
			o.rules[f] = append(o.rules[f], r)
		}
	}
	for f, r := range m.base {
		if r >= 0 {
			o.rules[f] = append(o.rules[f], r)
		}
	}
	for f := range m.fields {
		o.field(f)
	}
	if len(c.problems) > 0 {
		return
	}
	levels := make([]int, len(m.steps))
	most := 0
	for i, s := range m.steps {
		levels[i] = o.step(s)
		most = max(most, levels[i])
	}
	var late []step
	for level := 1; level <= most; level++ {
		for i, s := range m.steps {
			if levels[i] == level {
				late = append(late, step{when: s.all, all: s.all, rules: s.rules})
			}
		}
	}
	// A late step stays where it is, so that skips stay right, but does nothing.
	for i := range m.steps {
		if levels[i] > 0 {
			m.steps[i] = step{}
		}
	}
	m.steps = append(m.steps, late...)
}

// ordering computes how many rounds of conditions come before a field or a
// step is known.
type ordering struct {
	c        *compiler
	fields   []int // by field: its level, -1 not known yet
	busy     map[int]bool
	path     []int
	definers [][]int // by field: steps that may set it
	rules    [][]int16
}

func (o *ordering) field(f int) int {
	if o.fields[f] >= 0 {
		return o.fields[f]
	}
	if o.busy[f] {
		return 0
	}
	o.busy[f] = true
	o.path = append(o.path, f)
	level := 0
	for _, s := range o.definers[f] {
		level = max(level, o.step(o.c.m.steps[s]))
	}
	for _, r := range o.rules[f] {
		level = max(level, o.reads(o.c.m.rules[r].expression, 0))
	}
	o.path = o.path[:len(o.path)-1]
	delete(o.busy, f)
	o.fields[f] = level
	return level
}

func (o *ordering) step(s step) int {
	level := 0
	for _, when := range s.all {
		level = max(level, o.reads(when, 1))
	}
	return level
}

// reads is the level of an expression: that of the fields it reads, and more.
func (o *ordering) reads(e *compiled, more int) int {
	level := 0
	for _, name := range e.program.Names() {
		f, ok := o.c.m.fieldOf[name.Name]
		if !ok {
			continue
		}
		if o.busy[f] {
			o.cycle(e, name, f)
			continue
		}
		level = max(level, o.field(f)+more)
	}
	return level
}

func (o *ordering) cycle(e *compiled, name expression.Name, f int) {
	m := o.c.m
	var chain []string
	for i, g := range o.path {
		if g == f {
			for _, h := range o.path[i:] {
				chain = append(chain, m.fields[h])
			}
		}
	}
	chain = append(chain, m.fields[f])
	o.c.problem(e.text, name.Offset, name.Length, "%s depends on itself: %s", name.Name, strings.Join(chain, " reads "))
}
