package expression

import (
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
	if i := c.slot(n); i >= len(c.unit.options.Computed) {
		return i
	}
	return notField
}

// computed is the slot of the computed name that a node reads and nothing else, or notField.
func (c *compiler) computed(n ast.Node) int {
	if i := c.slot(n); i < len(c.unit.options.Computed) {
		return i
	}
	return notField
}

// slot is that of the name that a node is, of whichever kind, or notField.
func (c *compiler) slot(n ast.Node) int {
	if id, ok := n.(*ast.IdentifierNode); ok {
		_, declared := c.lookup(id.Value)
		if i, known := c.unit.slots[id.Value]; known && !declared {
			return i
		}
	}
	return notField
}

func (c *compiler) let(n *ast.VariableDeclaratorNode) eval {
	v := c.eval(n.Value)
	if _, choice := n.Value.(*ast.ConditionalNode); choice {
		v = c.memo(n.Value, v) // a list that many expressions look into
	}
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
