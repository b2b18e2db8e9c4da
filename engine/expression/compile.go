package expression

import (
	"fmt"
	"slices"

	"github.com/expr-lang/expr/ast"
)

// This file compiles a checked tree to closures. A closure that fails notes it
// in the machine and goes on: whoever started the evaluation looks there and
// throws the result away.

type (
	eval func(m *Machine) Value
	cond func(m *Machine) bool
)

// compiler compiles one expression of a unit.
type compiler struct {
	unit      *Unit
	scope     []variable // of let, and of loops
	loops     int        // around
	*settling            // nil: any record may come
}

// variable is a name that an expression declares: "#", "#index" and "#acc" are
// those of a loop.
type variable struct {
	name  string
	index int
	fixed ast.Node // what it is, of a let of a constant
	value *Value   // what it is in all records that may come
}

// declare makes a variable, known until the scope is cut back.
func (c *compiler) declare(n ast.Node, name string) (index int) {
	key := declared{n, name}
	index, known := c.unit.declared[key]
	switch {
	case known: // the node is compiled once more
	case c.settling != nil:
		c.lost = true
	default:
		index = c.unit.variables
		c.unit.variables++
		c.unit.declared[key] = index
	}
	c.scope = append(c.scope, variable{name: name, index: index})
	return index
}

// declared is a name that a node declares.
type declared struct {
	node ast.Node
	name string
}

func (c *compiler) lookup(name string) (v *variable, ok bool) {
	for i := range slices.Backward(c.scope) {
		if c.scope[i].name == name {
			return &c.scope[i], true
		}
	}
	return nil, false
}

// eval compiles a node.
func (c *compiler) eval(n ast.Node) eval {
	if v, ok := c.constant(n); ok {
		fixed := c.pooledOf(n, v)
		if c.settling != nil && fixed.kind != listKind && fixed.kind != mapKind {
			c.values[n] = fixed
		}
		return func(*Machine) Value { return fixed }
	}
	if c.settling != nil {
		return c.settle(n)
	}
	return c.build(n)
}

// build compiles a node that is no constant.
func (c *compiler) build(n ast.Node) eval {
	switch n := n.(type) {
	case *ast.IdentifierNode:
		return c.name(n.Value)
	case *ast.PointerNode:
		return c.name("#" + n.Name)
	case *ast.ChainNode:
		return c.eval(n.Node)
	case *ast.UnaryNode:
		switch n.Operator {
		case "+":
			return c.eval(n.Node)
		case "-":
			return operation1(c.eval(n.Node), negate)
		}
	case *ast.BinaryNode:
		switch n.Operator {
		case "??":
			left := c.eval(n.Left)
			switch c.decides(n) {
			case n.Right:
				return c.eval(n.Right)
			case n.Left:
				return left
			}
			return coalesce(left, c.eval(n.Right))
		case "+":
			return operation2(c.eval(n.Left), c.eval(n.Right), (*Machine).add)
		case "..":
			return operation2(c.eval(n.Left), c.eval(n.Right), (*Machine).count)
		case "-", "*", "/", "%", "**", "^":
			operator := n.Operator
			return operation2(c.eval(n.Left), c.eval(n.Right), func(m *Machine, a, b Value) (Value, error) { return m.arithmetic(operator, a, b) })
		}
	case *ast.ConditionalNode:
		holds := c.cond(n.Cond)
		if answer, ok := c.answer(n.Cond); ok {
			return c.eval(chosen(n, answer))
		}
		yes, no := c.eval(n.Exp1), c.eval(n.Exp2)
		return func(m *Machine) Value {
			if holds(m) {
				return yes(m)
			}
			return no(m)
		}
	case *ast.MemberNode:
		return c.memo(n, c.member(n))
	case *ast.SliceNode:
		return c.slice(n)
	case *ast.CallNode:
		return c.memo(n, c.call(n))
	case *ast.BuiltinNode:
		return c.memo(n, c.loop(n))
	case *ast.VariableDeclaratorNode:
		return c.let(n)
	case *ast.SequenceNode:
		return c.sequence(n)
	case *ast.ArrayNode:
		return gather(listKind, c.evals(n.Nodes))
	case *ast.MapNode:
		var members []eval
		for _, pair := range n.Pairs {
			p := pair.(*ast.PairNode)
			key := c.eval(p.Key)
			members = append(members, func(m *Machine) Value { return m.key(key(m)) }, c.eval(p.Value))
		}
		return gather(mapKind, members)
	}
	holds := c.cond(n)
	return func(m *Machine) Value { return boolean(holds(m)) }
}

// both compiles a node for its value and as a condition, most of it once.
func (c *compiler) both(n ast.Node) (eval, cond) {
	if isCondition(n) {
		holds := c.cond(n)
		return func(m *Machine) Value { return boolean(holds(m)) }, holds
	}
	v := c.eval(n)
	return v, func(m *Machine) bool { return m.truth(v(m)) }
}

