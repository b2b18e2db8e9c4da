package simulator

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// This file is the part of OData's $filter that the log endpoints of Graph
// understand: comparisons (eq ne gt ge lt le), and, or, not, parentheses, the
// functions startswith, endswith and contains, in, and any over collections.

// filterError is a fault in a filter, in the service's words.
type filterError struct{ message string }

func (e *filterError) Error() string { return e.message }

func badFilter(format string, args ...any) error { return &filterError{fmt.Sprintf(format, args...)} }

// expr is a parsed filter.
type expr interface {
	// holds evaluates the filter over a row, whose fields it asks for by path.
	holds(row fields) bool
}

// fields looks up a property of a row by its path; nil when it has none.
type fields func(path []string) any

type (
	binary  struct{ or, and []expr } // exactly one is set
	not     struct{ of expr }
	compare struct {
		path  []string
		op    string
		value any // string, float64, bool, time.Time or nil
	}
	call struct {
		name  string
		path  []string
		value string
	}
	anyOf struct {
		path     []string
		variable string
		of       expr // nil: the collection is not empty
	}
)

func (b *binary) holds(row fields) bool {
	for _, e := range b.or {
		if e.holds(row) {
			return true
		}
	}
	for _, e := range b.and {
		if !e.holds(row) {
			return false
		}
	}
	return b.or == nil
}

func (n *not) holds(row fields) bool { return !n.of.holds(row) }

func (c *compare) holds(row fields) bool {
	order, ok := compareValues(row(c.path), c.value)
	switch c.op {
	case "eq":
		return ok && order == 0
	case "ne":
		return !ok || order != 0
	case "gt":
		return ok && order > 0
	case "ge":
		return ok && order >= 0
	case "lt":
		return ok && order < 0
	default: // le
		return ok && order <= 0
	}
}

// compareValues orders a property and a literal; ok is false where they cannot
// be compared.
func compareValues(have, want any) (order int, ok bool) {
	switch want := want.(type) {
	case nil:
		return 0, have == nil
	case time.Time:
		switch have := have.(type) {
		case time.Time:
			return have.Compare(want), true
		case string:
			t, err := time.Parse(time.RFC3339Nano, have)
			return t.Compare(want), err == nil
		}
	case string:
		if have, is := have.(string); is {
			return strings.Compare(strings.ToLower(have), strings.ToLower(want)), true
		}
	case float64:
		if have, is := have.(float64); is {
			switch {
			case have < want:
				return -1, true
			case have > want:
				return 1, true
			}
			return 0, have == want
		}
	case bool:
		if have, is := have.(bool); is {
			if have == want {
				return 0, true
			}
			return 1, true
		}
	}
	return 0, false
}

func (c *call) holds(row fields) bool {
	have, ok := row(c.path).(string)
	if !ok {
		return false
	}
	have, want := strings.ToLower(have), strings.ToLower(c.value)
	switch c.name {
	case "startswith":
		return strings.HasPrefix(have, want)
	case "endswith":
		return strings.HasSuffix(have, want)
	default: // contains
		return strings.Contains(have, want)
	}
}

func (a *anyOf) holds(row fields) bool {
	list, _ := row(a.path).([]any)
	for _, item := range list {
		if a.of == nil {
			return true
		}
		inner := func(path []string) any {
			if path[0] == a.variable {
				return property(item, path[1:])
			}
			return row(path)
		}
		if a.of.holds(inner) {
			return true
		}
	}
	return false
}

// property follows a path into decoded JSON.
func property(v any, path []string) any {
	for _, name := range path {
		object, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = object[name]
	}
	return v
}

// maxDepth bounds nesting, as the real service does.
const maxDepth = 50

type filterParser struct {
	tokens []token
	depth  int
	// known says whether a path names a property; variables of lambdas are
	// always known.
	known     func(path []string) error
	variables []string
}

type token struct {
	kind byte // 'w' word, 's' string, '(' ')' ',' ':', 0 end
	text string
}

