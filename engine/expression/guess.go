package expression

import (
	"slices"

	"github.com/expr-lang/expr/ast"
)

// This file guesses what a tree gives, the fields that the records of a kind lack being nil, and
// whether it may fail. What is not sure is anything, and may fail.

// guesser guesses what a compiler's trees give.
type guesser struct {
	*compiler
	known []bound // of let
}

type bound struct {
	name string
	guess
}

// Sure says that the expression, as a condition, fails on no record.
func (p *Program) Sure() bool {
	return p.sure || !(&guesser{compiler: &compiler{unit: p.unit}}).holds(p.syntax).fails
}

// guess is what is known of a value before it is computed.
type guess struct {
	is    guessed
	fails bool // computing it may fail
}

type guessed uint8

const (
	anything guessed = iota
	scalar           // no list and no map; it may be nil
	isNil
	isTrue
	isFalse
)

// either is what one of two values is.
func either(a, b guess) guess {
	fails := a.fails || b.fails
	switch {
	case a.is == b.is:
		return guess{a.is, fails}
	case a.is == anything || b.is == anything:
		return guess{anything, fails}
	}
	return guess{scalar, fails}
}

// truth is a value as a condition.
func truth(holds, fails bool) guess {
	if holds {
		return guess{isTrue, fails}
	}
	return guess{isFalse, fails}
}

// value guesses what a node is.
func (a *guesser) value(n ast.Node) guess {
	if v, ok := a.compiler.value(n); ok {
		switch v.kind {
		case nilKind:
			return guess{is: isNil}
		case boolKind:
			return truth(v.bits != 0, false)
		}
		return guess{is: scalar}
	}
	switch n := n.(type) {
	case *ast.NilNode:
		return guess{is: isNil}
	case *ast.BoolNode:
		return truth(n.Value, false)
	case *ast.IntegerNode, *ast.FloatNode, *ast.StringNode:
		return guess{is: scalar}
	case *ast.IdentifierNode:
		for _, b := range slices.Backward(a.known) {
			if b.name == n.Value {
				return b.guess
			}
		}
		switch i := a.field(n); {
		case i == notField:
			return guess{}
		case a.settling != nil && !a.has(i):
			return guess{is: isNil}
		}
		return guess{is: scalar}
	case *ast.ChainNode:
		return a.value(n.Node)
	case *ast.UnaryNode:
		if n.Operator == "+" {
			return a.value(n.Node)
		}
		if n.Operator == "-" {
			return strict(a.value(n.Node))
		}
	case *ast.BinaryNode:
		switch n.Operator {
		case "??":
			left, right := a.value(n.Left), a.value(n.Right)
			switch left.is {
			case isNil:
				return guess{right.is, left.fails || right.fails}
			case isTrue, isFalse:
				return left
			}
			return either(left, right)
		case "+":
			left, right := a.value(n.Left), a.value(n.Right)
			_, text := n.Left.(*ast.StringNode)
			_, textToo := n.Right.(*ast.StringNode)
			if (text || textToo) && left.is == scalar && right.is == scalar {
				return either(left, right)
			}
			return strict(left, right)
		case "..", "-", "*", "/", "%", "**", "^":
			return strict(a.value(n.Left), a.value(n.Right))
		}
	case *ast.ConditionalNode:
		holds := a.holds(n.Cond)
		switch holds.is {
		case isTrue:
			yes := a.value(n.Exp1)
			return guess{yes.is, yes.fails || holds.fails}
		case isFalse:
			no := a.value(n.Exp2)
			return guess{no.is, no.fails || holds.fails}
		}
		out := either(a.value(n.Exp1), a.value(n.Exp2))
		out.fails = out.fails || holds.fails
		return out
	case *ast.MemberNode:
		key := a.value(n.Property)
		if table, ok := a.table(n.Node); ok {
			if key.is == isNil {
				return key
			}
			for _, row := range table {
				switch row.(type) {
				case []any, map[string]any:
					return guess{anything, key.fails}
				}
			}
			return guess{scalar, key.fails}
		}
		of := a.value(n.Node)
		of.fails = of.fails || key.fails
		if of.is != isNil {
			of.is = anything
		}
		return of
	case *ast.SliceNode:
		of := a.value(n.Node)
		for _, bound := range []ast.Node{n.From, n.To} {
			if bound != nil {
				of.fails = of.fails || a.value(bound).fails
			}
		}
		if of.is != isNil {
			return guess{anything, true}
		}
		return of
	case *ast.CallNode:
		return a.call(n)
	case *ast.BuiltinNode:
		if over := a.value(n.Arguments[0]); over.is == isNil {
			return over
		}
		return guess{anything, true}
	case *ast.VariableDeclaratorNode:
		v := a.value(n.Value)
		a.known = append(a.known, bound{n.Name, v})
		out := a.value(n.Expr)
		a.known = a.known[:len(a.known)-1]
		out.fails = out.fails || v.fails
		return out
	}
	if isCondition(n) {
		return a.holds(n)
	}
	return guess{anything, true}
}

// isCondition says that a node is an operator whose result is true or false.
func isCondition(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.UnaryNode:
		return n.Operator == "not" || n.Operator == "!"
	case *ast.BinaryNode:
		return isComparison[n.Operator]
	}
	return false
}