// chosen is the part of a choice that its condition leads to.
func chosen(n *ast.ConditionalNode, holds bool) ast.Node {
	if holds {
		return n.Exp1
	}
	return n.Exp2
}

func (c *compiler) evals(nodes []ast.Node) []eval {
	out := make([]eval, len(nodes))
	for i, n := range nodes {
		out[i] = c.eval(n)
	}
	return out
}

func (c *compiler) name(name string) eval {
	if v, ok := c.lookup(name); ok {
		if v.value != nil {
			fixed := *v.value
			return func(*Machine) Value { return fixed }
		}
		if c.settling != nil {
			c.open = true
		}
		index := v.index
		return func(m *Machine) Value { return m.variables[index] }
	}
	i := c.unit.slots[name]
	if c.settling != nil {
		if v, ok := c.settledName(i); ok {
			return func(*Machine) Value { return v }
		}
		c.open = true
	}
	if i < len(c.unit.options.Computed) {
		return func(m *Machine) Value {
			if s := &m.slots[i]; s.record == m.record {
				return s.Value
			}
			return m.Computed(i)
		}
	}
	return func(m *Machine) Value {
		return m.field(i)
	}
}

// field is the slot of the field of the record that a node reads and nothing
// else, or notField.
func (c *compiler) field(n ast.Node) int {
	if id, ok := n.(*ast.IdentifierNode); ok {
		_, declared := c.lookup(id.Value)
		i, known := c.unit.slots[id.Value]
		if known && !declared && i >= len(c.unit.options.Computed) {
			return i
		}
	}
	return notField
}

// computed is the slot of the computed name that a node reads and nothing else, or notField.
func (c *compiler) computed(n ast.Node) int {
	if id, ok := n.(*ast.IdentifierNode); ok {
		_, declared := c.lookup(id.Value)
		i, known := c.unit.slots[id.Value]
		if known && !declared && i < len(c.unit.options.Computed) {
			return i
		}
	}
	return notField
}

func (c *compiler) let(n *ast.VariableDeclaratorNode) eval {
	v := c.eval(n.Value)
	_, isConstant := c.constant(n.Value)
	index := c.declare(n, n.Name)
	if isConstant {
		c.scope[len(c.scope)-1].fixed = n.Value
	}
	settled, isSettled := c.value(n.Value)
	if isSettled {
		c.scope[len(c.scope)-1].value = &settled
	}
	body := c.eval(n.Expr)
	c.scope = c.scope[:len(c.scope)-1]
	if isSettled {
		return body
	}
	return func(m *Machine) Value {
		m.variables[index] = v(m)
		return body(m)
	}
}

// sequence is a; b; c, which is c.
func (c *compiler) sequence(n *ast.SequenceNode) eval {
	all := c.evals(n.Nodes)
	return func(m *Machine) (v Value) {
		for _, e := range all {
			v = e(m)
		}
		return v
	}
}

func gather(kind kind, elements []eval) eval {
	return func(m *Machine) Value {
		start := len(m.stack)
		for _, element := range elements {
			v := element(m)
			m.stack = append(m.stack, v)
		}
		return m.gathered(kind, start)
	}
}

func operation1(of eval, f func(Value) (Value, error)) eval {
	return func(m *Machine) Value {
		v, err := f(of(m))
		if err != nil {
			return m.fail(err)
		}
		return v
	}
}

func operation2(left, right eval, f func(m *Machine, a, b Value) (Value, error)) eval {
	return func(m *Machine) Value {
		a := left(m)
		v, err := f(m, a, right(m))
		if err != nil {
			return m.fail(err)
		}
		return v
	}
}

func coalesce(left, right eval) eval {
	return func(m *Machine) Value {
		if v := left(m); v.kind != nilKind {
			return v
		}
		return right(m)
	}
}

// member is a lookup. In a table it is one search of a Go map.
func (c *compiler) member(n *ast.MemberNode) eval {
	key := c.eval(n.Property)
	if rows := c.rows(n.Node); rows != nil {
		if i := c.field(n.Property); i >= 0 {
			return func(m *Machine) Value {
				if text, ok := m.fieldText(i); ok {
					return rows[text]
				}
				return Value{}
			}
		}
		return func(m *Machine) Value {
			if text, _, ok := m.text(key(m)); ok {
				return rows[text]
			}
			return Value{}
		}
	}
	of := c.eval(n.Node)
	e := func(m *Machine) Value {
		v := of(m)
		return m.member(v, key(m))
	}
	v, _ := c.constant(n.Property)
	if index, ok := v.(int); ok {
		if part := c.splitPart(n.Node, index, e); part != nil {
			return part
		}
	}
	return e
}

