package detections

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// condition is what a rule asks of one event: fields compared by = (the same
// text), ~ (a regular expression found in it) and >= (numbers), joined by AND,
// which binds closer, and OR.
type condition func(event map[string]any) bool

// token is a word, an operator, a parenthesis, or a text in quotes, which
// stands without them in text.
var token = regexp.MustCompile(`^\s*(?:(>=|[=~()])|([A-Za-z_][A-Za-z0-9_]*)|"((?:[^"\\]|\\.)*)")`)

type parser struct {
	rest   string
	symbol string // of the token at hand: an operator or parenthesis,
	word   string // or a word,
	quoted bool   // or a text, in text
	text   string
	end    bool
	err    error
	fields []string
}

// parse reads a condition and says which fields it asks for, in order.
func parse(source string) (condition, []string, error) {
	p := &parser{rest: source}
	p.next()
	c := p.any()
	if p.err == nil && !p.end {
		p.fail("expected AND, OR or the end")
	}
	return c, p.fields, p.err
}

func (p *parser) fail(what string) {
	if p.err == nil {
		p.err = fmt.Errorf("%s before %q", what, p.symbol+p.word+p.text+p.rest)
	}
	p.end = true
}

func (p *parser) next() {
	p.symbol, p.word, p.text, p.quoted = "", "", "", false
	if strings.TrimSpace(p.rest) == "" {
		p.end = true
		return
	}
	m := token.FindStringSubmatch(p.rest)
	if m == nil {
		p.fail("expected a field, an operator or a text in quotes")
		return
	}
	p.symbol, p.word, p.text = m[1], m[2], m[3]
	p.quoted = m[1] == "" && m[2] == ""
	p.rest = p.rest[len(m[0]):]
}

func (p *parser) any() condition {
	list := []condition{p.all()}
	for p.word == "OR" {
		p.next()
		list = append(list, p.all())
	}
	return func(event map[string]any) bool {
		return slices.ContainsFunc(list, func(c condition) bool { return c(event) })
	}
}

func (p *parser) all() condition {
	list := []condition{p.one()}
	for p.word == "AND" {
		p.next()
		list = append(list, p.one())
	}
	return func(event map[string]any) bool {
		return !slices.ContainsFunc(list, func(c condition) bool { return !c(event) })
	}
}

func (p *parser) one() condition {
	if p.symbol == "(" {
		p.next()
		c := p.any()
		if p.symbol != ")" {
			p.fail("expected )")
		}
		p.next()
		return c
	}
	if p.word == "" || p.word == "AND" || p.word == "OR" {
		p.fail("expected a field")
		return nil
	}
	field := p.word
	p.fields = append(p.fields, field)
	p.next()
	operator := p.symbol
	p.next()
	if !p.quoted {
		p.fail("expected a text in quotes")
		return nil
	}
	// As the rules are typed: \" is a quote, any other \ is the expression's.
	text := strings.ReplaceAll(p.text, `\"`, `"`)
	var holds func(string) bool
	var err error
	switch operator {
	case "=":
		holds = func(value string) bool { return value == text }
	case "~":
		var pattern *regexp.Regexp
		pattern, err = regexp.Compile(text)
		holds = pattern.MatchString
	case ">=":
		var least float64
		least, err = strconv.ParseFloat(text, 64)
		holds = func(value string) bool {
			n, err := strconv.ParseFloat(value, 64)
			return err == nil && n >= least
		}
	default:
		err = errors.New("expected =, ~ or >=")
	}
	if err != nil {
		p.fail(err.Error())
	}
	p.next()
	return func(event map[string]any) bool {
		value, has := event[field] // a field that the event lacks is equal to nothing
		return has && holds(fmt.Sprint(value))
	}
}
