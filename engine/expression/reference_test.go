package expression_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/builtin"
	"github.com/expr-lang/expr/checker"
	"github.com/expr-lang/expr/compiler"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/vm"
	"github.com/secure60/s60-m365-connector/engine/expression"
	"github.com/secure60/s60-m365-connector/engine/rawjson"
	"io"
	"math"
	"reflect"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// expr would fail on, or answer in a way that this language does not, becomes a
// call of a function of this package; what remains expr's own are names,
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

// Equal says whether a == b: nil equals nil only, numbers by value, and
// values of different types never.
func Equal(a, b any) bool {
	a, b = normal(a), normal(b)
	switch x := a.(type) {
	case nil:
		return b == nil
	case bool:
		y, ok := b.(bool)
		return ok && x == y
	case string:
		y, ok := b.(string)
		return ok && x == y
	case int, float64, Number:
		c, ok := compareNumbers(a, b)
		return ok && c == 0
	case []any:
		y, ok := b.([]any)
		if !ok || len(x) != len(y) {
			return false
		}
		for i := range x {
			if !Equal(x[i], y[i]) {
				return false
			}
		}
		return true
	case map[string]any:
		y, ok := b.(map[string]any)
		if !ok || len(x) != len(y) {
			return false
		}
		for k, v := range x {
			if w, ok := y[k]; !ok || !Equal(v, w) {
				return false
			}
		}
		return true
	case time.Time:
		y, ok := b.(time.Time)
		return ok && x.Equal(y)
	case time.Duration:
		y, ok := b.(time.Duration)
		return ok && x == y
	}
	return false
}

// Compare orders two values of one type; ok is false where they have none.
func Compare(a, b any) (c int, ok bool) {
	a, b = normal(a), normal(b)
	switch x := a.(type) {
	case string:
		y, ok := b.(string)
		return strings.Compare(x, y), ok
	case int, float64, Number:
		return compareNumbers(a, b)
	case time.Time:
		y, ok := b.(time.Time)
		return x.Compare(y), ok
	case time.Duration:
		y, ok := b.(time.Duration)
		return compare(x, y), ok
	}
	return 0, false
}

func compareNumbers(a, b any) (int, bool) {
	i, f, whole, ok := number(a)
	j, g, wholeToo, okToo := number(b)
	if !ok || !okToo {
		return 0, false
	}
	if whole && wholeToo {
		return compare(i, j), true
	}
	if n, isNumber := a.(Number); isNumber {
		if m, both := b.(Number); both && n == m {
			return 0, true // beyond what a float64 can tell apart
		}
	}
	if math.IsNaN(f) || math.IsNaN(g) {
		return 0, false
	}
	return compare(f, g), true
}

