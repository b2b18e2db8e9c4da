package definition

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/expr-lang/expr/ast"

	"github.com/secure60/s60-m365-connector/engine/expression"
)

// namespace is what an expression may name.
type namespace struct {
	names    []string
	any      bool // further names are known only when it runs
	expected string
	members  map[string][]string // of names that have these and no others
}

// with adds a name, which has such members, if any are given.
func (s namespace) with(what, name string, members ...string) namespace {
	s.names = append(slices.Clip(s.names), name)
	if members != nil {
		of := map[string][]string{name: members}
		maps.Copy(of, s.members)
		s.members = of
	}
	if what == name {
		s.expected = name + ", " + s.expected
	} else {
		s.expected = name + " (" + what + "), " + s.expected
	}
	return s
}

// bareName is a name that somebody wrote in the way of another language of templates.
var bareName = regexp.MustCompile(`(?:^|[^$\w])(\{+\s*((?:window|item|job)\.\w+|[A-Z][A-Z\d_]*)\s*\}+|\$\(?((?:window|item|job)\.\w+|[A-Z][A-Z\d_]*)\)?)`)

// bare finds the first of the names that would be sent as it stands. nil: there is none.
func (s namespace) bare(text string) *expression.Error {
	for _, m := range bareName.FindAllStringSubmatchIndex(text, -1) {
		found := text[m[2]:m[3]]
		name := text[max(m[4], m[6]):max(m[5], m[7])]
		if first, _, _ := strings.Cut(name, "."); slices.Contains(s.names, first) {
			return &expression.Error{
				Message: fmt.Sprintf("%s would be sent as it stands: write ${%s}", found, name),
				Offset:  utf8.RuneCountInString(text[:m[2]]), Length: utf8.RuneCountInString(found),
			}
		}
	}
	return nil
}

// compile compiles an expression over the names.
func (s namespace) compile(source string) (*expression.Program, *expression.Error) {
	options := expression.Options{Names: s.names, Expected: s.expected}
	if !s.any {
		options.Allowed = func(name string) bool { return slices.Contains(s.names, name) }
	}
	program, err := expression.Compile(source, options)
	if err != nil {
		e, ok := err.(*expression.Error)
		if !ok {
			e = &expression.Error{Message: err.Error()}
		}
		if strings.HasPrefix(e.Message, "unknown name window") && !s.any {
			e.Message = "there is no window here: it is known in request and expand, of a feed that has a cursor"
		}
		return nil, e
	}
	syntax := program.Syntax()
	uses := memberUse{of: s}
	ast.Walk(&syntax, &uses)
	if uses.err != nil {
		return nil, uses.err
	}
	return program, nil
}

// memberUse finds the first use of a member that window or job does not have, which
// would be nothing.
type memberUse struct {
	of  namespace
	err *expression.Error
}

// Visit looks at each node, as ast.Walk asks.
func (m *memberUse) Visit(node *ast.Node) {
	use, ok := (*node).(*ast.MemberNode)
	if !ok || m.err != nil {
		return
	}
	of, ok := use.Node.(*ast.IdentifierNode)
	if !ok {
		return
	}
	members := m.of.members[of.Value]
	if members == nil || !slices.Contains(m.of.names, of.Value) {
		return
	}
	name, ok := use.Property.(*ast.StringNode)
	if !ok || slices.Contains(members, name.Value) {
		return
	}
	m.err = &expression.Error{
		Message: fmt.Sprintf("%s has no %s: it has %s", of.Value, name.Value, strings.Join(members, " and ")),
		Offset:  name.Location().From, Length: utf8.RuneCountInString(name.Value),
	}
}