func lex(text string) ([]token, error) {
	var tokens []token
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case c == ' ' || c == '\t':
			i++
		case strings.IndexByte("(),:", c) >= 0 && !(c == ':' && i > 0 && i+1 < len(text) && isDigit(text[i-1]) && isDigit(text[i+1])):
			tokens = append(tokens, token{kind: c, text: string(c)})
			i++
		case c == '\'':
			var b strings.Builder
			for i++; ; i++ {
				if i >= len(text) {
					return nil, badFilter("There is an unterminated string literal at position %d in '%s'.", len(text), text)
				}
				if text[i] == '\'' {
					if i+1 < len(text) && text[i+1] == '\'' {
						i++
					} else {
						break
					}
				}
				b.WriteByte(text[i])
			}
			i++
			tokens = append(tokens, token{kind: 's', text: b.String()})
		case isWordByte(c):
			start := i
			for i < len(text) && (isWordByte(text[i]) || text[i] == ':' && i > start && isDigit(text[i-1]) && i+1 < len(text) && isDigit(text[i+1])) {
				i++
			}
			tokens = append(tokens, token{kind: 'w', text: text[start:i]})
		default:
			return nil, badFilter("Syntax error: character '%c' is not valid at position %d in '%s'.", c, i, text)
		}
	}
	return append(tokens, token{}), nil
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isWordByte(c byte) bool {
	return isDigit(c) || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || strings.IndexByte("_/.-+@$", c) >= 0
}

// parseFilter parses a filter over the properties that known accepts.
func parseFilter(text string, known func(path []string) error) (expr, error) {
	tokens, err := lex(text)
	if err != nil {
		return nil, err
	}
	p := &filterParser{tokens: tokens, known: known}
	e, err := p.or()
	if err != nil {
		return nil, err
	}
	if t := p.tokens[0]; t.kind != 0 {
		return nil, badFilter("Syntax error: '%s' is not expected in '%s'.", t.text, text)
	}
	return e, nil
}

func (p *filterParser) next() token {
	t := p.tokens[0]
	if t.kind != 0 {
		p.tokens = p.tokens[1:]
	}
	return t
}

func (p *filterParser) word(text string) bool {
	if p.tokens[0].kind == 'w' && p.tokens[0].text == text {
		p.next()
		return true
	}
	return false
}

func (p *filterParser) expect(kind byte) error {
	if t := p.next(); t.kind != kind {
		return badFilter("Syntax error: '%c' expected, got '%s'.", kind, t.text)
	}
	return nil
}

func (p *filterParser) or() (expr, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, badFilter("The filter is nested more than %d deep.", maxDepth)
	}
	defer func() { p.depth-- }()
	var all []expr
	for {
		e, err := p.and()
		if err != nil {
			return nil, err
		}
		all = append(all, e)
		if !p.word("or") {
			break
		}
	}
	if len(all) == 1 {
		return all[0], nil
	}
	return &binary{or: all}, nil
}

func (p *filterParser) and() (expr, error) {
	var all []expr
	for {
		e, err := p.unary()
		if err != nil {
			return nil, err
		}
		all = append(all, e)
		if !p.word("and") {
			break
		}
	}
	if len(all) == 1 {
		return all[0], nil
	}
	return &binary{and: all}, nil
}

func (p *filterParser) unary() (expr, error) {
	if p.word("not") {
		if p.depth++; p.depth > maxDepth {
			return nil, badFilter("The filter is nested more than %d deep.", maxDepth)
		}
		defer func() { p.depth-- }()
		e, err := p.unary()
		return &not{e}, err
	}
	if p.tokens[0].kind == '(' {
		p.next()
		e, err := p.or()
		if err != nil {
			return nil, err
		}
		return e, p.expect(')')
	}
	return p.comparison()
}

var functions = map[string]bool{"startswith": true, "endswith": true, "contains": true}

func (p *filterParser) comparison() (expr, error) {
	t := p.next()
	if t.kind != 'w' {
		return nil, badFilter("Syntax error: a property expected, got '%s'.", t.text)
	}
	if name := strings.ToLower(t.text); functions[name] && p.tokens[0].kind == '(' {
		return p.call(name)
	}
	if name, ok := strings.CutSuffix(t.text, "/any"); ok && p.tokens[0].kind == '(' {
		return p.lambda(strings.Split(name, "/"))
	}
	path := strings.Split(t.text, "/")
	if err := p.check(path); err != nil {
		return nil, err
	}
	op := p.next()
	if op.kind != 'w' {
		return nil, badFilter("Syntax error: an operator expected after '%s'.", t.text)
	}
	switch op.text {
	case "eq", "ne", "gt", "ge", "lt", "le":
		value, err := p.literal()
		if err != nil {
			return nil, err
		}
		return &compare{path: path, op: op.text, value: value}, typeCheck(path, op.text, value)
	case "in":
		if err := p.expect('('); err != nil {
			return nil, err
		}
		var all []expr
		for {
			value, err := p.literal()
			if err != nil {
				return nil, err
			}
			all = append(all, &compare{path: path, op: "eq", value: value})
			if p.tokens[0].kind != ',' {
				break
			}
			p.next()
		}
		return &binary{or: all}, p.expect(')')
	}
	return nil, badFilter("Syntax error: '%s' is not an operator.", op.text)
}

