package expression

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"sort"
	"strings"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/parser"
)

// checker walks a tree as parsed, refuses what the language does not know, and
// collects the names that it reads.
type checker struct {
	options Options
	names   []Name
	lets    []*Program // see Program
	scope   []string   // variables of let
	loops   []string   // around, by their functions
	err     *Error
	now     bool // now() is called
}

func (c *checker) fail(at ast.Node, length int, format string, args ...any) {
	if c.err == nil {
		location := at.Location()
		if length == 0 {
			length = max(location.To-location.From, 1)
		}
		c.err = &Error{Message: fmt.Sprintf(format, args...), Offset: location.From, Length: length}
	}
}

func (c *checker) node(n ast.Node) {
	switch n := n.(type) {
	case *ast.IdentifierNode:
		c.identifier(n)
	case *ast.NilNode, *ast.BoolNode, *ast.IntegerNode, *ast.FloatNode, *ast.StringNode:
	case *ast.PointerNode:
		c.pointer(n)
	case *ast.UnaryNode:
		c.node(n.Node)
	case *ast.BinaryNode:
		c.node(n.Left)
		c.node(n.Right)
		if pattern, ok := n.Right.(*ast.StringNode); ok && n.Operator == "matches" {
			if _, err := regexp.Compile(pattern.Value); err != nil {
				c.fail(pattern, 0, "%s", err)
			}
		}
	case *ast.ChainNode:
		c.node(n.Node)
	case *ast.MemberNode:
		c.member(n)
	case *ast.SliceNode:
		c.node(n.Node)
		if n.From != nil {
			c.node(n.From)
		}
		if n.To != nil {
			c.node(n.To)
		}
	case *ast.CallNode:
		c.call(n)
	case *ast.BuiltinNode:
		c.loop(n)
	case *ast.PredicateNode:
		c.node(n.Node)
	case *ast.ConditionalNode:
		c.node(n.Cond)
		c.node(n.Exp1)
		c.node(n.Exp2)
	case *ast.VariableDeclaratorNode:
		c.node(n.Value)
		_, isFunction := functions[n.Name]
		_, isConstant := c.options.Constants[n.Name]
		if isFunction || isConstant || slices.Contains(c.scope, n.Name) {
			c.fail(n, 0, "%s is known already: choose another name", n.Name)
		}
		c.scope = append(c.scope, n.Name)
		c.node(n.Expr)
		c.scope = c.scope[:len(c.scope)-1]
	case *ast.SequenceNode:
		c.all(n.Nodes)
	case *ast.ArrayNode:
		c.all(n.Nodes)
	case *ast.MapNode:
		c.all(n.Pairs)
	case *ast.PairNode:
		c.node(n.Key)
		c.node(n.Value)
	default:
		c.fail(n, 0, "%s is not part of the language here", n)
	}
}

// loop checks a function with a predicate.
func (c *checker) loop(n *ast.BuiltinNode) {
	c.node(n.Arguments[0])
	c.loops = append(c.loops, n.Name)
	if len(c.loops) > maxLoops {
		c.fail(n, 0, "%s is the fourth loop within another; three are allowed", n.Name)
	}
	if len(n.Arguments) > 1 {
		if _, ok := n.Arguments[1].(*ast.PredicateNode); !ok {
			c.fail(n, 0, "%s needs a predicate", n.Name)
		}
		c.node(n.Arguments[1])
	}
	c.loops = c.loops[:len(c.loops)-1]
	if len(n.Arguments) > 2 {
		c.all(n.Arguments[2:])
	}
}

// pointer checks #, #index and #acc, which loops know.
func (c *checker) pointer(n *ast.PointerNode) {
	switch {
	case len(c.loops) == 0:
		c.fail(n, 0, "#%s stands for what a loop has in hand: it is known in a predicate only", n.Name)
	case n.Name == "acc" && !slices.Contains(c.loops, "reduce"), n.Name != "" && n.Name != "acc" && n.Name != "index":
		c.fail(n, 0, "#%s is not known here: # and #index are, and #acc in reduce", n.Name)
	}
}

func (c *checker) all(nodes []ast.Node) {
	for _, n := range nodes {
		c.node(n)
	}
}

func (c *checker) identifier(n *ast.IdentifierNode) {
	name := n.Value
	if slices.Contains(c.scope, name) {
		return
	}
	if _, ok := c.options.Constants[name]; ok {
		return
	}
	length := len([]rune(name))
	if c.options.Let != nil {
		switch let, err := c.options.Let(name); {
		case err != nil:
			c.fail(n, length, "%s", err)
			return
		case let != nil:
			c.let(n, let)
			return
		}
	}
	if name == "$env" || c.options.Allowed != nil && !c.options.Allowed(name) {
		message := "unknown name " + name
		if _, ok := functions[name]; ok {
			message = name + " is a function: write " + name + "(…)"
		} else if truth := truths[name]; truth != "" {
			message += ": write " + truth
		} else if near := Nearest(name, c.suggestions()); near != "" {
			message += "; did you mean " + near + "?"
		} else if c.options.Expected != "" {
			message += "; expected " + c.options.Expected
		}
		c.fail(n, length, "%s", message)
		return
	}
	c.names = append(c.names, Name{Name: name, Offset: n.Location().From, Length: length})
}

