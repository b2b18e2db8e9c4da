package definition

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// maxFile is the largest definition file that is read. The largest real ones
// are tables of some tens of kilobytes.
const maxFile = 1 << 20

// document is one file: its lines, for places and source lines, and its YAML.
type document struct {
	file     string
	secret   bool // lines may hold secrets, and problems show neither them nor values
	lines    []string
	root     *yaml.Node // nil when the file is no readable YAML
	problems []Problem
}

// readFile reads a file of at most maxFile bytes.
func readFile(fsys fs.FS, name string) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("the file is larger than %d KiB, the most a definition may have", maxFile>>10)
	}
	return data, nil
}

// parse reads one YAML document. What the two languages do not allow in any
// place (anchors, tags, a second document) is reported here.
func parse(file string, data []byte) *document { return (&document{file: file}).parse(data) }

func (d *document) parse(data []byte) *document {
	text := strings.TrimPrefix(string(data), "\ufeff")
	text = strings.ReplaceAll(text, "\r\n", "\n")
	if len(data) > maxFile {
		d.report(1, 1, 1, fmt.Sprintf("the file is larger than %d KiB, the most a definition may have", maxFile>>10))
		return d
	}
	d.lines = strings.Split(text, "\n")
	if !d.plainText() {
		return d
	}
	decoder := yaml.NewDecoder(strings.NewReader(text))
	var root yaml.Node
	switch err := decode(decoder, &root); {
	case errors.Is(err, io.EOF):
		d.report(1, 1, 1, "the file is empty")
		return d
	case err != nil:
		d.syntax(err)
		return d
	}
	var second yaml.Node
	switch err := decode(decoder, &second); {
	case err == nil:
		node := &second
		if len(second.Content) > 0 {
			node = second.Content[0]
		}
		d.report(node.Line, node.Column, 1, "a second document in the file: write one definition a file")
	case !errors.Is(err, io.EOF):
		d.syntax(err)
		return d
	}
	if root.Kind != yaml.DocumentNode || len(root.Content) == 0 || root.Content[0].Tag == "!!null" {
		d.report(1, 1, 1, "the file is empty")
		return d
	}
	d.root = root.Content[0]
	if d.alias(d.root) {
		d.root = nil
		return d
	}
	d.walk(d.root)
	return d
}

// decode keeps a fault of the YAML library from ending the process: a file
// that a user mounts must never do that.
func decode(decoder *yaml.Decoder, node *yaml.Node) (err error) {
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("yaml: %v", fault)
		}
	}()
	return decoder.Decode(node)
}

// plainText reports what cannot stand in a definition: bytes that are not
// UTF-8, and control characters, among them the rarer line ends, which YAML
// and editors count differently.
func (d *document) plainText() bool {
	for i, line := range d.lines {
		column := 0
		for offset, c := range line {
			column++
			switch {
			case c == utf8.RuneError && !strings.HasPrefix(line[offset:], "\ufffd"):
				d.lines[i] = strings.Map(visible, line)
				d.report(i+1, column, 1, fmt.Sprintf("byte 0x%02X is not UTF-8: save the file as UTF-8", line[offset]))
				return false
			case c < ' ' && c != '\t', c >= 0x7f && c < 0xa0, c == '\u2028', c == '\u2029', c == '\ufeff', c == '\ufffe', c == '\uffff':
				name := fmt.Sprintf("U+%04X", c)
				d.lines[i] = strings.Map(visible, line)
				d.report(i+1, column, 1, fmt.Sprintf("control character %s: remove it, or write it as an escape in double quotes", name))
				return false
			}
		}
	}
	return true
}

// visible shows what a terminal cannot, or must not, as a replacement
// character. strings.Map calls it for each byte that is not UTF-8.
func visible(c rune) rune {
	if c != '\t' && (c < ' ' || c >= 0x7f && c < 0xa0 || c == '\u2028' || c == '\u2029' || c == '\ufeff') {
		return '\ufffd'
	}
	return c
}

// yamlQuote is what a message of the YAML library quotes of the file.
var yamlQuote = regexp.MustCompile("'[^']{2,}'|`[^`]+`")

