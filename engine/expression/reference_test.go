package expression_test

import (
	"errors"
	"fmt"
	"regexp"
	"sync"
	"time"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/builtin"
	"github.com/expr-lang/expr/checker"
	"github.com/expr-lang/expr/compiler"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/vm"

	"github.com/secure60/s60-m365-connector/engine/expression"
)

// This file is the reference that the language is held to: expr's own machine, on a tree in which whatever
// expr would fail on, or answer in a way that this language does not, becomes a
// call of a function of the reference; what remains expr's own are names,
// literals, let, ?:, ??, and, or, and the functions that take a predicate.

// predicates are the functions that take a predicate, and what each asks of
// its body.
var predicates = map[string]string{
	"all": "truth", "none": "truth", "any": "truth", "one": "truth", "filter": "truth", "count": "truth",
	"find": "truth", "findIndex": "truth", "findLast": "truth", "findLastIndex": "truth",
	"map": "", "reduce": "", "groupBy": "text", "sortBy": "key", "sum": "number",
}

// Names of hidden functions and names begin with a character that no
// expression can hold in a name.
const (
	stepsName = "\x00steps"
	stepName  = "\x00step"
)

// operations are the functions behind operators and lookups.
var operations = map[string]func(args []any) (any, error){
	"\x00==":         func(a []any) (any, error) { return Equal(a[0], a[1]), nil },
	"\x00!=":         func(a []any) (any, error) { return !Equal(a[0], a[1]), nil },
	"\x00<":          order(func(c int) bool { return c < 0 }),
	"\x00<=":         order(func(c int) bool { return c <= 0 }),
	"\x00>":          order(func(c int) bool { return c > 0 }),
	"\x00>=":         order(func(c int) bool { return c >= 0 }),
	"\x00in":         func(a []any) (any, error) { return In(a[0], a[1]), nil },
	"\x00contains":   func(a []any) (any, error) { return Contains(a[0], a[1]), nil },
	"\x00matches":    func(a []any) (any, error) { return matches(a[0], a[1]) },
	"\x00+":          func(a []any) (any, error) { return Add(a[0], a[1]) },
	"\x00-":          func(a []any) (any, error) { return arithmetic("-", a[0], a[1]) },
	"\x00*":          func(a []any) (any, error) { return arithmetic("*", a[0], a[1]) },
	"\x00/":          func(a []any) (any, error) { return arithmetic("/", a[0], a[1]) },
	"\x00%":          func(a []any) (any, error) { return arithmetic("%", a[0], a[1]) },
	"\x00**":         func(a []any) (any, error) { return arithmetic("**", a[0], a[1]) },
	"\x00^":          func(a []any) (any, error) { return arithmetic("^", a[0], a[1]) },
	"\x00..":         func(a []any) (any, error) { return span(normal(a[0]), normal(a[1])) },
	"\x00negate":     func(a []any) (any, error) { return negate(normal(a[0])) },
	"\x00not":        func(a []any) (any, error) { v, err := truth(normal(a[0])); return !v, err },
	"\x00truth":      func(a []any) (any, error) { return truth(normal(a[0])) },
	"\x00member":     func(a []any) (any, error) { return Member(a[0], a[1]), nil },
	"\x00slice":      func(a []any) (any, error) { return slice(normal(a[0]), bound(a[1]), bound(a[2])) },
	"\x00list":       list,
	"\x00number":     func(a []any) (any, error) { return addend(normal(a[0])) },
	"\x00text":       func(a []any) (any, error) { s, _ := Text(a[0]); return s, nil },
	"\x00key":        func(a []any) (any, error) { return sortKey(normal(a[0])), nil },
	"\x00normal":     func(a []any) (any, error) { return normal(a[0]), nil },
	stepName:         step,
	"\x00startsWith": func(a []any) (any, error) { return HasPrefix(a[0], a[1]), nil },
	"\x00endsWith":   func(a []any) (any, error) { return HasSuffix(a[0], a[1]), nil },
}