func compare[T int | float64 | time.Duration](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// truth is a value as a condition: nil is false.
func truth(v any) (bool, error) {
	switch v := v.(type) {
	case bool:
		return v, nil
	case nil:
		return false, nil
	}
	return false, fmt.Errorf("a %s is neither true nor false", kind(v))
}

// Add is a + b: nil when a side is nil, text with a text on either side, and
// the sum of numbers.
func Add(a, b any) (any, error) {
	a, b = normal(a), normal(b)
	if a == nil || b == nil {
		return nil, nil
	}
	_, textA := a.(string)
	_, textB := b.(string)
	if textA || textB {
		x, okX := Text(a)
		y, okY := Text(b)
		if !okX || !okY {
			return nil, fmt.Errorf("a %s and a %s cannot be added", kind(a), kind(b))
		}
		if len(x)+len(y) > MaxText {
			return nil, ErrTooLong
		}
		return x + y, nil
	}
	switch x := a.(type) {
	case time.Time:
		if d, ok := b.(time.Duration); ok {
			return x.Add(d), nil
		}
	case time.Duration:
		switch y := b.(type) {
		case time.Time:
			return y.Add(x), nil
		case time.Duration:
			return x + y, nil
		}
	}
	return arithmetic("+", a, b)
}

// arithmetic computes with two numbers; nil with anything is nil.
func arithmetic(operator string, a, b any) (any, error) {
	a, b = normal(a), normal(b)
	if a == nil || b == nil {
		return nil, nil
	}
	if operator == "-" {
		switch x := a.(type) {
		case time.Time:
			switch y := b.(type) {
			case time.Time:
				return x.Sub(y), nil
			case time.Duration:
				return x.Add(-y), nil
			}
		case time.Duration:
			if y, ok := b.(time.Duration); ok {
				return x - y, nil
			}
		}
	}
	i, f, whole, ok := number(a)
	j, g, wholeToo, okToo := number(b)
	if !ok || !okToo {
		return nil, fmt.Errorf("%s needs two numbers, not a %s and a %s", operator, kind(a), kind(b))
	}
	whole = whole && wholeToo
	var result float64
	switch operator {
	case "+":
		if sum := i + j; whole && (sum > i) == (j > 0) {
			return sum, nil
		}
		result = f + g
	case "-":
		if difference := i - j; whole && (difference < i) == (j > 0) {
			return difference, nil
		}
		result = f - g
	case "*":
		if whole {
			if i == 0 || j == 0 {
				return 0, nil
			}
			if p := i * j; p/j == i && !(i == math.MinInt && j == -1) && !(j == math.MinInt && i == -1) {
				return p, nil
			}
		}
		result = f * g
	case "/":
		if g == 0 {
			return nil, errors.New("division by zero")
		}
		result = f / g
	case "%":
		if !whole {
			return nil, errors.New("% needs whole numbers")
		}
		if j == 0 {
			return nil, errors.New("division by zero")
		}
		if j == -1 {
			return 0, nil
		}
		return i % j, nil
	case "**", "^":
		result = math.Pow(f, g)
	}
	if math.IsNaN(result) || math.IsInf(result, 0) {
		return nil, fmt.Errorf("the result of %s is not a number", operator)
	}
	return result, nil
}

func negate(v any) (any, error) {
	if v == nil {
		return nil, nil
	}
	if d, ok := v.(time.Duration); ok {
		return -d, nil
	}
	if n, ok := v.(Number); ok {
		if strings.HasPrefix(string(n), "-") {
			return ParseNumber(string(n[1:])), nil
		}
		return ParseNumber("-" + string(n)), nil
	}
	i, f, whole, ok := number(v)
	switch {
	case !ok:
		return nil, fmt.Errorf("- needs a number, not a %s", kind(v))
	case whole && i != math.MinInt:
		return -i, nil
	}
	return -f, nil
}

// Contains reports whether the text a holds b. Numbers are taken as text;
// for anything else the answer is false.
func Contains(a, b any) bool { return texts(a, b, strings.Contains) }

// HasPrefix reports whether a begins with b, as [Contains] takes them.
func HasPrefix(a, b any) bool { return texts(a, b, strings.HasPrefix) }

// HasSuffix reports whether a ends with b, as [Contains] takes them.
func HasSuffix(a, b any) bool { return texts(a, b, strings.HasSuffix) }

func texts(a, b any, f func(s, t string) bool) bool {
	s, ok := Text(a)
	if !ok {
		return false
	}
	t, ok := Text(b)
	return ok && f(s, t)
}

func matches(a, pattern any) (bool, error) {
	s, ok := Text(a)
	if !ok {
		return false, nil
	}
	re, ok := pattern.(*regexp.Regexp)
	if !ok {
		text, ok := Text(pattern)
		if !ok {
			return false, nil
		}
		var err error
		if re, err = regexp.Compile(text); err != nil {
			return false, fmt.Errorf("matches: %w", err)
		}
	}
	return re.MatchString(s), nil
}

// Set is a constant list that `in` looks up instead of walking.
type Set struct {
	texts map[string]struct{}
	rest  []any
}

// NewSet makes a set of the values.
func NewSet(values []any) *Set {
	s := &Set{texts: make(map[string]struct{}, len(values))}
	for _, v := range values {
		if text, ok := v.(string); ok {
			s.texts[text] = struct{}{}
		} else {
			s.rest = append(s.rest, v)
		}
	}
	return s
}

// HasText says whether the text is in the set. It does not allocate.
func (s *Set) HasText(text string) bool {
	_, ok := s.texts[text]
	return ok
}

// Has says whether the value is in the set: nil only if the set lists nil.
func (s *Set) Has(v any) bool {
	if text, ok := v.(string); ok {
		return s.HasText(text)
	}
	for _, w := range s.rest {
		if Equal(v, w) {
			return true
		}
	}
	return false
}

// In says whether v is in a list or is a key of a map; of anything else it is
// not.
func In(v, of any) bool {
	v = normal(v)
	switch of := of.(type) {
	case *Set:
		return of.Has(v)
	case map[string]any:
		key, ok := Text(v)
		if ok {
			_, ok = of[key]
		}
		return ok
	}
	if list, ok := normal(of).([]any); ok {
		for _, w := range list {
			if Equal(v, w) {
				return true
			}
		}
		return false
	}
	if m, ok := normal(of).(map[string]any); ok {
		return In(v, m)
	}
	return false
}

// Member is v[key]: a member of a map, an element of a list (from its end
// when negative), a character of a text. What is not there is nil.
func Member(v, key any) any {
	v, key = normal(v), normal(key)
	switch of := v.(type) {
	case map[string]any:
		if name, ok := Text(key); ok {
			return of[name]
		}
	case []any:
		if i, ok := index(key, len(of)); ok {
			return of[i]
		}
	case string:
		if i, ok := index(key, utf8.RuneCountInString(of)); ok {
			return runes(of, i, i+1)
		}
	}
	return nil
}

// index is key as an index into length elements.
func index(key any, length int) (int, bool) {
	i, f, whole, ok := number(key)
	if ok && !whole && f == math.Trunc(f) && math.Abs(f) < 1<<53 {
		i, whole = int(f), true
	}
	if !whole {
		return 0, false
	}
	if i < 0 {
		i += length
	}
	return i, i >= 0 && i < length
}

// runes are the characters [from, to) of s, which must be within it.
func runes(s string, from, to int) string {
	start, n := len(s), 0
	for i := range s {
		if n == from {
			start = i
		}
		if n == to {
			return s[start:i]
		}
		n++
	}
	return s[start:]
}

// slice is v[from:to] of a list or of the characters of a text, bounds cut to
// what is there; a negative bound counts from the end.
func slice(v, from, to any) (any, error) {
	if v == nil {
		return nil, nil
	}
	var length int
	text, isText := v.(string)
	list, isList := v.([]any)
	switch {
	case isText:
		length = utf8.RuneCountInString(text)
	case isList:
		length = len(list)
	default:
		return nil, fmt.Errorf("a %s has no [from:to]", kind(v))
	}
	bound := func(v any, missing int) (int, bool) {
		if v == absent {
			return missing, true
		}
		i, f, whole, ok := number(v)
		if !ok {
			return 0, false
		}
		if !whole {
			i = int(max(min(f, 1<<53), -(1 << 53)))
		}
		if i < 0 {
			i += length
		}
		return min(max(i, 0), length), true
	}
	a, ok := bound(from, 0)
	b, okToo := bound(to, length)
	if !ok || !okToo {
		if from == nil || to == nil {
			return nil, nil
		}
		return nil, errors.New("[from:to] needs numbers")
	}
	if a > b {
		a = b
	}
	if isText {
		return runes(text, a, b), nil
	}
	return list[a:b], nil
}

// Absent stands for a bound of [from:to] that is not written: nil is one that
// is unknown.
var Absent any = absent

var absent any = new(struct{ _ int })

// span is a..b, both included.
func span(a, b any) (any, error) {
	if a == nil || b == nil {
		return nil, nil
	}
	i, _, whole, _ := number(a)
	j, _, wholeToo, _ := number(b)
	if !whole || !wholeToo {
		return nil, errors.New(".. needs two whole numbers")
	}
	if j < i {
		return []any{}, nil
	}
	if uint64(j)-uint64(i) >= expression.MaxSteps {
		return nil, fmt.Errorf(".. of more than %d numbers", expression.MaxSteps)
	}
	list := make([]any, 0, j-i+1)
	for n := i; n <= j; n++ {
		list = append(list, n)
	}
	return list, nil
}

// function is one function of the language. Its arguments arrive normal; unless
// takesNil, a nil among them makes the result nil without a call.
type function struct {
	min, max int // number of arguments; max -1: any
	takesNil bool
	call     func(args []any) (any, error)
}

const many = -1

// functions are all functions but those that take a predicate, which stay
// expr's own.
var functions = map[string]function{
	// text
	"lower":       text1(strings.ToLower),
	"upper":       text1(strings.ToUpper),
	"trim":        {1, 2, false, trim},
	"trimPrefix":  {1, 2, false, cutter(strings.TrimPrefix)},
	"trimSuffix":  {1, 2, false, cutter(strings.TrimSuffix)},
	"split":       {2, 3, false, splitter(strings.SplitN)},
	"splitAfter":  {2, 3, false, splitter(strings.SplitAfterN)},
	"replace":     {3, 4, false, replace},
	"repeat":      {2, 2, false, repeat},
	"join":        {1, 2, false, join},
	"indexOf":     {2, 2, false, indexer(strings.Index)},
	"lastIndexOf": {2, 2, false, indexer(strings.LastIndex)},
	"hasPrefix":   {2, 2, false, func(a []any) (any, error) { return HasPrefix(a[0], a[1]), nil }},
	"hasSuffix":   {2, 2, false, func(a []any) (any, error) { return HasSuffix(a[0], a[1]), nil }},
	"toBase64":    text1(func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }),
	"fromBase64":  {1, 1, false, fromBase64},
	"words":       {0, many, true, words},
	"kebab":       optional1(expression.AppendKebab),
	"domain":      optional1(expression.AppendDomain),
	"ip":          optional1(expression.AppendIP),
	"port":        {1, 1, false, port},
	"time":        {1, 1, false, timeOf},
	"json":        {1, 1, false, fromJSON},

	// conversion
	"string":   {1, 1, false, toText},
	"int":      {1, 1, false, toInt},
	"float":    {1, 1, false, toFloat},
	"type":     {1, 1, true, func(a []any) (any, error) { return typeOf(a[0]), nil }},
	"toJSON":   {1, 1, false, func(a []any) (any, error) { return JSON(a[0]) }},
	"fromJSON": {1, 1, false, fromJSON},

	// numbers
	"abs":     {1, 1, false, abs},
	"ceil":    rounding(math.Ceil),
	"floor":   rounding(math.Floor),
	"round":   rounding(math.Round),
	"max":     {1, many, true, extreme(1)},
	"min":     {1, many, true, extreme(-1)},
	"mean":    {1, many, true, mean},
	"median":  {1, many, true, median},
	"bitand":  bits(func(x, y int) int { return x & y }),
	"bitor":   bits(func(x, y int) int { return x | y }),
	"bitxor":  bits(func(x, y int) int { return x ^ y }),
	"bitnand": bits(func(x, y int) int { return x &^ y }),
	"bitshl":  bits(func(x, y int) int { return x << uint(y) }),
	"bitshr":  bits(func(x, y int) int { return x >> uint(y) }),
	"bitushr": bits(func(x, y int) int { return int(uint(x) >> uint(y)) }),
	"bitnot": {1, 1, false, func(a []any) (any, error) {
		i, err := whole("bitnot", a[0])
		return ^i, err
	}},

	// lists and maps
	"len":       {1, 1, false, length},
	"first":     {1, 1, false, func(a []any) (any, error) { return Member(a[0], 0), nil }},
	"last":      {1, 1, false, func(a []any) (any, error) { return Member(a[0], -1), nil }},
	"get":       {2, 2, false, func(a []any) (any, error) { return Member(a[0], a[1]), nil }},
	"take":      {2, 2, false, take},
	"keys":      {1, 1, false, keys},
	"values":    {1, 1, false, values},
	"toPairs":   {1, 1, false, toPairs},
	"fromPairs": {1, 1, false, fromPairs},
	"reverse":   {1, 1, false, reverse},
	"uniq":      {1, 1, false, uniq},
	"concat":    {1, many, true, concat},
	"flatten":   {1, 1, false, flatten},
	"sort":      {1, 2, false, sortList},

	// time
	"now":      {0, 0, true, func([]any) (any, error) { return time.Now().UTC(), nil }},
	"date":     {1, 2, false, date},
	"duration": {1, 1, false, duration},
}

