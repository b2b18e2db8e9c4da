package transform

import (
	"reflect"
	"regexp"
	"slices"

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

// count notes the calls in an expression, so that those which come more than
// once are answered once.
func (k *closures) count(n ast.Node) {
	ast.Walk(&n, counter(k.uses))
}

type counter map[string]int

func (c counter) Visit(n *ast.Node) {
	if call, ok := (*n).(*ast.CallNode); ok {
		c[call.String()]++
	}
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
		return k.memo(n)
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
				return member
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

// cond compiles a node as a condition.
func (k *closures) cond(n ast.Node) cond {
	switch n := n.(type) {
	case *ast.BoolNode:
		holds := n.Value
		return func(*Mapper) bool { return holds }
	case *ast.UnaryNode:
		if n.Operator == "not" || n.Operator == "!" {
			c := k.cond(n.Node)
			if c == nil {
				return nil
			}
			return func(m *Mapper) bool { return !c(m) }
		}
	case *ast.BinaryNode:
		if c, ok := k.comparison(n); ok {
			return c
		}
	}
	v := k.eval(n)
	if v == nil {
		return nil
	}
	return func(m *Mapper) bool { return m.truth(v(m)) }
}

// truth is a value as a condition.
func (m *Mapper) truth(v value) bool {
	switch v.kind {
	case boolKind:
		return v.bits != 0
	case nilKind:
		return false
	}
	_, err := expression.Operate("truth", m.any(v))
	m.fail(err)
	return false
}

// comparison compiles an operator whose result is true or false; ok is false
// if n is another.
func (k *closures) comparison(n *ast.BinaryNode) (c cond, ok bool) {
	switch n.Operator {
	case "and", "&&", "or", "||":
		left, right := k.cond(n.Left), k.cond(n.Right)
		switch {
		case left == nil || right == nil:
			return nil, true
		case n.Operator == "and" || n.Operator == "&&":
			return func(m *Mapper) bool { return left(m) && right(m) }, true
		}
		return func(m *Mapper) bool { return left(m) || right(m) }, true
	case "==", "!=":
		c := k.equality(n.Left, n.Right)
		if c != nil && n.Operator == "!=" {
			equal := c
			c = func(m *Mapper) bool { return !equal(m) }
		}
		return c, true
	case "in":
		return k.in(n), true
	case "matches":
		return k.matches(n), true
	}
	var of func(m *Mapper, a, b value) bool
	switch n.Operator {
	case "<":
		of = func(m *Mapper, a, b value) bool { c, ok := m.compare(a, b); return ok && c < 0 }
	case "<=":
		of = func(m *Mapper, a, b value) bool { c, ok := m.compare(a, b); return ok && c <= 0 }
	case ">":
		of = func(m *Mapper, a, b value) bool { c, ok := m.compare(a, b); return ok && c > 0 }
	case ">=":
		of = func(m *Mapper, a, b value) bool { c, ok := m.compare(a, b); return ok && c >= 0 }
	case "contains", "startsWith", "endsWith":
		return k.texts(n.Operator, n.Left, n.Right), true
	default:
		return nil, false
	}
	left, right := k.eval(n.Left), k.eval(n.Right)
	if left == nil || right == nil {
		return nil, true
	}
	return func(m *Mapper) bool {
		a := left(m)
		return of(m, a, right(m))
	}, true
}

// slotOfNode is the slot that a node reads and nothing else.
func (k *closures) slotOfNode(n ast.Node) (int, bool) {
	id, ok := n.(*ast.IdentifierNode)
	if !ok || slices.Contains(k.names(), id.Value) {
		return 0, false
	}
	if _, computed := k.fieldOf[id.Value]; computed {
		return 0, false
	}
	slot, ok := k.slotOf[id.Value]
	return slot, ok
}

func (k *closures) equality(left, right ast.Node) cond {
	if _, ok := k.constant(left); ok {
		left, right = right, left
	}
	a, b := k.eval(left), k.eval(right)
	if a == nil || b == nil {
		return nil
	}
	if v, ok := k.constant(right); ok {
		if want, ok := constant(v); ok {
			slot, isSlot := k.slotOfNode(left)
			switch {
			case want.kind == textKind && isSlot:
				return func(m *Mapper) bool {
					if s := &m.slots[slot]; s.kind == slotText || s.event != m.event {
						return s.event == m.event && s.text == want.text
					}
					v := m.slotValue(slot)
					return v.kind == textKind && v.text == want.text
				}
			case want.kind == textKind:
				return func(m *Mapper) bool {
					v := a(m)
					return v.kind == textKind && v.text == want.text
				}
			case want.kind == nilKind:
				return func(m *Mapper) bool { return a(m).kind == nilKind }
			}
		}
	}
	return func(m *Mapper) bool {
		v := a(m)
		return m.equal(v, b(m))
	}
}

// in is a search in a list or among the keys of a map, mostly constant.
func (k *closures) in(n *ast.BinaryNode) cond {
	v := k.eval(n.Left)
	if v == nil {
		return nil
	}
	if of, ok := k.constant(n.Right); ok {
		switch of := of.(type) {
		case []any:
			return inList(v, of)
		case map[string]any:
			return func(m *Mapper) bool {
				text, _, ok := m.textOf(v(m))
				if ok {
					_, ok = of[text]
				}
				return ok
			}
		}
	}
	if list, ok := n.Right.(*ast.ArrayNode); ok {
		elements := k.evals(list.Nodes)
		if elements == nil {
			return nil
		}
		return func(m *Mapper) bool {
			a, found := v(m), false
			for _, element := range elements { // all, as one may fail
				found = m.equal(a, element(m)) || found
			}
			return found
		}
	}
	of := k.eval(n.Right)
	if of == nil {
		return nil
	}
	return func(m *Mapper) bool {
		a := m.any(v(m))
		return expression.In(a, m.any(of(m)))
	}
}

func inList(v eval, list []any) cond {
	set := expression.NewSet(list)
	var texts []string
	var integers []int64
	other := false
	for _, element := range list {
		switch element := element.(type) {
		case string:
			texts = append(texts, element)
		case int:
			integers = append(integers, int64(element))
		default:
			other = true
		}
	}
	return func(m *Mapper) bool {
		a := v(m)
		if a.kind == textKind {
			if len(texts) > 8 {
				return set.HasText(a.text)
			}
			for _, text := range texts {
				if text == a.text {
					return true
				}
			}
			return false
		}
		if !other {
			if len(integers) == 0 {
				return false
			}
			if i, ok := a.integer(); ok {
				return slices.Contains(integers, i)
			}
		}
		return set.Has(m.any(a))
	}
}

func (k *closures) matches(n *ast.BinaryNode) cond {
	v := k.eval(n.Left)
	if v == nil {
		return nil
	}
	if pattern, ok := n.Right.(*ast.StringNode); ok {
		re := regexp.MustCompile(pattern.Value) // compiled before, or the expression would have been refused
		return func(m *Mapper) bool {
			text, _, ok := m.textOf(v(m))
			return ok && re.MatchString(text)
		}
	}
	c := k.operation("matches", n.Left, n.Right)
	if c == nil {
		return nil
	}
	return func(m *Mapper) bool { return m.truth(c(m)) }
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
