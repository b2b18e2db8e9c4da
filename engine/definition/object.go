package definition

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/secure60/s60-m365-connector/engine/expression"
	"gopkg.in/yaml.v3"
)

// reader turns the nodes of one document into values. It reports and goes on:
// a value that is wrong is left zero.
//
// Which keys an object knows is what its reader asks for: a key that nobody
// asked for is unknown. So the message that lists the keys, and the test that
// compares them with the JSON Schema, cannot differ from what is read.
type reader struct {
	*document
	settings map[string]any
	asked    map[string]*shape // by kind of object, for the test of the schemas
}

// shape is what a reader asks of one kind of object.
type shape struct {
	keys, required []string
}

func newReader(d *document, settings map[string]any) *reader {
	return &reader{document: d, settings: settings, asked: map[string]*shape{}}
}

func (r *reader) at(t Text, format string, args ...any) {
	r.problems = append(r.problems, t.Problem(0, 0, fmt.Sprintf(format, args...)))
}

// node reports at a node that need not be a scalar.
func (r *reader) node(node *yaml.Node, format string, args ...any) {
	if node.Kind == yaml.ScalarNode {
		r.at(r.text(node), format, args...)
		return
	}
	length := 1
	if node.Kind == yaml.MappingNode && node.Style&yaml.FlowStyle == 0 && len(node.Content) > 0 {
		length = utf8.RuneCountInString(node.Content[0].Value)
	}
	r.report(node.Line, node.Column, length, fmt.Sprintf(format, args...))
}

// object is a mapping of known keys.
type object struct {
	*reader
	shape  *shape
	name   string // what messages call it
	key    *yaml.Node
	pairs  map[string]pair
	empty  []string // keys without a value, which are not in pairs
	broken bool     // not a mapping: say nothing about its keys
}

type pair struct{ key, value *yaml.Node }

// object opens a mapping of the given kind. key is the key it stands under, nil
// for the document.
func (r *reader) object(kind string, key, node *yaml.Node) *object {
	o := &object{reader: r, shape: &shape{}, name: kind, key: key, pairs: map[string]pair{}}
	if r.asked[kind] == nil {
		r.asked[kind] = o.shape
	}
	if node == nil || node.Kind == yaml.AliasNode {
		o.broken = true
		return o
	}
	if node.Kind != yaml.MappingNode {
		o.broken = true
		r.node(node, "%s is %s, but must be a mapping of keys to values", quoteKey(kind, key), describe(node))
		return o
	}
	if key == nil {
		o.key = node // the document, or an element of a list
	}
	r.entries(node, func(key, value *yaml.Node) { o.pairs[key.Value] = pair{key, value} })
	return o
}

// entries calls f for each key of a mapping, without those that are given
// twice or are no text.
func (r *reader) entries(node *yaml.Node, f func(key, value *yaml.Node)) {
	first := map[string]*yaml.Node{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		switch {
		case key.Kind == yaml.AliasNode: // reported
		case key.Kind != yaml.ScalarNode:
			r.node(key, "a key is %s, but must be a text", describe(key))
		case key.Tag == "!!merge":
			r.node(key, "YAML merge keys are not allowed here: write the values out")
		case first[key.Value] != nil:
			before := first[key.Value]
			r.node(key, "%q is given twice: the first is at %d:%d", key.Value, before.Line, before.Column)
		default:
			first[key.Value] = key
			f(key, value)
		}
	}
}

// take is the value of a key, nil where the file does not give it.
func (o *object) take(key string) *yaml.Node {
	o.shape.keys = append(o.shape.keys, key)
	p, ok := o.pairs[key]
	if !ok {
		return nil
	}
	if p.value.Tag == "!!null" && p.value.Kind == yaml.ScalarNode {
		o.node(p.key, "%q has no value: give it one or remove the key", key)
		delete(o.pairs, key)
		o.empty = append(o.empty, key)
		return nil
	}
	return p.value
}

// must is take for a key that the file has to give.
func (o *object) must(key string) *yaml.Node {
	o.shape.required = append(o.shape.required, key)
	value := o.take(key)
	if value == nil && !slices.Contains(o.empty, key) && !o.broken {
		o.node(o.key, "%s lacks the key %q", o.describe(), key)
	}
	return value
}

func (o *object) describe() string {
	if o.key != nil && o.key.Kind == yaml.ScalarNode {
		return strconv.Quote(o.key.Value)
	}
	switch o.name {
	case "cases":
		return "the case"
	case "errors":
		return "the rule"
	}
	return "the " + o.name
}

// done reports the keys that nobody asked for.
func (o *object) done() {
	for name, p := range o.pairs {
		if !slices.Contains(o.shape.keys, name) {
			o.node(p.key, "unknown key %q%s", name, choose(name, o.shape.keys))
		}
	}
}

// maxChoices is how many words a message lists.
const maxChoices = 24

// choose ends a message about a word that is not one of those expected.
func choose(given string, expected []string) string {
	list := strings.Join(expected, ", ")
	switch near := nearest(given, expected); {
	case near != "" && len(expected) > maxChoices:
		return fmt.Sprintf(": did you mean %q?", near)
	case near != "":
		return fmt.Sprintf(": did you mean %q? Expected one of %s", near, list)
	case len(expected) > maxChoices:
		return ""
	}
	return ": expected one of " + list
}