var yamlLine = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?`)

// syntax reports what the YAML library could not read. It knows a line only,
// and for what is wrong in a mapping that does not begin in the first line
// just that of the mapping's begin: so the comments before are left out.
func (d *document) syntax(err error) {
	skipped := 0
	for skipped < len(d.lines)-1 && (strings.TrimSpace(d.lines[skipped]) == "" || strings.HasPrefix(d.lines[skipped], "#")) {
		skipped++
	}
	rest := strings.Join(d.lines[skipped:], "\n")
	if again := decode(yaml.NewDecoder(strings.NewReader(rest)), new(yaml.Node)); again != nil && !errors.Is(again, io.EOF) {
		err = again
	} else {
		skipped = 0
	}
	message := err.Error()
	match := yamlLine.FindStringSubmatch(message)
	message = strings.TrimPrefix(message, match[0])
	line, _ := strconv.Atoi(match[1])
	if strings.HasPrefix(message, "did not find expected") {
		line++ // these count from 0
	}
	line = min(max(line+skipped, 1), len(d.lines))
	hint := "look at the indentation, the quotes and the brackets here and in the lines that follow"
	switch {
	case strings.ContainsAny(d.line(line), "\u00a0\u2007\u202f\u3000"):
		hint = "the line holds a space of another kind, such as a no-break space: write plain ones"
	case strings.Contains(message, "mapping values are not allowed"):
		hint = `a text that holds ": " must be in quotes, such as 'a ? b : c'`
	case strings.Contains(message, "tab character"), strings.Contains(message, "cannot start any token"):
		if tab := d.tabAfter(line); tab > 0 {
			line, hint = tab, "indent with spaces, not tabs"
		}
	}
	if d.secret { // the message may quote a value that begins like an alias
		message = yamlQuote.ReplaceAllString(message, "…")
	}
	source := d.line(line)
	indent := len(source) - len(strings.TrimLeft(source, " \t"))
	length := utf8.RuneCountInString(strings.TrimSpace(source))
	d.report(line, indent+1, length, fmt.Sprintf("not YAML: %s; %s", message, hint))
}

// tabAfter is the first line from the given one that is indented with a tab.
func (d *document) tabAfter(line int) int {
	for ; line <= len(d.lines); line++ {
		source := d.line(line)
		if strings.Contains(source[:len(source)-len(strings.TrimLeft(source, " \t"))], "\t") {
			return line
		}
	}
	return 0
}

// walk refuses anchors, aliases, tags, merge keys, keys that are no text and keys
// that are given twice, wherever they stand, and takes out what cannot be read further.
func (d *document) walk(node *yaml.Node) {
	if node.Anchor != "" {
		d.report(node.Line, node.Column, 1+utf8.RuneCountInString(node.Anchor), "YAML anchors are not allowed here: write the value out in each place")
	}
	if node.Style&yaml.TaggedStyle != 0 {
		tag := node.Tag
		if d.secret { // a value that begins like one
			tag = "!…"
		}
		d.report(node.Line, node.Column, utf8.RuneCountInString(node.Tag), fmt.Sprintf("YAML tags such as %s are not allowed here", tag))
	}
	if node.Kind == yaml.MappingNode {
		d.pairs(node)
	} else {
		node.Content = slices.DeleteFunc(node.Content, d.alias)
	}
	for _, child := range node.Content {
		d.walk(child)
	}
}

// alias reports an alias. What it refers to may hold it again, and is not followed.
func (d *document) alias(node *yaml.Node) bool {
	if node.Kind != yaml.AliasNode {
		return false
	}
	d.report(node.Line, node.Column, 1+utf8.RuneCountInString(node.Value), "YAML aliases are not allowed here: write the value out")
	return true
}

// pairs keeps the members of a mapping that have a key of their own.
func (d *document) pairs(node *yaml.Node) {
	first := map[string]*yaml.Node{}
	var kept []*yaml.Node
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		t := d.text(key)
		switch {
		case d.alias(key):
		case key.Kind != yaml.ScalarNode:
			d.report(key.Line, key.Column, 1, fmt.Sprintf("a key is %s, but must be a text", describe(key)))
		case key.Tag == "!!merge":
			d.problems = append(d.problems, t.Problem(0, 0, "YAML merge keys are not allowed here: write the values out"))
		case first[key.Value] != nil:
			before := first[key.Value]
			d.problems = append(d.problems, t.Problem(0, 0, fmt.Sprintf("%q is given twice: the first is at %d:%d", key.Value, before.Line, before.Column)))
		case !d.alias(value):
			first[key.Value] = key
			kept = append(kept, key, value)
		}
	}
	node.Content = kept
}

func (d *document) line(n int) string {
	if n < 1 || n > len(d.lines) {
		return ""
	}
	return d.lines[n-1]
}

// problem makes a problem at a place, moved into the file where a line or
// column lies outside of it.
func (d *document) problem(line, column, length int, message string) Problem {
	line = min(max(line, 1), max(len(d.lines), 1))
	source := d.line(line)
	width := utf8.RuneCountInString(source)
	column = min(max(column, 1), width+1)
	length = max(1, min(length, width-column+1))
	if d.secret {
		source = ""
	}
	return Problem{Pos: Pos{d.file, line, column}, Length: length, Message: message, Source: source}
}

func (d *document) report(line, column, length int, message string) {
	d.problems = append(d.problems, d.problem(line, column, length, message))
}

// text is a scalar with its place.
func (d *document) text(node *yaml.Node) Text {
	return Text{Value: node.Value, doc: d, line: node.Line, column: node.Column, style: node.Style}
}
