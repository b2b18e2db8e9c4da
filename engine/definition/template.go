package definition

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/secure60/s60-m365-connector/engine/expression"
)

// Template is a text with expressions in ${…}. It may be used by several
// goroutines at once.
type Template struct {
	source string
	parts  []part
}

// part is either a literal text or an expression.
type part struct {
	text    string
	program *expression.Program
}

// String is the template as written.
func (t *Template) String() string {
	if t == nil {
		return ""
	}
	return t.source
}

// Expand gives the text for the values in env. nil expands to nothing. The
// error names the expression that failed, or gave nothing, or gave what is no
// text, number or boolean: a request with a hole in it is never sent.
func (t *Template) Expand(env map[string]any) (string, error) {
	if t == nil {
		return "", nil
	}
	var b strings.Builder
	for _, p := range t.parts {
		if p.program == nil {
			b.WriteString(p.text)
			continue
		}
		value, err := p.program.Eval(env)
		if err != nil {
			return "", fmt.Errorf("${%s}: %w", p.program, err)
		}
		switch v := value.(type) {
		case nil:
			return "", fmt.Errorf("${%s} has no value", p.program)
		case string:
			b.WriteString(v)
		case bool, int, int64:
			fmt.Fprint(&b, v)
		case float64:
			b.WriteString(strconv.FormatFloat(v, 'f', -1, 64))
		default:
			return "", fmt.Errorf("${%s} gives a %T, not a text, number or boolean", p.program, value)
		}
	}
	return b.String(), nil
}

// value is what a template gives in the body of a request: the value itself, where it is
// one expression and nothing else.
func (t *Template) value(env map[string]any) (any, error) {
	if len(t.parts) != 1 || t.parts[0].program == nil {
		return t.Expand(env)
	}
	p := t.parts[0].program
	value, err := p.Eval(env)
	if err == nil && value == nil {
		err = errors.New("has no value")
	}
	if err != nil {
		return nil, fmt.Errorf("${%s}: %w", p, err)
	}
	return value, nil
}

// dynamic reports whether there is any expression in it.
func (t *Template) dynamic() bool {
	return slices.ContainsFunc(t.parts, func(p part) bool { return p.program != nil })
}

// holds reports whether the text outside of expressions holds any of chars.
func (t *Template) holds(chars string) bool {
	return slices.ContainsFunc(t.parts, func(p part) bool { return strings.ContainsAny(p.text, chars) })
}

// parseTemplate splits a template and compiles its expressions. Offsets and
// lengths of the errors count characters of the template.
func parseTemplate(source string, compile func(string) (*expression.Program, *expression.Error)) (*Template, []*expression.Error) {
	t := &Template{source: source}
	var errs []*expression.Error
	rest, at := source, 0 // at counts the characters before rest
	for {
		text, after, found := strings.Cut(rest, "${")
		if text != "" {
			t.parts = append(t.parts, part{text: text})
		}
		if !found {
			return t, errs
		}
		at += utf8.RuneCountInString(text)
		end := closing(after)
		if end < 0 {
			return nil, append(errs, &expression.Error{Message: "${ is not closed: write ${expression}", Offset: at, Length: 2})
		}
		inner := after[:end]
		if strings.TrimSpace(inner) == "" {
			errs = append(errs, &expression.Error{Message: "${} is empty: write an expression between the braces", Offset: at, Length: 3 + utf8.RuneCountInString(inner)})
		} else if p, err := compile(inner); err != nil {
			errs = append(errs, &expression.Error{Message: err.Message, Offset: at + 2 + err.Offset, Length: err.Length})
		} else {
			t.parts = append(t.parts, part{program: p})
		}
		rest = after[end+1:]
		at += 2 + utf8.RuneCountInString(inner) + 1
	}
}

// closing finds the brace that closes an expression: braces nest, and those in
// strings do not count. It is -1 if there is none.
func closing(s string) int {
	depth, quote := 0, byte(0)
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case quote != 0:
			if c == '\\' && quote != '`' {
				i++
			} else if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'' || c == '`':
			quote = c
		case c == '{':
			depth++
		case c == '}':
			if depth == 0 {
				return i
			}
			depth--
		}
	}
	return -1
}
