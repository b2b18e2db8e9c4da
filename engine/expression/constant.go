package expression

import (
	"reflect"
	"slices"

	"github.com/expr-lang/expr/ast"
)

// This file finds what is the same on every run, and keeps it in the unit.

// pooled makes a value of a constant. Elements go to the unit's pool.
func (c *compiler) pooled(v any) Value {
	var elements []Value
	kind := listKind
	switch v := v.(type) {
	case []any:
		for _, element := range v {
			elements = append(elements, c.pooled(element))
		}
	case map[string]any:
		kind = mapKind
		for _, name := range sorted(v) {
			elements = append(elements, Constant(name), c.pooled(v[name]))
		}
	default:
		return Constant(v)
	}
	from := len(c.unit.pool)
	c.unit.pool = append(c.unit.pool, elements...)
	return spanOf(kind, from, len(c.unit.pool))
}

// pooledOf makes a value of a node that is a constant. Elements go to the unit's pool,
// once.
func (c *compiler) pooledOf(n ast.Node, v any) Value {
	switch v.(type) {
	case []any, map[string]any:
	default:
		return Constant(v)
	}
	if c.settling == nil {
		c.unit.lists[n] = c.pooled(v)
	}
	list, ok := c.unit.lists[n]
	c.lose(ok)
	return list
}

// lose notes that there is no special program: the unit, which many read now, lacks something.
func (c *compiler) lose(has bool) {
	if !has && c.settling != nil {
		c.lost = true
	}
}

// rows are those of a constant map; nil if n is none.
func (c *compiler) rows(n ast.Node) map[string]Value {
	v, _ := c.constant(n)
	table, ok := v.(map[string]any)
	if !ok {
		return nil
	}
	id := reflect.ValueOf(table).Pointer()
	rows, ok := c.unit.tables[id]
	if c.lose(ok); !ok && c.settling == nil {
		rows = make(map[string]Value, len(table))
		for name, row := range table {
			rows[name] = c.pooled(row)
		}
		c.unit.tables[id] = rows
		c.unit.kept = append(c.unit.kept, table)
	}
	return rows
}

// constant is the value of an expression that is the same on every run: a
// literal, a list or map of literals, a constant of the options or a member
// of one.
func (c *compiler) constant(n ast.Node) (any, bool) {
	switch n := n.(type) {
	case *ast.NilNode:
		return nil, true
	case *ast.BoolNode:
		return n.Value, true
	case *ast.IntegerNode:
		return n.Value, true
	case *ast.FloatNode:
		return n.Value, true
	case *ast.StringNode:
		return n.Value, true
	case *ast.IdentifierNode:
		for i, v := range slices.Backward(c.scope) {
			if v.name == n.Value {
				outer := compiler{unit: c.unit, scope: c.scope[:i]}
				return outer.constant(v.fixed)
			}
		}
		v, ok := c.unit.options.Constants[n.Value]
		return v, ok
	case *ast.ChainNode:
		return c.constant(n.Node)
	case *ast.MemberNode:
		of, ok := c.constant(n.Node)
		key, isConstant := c.constant(n.Property)
		members, isMap := of.(map[string]any)
		name, isText := key.(string)
		if !ok || !isConstant || !isMap || !isText {
			return nil, false
		}
		return members[name], true
	case *ast.UnaryNode:
		v, ok := c.constant(n.Node)
		if !ok || n.Operator != "-" {
			return nil, false
		}
		switch v := v.(type) {
		case int:
			return -v, true
		case float64:
			return -v, true
		}
	case *ast.ArrayNode:
		list := make([]any, len(n.Nodes))
		for i, element := range n.Nodes {
			v, ok := c.constant(element)
			if !ok {
				return nil, false
			}
			list[i] = v
		}
		return list, true
	case *ast.MapNode:
		members := make(map[string]any, len(n.Pairs))
		for _, pair := range n.Pairs {
			p := pair.(*ast.PairNode)
			key, ok := c.constant(p.Key)
			value, okToo := c.constant(p.Value)
			name, isText := key.(string)
			if !ok || !okToo || !isText {
				return nil, false
			}
			members[name] = value
		}
		return members, true
	}
	return nil, false
}