// Call calls a function of the language by its name, as an expression would.
func Call(name string, args ...any) (any, error) {
	f, ok := functions[name]
	if !ok {
		return nil, fmt.Errorf("there is no function %s", name)
	}
	for i, arg := range args {
		args[i] = normal(arg)
		if args[i] == nil && !f.takesNil {
			return nil, nil
		}
	}
	v, err := f.call(args)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return v, nil
}

func notList(v any) error { return fmt.Errorf("a %s is not a list", kind(v)) }

func notMap(v any) error { return fmt.Errorf("a %s is not a map", kind(v)) }

// length counts characters of a text, elements of a list, members of a map.
func length(args []any) (any, error) {
	switch v := args[0].(type) {
	case []any:
		return len(v), nil
	case map[string]any:
		return len(v), nil
	}
	s, ok := Text(args[0])
	if !ok {
		return nil, notText(args[0])
	}
	return utf8.RuneCountInString(s), nil
}

func take(args []any) (any, error) {
	list, ok := args[0].([]any)
	if !ok {
		return nil, notList(args[0])
	}
	n, err := whole("the second argument", args[1])
	if err != nil {
		return nil, err
	}
	return list[:min(max(n, 0), len(list))], nil
}

// names are the keys of a map in order, so that a result is the same on every
// run.
func names(m map[string]any) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}

