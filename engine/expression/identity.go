package expression

import (
	"encoding/binary"
	"math"

	"github.com/expr-lang/expr/ast"
)

// identities number nodes so that those of the same meaning bear the same number,
// and count how often each stands in a unit.
type identities struct {
	numbers map[ast.Node]int32
	known   map[string]int32 // by what the node is, its parts by their numbers
	counts  []int32
	key     []byte
}

// uses is how often a node stands in the unit.
func (d *identities) uses(n ast.Node) int32 { return d.counts[d.numbers[n]] }

// Visit numbers a node, whose parts have been visited before.
func (d *identities) Visit(at *ast.Node) {
	n := *at
	d.key = d.key[:0]
	switch n := n.(type) {
	case *ast.NilNode:
		d.is('0')
	case *ast.IdentifierNode:
		d.is('i').text(n.Value)
	case *ast.IntegerNode:
		d.is('n').number(uint64(n.Value))
	case *ast.FloatNode:
		d.is('f').number(math.Float64bits(n.Value))
	case *ast.BoolNode:
		d.is('b')
		if n.Value {
			d.is('t')
		}
	case *ast.StringNode:
		d.is('s').text(n.Value)
	case *ast.PointerNode:
		d.is('#').text(n.Name)
	case *ast.UnaryNode:
		d.is('u').text(n.Operator).parts(n.Node)
	case *ast.BinaryNode:
		d.is('o').text(n.Operator).parts(n.Left, n.Right)
	case *ast.ChainNode:
		d.is('?').parts(n.Node)
	case *ast.MemberNode:
		d.is('m').parts(n.Node, n.Property)
	case *ast.SliceNode:
		d.is(':').parts(n.Node, n.From, n.To)
	case *ast.CallNode:
		d.is('c').parts(n.Callee).parts(n.Arguments...)
	case *ast.BuiltinNode:
		d.is('l').text(n.Name).parts(n.Arguments...)
	case *ast.PredicateNode:
		d.is('p').parts(n.Node)
	case *ast.ConditionalNode:
		d.is('q').parts(n.Cond, n.Exp1, n.Exp2)
	case *ast.VariableDeclaratorNode:
		d.is('v').text(n.Name).parts(n.Value, n.Expr)
	case *ast.SequenceNode:
		d.is(';').parts(n.Nodes...)
	case *ast.ArrayNode:
		d.is('[').parts(n.Nodes...)
	case *ast.MapNode:
		d.is('{').parts(n.Pairs...)
	case *ast.PairNode:
		d.is('=').parts(n.Key, n.Value)
	default: // the same as no other
		d.is('!').number(uint64(len(d.numbers)))
	}
	number, ok := d.known[string(d.key)]
	if !ok {
		number = int32(len(d.counts))
		d.known[string(d.key)] = number
		d.counts = append(d.counts, 0)
	}
	d.counts[number]++
	d.numbers[n] = number
}

func (d *identities) is(kind byte) *identities {
	d.key = append(d.key, kind)
	return d
}

func (d *identities) number(n uint64) {
	d.key = binary.AppendUvarint(d.key, n)
}

func (d *identities) text(s string) *identities {
	d.number(uint64(len(s)))
	d.key = append(d.key, s...)
	return d
}

func (d *identities) parts(nodes ...ast.Node) *identities {
	for _, n := range nodes {
		number := uint64(0)
		if n != nil {
			number = uint64(d.numbers[n]) + 1
		}
		d.number(number)
	}
	return d
}