func (c *compiler) slice(n *ast.SliceNode) eval {
	of := c.eval(n.Node)
	bound := func(n ast.Node) eval {
		if n == nil {
			return func(*Machine) Value { return unbounded }
		}
		return c.eval(n)
	}
	from, to := bound(n.From), bound(n.To)
	return func(m *Machine) Value {
		v, a := of(m), from(m)
		out, err := m.slice(v, a, to(m))
		if err != nil {
			return m.fail(err)
		}
		return out
	}
}

// call compiles a call: nil among the arguments makes the result nil, unless the
// function takes nil.
func (c *compiler) call(n *ast.CallNode) eval {
	name := n.Callee.(*ast.IdentifierNode).Value
	f := functions[name]
	if name == "words" {
		return c.words(n.Arguments)
	}
	args := c.evals(n.Arguments)
	if name == "first" || name == "last" {
		index := 0
		if name == "last" {
			index = -1
		}
		list := args[0]
		e := func(m *Machine) Value { return m.member(list(m), integer(index)) }
		if part := c.splitPart(n.Arguments[0], index, e); part != nil {
			return part
		}
	}
	if f.one != nil && len(args) == 1 {
		arg, one := args[0], f.one
		if i := c.field(n.Arguments[0]); i >= 0 {
			return func(m *Machine) Value {
				v := m.field(i)
				if v.kind == nilKind {
					return v
				}
				v, err := one(m, v)
				if err != nil {
					return m.fail(fmt.Errorf("%s: %w", name, err))
				}
				return v
			}
		}
		return func(m *Machine) Value {
			v := arg(m)
			if v.kind == nilKind {
				return v
			}
			v, err := one(m, v)
			if err != nil {
				return m.fail(fmt.Errorf("%s: %w", name, err))
			}
			return v
		}
	}
	early := !f.takesNil && len(args) > 1 // a first argument that is nil decides: the others are constants
	for i := 1; i < len(args); i++ {
		v, ok := c.constant(n.Arguments[i])
		early = early && ok && v != nil
	}
	return func(m *Machine) Value {
		start, absent := len(m.stack), false
		for i, arg := range args {
			v := arg(m)
			if v.kind == nilKind {
				if early && i == 0 {
					return v
				}
				absent = true
			}
			m.stack = append(m.stack, v)
		}
		var v Value
		var err error
		if !absent || f.takesNil {
			v, err = f.call(m, m.stack[start:])
		}
		m.stack = m.stack[:start]
		if err != nil {
			return m.fail(fmt.Errorf("%s: %w", name, err))
		}
		return v
	}
}

// memo makes that what stands in the unit several times, or in a loop without
// reading its element, is computed once for a record.
func (c *compiler) memo(n ast.Node, e eval) eval {
	i, ok := c.memoOf(n)
	if !ok {
		return e
	}
	return func(m *Machine) Value {
		if memo := &m.memos[i]; memo.record == m.record {
			return memo.Value
		}
		v := e(m)
		if m.run.failure == nil { // a failure must show in each expression that meets it
			m.memos[i] = slot{m.record, v}
		}
		return v
	}
}

// memoCond is memo for a condition.
func (c *compiler) memoCond(n ast.Node, holds cond) cond {
	i, ok := c.memoOf(n)
	if !ok {
		return holds
	}
	return func(m *Machine) bool {
		if memo := &m.memos[i]; memo.record == m.record {
			return memo.bits != 0
		}
		answer := holds(m)
		if m.run.failure == nil {
			m.memos[i] = slot{m.record, boolean(answer)}
		}
		return answer
	}
}

// memoOf is where the machine keeps what a node gave; ok is false if that does not
// pay, or may not be kept.
func (c *compiler) memoOf(n ast.Node) (i int, ok bool) {
	if c.unit.same.uses(n) < 2 && c.loops == 0 || c.readsScope(n) {
		return 0, false
	}
	number := c.unit.same.numbers[n]
	i, ok = c.unit.memos[number]
	if c.settling != nil {
		return i, ok && (c.use(number) || c.loops > 0)
	}
	if !ok {
		i = len(c.unit.memos)
		c.unit.memos[number] = i
	}
	return i, true
}

// readsScope says whether a node depends on a variable of let or a loop.
func (c *compiler) readsScope(n ast.Node) bool {
	if len(c.scope) == 0 {
		return false
	}
	r := scopeReader{compiler: c}
	ast.Walk(&n, &r)
	return r.reads
}

type scopeReader struct {
	*compiler
	reads bool
}

func (r *scopeReader) Visit(n *ast.Node) {
	switch n := (*n).(type) {
	case *ast.PointerNode:
		r.reads = true // a loop of its own within n hides its element: computed each time, which is right too
	case *ast.IdentifierNode:
		_, declared := r.lookup(n.Value)
		r.reads = r.reads || declared
	}
}