func keys(args []any) (any, error) {
	m, ok := args[0].(map[string]any)
	if !ok {
		return nil, notMap(args[0])
	}
	return normal(names(m)), nil
}

func values(args []any) (any, error) {
	m, ok := args[0].(map[string]any)
	if !ok {
		return nil, notMap(args[0])
	}
	out := make([]any, 0, len(m))
	for _, name := range names(m) {
		out = append(out, m[name])
	}
	return out, nil
}

func toPairs(args []any) (any, error) {
	m, ok := args[0].(map[string]any)
	if !ok {
		return nil, notMap(args[0])
	}
	out := make([]any, 0, len(m))
	for _, name := range names(m) {
		out = append(out, []any{name, m[name]})
	}
	return out, nil
}

func fromPairs(args []any) (any, error) {
	list, ok := args[0].([]any)
	if !ok {
		return nil, notList(args[0])
	}
	m := make(map[string]any, len(list))
	for _, v := range list {
		pair, ok := normal(v).([]any)
		if !ok || len(pair) != 2 {
			return nil, errors.New("every element must be a pair [name, value]")
		}
		name, ok := Text(pair[0])
		if !ok {
			return nil, notText(pair[0])
		}
		m[name] = pair[1]
	}
	return m, nil
}

func reverse(args []any) (any, error) {
	list, ok := args[0].([]any)
	if !ok {
		return nil, notList(args[0])
	}
	out := slices.Clone(list)
	slices.Reverse(out)
	return out, nil
}

func uniq(args []any) (any, error) {
	list, ok := args[0].([]any)
	if !ok {
		return nil, notList(args[0])
	}
	out := make([]any, 0, len(list))
	texts := make(map[string]bool)
	for _, v := range list {
		if s, ok := v.(string); ok {
			if texts[s] {
				continue
			}
			texts[s] = true
		} else if In(v, out) {
			continue
		}
		out = append(out, v)
	}
	return out, nil
}

// concat joins lists; a nil adds nothing and any other value itself.
func concat(args []any) (any, error) {
	out := []any{}
	for _, v := range args {
		switch v := v.(type) {
		case nil:
		case []any:
			out = append(out, v...)
		default:
			out = append(out, v)
		}
	}
	return out, nil
}

