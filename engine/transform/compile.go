package transform

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/expression"
)

// Compile compiles a mapping with all that it includes. A mapping with
// problems is nil. Problems stand in the order of their places.
func Compile(m *definition.Mapping, options Options) (*Mapping, []definition.Problem) {
	if options.Now == nil {
		options.Now = time.Now
	}
	c := compiler{
		m: &Mapping{
			name:       m.Name,
			sourceType: m.SourceType,
			options:    options,
			pairs:      make(map[string]bool),
			tables:     make(map[string]any),
			fieldOf:    make(map[string]int),
		},
		lets: make(map[string]*let),
		done: make(map[textKey]*compiled),
		seen: make(map[*definition.Mapping]bool),
	}
	c.declare(m)
	c.former()
	c.defaults()
	c.constants()
	c.m.unit = expression.NewUnit(expression.Options{
		Allowed: func(name string) bool {
			_, computed := c.m.fieldOf[name]
			return computed || strings.HasPrefix(name, prefix+"_")
		},
		Expected:  "a name that begins with event_, a computed field, tables or a function",
		Names:     slices.Sorted(slices.Values(slices.Concat(c.m.fields, slices.Collect(maps.Keys(c.lets))))),
		Computed:  c.m.fields,
		Constants: map[string]any{"tables": c.m.tables},
		Let:       c.let,
	})
	for _, name := range slices.Sorted(maps.Keys(c.lets)) {
		c.checkLet(c.lets[name].Name)
	}
	c.group(m, nil, true)
	if len(c.problems) == 0 {
		c.order()
	}
	if len(c.problems) > 0 {
		definition.Sort(c.problems)
		return nil, c.problems
	}
	c.m.bare = &plan{winner: c.m.base}
	c.m.bare.ask(c.m.steps)
	for _, r := range c.m.rules {
		c.m.programs = append(c.m.programs, r.expression.program)
		c.m.targets = append(c.m.targets, int16(r.field))
	}
	for _, name := range options.KnownFields {
		c.m.known.add(name)
	}
	if c.m.known.exact != nil {
		for _, name := range ofEngine {
			c.m.known.add(name)
		}
	}
	c.m.telling = c.telling(c.m.steps)
	return c.m, nil
}

// alwaysFields are in every event; what each is where no mapping and no
// constant gives it.
var alwaysFields = []string{"timestamp", "operation", "outcome", "source_type", "message_text"}

// textKey tells expressions apart: one mapping may be included on several ways.
type textKey struct {
	mapping *definition.Mapping
	index   int // in order of appearance
}

type compiler struct {
	m        *Mapping
	problems []definition.Problem
	lets     map[string]*let
	done     map[textKey]*compiled
	seen     map[*definition.Mapping]bool
}

func (c *compiler) problem(t definition.Text, offset, length int, format string, args ...any) {
	p := t.Problem(offset, length, fmt.Sprintf(format, args...))
	c.problems = append(c.problems, p)
}

// declare collects the tables, values, pairs and field names of a mapping and of what
// it includes.
func (c *compiler) declare(m *definition.Mapping) {
	if c.seen[m] {
		return
	}
	c.seen[m] = true
	for name, table := range m.Tables {
		c.m.tables[name] = table
	}
	for _, value := range m.Let {
		c.lets[value.Name.Value] = &let{MappingField: value}
	}
	for _, pair := range m.Pairs {
		path := flatName(pair.Value)
		c.m.pairs[path] = true
		c.m.pairs[strings.TrimPrefix(path, prefix+"_")] = true
	}
	for _, field := range m.Fields {
		c.field(field)
	}
	for _, included := range m.Include {
		c.declare(included)
	}
	for _, one := range m.Cases {
		for _, field := range one.Fields {
			c.field(field)
		}
	}
}