func native(name string, f func(args []any) (any, error)) *builtin.Function {
	return &builtin.Function{Name: name, Func: func(args ...any) (any, error) { return f(args) }}
}

func order(holds func(c int) bool) func([]any) (any, error) {
	return func(a []any) (any, error) {
		c, ok := Compare(a[0], a[1])
		return ok && holds(c), nil
	}
}

func bound(v any) any {
	if v == absent {
		return v
	}
	return normal(v)
}

// list is the first argument of a function with a predicate; nil stays nil.
func list(a []any) (any, error) {
	switch v := normal(a[0]).(type) {
	case nil:
		return nil, nil
	case []any:
		return normals(v), nil
	default:
		return nil, notList(v)
	}
}

// addend is what sum adds for an element: nothing for nil.
func addend(v any) (any, error) {
	switch v := v.(type) {
	case nil:
		return 0, nil
	case int, float64:
		return v, nil
	case Number:
		_, f, _, _ := number(v)
		return f, nil
	}
	return nil, notNumber(v)
}

// sortKey is a value that expr can order.
func sortKey(v any) any {
	switch v := v.(type) {
	case Number:
		_, f, _, _ := number(v)
		return f
	case int, float64, string, time.Time:
		return v
	}
	s, _ := Text(v)
	return s
}

// ErrTooManySteps says that the loops of an expression take more than [expression.MaxSteps].
var ErrTooManySteps = fmt.Errorf("the expression takes more than %d steps on this data", expression.MaxSteps)

// step counts what a predicate costs, so that loops within loops end.
func step(a []any) (any, error) {
	n := a[0].(*int)
	if *n++; *n > expression.MaxSteps {
		return nil, ErrTooManySteps
	}
	return a[1], nil
}

// rewriter makes the safe form of a tree. It makes new nodes and leaves the
// tree as it is.
type rewriter struct {
	constants map[string]any
	scope     []string // variables of let
	fresh     int
	err       *expression.Error
}

func (r *rewriter) fail(at ast.Node, message string) {
	if r.err == nil {
		from := at.Location()
		r.err = &expression.Error{Message: message, Offset: from.From, Length: max(from.To-from.From, 1)}
	}
}

func call(at ast.Node, name string, args ...ast.Node) ast.Node {
	callee := &ast.IdentifierNode{Value: name}
	callee.SetLocation(at.Location())
	n := &ast.CallNode{Callee: callee, Arguments: args}
	n.SetLocation(at.Location())
	return n
}

func constant(at ast.Node, v any) ast.Node {
	n := &ast.ConstantNode{Value: v}
	n.SetLocation(at.Location())
	return n
}

func (r *rewriter) nodes(list []ast.Node) []ast.Node {
	out := make([]ast.Node, len(list))
	for i, n := range list {
		out[i] = r.node(n)
	}
	return out
}

func (r *rewriter) truth(n ast.Node) ast.Node { return call(n, "\x00truth", r.node(n)) }