func (p *filterParser) check(path []string) error {
	for _, v := range p.variables {
		if path[0] == v {
			return nil
		}
	}
	return p.known(path)
}

func (p *filterParser) call(name string) (expr, error) {
	p.next() // the parenthesis
	t := p.next()
	if t.kind != 'w' {
		return nil, badFilter("Syntax error: %s takes a property and a string.", name)
	}
	path := strings.Split(t.text, "/")
	if err := p.check(path); err != nil {
		return nil, err
	}
	if err := p.expect(','); err != nil {
		return nil, err
	}
	value := p.next()
	if value.kind != 's' {
		return nil, badFilter("Syntax error: %s takes a property and a string.", name)
	}
	return &call{name: name, path: path, value: value.text}, p.expect(')')
}

func (p *filterParser) lambda(path []string) (expr, error) {
	if err := p.check(path); err != nil {
		return nil, err
	}
	p.next() // the parenthesis
	if p.tokens[0].kind == ')' {
		p.next()
		return &anyOf{path: path}, nil
	}
	variable := p.next()
	if variable.kind != 'w' {
		return nil, badFilter("Syntax error: a range variable expected, got '%s'.", variable.text)
	}
	if err := p.expect(':'); err != nil {
		return nil, err
	}
	p.variables = append(p.variables, variable.text)
	of, err := p.or()
	p.variables = p.variables[:len(p.variables)-1]
	if err != nil {
		return nil, err
	}
	return &anyOf{path: path, variable: variable.text, of: of}, p.expect(')')
}

func (p *filterParser) literal() (any, error) {
	t := p.next()
	switch t.kind {
	case 's':
		return t.text, nil
	case 'w':
		switch t.text {
		case "null":
			return nil, nil
		case "true", "false":
			return t.text == "true", nil
		}
		if v, err := strconv.ParseFloat(t.text, 64); err == nil && !math.IsNaN(v) {
			return v, nil
		}
		// A '+' in an offset that was not percent-encoded arrives as a space and
		// fails here, as it does at the service.
		if v, err := time.Parse(time.RFC3339Nano, t.text); err == nil {
			return v, nil
		}
		if v, err := time.Parse("2006-01-02", t.text); err == nil {
			return v, nil
		}
		if guidPattern.MatchString(t.text) {
			return t.text, nil
		}
	}
	return nil, badFilter("Invalid filter clause: '%s' is not a literal.", t.text)
}

// typeCheck refuses what the service refuses: a quoted date-time, most of all.
func typeCheck(path []string, op string, value any) error {
	names := map[string]string{"eq": "Equal", "ne": "NotEqual", "gt": "GreaterThan", "ge": "GreaterThanOrEqual", "lt": "LessThan", "le": "LessThanOrEqual"}
	is := strings.HasSuffix(path[len(path)-1], "DateTime")
	if _, text := value.(string); is && text {
		return badFilter("A binary operator with incompatible types was detected. Found operand types 'Edm.DateTimeOffset' and 'Edm.String' for operator kind '%s'.", names[op])
	}
	if _, number := value.(float64); is && number {
		return badFilter("A binary operator with incompatible types was detected. Found operand types 'Edm.DateTimeOffset' and 'Edm.Int32' for operator kind '%s'.", names[op])
	}
	return nil
}

// bounds is the period outside which a filter cannot hold, in unix
// nanoseconds, [from, to): what its top-level conjunction says of one field.
func bounds(e expr, field string) (from, to int64) {
	from, to = math.MinInt64, math.MaxInt64
	switch e := e.(type) {
	case *binary:
		for _, part := range e.and {
			f, t := bounds(part, field)
			from, to = max(from, f), min(to, t)
		}
	case *compare:
		at, ok := e.value.(time.Time)
		if !ok || len(e.path) != 1 || e.path[0] != field || at.Year() < 1700 || at.Year() > 2250 {
			return from, to
		}
		ns := at.UnixNano()
		switch e.op {
		case "eq":
			return ns, ns + 1
		case "gt":
			return ns + 1, to
		case "ge":
			return ns, to
		case "lt":
			return from, ns
		case "le":
			return from, ns + 1
		}
	}
	return from, to
}

// walk visits every comparison of a filter.
func walk(e expr, visit func(*compare)) {
	switch e := e.(type) {
	case *binary:
		for _, part := range append(append([]expr(nil), e.or...), e.and...) {
			walk(part, visit)
		}
	case *not:
		walk(e.of, visit)
	case *anyOf:
		if e.of != nil {
			walk(e.of, visit)
		}
	case *compare:
		visit(e)
	}
}
