package transform

import (
	"sort"
	"strings"

	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/expression"
)

// Coverage notes what of a mapping records make use of, so that a test can say
// what no golden case ever produces. It is not safe for concurrent use.
type Coverage struct {
	m        *Mapping
	mapper   *Mapper
	produced map[*compiled]bool         // rules that gave a value
	held     map[*compiled]bool         // conditions that held
	rows     map[string]map[string]bool // rows that were looked up
	lookups  map[*compiled][]expression.Lookup
}

// NewCoverage begins to note what records make use of.
func (m *Mapping) NewCoverage() *Coverage {
	c := &Coverage{
		m:        m,
		mapper:   m.NewMapper(),
		produced: make(map[*compiled]bool),
		held:     make(map[*compiled]bool),
		rows:     make(map[string]map[string]bool),
		lookups:  make(map[*compiled][]expression.Lookup),
	}
	for _, e := range m.expressions {
		c.lookups[e] = e.program.Lookups("tables")
	}
	return c
}

// Add maps a record and notes what it makes use of.
func (c *Coverage) Add(record []byte) {
	m := c.mapper
	m.Append(nil, record)
	for i := 0; i < len(c.m.steps); i++ {
		if s := &c.m.steps[i]; !c.step(s.when) {
			i += s.skip
		}
	}
	for i := range c.m.late {
		c.step(c.m.late[i].when)
	}
	for _, r := range m.winner {
		if r < 0 {
			continue
		}
		e := c.m.rules[r].expression
		c.look(e)
		if m.gives(r) {
			c.produced[e] = true
		}
	}
}

// step notes the conditions of a step.
func (c *Coverage) step(when []*compiled) bool {
	for _, e := range when {
		c.look(e)
		if holds, _ := e.program.Holds(c.mapper.machine); !holds {
			return false
		}
		c.held[e] = true
	}
	return true
}

// look notes the rows that an expression looks up.
func (c *Coverage) look(e *compiled) {
	for _, l := range c.lookups[e] {
		rows := c.rows[l.Of]
		if rows == nil {
			rows = make(map[string]bool)
			c.rows[l.Of] = rows
		}
		table, _ := c.m.tables[l.Of].(map[string]any)
		text, ok := l.Key(c.mapper.machine)
		if !ok { // nothing tells which rows were looked up
			for key := range table {
				rows[key] = true
			}
		} else if _, has := table[text]; has {
			rows[strings.Clone(text)] = true
		}
	}
}

// Unused is a part of a mapping that no record made use of.
type Unused struct {
	Mapping string          // the mapping, or included one, in which it stands
	Field   string          // of a rule: the field it would compute; empty for a condition
	Text    definition.Text // the expression of the rule, or the condition that never held
}

// Unused are the rules that gave no value and the conditions that never held,
// in the order of the mapping; of a case that never applied only its
// condition.
func (c *Coverage) Unused() []Unused {
	var out []Unused
	never := make(map[*compiled]bool)
	seen := make(map[*compiled]bool)
	note := func(steps []step) {
		for _, s := range steps {
			applied := true
			for _, e := range s.all {
				if c.held[e] {
					continue
				}
				applied = false
				if !seen[e] {
					seen[e] = true
					out = append(out, Unused{Mapping: e.mapping.Name, Text: e.text})
				}
			}
			for _, r := range s.rules {
				if !applied {
					never[c.m.rules[r].expression] = true
				}
			}
		}
	}
	note(c.m.steps)
	note(c.m.late)
	for _, r := range c.m.rules {
		e := r.expression
		if !c.produced[e] && !never[e] && !seen[e] {
			seen[e] = true
			out = append(out, Unused{Mapping: e.mapping.Name, Field: c.m.fields[r.field], Text: e.text})
		}
	}
	return out
}

// TableUse is how much of a table records made use of.
type TableUse struct {
	Name   string
	Rows   int
	Unused []string // keys that no record looked up, in order
}

// Tables is the use of each table, by name.
func (c *Coverage) Tables() []TableUse {
	var out []TableUse
	for name, table := range c.m.tables {
		rows := table.(map[string]any)
		use := TableUse{Name: name, Rows: len(rows)}
		for key := range rows {
			if !c.rows[name][key] {
				use.Unused = append(use.Unused, key)
			}
		}
		sort.Strings(use.Unused)
		out = append(out, use)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}