func flatten(args []any) (any, error) {
	list, ok := args[0].([]any)
	if !ok {
		return nil, notList(args[0])
	}
	out := []any{}
	for _, v := range list {
		if inner, ok := normal(v).([]any); ok {
			flat, err := flatten([]any{inner})
			if err != nil {
				return nil, err
			}
			out = append(out, flat.([]any)...)
		} else {
			out = append(out, v)
		}
	}
	return out, nil
}

func sortList(args []any) (any, error) {
	list, ok := args[0].([]any)
	if !ok {
		return nil, notList(args[0])
	}
	sign := 1
	if len(args) == 2 {
		switch args[1] {
		case "asc":
		case "desc":
			sign = -1
		default:
			return nil, errors.New(`the order must be "asc" or "desc"`)
		}
	}
	out := slices.Clone(list)
	slices.SortStableFunc(out, func(a, b any) int {
		c, _ := Compare(a, b)
		return c * sign
	})
	return out, nil
}

// toInt is int(x): a number loses its fraction, a text is read as a number
// first; what is no number is nil. A whole number that no int holds stays as
// it is.
func toInt(args []any) (any, error) {
	v := args[0]
	if s, ok := v.(string); ok {
		if v = parseText(s); v == nil {
			return nil, nil
		}
	}
	switch n := v.(type) {
	case int:
		return n, nil
	case float64, Number:
		_, f, _, ok := number(n)
		switch {
		case !ok || math.IsNaN(f) || math.IsInf(f, 0):
			return nil, nil
		case math.Abs(f) < 1<<63:
			return int(f), nil
		}
		if n, ok := n.(Number); ok && strings.Trim(string(n), "-0123456789") == "" {
			return n, nil
		}
	}
	return nil, nil
}

// toFloat is float(x): a number as a floating-point one, a text read as a
// number first; what is no number is nil.
func toFloat(args []any) (any, error) {
	v := args[0]
	if s, ok := v.(string); ok {
		v = parseText(s)
	}
	_, f, _, ok := number(v)
	if !ok || math.IsNaN(f) || math.IsInf(f, 0) {
		return nil, nil
	}
	return f, nil
}

// parseText reads a number out of a text that holds nothing else.
func parseText(s string) any {
	s = strings.TrimSpace(s)
	if i, err := strconv.ParseInt(s, 10, 64); err == nil {
		return int(i)
	}
	if s == "" || strings.Trim(s, "+-.0123456789eE") != "" { // no Inf, NaN, hexadecimal, underscores
		return nil
	}
	if strings.Trim(s, "0123456789") == "" {
		return Number(strings.TrimLeft(s, "0"))
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return nil
	}
	return f
}

func typeOf(v any) string {
	switch v := normal(v).(type) {
	case string:
		return "string"
	case int:
		return "int"
	case float64, Number:
		return "float"
	case []any:
		return "array"
	default:
		return kind(v)
	}
}

func whole(what string, v any) (int, error) {
	if i, f, isWhole, ok := number(v); ok {
		if isWhole {
			return i, nil
		}
		if f == math.Trunc(f) && math.Abs(f) < 1<<53 {
			return int(f), nil
		}
	}
	return 0, fmt.Errorf("%s must be a whole number, not a %s", what, kind(v))
}

func notNumber(v any) error { return fmt.Errorf("a %s is not a number", kind(v)) }

func abs(args []any) (any, error) {
	i, f, isWhole, ok := number(args[0])
	switch {
	case !ok:
		return nil, notNumber(args[0])
	case isWhole && i >= 0:
		return i, nil
	case isWhole && i != math.MinInt:
		return -i, nil
	}
	return math.Abs(f), nil
}

func rounding(f func(float64) float64) function {
	return function{1, 1, false, func(args []any) (any, error) {
		i, x, isWhole, ok := number(args[0])
		switch {
		case !ok:
			return nil, notNumber(args[0])
		case isWhole:
			return i, nil
		}
		return f(x), nil
	}}
}

func bits(f func(x, y int) int) function {
	return function{2, 2, false, func(args []any) (any, error) {
		x, err := whole("the first argument", args[0])
		if err != nil {
			return nil, err
		}
		y, err := whole("the second argument", args[1])
		if err != nil {
			return nil, err
		}
		return f(x, y), nil
	}}
}

// spread are the numbers among the arguments and in the lists among them;
// nil is passed over.
func spread(args []any) ([]any, error) {
	var out []any
	for _, v := range args {
		if list, ok := v.([]any); ok {
			inner, err := spread(normals(list))
			if err != nil {
				return nil, err
			}
			out = append(out, inner...)
			continue
		}
		if v == nil {
			continue
		}
		if _, _, _, ok := number(v); !ok {
			return nil, notNumber(v)
		}
		out = append(out, v)
	}
	return out, nil
}

func normals(list []any) []any {
	out := make([]any, len(list))
	for i, v := range list {
		out[i] = normal(v)
	}
	return out
}