var isComparison = map[string]bool{
	"and": true, "&&": true, "or": true, "||": true, "==": true, "!=": true, "in": true, "matches": true,
	"<": true, "<=": true, ">": true, ">=": true, "contains": true, "startsWith": true, "endsWith": true,
}

// strict is what is nil where an operand is, and may fail on others.
func strict(operands ...guess) guess {
	out := guess{anything, true}
	fails := false
	for _, g := range operands {
		fails = fails || g.fails
		if g.is == isNil {
			out.is = isNil
		}
	}
	if out.is == isNil {
		out.fails = fails
	}
	return out
}

// gentle are functions that fail on no scalar, and give one.
var gentle = map[string]bool{
	"lower": true, "upper": true, "trim": true, "trimPrefix": true, "trimSuffix": true, "kebab": true, "domain": true,
	"ip": true, "port": true, "time": true, "string": true, "int": true, "float": true, "words": true, "type": true,
	"hasPrefix": true, "hasSuffix": true,
}

func (a *guesser) call(n *ast.CallNode) guess {
	name := n.Callee.(*ast.IdentifierNode).Value
	f := functions[name]
	out := guess{is: anything, fails: true}
	fails, scalars := false, true
	for _, argument := range n.Arguments {
		g := a.value(argument)
		if fails = fails || g.fails; g.is == isNil && !f.takesNil {
			out.is = isNil
		}
		scalars = scalars && g.is != anything
	}
	switch {
	case out.is == isNil:
		out.fails = fails
	case gentle[name] && scalars:
		out = guess{scalar, fails}
	case name == "split" && scalars && len(n.Arguments) == 2, name == "json" && scalars:
		out.fails = fails || name == "json" // which may be too long
	}
	return out
}

// table is a node that is a constant map.
func (a *guesser) table(n ast.Node) (map[string]any, bool) {
	member, ok := n.(*ast.MemberNode)
	if !ok {
		return nil, false
	}
	if _, ok := member.Node.(*ast.IdentifierNode); !ok {
		return nil, false
	}
	v, _ := a.constant(n)
	table, ok := v.(map[string]any)
	return table, ok
}

// holds guesses whether a node holds as a condition: scalar means that it may or
// may not.
func (a *guesser) holds(n ast.Node) guess {
	if holds, ok := a.answer(n); ok {
		return truth(holds, false)
	}
	switch n := n.(type) {
	case *ast.UnaryNode:
		if n.Operator == "not" || n.Operator == "!" {
			return not(a.holds(n.Node))
		}
	case *ast.BinaryNode:
		switch n.Operator {
		case "and", "&&":
			return not(disjunction(not(a.holds(n.Left)), not(a.holds(n.Right))))
		case "or", "||":
			return disjunction(a.holds(n.Left), a.holds(n.Right))
		case "==":
			return a.equal(n)
		case "!=":
			return not(a.equal(n))
		case "in":
			return a.in(n)
		case "<", "<=", ">", ">=", "contains", "startsWith", "endsWith", "matches":
			left, right := a.value(n.Left), a.value(n.Right)
			fails := left.fails || right.fails
			if left.is == isNil || right.is == isNil {
				return guess{isFalse, fails}
			}
			if _, literal := n.Right.(*ast.StringNode); n.Operator == "matches" && !literal {
				fails = true
			}
			return guess{scalar, fails}
		}
	}
	v := a.value(n)
	switch v.is {
	case isNil:
		return guess{isFalse, v.fails}
	case isTrue, isFalse:
		return v
	}
	return guess{scalar, true}
}

func not(g guess) guess {
	switch g.is {
	case isTrue:
		g.is = isFalse
	case isFalse:
		g.is = isTrue
	}
	return g
}

func disjunction(left, right guess) guess {
	if left.is == isTrue {
		return left
	}
	fails := left.fails || right.fails
	if left.is == isFalse || right.is == isTrue {
		return guess{right.is, fails}
	}
	return guess{scalar, fails}
}

func (a *guesser) equal(n *ast.BinaryNode) guess {
	left, right := a.value(n.Left), a.value(n.Right)
	out := guess{scalar, left.fails || right.fails}
	if left.is != isNil {
		left, right = right, left
		n = &ast.BinaryNode{Left: n.Right, Right: n.Left}
	}
	if left.is == isNil {
		if right.is == isNil {
			out.is = isTrue
		} else if isLiteral(n.Right) || a.certain(n.Right) {
			out.is = isFalse
		}
	}
	return out
}

// isLiteral says that a node is a constant other than nil.
func isLiteral(n ast.Node) bool {
	switch n.(type) {
	case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return true
	}
	return false
}

func (a *guesser) in(n *ast.BinaryNode) guess {
	v := a.value(n.Left)
	out := guess{scalar, v.fails}
	if list, ok := n.Right.(*ast.ArrayNode); ok {
		hasNil, literals := false, true
		for _, element := range list.Nodes {
			_, null := element.(*ast.NilNode)
			hasNil = hasNil || null
			literals = literals && (null || isLiteral(element))
		}
		if v.is == isNil && literals {
			return truth(hasNil, v.fails)
		}
		out.fails = out.fails || !literals
		return out
	}
	if _, ok := a.table(n.Right); ok {
		if v.is == isNil {
			out.is = isFalse
		}
		return out
	}
	out.fails = true
	return out
}
