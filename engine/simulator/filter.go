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

// badFilter is a fault in a filter, in the service's words where it has any.
func badFilter(format string, args ...any) error { return fmt.Errorf(format, args...) }

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

// clause matches a condition: a path, "/any(x: x", an operator, a literal, ")", and the "and" behind it.
var clause = regexp.MustCompile(`^([A-Za-z@][\w/.@]*?)(/any\((\w+): *(\w+))? +(eq|ne|gt|ge|lt|le) +('(?:[^']|'')*'|[\w.:+-]+)(\))?(?: +and +|$)`)

// parseFilter parses a filter over the properties that known accepts.
func parseFilter(text string, known func(path []string) error) (filter, error) {
	var all filter
	for rest := strings.Trim(text, " \t"); ; {
		m := clause.FindStringSubmatch(rest)
		if m == nil || (m[2] == "") != (m[7] == "") || m[3] != m[4] || m[2] != "" && m[5] != "eq" {
			return nil, badFilter("Invalid filter clause: the simulator does not evaluate '%s'.", rest)
		}
		c := condition{path: strings.Split(m[1], "/"), any: m[2] != "", op: m[5]}
		err := known(c.path)
		if err == nil {
			c.value, err = literal(m[6])
		}
		if err == nil {
			err = c.typeCheck()
		}
		if err != nil {
			return nil, err
		}
		all = append(all, c)
		if rest = rest[len(m[0]):]; rest == "" {
			return all, nil
		}
	}
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