func extreme(sign int) func([]any) (any, error) {
	return func(args []any) (any, error) {
		list, err := spread(args)
		if err != nil || len(list) == 0 {
			return nil, err
		}
		best := list[0]
		for _, v := range list[1:] {
			if c, ok := compareNumbers(v, best); ok && c*sign > 0 {
				best = v
			}
		}
		return best, nil
	}
}

func floats(args []any) ([]float64, error) {
	list, err := spread(args)
	out := make([]float64, len(list))
	for i, v := range list {
		_, out[i], _, _ = number(v)
	}
	return out, err
}

func mean(args []any) (any, error) {
	list, err := floats(args)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	var sum float64
	for _, f := range list {
		sum += f
	}
	return sum / float64(len(list)), nil
}

func median(args []any) (any, error) {
	list, err := floats(args)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	sort.Float64s(list)
	middle := len(list) / 2
	if len(list)%2 == 1 {
		return list[middle], nil
	}
	return (list[middle-1] + list[middle]) / 2, nil
}

func notText(v any) error { return fmt.Errorf("a %s is not text", kind(v)) }

// asTexts are the arguments as texts, all or an error.
func asTexts(args []any) (out [4]string, err error) {
	for i, v := range args {
		if i == len(out) {
			break
		}
		s, ok := Text(v)
		if !ok {
			return out, notText(v)
		}
		out[i] = s
	}
	return out, nil
}

func text1(f func(string) string) function {
	return function{1, 1, false, func(args []any) (any, error) {
		s, err := asTexts(args)
		if err != nil {
			return nil, err
		}
		return f(s[0]), nil
	}}
}

// optional1 is a function of a text that gives a text or nil; it is not
// defined for lists and maps, which give nil too.
func optional1(f func(dst []byte, s string) ([]byte, bool)) function {
	return function{1, 1, false, func(args []any) (any, error) {
		s, ok := Text(args[0])
		if !ok {
			return nil, nil
		}
		out, ok := f(nil, s)
		if !ok {
			return nil, nil
		}
		return string(out), nil
	}}
}

func trim(args []any) (any, error) {
	s, err := asTexts(args)
	if err != nil {
		return nil, err
	}
	if len(args) == 2 {
		return strings.Trim(s[0], s[1]), nil
	}
	return strings.TrimSpace(s[0]), nil
}

func cutter(f func(s, cut string) string) func([]any) (any, error) {
	return func(args []any) (any, error) {
		s, err := asTexts(args)
		if err != nil {
			return nil, err
		}
		if len(args) == 1 {
			s[1] = " "
		}
		return f(s[0], s[1]), nil
	}
}

func splitter(f func(s, separator string, n int) []string) func([]any) (any, error) {
	return func(args []any) (any, error) {
		s, err := asTexts(args[:2])
		if err != nil {
			return nil, err
		}
		n := -1
		if len(args) == 3 {
			if n, err = whole("the third argument", args[2]); err != nil {
				return nil, err
			}
		}
		return normal(f(s[0], s[1], n)), nil
	}
}

func replace(args []any) (any, error) {
	s, err := asTexts(args[:3])
	if err != nil {
		return nil, err
	}
	n := -1
	if len(args) == 4 {
		if n, err = whole("the fourth argument", args[3]); err != nil {
			return nil, err
		}
	}
	if grown := len(s[2]) - len(s[1]); grown > 0 && len(s[0])+strings.Count(s[0], s[1])*grown > MaxText {
		return nil, ErrTooLong
	}
	return strings.Replace(s[0], s[1], s[2], n), nil
}

func repeat(args []any) (any, error) {
	s, err := asTexts(args[:1])
	if err != nil {
		return nil, err
	}
	n, err := whole("the second argument", args[1])
	if err != nil {
		return nil, err
	}
	if n < 0 {
		return nil, errors.New("the second argument is negative")
	}
	if n > MaxText || len(s[0])*n > MaxText {
		return nil, ErrTooLong
	}
	return strings.Repeat(s[0], n), nil
}

// join joins what is there: elements that are nil are left out.
func join(args []any) (any, error) {
	list, ok := args[0].([]any)
	if !ok {
		return nil, notList(args[0])
	}
	separator := ""
	if len(args) == 2 {
		if separator, ok = Text(args[1]); !ok {
			return nil, notText(args[1])
		}
	}
	var b strings.Builder
	some := false
	for _, v := range list {
		if v = normal(v); v == nil {
			continue
		}
		s, ok := Text(v)
		if !ok {
			return nil, notText(v)
		}
		if some {
			b.WriteString(separator)
		}
		some = true
		if b.Len()+len(s) > MaxText {
			return nil, ErrTooLong
		}
		b.WriteString(s)
	}
	return b.String(), nil
}

// indexer counts in characters, as len and [from:to] do.
func indexer(f func(s, part string) int) func([]any) (any, error) {
	return func(args []any) (any, error) {
		s, err := asTexts(args)
		if err != nil {
			return nil, err
		}
		at := f(s[0], s[1])
		if at < 0 {
			return -1, nil
		}
		return utf8.RuneCountInString(s[0][:at]), nil
	}
}

