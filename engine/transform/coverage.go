package transform

import (
	"sort"
	"strings"

	"github.com/expr-lang/expr/ast"

	"github.com/secure60/s60-m365-connector/engine/definition"
)

// Coverage notes what of a mapping records make use of, so that a test can say
// what no golden case ever produces. It is not safe for concurrent use.
type Coverage struct {
	m        *Mapping
	mapper   *Mapper
	produced map[*compiled]bool         // rules that gave a value
	held     map[*compiled]bool         // conditions that held
	rows     map[string]map[string]bool // rows that were looked up
	lookups  map[*compiled][]lookup     // of each expression
}

// lookup is a place where an expression looks into a table.
type lookup struct {
	table string
	key   eval // nil: all rows count as used, as nothing tells which were
}

// NewCoverage begins to note what records make use of.
func (m *Mapping) NewCoverage() *Coverage {
	c := &Coverage{
		m:        m,
		mapper:   m.NewMapper(),
		produced: make(map[*compiled]bool),
		held:     make(map[*compiled]bool),
		rows:     make(map[string]map[string]bool),
		lookups:  make(map[*compiled][]lookup),
	}
	k := newClosures(m)
	k.uses = nil // what is answered once for an event belongs to the closures of the mapping
	for _, e := range m.expressions {
		finder := lookups{closures: k, variables: make(variables), interpreted: e.interpreted}
		root := e.program.Syntax()
		ast.Walk(&root, finder.variables)
		ast.Walk(&root, &finder)
		c.lookups[e] = finder.found
	}
	return c
}

// lookups finds the places where an expression looks into a table.
type lookups struct {
	closures    *closures
	variables   variables
	interpreted bool
	found       []lookup
}

func (l *lookups) Visit(n *ast.Node) {
	var of, key ast.Node
	switch n := (*n).(type) {
	case *ast.MemberNode:
		of, key = n.Node, n.Property
	case *ast.BinaryNode:
		if n.Operator != "in" {
			return
		}
		of, key = n.Right, n.Left
	default:
		return
	}
	table, ok := tableOf(of)
	if !ok {
		return
	}
	found := lookup{table: table}
	reads := reader{variables: l.variables}
	ast.Walk(&key, &reads)
	if !l.interpreted && !reads.reads {
		found.key = l.closures.eval(key)
	}
	l.found = append(l.found, found)
}

// tableOf is the name of the table that tables.name or tables["name"] is.
func tableOf(n ast.Node) (string, bool) {
	if chain, ok := n.(*ast.ChainNode); ok {
		n = chain.Node
	}
	member, ok := n.(*ast.MemberNode)
	if !ok {
		return "", false
	}
	id, ok := member.Node.(*ast.IdentifierNode)
	name, isText := member.Property.(*ast.StringNode)
	if !ok || id.Value != "tables" || !isText {
		return "", false
	}
	return name.Value, true
}

// variables are the names that an expression declares with let: their values
// are known only while it runs.
type variables map[string]bool

func (v variables) Visit(n *ast.Node) {
	if let, ok := (*n).(*ast.VariableDeclaratorNode); ok {
		v[let.Name] = true
	}
}

// reader finds out whether a node reads one of the variables, or the element of
// a loop.
type reader struct {
	variables variables
	reads     bool
}

func (r *reader) Visit(n *ast.Node) {
	switch n := (*n).(type) {
	case *ast.PointerNode:
		r.reads = true
	case *ast.IdentifierNode:
		r.reads = r.reads || r.variables[n.Value]
	}
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
	m.failure = nil
}

// step notes the conditions of a step.
func (c *Coverage) step(when []*compiled) bool {
	for _, e := range when {
		c.look(e)
		if !e.cond(c.mapper) || c.mapper.failure != nil {
			c.mapper.failure = nil
			return false
		}
		c.held[e] = true
	}
	return true
}

// look notes the rows that an expression looks up.
func (c *Coverage) look(e *compiled) {
	for _, l := range c.lookups[e] {
		rows := c.rows[l.table]
		if rows == nil {
			rows = make(map[string]bool)
			c.rows[l.table] = rows
		}
		table, _ := c.m.tables[l.table].(map[string]any)
		if l.key == nil {
			for key := range table {
				rows[key] = true
			}
			continue
		}
		text, _, ok := c.mapper.textOf(l.key(c.mapper))
		if _, has := table[text]; ok && has {
			rows[strings.Clone(text)] = true
		}
	}
	c.mapper.failure = nil
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
