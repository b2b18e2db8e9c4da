package transform

import (
	"reflect"

	"github.com/expr-lang/expr/ast"

	"github.com/secure60/s60-m365-connector/engine/expression"
)

// This file compiles expressions to closures over the fields of the record,
// which is several times faster than expr's virtual machine and allocates
// nothing in the common cases. What a closure gives is what the machine gives;
// a fuzz test holds them together. Loops (filter, map, any, …) stay with the
// machine.
//
// A closure that fails notes the first failure in Mapper.failure and goes on:
// whoever started it looks there and throws the result away.

type (
	eval func(m *Mapper) value
	cond func(m *Mapper) bool
)

// closures compiles the expressions of one mapping.
type closures struct {
	fieldOf   map[string]int
	slotOf    map[string]int
	constants map[string]any
	uses      map[string]int               // how often a call stands in the mapping, by its text
	memos     map[string]int               // calls that are answered once for an event
	variables int                          // of let, in all expressions together
	tables    map[uintptr]map[string]value // by address
	kept      []map[string]any

	scope []variable
}

type variable struct {
	name  string
	index int
}

// count notes the calls and lookups in an expression, so that those which come more than
// once are answered once.
func (k *closures) count(n ast.Node) {
	ast.Walk(&n, counter(k.uses))
}

type counter map[string]int

func (c counter) Visit(n *ast.Node) {
	switch n := (*n).(type) {
	case *ast.CallNode:
		c[n.String()]++
	case *ast.MemberNode:
		if ofCall(n) {
			c[n.String()]++
		}
	}
}

// ofCall says whether a lookup is one in what a call gave: json(x)[0].name.
func ofCall(n *ast.MemberNode) bool {
	switch of := n.Node.(type) {
	case *ast.CallNode:
		return true
	case *ast.MemberNode:
		return ofCall(of)
	}
	return false
}

// names are the variables in scope.
func (k *closures) names() []string {
	out := make([]string, len(k.scope))
	for i, v := range k.scope {
		out[i] = v.name
	}
	return out
}

func (k *closures) constant(n ast.Node) (any, bool) {
	return expression.Constant(n, k.constants, k.names())
}

// eval compiles a node; nil says that only the machine can run it.
func (k *closures) eval(n ast.Node) eval {
	if v, ok := k.constant(n); ok {
		if fixed, ok := constant(v); ok {
			return func(*Mapper) value { return fixed }
		}
		return func(m *Mapper) value { return m.keep(v) }
	}
	switch n := n.(type) {
	case *ast.IdentifierNode:
		return k.identifier(n.Value)
	case *ast.ChainNode:
		return k.eval(n.Node)
	case *ast.UnaryNode:
		switch n.Operator {
		case "+":
			return k.eval(n.Node)
		case "-":
			return k.operation("negate", n.Node)
		}
		return answer(k.cond(n))
	case *ast.BinaryNode:
		switch n.Operator {
		case "??":
			return coalesce(k.eval(n.Left), k.eval(n.Right))
		case "+":
			return k.sum(n)
		case "-", "*", "/", "%", "**", "^", "..":
			return k.operation(n.Operator, n.Left, n.Right)
		}
		return answer(k.cond(n))
	case *ast.ConditionalNode:
		return choice(k.cond(n.Cond), k.eval(n.Exp1), k.eval(n.Exp2))
	case *ast.MemberNode:
		return k.member(n)
	case *ast.SliceNode:
		return k.slice(n)
	case *ast.CallNode:
		return k.memo(n, k.call(n))
	case *ast.VariableDeclaratorNode:
		return k.let(n)
	case *ast.ArrayNode:
		return k.list(n)
	case *ast.BuiltinNode:
		return k.loop(n)
	case *ast.PointerNode:
		if n.Name == "" {
			return k.identifier("#")
		}
	}
	return nil
}

func answer(c cond) eval {
	if c == nil {
		return nil
	}
	return func(m *Mapper) value { return boolean(c(m)) }
}

func (k *closures) identifier(name string) eval {
	for i := len(k.scope) - 1; i >= 0; i-- {
		if k.scope[i].name == name {
			index := k.scope[i].index
			return func(m *Mapper) value { return m.variables[index] }
		}
	}
	if field, ok := k.fieldOf[name]; ok {
		return func(m *Mapper) value { return m.value(field) }
	}
	slot := k.slotOf[name]
	return func(m *Mapper) value { return m.slotValue(slot) }
}

func (k *closures) let(n *ast.VariableDeclaratorNode) eval {
	v := k.eval(n.Value)
	index := k.variables
	k.variables++
	k.scope = append(k.scope, variable{n.Name, index})
	body := k.eval(n.Expr)
	k.scope = k.scope[:len(k.scope)-1]
	if v == nil || body == nil {
		return nil
	}
	return func(m *Mapper) value {
		m.variables[index] = v(m)
		return body(m)
	}
}

// evals compiles several nodes; nil if one of them cannot be.
func (k *closures) evals(nodes []ast.Node) []eval {
	out := make([]eval, len(nodes))
	for i, n := range nodes {
		if out[i] = k.eval(n); out[i] == nil {
			return nil
		}
	}
	return out
}