func fromBase64(args []any) (any, error) {
	s, err := asTexts(args)
	if err != nil {
		return nil, err
	}
	out, err := base64.StdEncoding.DecodeString(s[0])
	if err != nil || !utf8.Valid(out) {
		return nil, nil
	}
	return string(out), nil
}

// words joins the arguments that say something with one space.
func words(args []any) (any, error) {
	var b strings.Builder
	for _, v := range args {
		if v == nil {
			continue
		}
		s, ok := Text(v)
		if !ok {
			return nil, notText(v)
		}
		if s == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		if b.Len()+len(s) > MaxText {
			return nil, ErrTooLong
		}
		b.WriteString(s)
	}
	return b.String(), nil
}

func port(args []any) (any, error) {
	s, ok := Text(args[0])
	if !ok {
		return nil, nil
	}
	if n, ok := expression.Port(s); ok {
		return n, nil
	}
	return nil, nil
}

func timeOf(args []any) (any, error) {
	s, ok := Text(args[0])
	if !ok {
		return nil, nil
	}
	out, ok := expression.AppendTime(nil, s)
	if !ok {
		return nil, nil
	}
	return string(out), nil
}

func fromJSON(args []any) (any, error) {
	s, ok := args[0].(string)
	if !ok {
		return args[0], nil // decoded already
	}
	v, ok := DecodeJSON(s)
	if !ok {
		return nil, nil
	}
	return v, nil
}

// toText is string(x): a list or a map becomes its compact JSON.
func toText(args []any) (any, error) {
	if s, ok := Text(args[0]); ok {
		return s, nil
	}
	return JSON(args[0])
}

// date is a time to compute with, where time(x) gives one as text. With a
// second argument it reads a Go time layout.
func date(args []any) (any, error) {
	if t, ok := args[0].(time.Time); ok {
		return t, nil
	}
	s, err := asTexts(args)
	if err != nil {
		return nil, err
	}
	layout := time.RFC3339Nano
	if len(args) == 2 {
		layout = s[1]
	} else if out, ok := expression.AppendTime(nil, s[0]); ok {
		s[0] = string(out)
	}
	t, err := time.Parse(layout, s[0])
	if err != nil {
		return nil, nil
	}
	return t.UTC(), nil
}

func duration(args []any) (any, error) {
	if d, ok := args[0].(time.Duration); ok {
		return d, nil
	}
	s, err := asTexts(args)
	if err != nil {
		return nil, err
	}
	d, err := time.ParseDuration(s[0])
	if err != nil {
		return nil, nil
	}
	return d, nil
}

// DecodeJSON is the value that a JSON text holds, numbers digit for digit; ok
// is false for a text that is not one JSON value.
func DecodeJSON(text string) (v any, ok bool) {
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.UseNumber()
	if d.Decode(&v) != nil {
		return nil, false
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, false
	}
	return numbers(v), true
}

func numbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		return ParseNumber(string(v))
	case []any:
		for i := range v {
			v[i] = numbers(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = numbers(v[k])
		}
	}
	return v
}

// Number is the text of a JSON number that neither an int nor a float64 gives
// back digit for digit: a 64-bit identifier, 1.50, 1e400.
type Number string

// ParseNumber is the value of a JSON number: an int or a float64 where that
// writes the same text again, and a Number elsewhere.
func ParseNumber(text string) any {
	if i, ok := parseInt(text); ok {
		return int(i)
	}
	if f, err := strconv.ParseFloat(text, 64); err == nil {
		var buf [32]byte
		if string(AppendFloat(buf[:0], f)) == text {
			return f
		}
	}
	return Number(string([]byte(text))) // text may be a view of a buffer
}

// parseInt parses an integer that is written as JSON would write it.
func parseInt(text string) (int64, bool) {
	digits := text
	if digits != "" && digits[0] == '-' {
		digits = digits[1:]
	}
	if digits == "" || len(digits) > 19 || digits[0] == '0' && len(text) > 1 {
		return 0, false
	}
	if len(digits) == 19 {
		i, err := strconv.ParseInt(text, 10, 64)
		return i, err == nil
	}
	var n int64
	for i := 0; i < len(digits); i++ {
		c := digits[i] - '0'
		if c > 9 {
			return 0, false
		}
		n = n*10 + int64(c)
	}
	if len(digits) != len(text) {
		n = -n
	}
	return n, true
}

// AppendFloat appends f as encoding/json writes it.
func AppendFloat(dst []byte, f float64) []byte {
	format := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	dst = strconv.AppendFloat(dst, f, format, -1, 64)
	if n := len(dst); format == 'e' && n >= 4 && dst[n-4] == 'e' && (dst[n-3] == '-' || dst[n-3] == '+') && dst[n-2] == '0' {
		dst[n-2] = dst[n-1]
		dst = dst[:n-1]
	}
	return dst
}