func (r *rewriter) node(n ast.Node) ast.Node {
	if v, ok := Constant(n, r.constants, r.scope); ok {
		return constant(n, v)
	}
	var out ast.Node
	switch n := n.(type) {
	case *ast.IdentifierNode:
		out = &ast.IdentifierNode{Value: n.Value}
	case *ast.PointerNode:
		out = &ast.PointerNode{Name: n.Name}
	case *ast.UnaryNode:
		switch n.Operator {
		case "-":
			out = call(n, "\x00negate", r.node(n.Node))
		case "+":
			return r.node(n.Node)
		default:
			out = call(n, "\x00not", r.node(n.Node))
		}
	case *ast.BinaryNode:
		out = r.binary(n)
	case *ast.ChainNode:
		return r.node(n.Node)
	case *ast.MemberNode:
		out = call(n, "\x00member", r.node(n.Node), r.node(n.Property))
	case *ast.SliceNode:
		from, to := constant(n, absent), constant(n, absent)
		if n.From != nil {
			from = r.node(n.From)
		}
		if n.To != nil {
			to = r.node(n.To)
		}
		out = call(n, "\x00slice", r.node(n.Node), from, to)
	case *ast.CallNode:
		out = call(n, n.Callee.(*ast.IdentifierNode).Value, r.nodes(n.Arguments)...)
	case *ast.BuiltinNode:
		out = r.loop(n)
	case *ast.ConditionalNode:
		out = &ast.ConditionalNode{Ternary: n.Ternary, Cond: r.truth(n.Cond), Exp1: r.node(n.Exp1), Exp2: r.node(n.Exp2)}
	case *ast.VariableDeclaratorNode:
		value := r.node(n.Value)
		r.scope = append(r.scope, n.Name)
		out = &ast.VariableDeclaratorNode{Name: n.Name, Value: value, Expr: r.node(n.Expr)}
		r.scope = r.scope[:len(r.scope)-1]
	case *ast.SequenceNode:
		out = &ast.SequenceNode{Nodes: r.nodes(n.Nodes)}
	case *ast.ArrayNode:
		out = &ast.ArrayNode{Nodes: r.nodes(n.Nodes)}
	case *ast.MapNode:
		pairs := make([]ast.Node, len(n.Pairs))
		for i, pair := range n.Pairs {
			p := pair.(*ast.PairNode)
			pairs[i] = &ast.PairNode{Key: call(p, "\x00text", r.node(p.Key)), Value: r.node(p.Value)}
			pairs[i].SetLocation(pair.Location())
		}
		out = &ast.MapNode{Pairs: pairs}
	default:
		r.fail(n, fmt.Sprintf("%s is not part of the language here", n))
		return n
	}
	out.SetLocation(n.Location())
	return out
}

func (r *rewriter) binary(n *ast.BinaryNode) ast.Node {
	switch n.Operator {
	case "and", "&&", "or", "||":
		return &ast.BinaryNode{Operator: n.Operator, Left: r.truth(n.Left), Right: r.truth(n.Right)}
	case "??":
		return &ast.BinaryNode{Operator: n.Operator, Left: r.node(n.Left), Right: r.node(n.Right)}
	case "matches":
		if pattern, ok := n.Right.(*ast.StringNode); ok {
			re, err := regexp.Compile(pattern.Value)
			if err != nil {
				r.fail(pattern, err.Error())
				return n
			}
			return call(n, "\x00matches", r.node(n.Left), constant(n.Right, re))
		}
	case "in":
		if v, ok := Constant(n.Right, r.constants, r.scope); ok {
			if list, ok := v.([]any); ok {
				return call(n, "\x00in", r.node(n.Left), constant(n.Right, NewSet(list)))
			}
		}
	}
	return call(n, "\x00"+n.Operator, r.node(n.Left), r.node(n.Right))
}

// loop keeps a function with a predicate: over nil it is nil, and every step
// of it is counted.
func (r *rewriter) loop(n *ast.BuiltinNode) ast.Node {
	args := n.Arguments
	if len(args) == 1 { // count(list), sum(list)
		element := &ast.PointerNode{}
		element.SetLocation(n.Location())
		body := &ast.PredicateNode{Node: element}
		body.SetLocation(n.Location())
		args = []ast.Node{args[0], body}
	}
	predicate, ok := args[1].(*ast.PredicateNode)
	if !ok {
		r.fail(n, n.Name+" needs a predicate")
		return n
	}
	r.fresh++
	variable := fmt.Sprintf("\x00list%d", r.fresh)
	over := func() ast.Node {
		id := &ast.IdentifierNode{Value: variable}
		id.SetLocation(n.Location())
		return id
	}
	value := call(args[0], "\x00list", r.node(args[0]))
	r.scope = append(r.scope, variable)
	body := r.node(predicate.Node)
	if as := predicates[n.Name]; as != "" {
		body = call(predicate, "\x00"+as, body)
	}
	steps := &ast.IdentifierNode{Value: stepsName}
	steps.SetLocation(n.Location())
	safe := &ast.PredicateNode{Node: call(predicate, stepName, steps, body)}
	safe.SetLocation(predicate.Location())
	loop := &ast.BuiltinNode{Name: n.Name, Arguments: append([]ast.Node{over(), safe}, r.nodes(args[2:])...), Throws: n.Throws}
	loop.SetLocation(n.Location())
	r.scope = r.scope[:len(r.scope)-1]
	none := &ast.NilNode{}
	none.SetLocation(n.Location())
	guarded := &ast.ConditionalNode{Cond: call(n, "\x00==", over(), none), Exp1: none, Exp2: call(n, "\x00normal", loop)}
	guarded.SetLocation(n.Location())
	return &ast.VariableDeclaratorNode{Name: variable, Value: value, Expr: guarded}
}