func (k *closures) list(n *ast.ArrayNode) eval {
	elements := k.evals(n.Nodes)
	if elements == nil {
		return nil
	}
	return func(m *Mapper) value {
		start := len(m.pending)
		for _, element := range elements {
			v := element(m)
			m.pending = append(m.pending, v)
		}
		return m.gathered(start)
	}
}

// fail notes a failure, the first of an expression.
func (m *Mapper) fail(err error) value {
	if err != nil && m.failure == nil {
		m.failure = err
	}
	return value{}
}

// operation is an operator in general, of the package expression.
func (k *closures) operation(operator string, nodes ...ast.Node) eval {
	operands := k.evals(nodes)
	if operands == nil {
		return nil
	}
	return func(m *Mapper) value {
		args := make([]any, len(operands))
		for i, operand := range operands {
			args[i] = m.any(operand(m))
		}
		v, err := expression.Operate(operator, args...)
		if err != nil {
			return m.fail(err)
		}
		return m.keep(v)
	}
}

func (k *closures) slice(n *ast.SliceNode) eval {
	of := k.eval(n.Node)
	bound := func(n ast.Node) eval {
		if n == nil {
			return func(m *Mapper) value { return m.keep(expression.Absent) }
		}
		return k.eval(n)
	}
	from, to := bound(n.From), bound(n.To)
	if of == nil || from == nil || to == nil {
		return nil
	}
	return func(m *Mapper) value {
		v, err := expression.Operate("slice", m.any(of(m)), m.any(from(m)), m.any(to(m)))
		if err != nil {
			return m.fail(err)
		}
		return m.keep(v)
	}
}

func coalesce(left, right eval) eval {
	if left == nil || right == nil {
		return nil
	}
	return func(m *Mapper) value {
		if v := left(m); v.kind != nilKind {
			return v
		}
		return right(m)
	}
}

func choice(c cond, yes, no eval) eval {
	if c == nil || yes == nil || no == nil {
		return nil
	}
	return func(m *Mapper) value {
		if c(m) {
			return yes(m)
		}
		return no(m)
	}
}

// member is a lookup. In a table it is one search of a map.
func (k *closures) member(n *ast.MemberNode) eval {
	if v, ok := k.constant(n.Node); ok {
		table, ok := v.(map[string]any)
		key := k.eval(n.Property)
		if !ok || key == nil {
			return k.operation("member", n.Node, n.Property)
		}
		return k.lookup(table, key)
	}
	if call, ok := n.Node.(*ast.CallNode); ok {
		if part := k.part(call, n.Property); part != nil {
			return part
		}
	}
	if key, ok := k.constant(n.Property); ok {
		if of := k.eval(n.Node); of != nil {
			if member := k.memberOf(of, key); member != nil {
				return k.memo(n, member)
			}
		}
	}
	return k.operation("member", n.Node, n.Property)
}

func (k *closures) lookup(table map[string]any, key eval) eval {
	rows := k.rows(table)
	if rows == nil { // of lists or maps
		return func(m *Mapper) value { return m.keep(expression.Member(table, m.any(key(m)))) }
	}
	return func(m *Mapper) value {
		v := key(m)
		if v.kind == textKind {
			return rows[v.text]
		}
		text, _, ok := m.textOf(v)
		if !ok {
			return value{}
		}
		return rows[text]
	}
}

// rows are the values of a table, ready to be given; nil if a row holds a list
// or a map.
func (k *closures) rows(table map[string]any) map[string]value {
	id := reflect.ValueOf(table).Pointer()
	if rows, ok := k.tables[id]; ok {
		return rows
	}
	rows := make(map[string]value, len(table))
	for name, v := range table {
		row, ok := constant(v)
		if !ok {
			rows = nil
			break
		}
		rows[name] = row
	}
	k.tables[id] = rows
	k.kept = append(k.kept, table) // so that its address stays its own
	return rows
}

// interpreted runs an expression in expr's machine.
func interpreted(e *compiled) eval {
	return func(m *Mapper) value {
		v, err := e.program.Eval(m.environment(e))
		if err != nil {
			return m.fail(err)
		}
		return m.keep(v)
	}
}

// newClosures prepares to compile the expressions of a mapping.
func newClosures(m *Mapping) *closures {
	k := &closures{
		fieldOf:   m.fieldOf,
		slotOf:    m.slotOf,
		constants: map[string]any{"tables": m.tables},
		uses:      make(map[string]int),
		memos:     make(map[string]int),
		tables:    make(map[uintptr]map[string]value),
	}
	for _, e := range m.expressions {
		k.count(e.program.Syntax())
	}
	return k
}

// close compiles an expression to closures, or to a call of the machine.
func (k *closures) close(e *compiled) {
	e.copies = -1
	if slot, ok := k.slotOfNode(e.program.Syntax()); ok {
		e.copies = slot
	}
	if e.eval = k.eval(e.program.Syntax()); e.eval == nil {
		k.scope = nil
		e.eval = interpreted(e)
		e.interpreted = true
	}
	if e.label != "when" {
		return
	}
	if !e.interpreted {
		e.cond = k.cond(e.program.Syntax())
	}
	if e.cond == nil {
		v := e.eval
		e.cond = func(m *Mapper) bool { return m.truth(v(m)) }
	}
}
