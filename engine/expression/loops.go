package expression

import (
	"errors"
	"fmt"
	"slices"

	"github.com/expr-lang/expr/ast"
)

// loops are the functions with a predicate. Each is given the list and the
// closures of its predicate.
var loops = map[string]func(l *loop, m *Machine, list []Value) (Value, error){
	"all": func(l *loop, m *Machine, list []Value) (Value, error) {
		return boolean(l.search(m, list, false) < 0), nil
	},
	"any": func(l *loop, m *Machine, list []Value) (Value, error) {
		return boolean(l.search(m, list, true) >= 0), nil
	},
	"none": func(l *loop, m *Machine, list []Value) (Value, error) {
		return boolean(l.search(m, list, true) < 0), nil
	},
	"one": func(l *loop, m *Machine, list []Value) (Value, error) { return boolean(l.count(m, list) == 1), nil },
	"count": func(l *loop, m *Machine, list []Value) (Value, error) {
		return integer(l.count(m, list)), nil
	},
	"find": func(l *loop, m *Machine, list []Value) (Value, error) {
		if i := l.search(m, list, true); i >= 0 {
			return list[i], nil
		}
		return Value{}, nil
	},
	"findIndex": func(l *loop, m *Machine, list []Value) (Value, error) {
		return at(l.search(m, list, true)), nil
	},
	"findLast": func(l *loop, m *Machine, list []Value) (Value, error) {
		if i := l.searchBack(m, list); i >= 0 {
			return list[i], nil
		}
		return Value{}, nil
	},
	"findLastIndex": func(l *loop, m *Machine, list []Value) (Value, error) {
		return at(l.searchBack(m, list)), nil
	},
	"filter":  (*loop).filter,
	"map":     (*loop).apply,
	"sum":     (*loop).sum,
	"reduce":  (*loop).reduce,
	"groupBy": (*loop).groupBy,
	"sortBy":  (*loop).sortBy,
}

// loop is a function with a predicate, compiled.
type loop struct {
	element, index, acc int // variables
	body                eval
	holds               cond
	rest                []eval // arguments behind the predicate
}

// loop compiles a function with a predicate: over nil it is nil.
func (c *compiler) loop(n *ast.BuiltinNode) eval {
	over := c.eval(n.Arguments[0])
	l := &loop{}
	outer := len(c.scope)
	l.element, l.index = c.declare(n, "#"), c.declare(n, "#index")
	if n.Name == "reduce" {
		l.acc = c.declare(n, "#acc")
	}
	c.loops++
	body := ast.Node(&ast.PointerNode{}) // count(list) and sum(list)
	if len(n.Arguments) > 1 {
		body = n.Arguments[1].(*ast.PredicateNode).Node
	}
	l.body, l.holds = c.both(body)
	c.loops--
	c.scope = c.scope[:outer]
	if len(n.Arguments) > 2 {
		l.rest = c.evals(n.Arguments[2:])
	}
	run := loops[n.Name]
	return func(m *Machine) Value {
		v := over(m)
		switch v.kind {
		case nilKind:
			return v
		case listKind:
		default:
			return m.fail(notList(v))
		}
		v, err := run(l, m, m.elements(v))
		if err != nil {
			return m.fail(err)
		}
		return v
	}
}

// set sets the variables of a step; ok is false if the loop has to end.
func (l *loop) set(m *Machine, list []Value, i int) (ok bool) {
	m.variables[l.element], m.variables[l.index] = list[i], integer(i)
	return m.step()
}

// search is the index of the first element for which the predicate is what, -1
// without one.
func (l *loop) search(m *Machine, list []Value, what bool) int {
	for i := range list {
		if !l.set(m, list, i) {
			break
		}
		if l.holds(m) == what {
			return i
		}
	}
	return -1
}

func (l *loop) searchBack(m *Machine, list []Value) int {
	for i := range slices.Backward(list) {
		if !l.set(m, list, i) {
			break
		}
		if l.holds(m) {
			return i
		}
	}
	return -1
}

// at is an index as the language gives it: nil for none.
func at(i int) Value {
	if i < 0 {
		return Value{}
	}
	return integer(i)
}

func (l *loop) count(m *Machine, list []Value) (n int) {
	for i := range list {
		if l.set(m, list, i) && l.holds(m) {
			n++
		}
	}
	return n
}

func (l *loop) filter(m *Machine, list []Value) (Value, error) {
	start := len(m.stack)
	for i := range list {
		if l.set(m, list, i) && l.holds(m) {
			m.stack = append(m.stack, list[i])
		}
	}
	return m.gathered(listKind, start), nil
}

func (l *loop) apply(m *Machine, list []Value) (Value, error) {
	start := len(m.stack)
	for i := range list {
		if !l.set(m, list, i) {
			break
		}
		v := l.body(m)
		m.stack = append(m.stack, v)
	}
	return m.gathered(listKind, start), nil
}

// sum adds numbers; nil adds nothing.
func (l *loop) sum(m *Machine, list []Value) (Value, error) {
	sum := integer(0)
	for i := range list {
		if !l.set(m, list, i) {
			break
		}
		v := l.body(m)
		if v.kind == nilKind {
			continue
		}
		if _, ok := v.number(); !ok {
			return Value{}, notNumber(v)
		}
		var err error
		if sum, err = m.arithmetic("+", sum, v); err != nil {
			return Value{}, err
		}
	}
	return sum, nil
}

func (l *loop) reduce(m *Machine, list []Value) (Value, error) {
	from := 0
	var acc Value
	switch {
	case len(l.rest) > 0:
		acc = l.rest[0](m)
	case len(list) == 0:
		return Value{}, errors.New("reduce of empty array with no initial value")
	default:
		acc, from = list[0], 1
	}
	for i := from; i < len(list); i++ {
		m.variables[l.acc] = acc
		if !l.set(m, list, i) {
			break
		}
		acc = l.body(m)
	}
	return acc, nil
}

// groupBy makes a map of lists, by the text that the predicate gives.
func (l *loop) groupBy(m *Machine, list []Value) (Value, error) {
	groups := make(map[string][]Value)
	var order []Value
	for i := range list {
		if !l.set(m, list, i) {
			break
		}
		key := m.key(l.body(m))
		if _, known := groups[key.text]; !known {
			order = append(order, key)
		}
		groups[key.text] = append(groups[key.text], list[i])
	}
	start := len(m.stack)
	for _, key := range order {
		group := m.listOf(groups[key.text])
		m.stack = append(m.stack, key, group)
	}
	return m.gathered(mapKind, start), nil
}

func (l *loop) sortBy(m *Machine, list []Value) (Value, error) {
	keys := make([]Value, len(list))
	order := make([]int, len(list))
	for i := range list {
		if !l.set(m, list, i) {
			break
		}
		keys[i], order[i] = l.body(m), i
		if _, number := keys[i].number(); !number && keys[i].kind != timeKind {
			keys[i] = m.key(keys[i])
		}
	}
	direction := text("asc")
	if len(l.rest) > 0 {
		direction = l.rest[0](m)
	}
	sign, err := direct(direction)
	if err != nil {
		return Value{}, fmt.Errorf("sortBy: %w", err)
	}
	slices.SortStableFunc(order, func(i, j int) int {
		c, ok := m.compare(keys[i], keys[j])
		if !ok {
			err = fmt.Errorf("sortBy: a %s and a %s have no order", keys[i].name(), keys[j].name())
		}
		return c * sign
	})
	if err != nil {
		return Value{}, err
	}
	sorted := make([]Value, len(list))
	for i, at := range order {
		sorted[i] = list[at]
	}
	return m.listOf(sorted), nil
}
