package detections

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// condition is what a rule asks of one event: fields compared by = (the same
// text), ~ (a regular expression found in it) and >= (numbers), joined by AND,
// which binds closer, and OR.
type condition interface {
	holds(event map[string]any) bool
}

type (
	every []condition
	some  []condition

	comparison struct {
		field   string
		text    string
		pattern *regexp.Regexp // of ~
		least   *float64       // of >=
	}
)

func (c every) holds(event map[string]any) bool {
	for _, one := range c {
		if !one.holds(event) {
			return false
		}
	}
	return true
}

func (c some) holds(event map[string]any) bool {
	for _, one := range c {
		if one.holds(event) {
			return true
		}
	}
	return false
}

func (c comparison) holds(event map[string]any) bool {
	v, ok := event[c.field]
	if !ok {
		return false // a field that the event lacks is never equal to anything
	}
	text := fmt.Sprint(v)
	switch {
	case c.pattern != nil:
		return c.pattern.MatchString(text)
	case c.least != nil:
		n, err := strconv.ParseFloat(text, 64)
		return err == nil && n >= *c.least
	}
	return text == c.text
}

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
	list := some{p.all()}
	for p.word == "OR" {
		p.next()
		list = append(list, p.all())
	}
	return list
}

func (p *parser) all() condition {
	list := every{p.one()}
	for p.word == "AND" {
		p.next()
		list = append(list, p.one())
	}
	return list
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
		return some{}
	}
	c := comparison{field: p.word}
	p.fields = append(p.fields, p.word)
	p.next()
	operator := p.symbol
	p.next()
	if !p.quoted {
		p.fail("expected a text in quotes")
		return some{}
	}
	// As the rules are typed: \" is a quote, any other \ is the expression's.
	c.text = strings.ReplaceAll(p.text, `\"`, `"`)
	var err error
	switch operator {
	case "=":
	case "~":
		c.pattern, err = regexp.Compile(c.text)
	case ">=":
		var n float64
		n, err = strconv.ParseFloat(c.text, 64)
		c.least = &n
	default:
		err = errors.New("expected =, ~ or >=")
	}
	if err != nil {
		p.fail(err.Error())
	}
	p.next()
	return c
}
