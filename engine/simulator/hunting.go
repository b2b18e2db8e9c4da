package simulator

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
)

// This file is advanced hunting: a query in the body of a POST, over the tables of records/objects.yaml below
// security/runHuntingQuery. Of the query language it has what collectors use: where with comparisons and
// "in" of a query, joined by and; extend, distinct and project-away. What is not understood is refused.

const huntingTables = "security/runHuntingQuery/"

// huntingRow is a row of a table.
type huntingRow map[string]any

func (s *Simulator) runHuntingQuery(w http.ResponseWriter, r *http.Request) {
	var q struct{ Query string }
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(&q); err != nil || q.Query == "" {
		s.graphError(w, 400, "BadRequest", "The request has no Query.")
		return
	}
	p := &huntingParser{sim: s, tokens: huntingToken.FindAllString(q.Query, -1), now: s.now().UTC()}
	rows, err := p.query()
	if err == nil && p.next() != "" {
		err = badFilter("Syntax error: unexpected end of the query.")
	}
	if err != nil {
		s.graphError(w, 400, "BadRequest", "%s", err.Error())
		return
	}
	writeJSON(w, 200, map[string]any{"results": append([]huntingRow{}, rows...)})
}

var huntingToken = regexp.MustCompile(`"[^"]*"|datetime\([^)]*\)|[\w-]+|[<>=!]=?|\S`)

// huntingOperators are comparisons by what [condition] calls them.
var huntingOperators = map[string]string{"==": "eq", "!=": "ne", ">": "gt", ">=": "ge", "<": "lt", "<=": "le"}

type huntingParser struct {
	sim    *Simulator
	tokens []string
	now    time.Time
}

func (p *huntingParser) next() string {
	if len(p.tokens) == 0 {
		return ""
	}
	t := p.tokens[0]
	p.tokens = p.tokens[1:]
	return t
}

// take takes a token if it is the next.
func (p *huntingParser) take(want string) bool {
	if len(p.tokens) == 0 || p.tokens[0] != want {
		return false
	}
	p.next()
	return true
}

func (p *huntingParser) expect(all ...string) error {
	for _, want := range all {
		if !p.take(want) {
			return badFilter("Syntax error: '%s' expected, got '%s'.", want, p.next())
		}
	}
	return nil
}

// query evaluates a table and what is done with it.
func (p *huntingParser) query() ([]huntingRow, error) {
	name := p.next()
	table, known := objects[huntingTables+name]
	if !known || len(table) == 0 {
		return nil, badFilter("Failed to resolve table or column expression named '%s'", name)
	}
	var rows []huntingRow
	for _, text := range p.sim.standing(huntingTables+name, "", p.now) {
		d := json.NewDecoder(bytes.NewReader(text))
		d.UseNumber()
		var row huntingRow
		if err := d.Decode(&row); err != nil {
			panic("simulator: a row of " + name + " is not JSON: " + err.Error())
		}
		rows = append(rows, row)
	}
	for p.take("|") {
		var err error
		if rows, err = p.stage(rows); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

func (p *huntingParser) stage(rows []huntingRow) ([]huntingRow, error) {
	switch stage := p.next(); stage {
	case "where":
		for {
			holds, err := p.condition()
			if err != nil {
				return nil, err
			}
			rows = slices.DeleteFunc(rows, func(row huntingRow) bool { return !holds(row) })
			if !p.take("and") {
				return rows, nil
			}
		}
	case "extend":
		name := p.next()
		if err := p.expect("="); err != nil {
			return nil, err
		}
		value, err := p.literal()
		for _, row := range rows {
			row[name] = value
		}
		return rows, err
	case "distinct":
		name := p.next()
		seen := map[string]bool{}
		return slices.DeleteFunc(rows, func(row huntingRow) bool {
			value := fmt.Sprint(row[name]) // a column may hold an object
			again := seen[value]
			seen[value] = true
			return again
		}), nil
	case "project-away":
		name := p.next()
		for _, row := range rows {
			delete(row, name)
		}
		return rows, nil
	default:
		return nil, badFilter("The simulator does not evaluate '%s'.", stage)
	}
}

// condition is a comparison, or whether a column is among the values of another query.
func (p *huntingParser) condition() (func(huntingRow) bool, error) {
	column := p.next()
	if p.take("in") {
		if err := p.expect("(", "("); err != nil {
			return nil, err
		}
		rows, err := p.query()
		if err == nil {
			err = p.expect(")", ")")
		}
		return func(row huntingRow) bool {
			return slices.ContainsFunc(rows, func(other huntingRow) bool { return reflect.DeepEqual(other[column], row[column]) })
		}, err
	}
	op := p.next()
	c := condition{op: huntingOperators[op]}
	if c.op == "" {
		return nil, badFilter("Syntax error: '%s' is not an operator.", op)
	}
	var err error
	c.value, err = p.literal()
	return func(row huntingRow) bool { return c.holds(row[column]) }, err
}

func (p *huntingParser) literal() (any, error) {
	t := p.next()
	if text, ok := strings.CutPrefix(t, "datetime("); ok {
		at, err := time.Parse(time.RFC3339, strings.TrimSuffix(text, ")"))
		if err != nil {
			return nil, badFilter("Syntax error: '%s' is not a time.", t)
		}
		return at, nil
	}
	if len(t) < 2 || t[0] != '"' {
		return nil, badFilter("The simulator does not evaluate '%s'.", t)
	}
	return strings.Trim(t, `"`), nil
}
