package expression

import (
	"github.com/expr-lang/expr/ast"
)

// Lookup is a place where an expression looks into a constant map of a constant
// map: tables.outcomes[x], x in tables.outcomes.
type Lookup struct {
	Of  string // the name of the map
	key eval   // nil: it depends on what a loop or let has in hand
}

// Lookups finds the places where an expression looks into the members of a
// constant, for those who ask which are used.
func (p *Program) Lookups(constant string) []Lookup {
	f := lookups{compiler: compiler{unit: p.unit}, constant: constant}
	ast.Walk(&p.syntax, &f)
	return f.found
}

// Key is the key that the expression looks up in the machine's record; ok is
// false where that cannot be told.
func (l Lookup) Key(m *Machine) (key string, ok bool) {
	if l.key == nil {
		return "", false
	}
	m.start()
	key, _, _ = m.text(l.key(m))
	return key, true
}

type lookups struct {
	compiler
	constant string
	found    []Lookup
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
	if chain, ok := of.(*ast.ChainNode); ok {
		of = chain.Node
	}
	member, ok := of.(*ast.MemberNode)
	if !ok {
		return
	}
	id, ok := member.Node.(*ast.IdentifierNode)
	name, isText := member.Property.(*ast.StringNode)
	if !ok || id.Value != l.constant || !isText {
		return
	}
	found := Lookup{Of: name.Value}
	if free := (fixed{known: l.unit.slots, constants: l.unit.options.Constants}); free.is(key) {
		found.key = l.eval(key)
	}
	l.found = append(l.found, found)
}

// fixed finds out whether a node reads only names of the record and constants.
type fixed struct {
	known     map[string]int
	constants map[string]any
	not       bool
}

func (f *fixed) is(n ast.Node) bool {
	ast.Walk(&n, f)
	return !f.not
}

func (f *fixed) Visit(n *ast.Node) {
	switch n := (*n).(type) {
	case *ast.PointerNode, *ast.VariableDeclaratorNode:
		f.not = true
	case *ast.IdentifierNode:
		_, known := f.known[n.Value]
		_, constant := f.constants[n.Value]
		_, function := functions[n.Value]
		f.not = f.not || !known && !constant && !function
	}
}