// let takes a value that is named, with those that it names itself: what they read is read where the name stands.
func (c *checker) let(n *ast.IdentifierNode, let *Program) {
	for _, l := range append(slices.Clip(let.lets), let) {
		if slices.Contains(c.lets, l) {
			continue
		}
		c.lets = append(c.lets, l)
		c.now = c.now || !l.pure
		for _, name := range l.names {
			if !name.Let { // those are of a value that comes before
				c.names = append(c.names, Name{name.Name, n.Location().From, len([]rune(n.Value)), true})
			}
		}
	}
}

// Free says whether a name may be given to a value: it is no word of the language and no function.
func Free(name string) bool {
	tree, err := parser.ParseWithConfig(name, config())
	if err != nil {
		return false
	}
	id, ok := tree.Node.(*ast.IdentifierNode)
	_, isFunction := functions[name]
	return ok && id.Value == name && !isFunction
}

// truths are what YAML takes for true and false, and this language does not.
var truths = map[string]string{"yes": "true", "Yes": "true", "on": "true", "True": "true", "no": "false", "No": "false", "off": "false", "False": "false"}

// sorted are the names of a map in order.
func sorted(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }

func (c *checker) suggestions() []string {
	out := slices.Concat(c.options.Names, c.scope)
	for name := range c.options.Constants {
		out = append(out, name)
	}
	sort.Strings(out)
	return out
}

// member checks that a member of a constant exists: a table that is not there
// is a mistake, a key that a table lacks is not.
func (c *checker) member(n *ast.MemberNode) {
	c.node(n.Property)
	id, ok := n.Node.(*ast.IdentifierNode)
	if !ok || slices.Contains(c.scope, id.Value) {
		c.node(n.Node)
		return
	}
	of, isConstant := c.options.Constants[id.Value].(map[string]any)
	property, literal := n.Property.(*ast.StringNode)
	if !isConstant || !literal {
		c.node(n.Node)
		return
	}
	if _, ok := of[property.Value]; ok {
		return
	}
	message := fmt.Sprintf("%s has no %s", id.Value, property.Value)
	known := sorted(of)
	if near := Nearest(property.Value, known); near != "" {
		message += "; did you mean " + near + "?"
	} else if len(known) > 0 && len(known) <= 20 {
		message += "; it has " + strings.Join(known, ", ")
	}
	c.fail(n.Property, 0, "%s", message)
}

func (c *checker) call(n *ast.CallNode) {
	callee, ok := n.Callee.(*ast.IdentifierNode)
	if !ok {
		c.fail(n.Callee, 0, "values have no methods; call a function instead, as in lower(x)")
		return
	}
	name := callee.Value
	f, ok := functions[name]
	if !ok {
		message := "unknown function " + name
		if near := cmp.Or(Nearest(name, functionNames()), stem(name)); near != "" {
			message += "; did you mean " + near + "?"
		}
		c.fail(n, len([]rune(name)), "%s", message)
		return
	}
	if got := len(n.Arguments); got < f.min || f.max != many && got > f.max {
		want := fmt.Sprint(f.min)
		switch {
		case f.max == many:
			want = fmt.Sprintf("at least %d", f.min)
		case f.max != f.min:
			want = fmt.Sprintf("%d to %d", f.min, f.max)
		}
		plural := "s"
		if want == "1" {
			plural = ""
		}
		c.fail(n, len([]rune(name)), "%s takes %s argument%s, not %d", name, want, plural, got)
	}
	c.now = c.now || name == "now"
	c.all(n.Arguments)
}

// stem is the function that other languages give a longer name, as toLower or lowercase for lower.
func stem(name string) string {
	name = strings.TrimLeft(strings.TrimPrefix(strings.ToLower(name), "to"), "_")
	best := ""
	for _, f := range functionNames() {
		if len(f) >= 4 && len(f) > len(best) && strings.HasPrefix(name, strings.ToLower(f)) {
			best = f
		}
	}
	return best
}

func functionNames() []string {
	var out []string
	for name := range functions {
		out = append(out, name)
	}
	for name := range loops {
		out = append(out, name)
	}
	sort.Strings(out)
	return out
}

// Nearest is the known name that a person most likely meant by a misspelt
// one, "" if none is near.
func Nearest(name string, known []string) string {
	best, least := "", max(1, len(name)/4)+1
	for _, candidate := range known {
		if d := distance(strings.ToLower(name), strings.ToLower(candidate), least); d < least {
			best, least = candidate, d
		}
	}
	return best
}

// distance is the number of letters to insert, delete, change or swap with
// their neighbour to turn a into b, or limit if it is that much at least.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return min(last[len(b)], limit)
}