// Constant is the value of an expression that is the same on every run: a
// literal, a list or map of literals, a constant of the options or a member
// of one.
func Constant(n ast.Node, constants map[string]any, variables []string) (any, bool) {
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
		for _, name := range variables {
			if name == n.Value {
				return nil, false
			}
		}
		v, ok := constants[n.Value]
		return v, ok
	case *ast.ChainNode:
		return Constant(n.Node, constants, variables)
	case *ast.MemberNode:
		of, ok := Constant(n.Node, constants, variables)
		if !ok {
			return nil, false
		}
		key, ok := Constant(n.Property, constants, variables)
		if !ok {
			return nil, false
		}
		return Member(of, key), true
	case *ast.UnaryNode:
		v, ok := Constant(n.Node, constants, variables)
		if !ok || n.Operator != "-" {
			return nil, false
		}
		v, err := negate(v)
		return v, err == nil
	case *ast.ArrayNode:
		list := make([]any, len(n.Nodes))
		for i, element := range n.Nodes {
			v, ok := Constant(element, constants, variables)
			if !ok {
				return nil, false
			}
			list[i] = v
		}
		return list, true
	case *ast.MapNode:
		m := make(map[string]any, len(n.Pairs))
		for _, pair := range n.Pairs {
			p := pair.(*ast.PairNode)
			key, ok := Constant(p.Key, constants, variables)
			if !ok {
				return nil, false
			}
			value, ok := Constant(p.Value, constants, variables)
			if !ok {
				return nil, false
			}
			name, _ := Text(key)
			m[name] = value
		}
		return m, true
	}
	return nil, false
}

// MaxText bounds the text that an expression may build, in bytes.
const MaxText = 64 << 20

// ErrTooLong says that an expression builds a text over [MaxText].
var ErrTooLong = errors.New("the text grows over 64 MiB")

var referenceConfig = sync.OnceValue(func() *conf.Config {
	c := conf.New(map[string]any{})
	c.Strict = false
	c.Optimize = false
	for name := range c.Builtins {
		if _, ok := predicates[name]; !ok {
			delete(c.Builtins, name)
			c.Disabled[name] = true
		}
	}
	for name, f := range operations {
		c.Functions[name] = native(name, f)
	}
	for name := range functions {
		c.Functions[name] = native(name, func(args []any) (any, error) { return Call(name, args...) })
	}
	return c
})

var compiling sync.Mutex // expr caches types in a configuration

func newReference(source string, names []expression.Name, constants map[string]any) (*reference, error) {
	compiling.Lock()
	defer compiling.Unlock()
	c := referenceConfig()
	tree, err := parser.ParseWithConfig(source, c)
	if err != nil {
		return nil, err
	}
	rewrite := rewriter{constants: constants}
	tree.Node = rewrite.node(tree.Node)
	if rewrite.err != nil {
		return nil, rewrite.err
	}
	if _, err = checker.Check(tree, c); err != nil {
		return nil, err
	}
	program, err := compiler.Compile(tree, c)
	return &reference{program, names}, err
}

func (r *reference) eval(env map[string]any) (any, error) {
	own := map[string]any{stepsName: new(int)}
	for _, name := range r.names {
		own[name.Name] = env[name.Name]
	}
	v, err := vm.Run(r.program, own)
	if err != nil {
		var at *file.Error
		if errors.As(err, &at) && at.Prev != nil {
			err = at.Prev
		}
		return nil, err
	}
	return normal(v), nil
}