// former declares what replaced mappings gave: nobody gives it now, and whoever reads it
// gets nil.
func (c *compiler) former() {
	for m := range c.seen {
		for _, table := range m.FormerTables {
			if _, ok := c.m.tables[table]; !ok {
				c.m.tables[table] = map[string]any{}
			}
		}
		for _, name := range m.FormerLet {
			if _, isField := c.m.fieldOf[name]; c.lets[name] == nil && !isField {
				c.lets[name] = &let{MappingField: definition.MappingField{Name: definition.Text{Value: name}, Expr: definition.Text{Value: "nil"}}}
			}
		}
		for _, name := range m.Former {
			if c.lets[name] == nil {
				c.addField(name)
			}
		}
	}
}

// field takes a computed field, whose name the schema of mappings has held to its form.
func (c *compiler) field(f definition.MappingField) {
	name := f.Name.Value
	switch {
	case name == "":
		c.problem(f.Name, 0, 0, "a field needs a name")
	case strings.HasPrefix(name, prefix+"_"):
		c.problem(f.Name, 0, 0, "%s is a name for fields of the record: a computed field needs another", name)
	default:
		c.addField(name)
	}
}

func (c *compiler) addField(name string) {
	if _, ok := c.m.fieldOf[name]; ok {
		return
	}
	c.m.fieldOf[name] = len(c.m.fields)
	c.m.fields = append(c.m.fields, name)
	c.m.base = append(c.m.base, noRule)
	c.m.read = append(c.m.read, false)
}

// maxRules is how many fields a mapping, what it includes and their cases may give together.
const maxRules = 1 << 14

// errorField is where an event says which expressions failed.
const errorField = "error_mapping"

// group adds the rules of a mapping, which apply where its guards hold.
func (c *compiler) group(m *definition.Mapping, guards []*compiled, top bool) {
	index := 0
	next := func(t definition.Text) *compiled {
		index++
		return c.expression(m, index, t)
	}
	var own []*compiled
	if m.When.Value != "" {
		when := next(m.When)
		if !top && when != nil {
			own = c.parts(when)
			guards = append(guards[:len(guards):len(guards)], own...)
		}
	}
	first := len(c.m.steps)
	var rules []int16
	for _, field := range m.Fields {
		rules = c.rule(rules, m, field, "", next)
	}
	if top {
		for _, r := range rules {
			c.m.base[c.m.rules[r].field] = r
		}
	} else {
		c.m.steps = append(c.m.steps, step{when: own, all: guards, rules: rules})
	}
	for _, included := range m.Include {
		c.group(included, guards, false)
	}
	for _, one := range m.Cases {
		when := next(one.When)
		var rules []int16
		for _, field := range one.Fields {
			rules = c.rule(rules, m, field, one.When.Value, next)
		}
		if when != nil {
			parts := c.parts(when)
			c.m.steps = append(c.m.steps, step{when: parts, all: append(guards[:len(guards):len(guards)], parts...), rules: rules})
		}
	}
	if !top {
		c.m.steps[first].skip = len(c.m.steps) - first - 1
	}
	c.redact(m, guards, next)
	c.m.drops = c.filters(c.m.drops, asSamples(m.Drop), guards, next)
	c.m.samples = c.filters(c.m.samples, m.Sample, guards, next)
	c.known(m, guards, next)
}

// redact compiles the rules of a mapping that change fields. Of its guards those
// count that read the record alone: where nothing else tells, a field is redacted.
func (c *compiler) redact(m *definition.Mapping, guards []*compiled, next func(definition.Text) *compiled) {
	for _, r := range m.Redact {
		rule := redaction{with: r.With}
		for _, field := range r.Fields {
			rule.patterns = append(rule.patterns, parsePattern(field.Value)...)
		}
		for _, guard := range guards {
			if _, computed := c.readsComputed(guard); !computed {
				rule.when = append(rule.when, guard)
			}
		}
		if r.When.Value != "" {
			if when := next(r.When); when != nil {
				if name, computed := c.readsComputed(when); computed {
					c.problem(r.When, name.Offset, name.Length, "%s is a computed field: redact comes before those, its condition reads names that begin with event_", name.Name)
				}
				rule.when = append(rule.when, when)
			}
		}
		if c.m.redact = append(c.m.redact, rule); len(c.m.redact) == maxRedact+1 {
			c.problem(r.Fields[0], 0, 0, "a mapping and what it includes may have %d redact rules: let one rule name several fields", maxRedact)
		}
	}
}

