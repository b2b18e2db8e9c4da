package simulator

import (
	"cmp"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// This file is the part of OData's $filter that collectors use with the logs of Graph: comparisons
// (eq ne gt ge lt le) of a property with a literal, and any over a collection of texts, joined by
// and. The real service takes more (or, not, functions, lambdas over objects); what is not
// understood here is refused, so that no filter passes for evaluated that is not.

// filterError is a fault in a filter, in the service's words where it has any.
type filterError struct{ message string }

func (e *filterError) Error() string { return e.message }

func badFilter(format string, args ...any) error { return &filterError{fmt.Sprintf(format, args...)} }

// filter is a parsed filter: all its conditions must hold.
type filter []condition

type condition struct {
	path  []string
	any   bool // some element of the collection compares so, not the property itself
	op    string
	value any // string, float64, bool, time.Time or nil
}

// fields looks up a property of a row by its path; nil when it has none.
type fields func(path []string) any

// holds evaluates the filter over a row, whose fields it asks for by path.
func (f filter) holds(row fields) bool {
	for _, c := range f {
		if !c.holds(row(c.path)) {
			return false
		}
	}
	return true
}

func (c *condition) holds(have any) bool {
	if c.any {
		list, _ := have.([]any)
		for _, item := range list {
			if order, ok := compareValues(item, c.value); ok && order == 0 {
				return true
			}
		}
		return false
	}
	order, ok := compareValues(have, c.value)
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
			return cmp.Compare(have, want), true
		}
	case bool:
		if have, is := have.(bool); is && have != want {
			return 1, true
		} else if is {
			return 0, true
		}
	}
	return 0, false
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

// token matches the pieces of a filter: a text, a word, a sign.
var token = regexp.MustCompile(`^(?:'(?:[^']|'')*'|[\w/.@$+-](?:[\w/.@$+-]|:\d)*|[():,])`)

type filterParser struct {
	tokens []string
	known  func(path []string) error // whether a path names a property
}

// parseFilter parses a filter over the properties that known accepts.
func parseFilter(text string, known func(path []string) error) (filter, error) {
	p := &filterParser{known: known}
	for rest := strings.TrimLeft(text, " \t"); rest != ""; {
		next := token.FindString(rest)
		if next == "" && rest[0] == '\'' {
			return nil, badFilter("There is an unterminated string literal at position %d in '%s'.", len(text), text)
		}
		if next == "" {
			return nil, badFilter("Syntax error: character '%c' is not valid at position %d in '%s'.", rest[0], len(text)-len(rest), text)
		}
		p.tokens = append(p.tokens, next)
		rest = strings.TrimLeft(rest[len(next):], " \t")
	}
	var all filter
	for {
		c, err := p.condition()
		if err != nil {
			return nil, err
		}
		all = append(all, c)
		switch word := p.next(); word {
		case "":
			return all, nil
		case "and":
		case "or":
			return nil, badFilter("The simulator does not evaluate 'or'.")
		default:
			return nil, badFilter("Syntax error: '%s' is not expected in '%s'.", word, text)
		}
	}
}

// next takes a token; "" is the end.
func (p *filterParser) next() string {
	if len(p.tokens) == 0 {
		return ""
	}
	t := p.tokens[0]
	p.tokens = p.tokens[1:]
	return t
}

func (p *filterParser) expect(want string) error {
	if t := p.next(); t != want {
		return badFilter("Syntax error: '%s' expected, got '%s'.", want, t)
	}
	return nil
}

func (p *filterParser) condition() (c condition, err error) {
	name := p.next()
	if name == "not" || len(p.tokens) > 0 && p.tokens[0] == "(" && !strings.HasSuffix(name, "/any") {
		return c, badFilter("The simulator does not evaluate '%s'.", name)
	}
	if name == "" || strings.Contains("():,'", name[:1]) {
		return c, badFilter("Syntax error: a property expected, got '%s'.", name)
	}
	name, c.any = strings.CutSuffix(name, "/any")
	c.path = strings.Split(name, "/")
	if err := p.known(c.path); err != nil {
		return c, err
	}
	variable := ""
	if c.any {
		err := p.expect("(")
		if variable = p.next(); err == nil {
			err = p.expect(":")
		}
		if err == nil {
			err = p.expect(variable) // of the element itself, not of what is in it
		}
		if err != nil {
			return c, err
		}
	}
	switch c.op = p.next(); c.op {
	case "eq", "ne", "gt", "ge", "lt", "le":
	case "":
		return c, badFilter("Syntax error: an operator expected after '%s'.", name)
	default:
		return c, badFilter("Syntax error: '%s' is not an operator.", c.op)
	}
	if c.value, err = literal(p.next()); err != nil || !c.any {
		return c, cmp.Or(err, c.typeCheck())
	}
	if c.op != "eq" {
		return c, badFilter("The simulator does not evaluate '%s' in 'any'.", c.op)
	}
	return c, p.expect(")")
}

func literal(t string) (any, error) {
	switch {
	case t == "null":
		return nil, nil
	case t == "true", t == "false":
		return t == "true", nil
	case strings.HasPrefix(t, "'"):
		return strings.ReplaceAll(t[1:len(t)-1], "''", "'"), nil
	}
	if v, err := strconv.ParseFloat(t, 64); err == nil && !math.IsNaN(v) {
		return v, nil
	}
	// A '+' in an offset that was not percent-encoded arrives as a space and
	// fails here, as it does at the service.
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if v, err := time.Parse(layout, t); err == nil {
			return v, nil
		}
	}
	if guidPattern.MatchString(t) {
		return t, nil
	}
	return nil, badFilter("Invalid filter clause: '%s' is not a literal.", t)
}

// typeCheck refuses what the service refuses: a quoted date-time, most of all.
func (c *condition) typeCheck() error {
	if !strings.HasSuffix(c.path[len(c.path)-1], "DateTime") {
		return nil
	}
	var is string
	switch c.value.(type) {
	case string:
		is = "Edm.String"
	case float64:
		is = "Edm.Int32"
	default:
		return nil
	}
	name := map[string]string{"eq": "Equal", "ne": "NotEqual", "gt": "GreaterThan", "ge": "GreaterThanOrEqual", "lt": "LessThan", "le": "LessThanOrEqual"}[c.op]
	return badFilter("A binary operator with incompatible types was detected. Found operand types 'Edm.DateTimeOffset' and '%s' for operator kind '%s'.", is, name)
}

// bounds is the period outside which the filter cannot hold, in unix
// nanoseconds, [from, to): what it says of one field.
func (f filter) bounds(field string) (from, to int64) {
	from, to = math.MinInt64, math.MaxInt64
	for _, c := range f {
		at, ok := c.value.(time.Time)
		if !ok || c.any || len(c.path) != 1 || c.path[0] != field || at.Year() < 1700 || at.Year() > 2250 {
			continue
		}
		ns := at.UnixNano()
		switch c.op {
		case "eq":
			from, to = max(from, ns), min(to, ns+1)
		case "gt":
			from = max(from, ns+1)
		case "ge":
			from = max(from, ns)
		case "lt":
			to = min(to, ns)
		case "le":
			to = min(to, ns+1)
		}
	}
	return from, to
}