// normal turns what a caller, or expr itself, may put into a value into the
// types that the functions of this package know: nil, bool, string, int,
// float64, Number, []any, map[string]any, time.Time and time.Duration.
func normal(v any) any {
	switch v := v.(type) {
	case nil, bool, string, int, float64, Number, []any, map[string]any, time.Time, time.Duration:
		return v
	case json.Number:
		return ParseNumber(string(v))
	case int64:
		return int(v)
	case uint64:
		if v > math.MaxInt64 {
			return Number(strconv.FormatUint(v, 10))
		}
		return int(v)
	case []string:
		list := make([]any, len(v))
		for i, s := range v {
			list[i] = s
		}
		return list
	case map[string]string:
		m := make(map[string]any, len(v))
		for k, s := range v {
			m[k] = s
		}
		return m
	case map[any][]any: // of groupBy
		m := make(map[string]any, len(v))
		for k, list := range v {
			key, _ := Text(k)
			m[key] = list
		}
		return m
	case []byte:
		return base64.StdEncoding.EncodeToString(v)
	}
	r := reflect.ValueOf(v)
	switch {
	case r.Kind() == reflect.Pointer && r.IsNil():
		return nil
	case r.CanInt():
		return int(r.Int())
	case r.CanUint():
		return normal(r.Uint())
	case r.CanFloat():
		return r.Float()
	case r.Kind() == reflect.String:
		return r.String()
	case r.Kind() == reflect.Bool:
		return r.Bool()
	case r.Kind() == reflect.Slice:
		list := make([]any, r.Len())
		for i := range list {
			list[i] = r.Index(i).Interface()
		}
		return list
	case r.Kind() == reflect.Map:
		m := make(map[string]any, r.Len())
		for _, k := range r.MapKeys() {
			key, _ := Text(k.Interface())
			m[key] = r.MapIndex(k).Interface()
		}
		return m
	}
	return v
}

// kind names the type of a value for a person.
func kind(v any) string {
	switch normal(v).(type) {
	case nil:
		return "nil"
	case bool:
		return "bool"
	case string:
		return "text"
	case int, float64, Number:
		return "number"
	case []any:
		return "list"
	case map[string]any:
		return "map"
	case time.Time:
		return "time"
	case time.Duration:
		return "duration"
	}
	return fmt.Sprintf("%T", v)
}

// Text is a value where text is asked for: a text itself, a number with all
// its digits, true or false, a time in RFC 3339. nil, lists and maps are not
// text.
func Text(v any) (string, bool) {
	switch v := normal(v).(type) {
	case string:
		return v, true
	case bool:
		return strconv.FormatBool(v), true
	case int:
		return strconv.Itoa(v), true
	case float64:
		return string(AppendFloat(nil, v)), true
	case Number:
		return string(v), true
	case time.Time:
		return v.UTC().Format(time.RFC3339Nano), true
	case time.Duration:
		return v.String(), true
	}
	return "", false
}

// JSON is the compact JSON of a value, map keys sorted, numbers digit for
// digit, and no character escaped that JSON does not ask to be.
func JSON(v any) (string, error) {
	dst, err := AppendJSON(nil, v)
	return string(dst), err
}

// AppendJSON appends what [JSON] gives.
func AppendJSON(dst []byte, v any) ([]byte, error) {
	var err error
	switch v := normal(v).(type) {
	case nil:
		return append(dst, "null"...), nil
	case bool:
		return strconv.AppendBool(dst, v), nil
	case string:
		return rawjson.AppendString(dst, v), nil
	case int:
		return strconv.AppendInt(dst, int64(v), 10), nil
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return dst, fmt.Errorf("%v is not a number that JSON can hold", v)
		}
		return AppendFloat(dst, v), nil
	case Number:
		return append(dst, v...), nil
	case []any:
		dst = append(dst, '[')
		for i, element := range v {
			if i > 0 {
				dst = append(dst, ',')
			}
			if dst, err = AppendJSON(dst, element); err != nil {
				return dst, err
			}
		}
		return append(dst, ']'), nil
	case map[string]any:
		names := make([]string, 0, len(v))
		for name := range v {
			names = append(names, name)
		}
		sort.Strings(names)
		dst = append(dst, '{')
		for i, name := range names {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(rawjson.AppendString(dst, name), ':')
			if dst, err = AppendJSON(dst, v[name]); err != nil {
				return dst, err
			}
		}
		return append(dst, '}'), nil
	}
	if text, ok := Text(v); ok {
		return rawjson.AppendString(dst, text), nil
	}
	return dst, fmt.Errorf("a %T cannot be written as JSON", v)
}

// number is a value as a number: whole and i where it is a whole number that
// fits, f always.
func number(v any) (i int, f float64, whole, ok bool) {
	switch v := v.(type) {
	case int:
		return v, float64(v), true, true
	case float64:
		return 0, v, false, true
	case Number:
		f, err := strconv.ParseFloat(string(v), 64)
		if err != nil && !math.IsInf(f, 0) {
			return 0, 0, false, false
		}
		return 0, f, false, true
	}
	return 0, 0, false, false
}

// reference runs expressions in expr's own machine.
type reference struct {
	program *vm.Program
	names   []expression.Name
}

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
