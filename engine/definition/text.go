package definition

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// Text is a YAML scalar that knows its place in the file.
type Text struct {
	Value string

	doc          *document
	line, column int
	style        yaml.Style
	by           string // the file that extends the text's own, "" if none does
}

// place is where one character of a text stands in the file.
type place struct{ line, column int }

// Problem is a problem at a span of the text: offset and length in characters
// within Value. A length of 0 underlines the whole text.
func (t Text) Problem(offset, length int, message string) Problem {
	if t.doc == nil {
		return Problem{Length: 1, Message: message}
	}
	p := t.problem(offset, length, message)
	p.By = t.by
	return p
}

func (t Text) problem(offset, length int, message string) Problem {
	at := t.places()
	if len(at) == 0 {
		// Nothing tells where a character of the value came from: underline from
		// the start of the text to the end of its line.
		if t.Value == "" {
			return t.doc.problem(t.line, t.column, 2, message) // the quotes
		}
		source := t.doc.line(t.line)
		return t.doc.problem(t.line, t.column, utf8.RuneCountInString(source)-t.column+1, message)
	}
	if length <= 0 {
		offset, length = 0, len(at)
	}
	if offset >= len(at) { // at the end: just behind the last character
		last := at[len(at)-1]
		return t.doc.problem(last.line, last.column+1, 1, message)
	}
	offset = max(offset, 0)
	first, last := at[offset], at[min(offset+length, len(at))-1]
	for last.line != first.line { // one line is shown, so the span ends with it
		length--
		last = at[min(offset+length, len(at))-1]
	}
	return t.doc.problem(first.line, first.column, last.column-first.column+1, message)
}

// Pos is where the text starts.
func (t Text) Pos() Pos {
	if t.doc == nil {
		return Pos{}
	}
	if at := t.places(); len(at) > 0 {
		return Pos{t.doc.file, at[0].line, at[0].column}
	}
	return Pos{t.doc.file, t.line, t.column}
}

// places gives the place of each character of the value. It is empty where
// YAML folded lines, so that the characters of the value and of the file do
// not correspond.
func (t Text) places() []place {
	if t.doc == nil {
		return nil
	}
	var value []rune
	var at []place
	if t.style&yaml.LiteralStyle != 0 {
		value, at = t.literal()
	} else {
		source := []rune(t.doc.line(t.line))
		if t.column-1 > len(source) {
			return nil
		}
		source = source[t.column-1:]
		switch {
		case t.style&yaml.DoubleQuotedStyle != 0:
			value, at = t.doubleQuoted(source)
		case t.style&yaml.SingleQuotedStyle != 0:
			value, at = t.singleQuoted(source)
		case t.style&yaml.FoldedStyle == 0:
			n := min(utf8.RuneCountInString(t.Value), len(source))
			value = source[:n]
			for i := range n {
				at = append(at, place{t.line, t.column + i})
			}
		}
	}
	// Whatever the cases above do not know about YAML shows as a difference.
	if string(value) != t.Value {
		return nil
	}
	return at
}

// folded reports whether YAML folded the lines of the text, so that nothing tells where a
// character of it stands.
func (t Text) folded() bool {
	const styles = yaml.LiteralStyle | yaml.FoldedStyle | yaml.SingleQuotedStyle | yaml.DoubleQuotedStyle
	switch {
	case t.style&yaml.LiteralStyle != 0 || t.doc == nil:
		return false
	case t.style&styles == 0: // most texts: no need to look at each character
		source := t.doc.line(t.line)
		for range t.column - 1 {
			_, n := utf8.DecodeRuneInString(source)
			source = source[n:]
		}
		return !strings.HasPrefix(source, t.Value)
	}
	return len(t.places()) == 0
}

func (t Text) singleQuoted(source []rune) (value []rune, at []place) {
	for i := 1; i < len(source); i++ {
		if source[i] == '\'' {
			if i+1 == len(source) || source[i+1] != '\'' {
				return value, at
			}
			i++
		}
		value = append(value, source[i])
		at = append(at, place{t.line, t.column + i})
	}
	return nil, nil // goes on in the next line
}

func (t Text) doubleQuoted(source []rune) (value []rune, at []place) {
	simple := map[rune]rune{'0': 0, 'a': '\a', 'b': '\b', 't': '\t', '\t': '\t', 'n': '\n', 'v': '\v', 'f': '\f', 'r': '\r',
		'e': 0x1b, ' ': ' ', '"': '"', '\'': '\'', '/': '/', '\\': '\\', 'N': 0x85, '_': 0xa0, 'L': 0x2028, 'P': 0x2029}
	digits := map[rune]int{'x': 2, 'u': 4, 'U': 8}
	for i := 1; i < len(source); i++ {
		c, from := source[i], i
		switch {
		case c == '"':
			return value, at
		case c == '\\' && i+1 < len(source):
			i++
			if n := digits[source[i]]; n > 0 && i+n < len(source) {
				code, err := strconv.ParseUint(string(source[i+1:i+1+n]), 16, 32)
				if err != nil {
					return nil, nil
				}
				c, i = rune(code), i+n
			} else if plain, ok := simple[source[i]]; ok {
				c = plain
			} else {
				return nil, nil
			}
		}
		value = append(value, c)
		at = append(at, place{t.line, t.column + from})
	}
	return nil, nil // goes on in the next line
}

// literal is a | block: each line of the value is a line of the file without
// its indentation.
func (t Text) literal() (value []rune, at []place) {
	indent := -1
	lines := strings.Split(t.Value, "\n")
	for i, line := range lines {
		if line == "" {
			continue
		}
		indent = utf8.RuneCountInString(t.doc.line(t.line+1+i)) - utf8.RuneCountInString(line)
		break
	}
	if indent < 0 {
		return nil, nil
	}
	for i, line := range lines {
		source := []rune(t.doc.line(t.line + 1 + i))
		content := source[min(indent, len(source)):]
		if i == len(lines)-1 && line == "" { // behind the last line feed
			break
		}
		for column, c := range content {
			value = append(value, c)
			at = append(at, place{t.line + 1 + i, indent + column + 1})
		}
		if i < len(lines)-1 {
			value = append(value, '\n')
			at = append(at, place{t.line + 1 + i, indent + len(content) + 1})
		}
	}
	return value, at
}