func (c *compiler) readsComputed(e *compiled) (name expression.Name, ok bool) {
	for _, name := range e.program.Names() {
		if _, ok := c.m.fieldOf[name.Name]; ok {
			return name, true
		}
	}
	return name, false
}

// filters compiles the rules of a mapping that hold events back.
func (c *compiler) filters(list []filter, rules []definition.Sample, guards []*compiled, next func(definition.Text) *compiled) []filter {
	for _, r := range rules {
		if when := next(r.When); when != nil {
			list = append(list, filter{rule: Rule{r.As, r.When}, when: append(guards[:len(guards):len(guards)], when), keep: r.Keep})
		}
	}
	return list
}

func (c *compiler) rule(rules []int16, m *definition.Mapping, f definition.MappingField, when string, next func(definition.Text) *compiled) []int16 {
	e := next(f.Expr)
	field, ok := c.m.fieldOf[f.Name.Value]
	if e == nil || !ok {
		return rules
	}
	if len(c.m.rules) == maxRules {
		c.problem(f.Expr, 0, 0, "a mapping and what it includes may have %d fields, those of cases counted: let a table or an expression choose", maxRules)
	}
	c.m.rules = append(c.m.rules, rule{field: field, expression: e, mapping: m.Name, when: when})
	return append(rules, int16(len(c.m.rules)-1))
}

// expression compiles one expression, once however often its mapping is
// included.
func (c *compiler) expression(m *definition.Mapping, index int, t definition.Text) *compiled {
	key := textKey{m, index}
	if e, ok := c.done[key]; ok {
		return e
	}
	c.done[key] = c.parsed(t, c.m.unit.Parse)
	return c.done[key]
}

// parsed is an expression as parse reads it; nil where it does not compile.
func (c *compiler) parsed(t definition.Text, parse func(string) (*expression.Program, error)) *compiled {
	program, err := parse(t.Value)
	if err != nil {
		var at *expression.Error
		errors.As(err, &at)
		c.problem(t, at.Offset, at.Length, "%s", hint(t.Value, at))
		return nil
	}
	for _, name := range program.Names() {
		if field, ok := c.m.fieldOf[name.Name]; ok {
			c.m.read[field] = true
		}
	}
	e := &compiled{program: program, text: t}
	c.m.expressions = append(c.m.expressions, e)
	return e
}

// parts are the conditions that are asked one by one for a condition: what the kind of a record decides is not
// asked again.
func (c *compiler) parts(e *compiled) []*compiled {
	if e.parts != nil {
		return e.parts
	}
	e.parts = []*compiled{e}
	if programs := e.program.Parts(); len(programs) > 1 {
		e.parts = nil
		for _, p := range programs {
			e.parts = append(e.parts, &compiled{program: p, text: e.text})
		}
		at := slices.Index(c.m.expressions, e)
		c.m.expressions = slices.Replace(c.m.expressions, at, at+1, e.parts...)
	}
	return e.parts
}

// asSamples are drops as samples of which nothing is kept.
func asSamples(drops []definition.Drop) (list []definition.Sample) {
	for _, d := range drops {
		list = append(list, definition.Sample{As: d.As, When: d.When})
	}
	return list
}

// constants makes the constants of events fields that drop and sample may read,
// in mappings that have such rules.
func (c *compiler) constants() {
	for m := range c.seen {
		if len(m.Drop)+len(m.Sample) > 0 {
			for _, constant := range c.m.options.Constants {
				c.addField(constant.Name)
			}
			c.addField("source_name")
			return
		}
	}
}

// defaults makes sure that the always-fields are computed fields, which
// expressions may read. What they are when no rule gives them a value is up to
// the mapper, which knows the constants.
func (c *compiler) defaults() {
	for _, name := range alwaysFields {
		c.addField(name)
	}
	for _, name := range inDefaultMessage {
		if field, ok := c.m.fieldOf[name]; ok {
			c.m.read[field] = true
		}
	}
	c.m.timestamp, c.m.message = c.m.fieldOf["timestamp"], c.m.fieldOf["message_text"]
}