// nearest is the word that was most likely meant, "" if none is near: few
// letters differ, or the words begin alike.
func nearest(given string, words []string) string {
	if near := expression.Nearest(given, words); near != "" {
		return near
	}
	best, longest := "", 3
	for _, word := range words {
		n := 0
		for n < min(len(given), len(word)) && given[n] == word[n] {
			n++
		}
		if n > longest {
			best, longest = word, n
		}
	}
	return best
}

func quoteKey(kind string, key *yaml.Node) string {
	if key != nil && key.Kind == yaml.ScalarNode {
		return strconv.Quote(key.Value)
	}
	return "the " + kind
}

// describe names what a node is to a person.
func describe(node *yaml.Node) string {
	switch node.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	switch node.Tag {
	case "!!int", "!!float":
		return "a number"
	case "!!bool":
		return "a boolean"
	case "!!null":
		return "empty"
	}
	return "a text"
}

// word is a text that YAML reads as one: a name, a path, a description.
func (o *object) word(key string, node *yaml.Node) Text {
	if node == nil || node.Kind == yaml.AliasNode {
		return Text{}
	}
	if node.Kind != yaml.ScalarNode {
		o.node(node, "%q is %s, but must be a text", key, describe(node))
		return Text{}
	}
	if node.Tag != "!!str" && node.Tag != "!!timestamp" {
		o.node(node, "%q is %s, but must be a text: write it in quotes, \"%s\"", key, describe(node), node.Value)
		return Text{}
	}
	if strings.TrimSpace(node.Value) == "" {
		o.node(node, "%q is empty", key)
		return Text{}
	}
	return o.text(node)
}

// scalar is the text of any scalar as it is written: expressions and templates
// may be 1 or true.
func (o *object) scalar(key string, node *yaml.Node) (Text, bool) {
	if node == nil || node.Kind == yaml.AliasNode {
		return Text{}, false
	}
	if node.Kind != yaml.ScalarNode {
		o.node(node, "%q is %s, but must be a text", key, describe(node))
		return Text{}, false
	}
	return o.text(node), true
}

// words is a list of texts. Where single is set, one text stands for a list of one.
func (o *object) words(key string, node *yaml.Node, single bool) []Text {
	switch {
	case node == nil || node.Kind == yaml.AliasNode:
		return nil
	case node.Kind == yaml.ScalarNode && single:
		if t := o.word(key, node); t.Value != "" {
			return []Text{t}
		}
		return nil
	case node.Kind != yaml.SequenceNode:
		o.node(node, "%q is %s, but must be a list: write [a, b]", key, describe(node))
		return nil
	case len(node.Content) == 0:
		o.node(node, "%q is an empty list: give it a value or remove the key", key)
		return nil
	}
	var list []Text
	for _, item := range node.Content {
		if t := o.word(key, item); t.Value != "" {
			if i := slices.IndexFunc(list, func(u Text) bool { return u.Value == t.Value }); i >= 0 {
				o.node(item, "%q is given twice", t.Value)
				continue
			}
			list = append(list, t)
		}
	}
	return list
}

// values are the plain strings of texts.
func values(list []Text) []string {
	var out []string
	for _, t := range list {
		out = append(out, t.Value)
	}
	return out
}

// count is a whole number of at least least.
func (o *object) count(key string, node *yaml.Node, otherwise, least int) int {
	if node == nil || node.Kind == yaml.AliasNode {
		return otherwise
	}
	n, err := strconv.Atoi(node.Value)
	if node.Kind != yaml.ScalarNode || node.Tag != "!!int" || err != nil || n < least || strconv.Itoa(n) != node.Value {
		hint := ""
		if err == nil && node.Tag == "!!str" {
			hint = ", without quotes"
		}
		o.node(node, "%q must be a whole number of at least %d%s", key, least, hint)
		return otherwise
	}
	return n
}

// duration is a length of time such as 5m, 1h30m or 7d.
func (o *object) duration(key string, node *yaml.Node, otherwise, least time.Duration) time.Duration {
	if node == nil || node.Kind == yaml.AliasNode {
		return otherwise
	}
	d, ok := time.Duration(0), false
	if node.Kind == yaml.ScalarNode && node.Tag == "!!str" {
		d, ok = ParseDuration(node.Value)
	}
	if !ok {
		o.node(node, "%q must be a duration with a unit: 30s, 5m, 1h30m or 7d", key)
		return otherwise
	}
	if d < least {
		if least == 1 {
			o.node(node, "%q must be longer than 0s", key)
		} else {
			o.node(node, "%q must be at least %s", key, short(least))
		}
		return otherwise
	}
	return d
}

// durationForm is that of the JSON Schema too.
var durationForm = regexp.MustCompile(`^([0-9]+(\.[0-9]+)?d)?(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h))*$`)

// ParseDuration reads a duration as Go writes it, with d for a day of 24
// hours: 90s, 1h30m, 7d, 1d12h.
func ParseDuration(s string) (time.Duration, bool) {
	if s == "" || !durationForm.MatchString(s) {
		return 0, false
	}
	total := time.Duration(0)
	if days, rest, ok := strings.Cut(s, "d"); ok {
		n, err := strconv.ParseFloat(days, 64)
		if err != nil || n > 36500 { // a century; twice that is near the end of what a Duration holds
			return 0, false
		}
		total = time.Duration(n * float64(24*time.Hour))
		if rest == "" {
			return total, true
		}
		s = rest
	}
	d, err := time.ParseDuration(s)
	if err != nil || total+d < 0 {
		return 0, false
	}
	return total + d, true
}
