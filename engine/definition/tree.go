package definition

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/secure60/s60-m365-connector/engine/expression"
	"github.com/secure60/s60-m365-connector/schemas"
	"gopkg.in/yaml.v3"
)

// tree is a definition as it is in force: a document, or one put over others. Each
// node knows the document that it stands in.
type tree struct {
	doc      *document // that bears the definition's name
	root     *yaml.Node
	from     map[*yaml.Node]*document // of nodes out of other documents
	base     *tree                    // what it extends, nil if nothing
	over     string                   // the name of that
	changed  bool                     // it is the user's, or stands on what is
	problems []Problem
}

func newTree(d *document) *tree {
	t := &tree{doc: d, root: d.root, problems: d.problems}
	d.root = nil // texts keep their document for its lines: its nodes are many times as large
	return t
}

// abstract reports whether a definition is a base that does not run.
func (t *tree) abstract() bool {
	_, node := t.get("abstract")
	return node != nil && strings.EqualFold(node.Value, "true")
}

// sourceType is the name of the definition that is not abstract and extends none of those.
func (t *tree) sourceType() string {
	if t.base != nil && !t.base.abstract() {
		return t.base.sourceType()
	}
	_, name := t.get("name")
	if name == nil {
		return ""
	}
	return name.Value
}

// yaml writes the tree in the order of its schema, with the place of each key.
func (t *tree) yaml(schema *schemas.Document) []byte {
	root := t.annotated(t.root)
	ordered := *root
	ordered.Content = nil
	for _, name := range schemas.Keys(schema.Root) {
		if key, value := child(root, name); key != nil {
			ordered.Content = append(ordered.Content, key, value)
		}
	}
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(&ordered); err != nil {
		return nil
	}
	return b.Bytes()
}

// annotated is a copy of a node whose keys say where they come from. A mapping of several
// files' keys has a line for each.
func (t *tree) annotated(node *yaml.Node) *yaml.Node {
	c := *node
	c.HeadComment, c.LineComment, c.FootComment = "", "", ""
	c.Content = make([]*yaml.Node, len(node.Content))
	for i, child := range node.Content {
		c.Content[i] = t.annotated(child)
		if t.of(child) != t.of(node.Content[0]) {
			c.Style &^= yaml.FlowStyle
		}
	}
	if node.Kind != yaml.MappingNode || c.Style&yaml.FlowStyle != 0 {
		return &c
	}
	for i := 0; i+1 < len(c.Content); i += 2 {
		at := c.Content[i+1] // the comment goes to the end of the line
		if at.Kind != yaml.ScalarNode && at.Style&yaml.FlowStyle == 0 || at.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
			at = c.Content[i]
		}
		at.LineComment = fmt.Sprintf("# %s:%d", t.of(node.Content[i]).file, node.Content[i].Line)
	}
	return &c
}

// of is the document that a node stands in.
func (t *tree) of(node *yaml.Node) *document {
	if d := t.from[node]; d != nil {
		return d
	}
	return t.doc
}

// text is a scalar with its place.
func (t *tree) text(node *yaml.Node) Text {
	text := t.of(node).text(node)
	if text.doc != t.doc {
		text.by = t.doc.file
	}
	return text
}

func (t *tree) add(p Problem) {
	t.problems = append(t.problems, p)
}

// report notes a problem at a node.
func (t *tree) report(node *yaml.Node, format string, args ...any) {
	message := fmt.Sprintf(format, args...)
	if node.Kind == yaml.ScalarNode {
		t.add(t.text(node).Problem(0, 0, message))
		return
	}
	d := t.of(node)
	line, column, length := node.Line, node.Column, 1
	if node.Kind == yaml.MappingNode && node.Style&yaml.FlowStyle == 0 && len(node.Content) > 0 {
		first := node.Content[0]
		for _, key := range node.Content { // a merged mapping may begin with a key of its base
			if t.of(key) == d {
				first = key
				break
			}
		}
		line, column, length = first.Line, first.Column, utf8.RuneCountInString(first.Value)
	}
	p := d.problem(line, column, length, message)
	if d != t.doc {
		p.By = t.doc.file
	}
	t.add(p)
}

// warn notes what is worth saying of a definition that is valid.
func (t *tree) warn(node *yaml.Node, format string, args ...any) {
	t.report(node, format, args...)
	t.problems[len(t.problems)-1].Warning = true
}

// faulty reports whether something is wrong at a node: what follows from it is not
// worth saying.
func (t *tree) faulty(node *yaml.Node) bool { return t.faultyAt(t.text(node).Pos()) }

func (t *tree) faultyAt(at Pos) bool {
	return slices.ContainsFunc(t.problems, func(p Problem) bool { return p.Pos == at })
}

// get is the key and the value at a path of keys joined with dots, nil where
// there is none.
func (t *tree) get(path string) (key, value *yaml.Node) { return member(t.root, path) }

// has reports whether there is a key at a path.
func (t *tree) has(path string) bool {
	key, _ := t.get(path)
	return key != nil
}

func member(node *yaml.Node, path string) (key, value *yaml.Node) {
	value = node
	for _, step := range strings.Split(path, ".") {
		if key, value = child(value, step); value == nil {
			return nil, nil
		}
	}
	return key, value
}

// child is the member of a mapping, or the element of a list, of that name.
func child(node *yaml.Node, name string) (key, value *yaml.Node) {
	switch {
	case node == nil:
	case node.Kind == yaml.MappingNode:
		for i := 0; i+1 < len(node.Content); i += 2 {
			if node.Content[i].Value == name {
				return node.Content[i], node.Content[i+1]
			}
		}
	case node.Kind == yaml.SequenceNode:
		if i, err := strconv.Atoi(name); err == nil && i >= 0 && i < len(node.Content) {
			return nil, node.Content[i]
		}
	}
	return nil, nil
}

// isNull reports whether a value is left out or null.
func isNull(node *yaml.Node) bool {
	return node.Kind == yaml.ScalarNode && node.Tag == "!!null"
}

// identity are the keys of a base that do not pass to what extends it.
// A file that extends the shipped one of its own name stays abstract with it.
var identity = []string{"name", "abstract", "extends"}

// extend puts a tree over its base, in the way that the schema says.
func (t *tree) extend(base *tree, schema *schemas.Document) {
	t.from = map[*yaml.Node]*document{}
	root := *base.root
	root.Content = nil
	for i := 0; i+1 < len(base.root.Content); i += 2 {
		key := base.root.Content[i]
		if !slices.Contains(identity, key.Value) || key.Value == "abstract" && t.sameName(base) {
			root.Content = append(root.Content, key, base.root.Content[i+1])
		}
	}
	t.adopt(&root, base)
	t.root = t.merge(&root, t.root, schema, schema.Root)
}

// sameName reports whether a tree extends the shipped one of its own name.
func (t *tree) sameName(base *tree) bool {
	_, own := t.get("name")
	_, other := base.get("name")
	return own != nil && other != nil && own.Value == other.Value
}

// adopt notes that a node and all below it are of the base's documents.
func (t *tree) adopt(node *yaml.Node, base *tree) {
	t.from[node] = base.of(node)
	for _, child := range node.Content {
		t.adopt(child, base)
	}
}

// merge is own over base: mappings key by key, where null takes a key away; lists
// behind each other where the schema says append; all else is replaced.
func (t *tree) merge(base, own *yaml.Node, document *schemas.Document, schema map[string]any) *yaml.Node {
	schema = document.Follow(schema)
	merged := *own
	switch {
	case base.Kind == yaml.MappingNode && own.Kind == yaml.MappingNode:
		merged.Content = nil
		for i := 0; i+1 < len(own.Content); i += 2 {
			key, value := own.Content[i], own.Content[i+1]
			before, under := child(base, key.Value)
			switch {
			case before == nil && isNull(value):
				t.warn(key, "%q takes nothing away: the base does not have it", key.Value)
				continue
			case isNull(value):
				continue
			case before != nil:
				value = t.merge(under, value, document, property(schema, key.Value))
			}
			merged.Content = append(merged.Content, key, value)
		}
		for i := 0; i+1 < len(base.Content); i += 2 {
			if key, _ := child(own, base.Content[i].Value); key == nil {
				merged.Content = append(merged.Content, base.Content[i], base.Content[i+1])
			}
		}
	case base.Kind == yaml.SequenceNode && own.Kind == yaml.SequenceNode && schema["extends"] == "append":
		merged.Content = slices.Concat(base.Content, own.Content)
	default:
		return own
	}
	return &merged
}

// property is the schema of a member.
func property(schema map[string]any, name string) map[string]any {
	properties, _ := schema["properties"].(map[string]any)
	if p, ok := properties[name].(map[string]any); ok {
		return p
	}
	p, _ := schema["additionalProperties"].(map[string]any)
	return p
}

// maxChoices is how many words a message lists.
const maxChoices = 32

// choose ends a message about a word that is not one of those expected.
func choose(given string, expected []string) string {
	if len(expected) == 0 {
		return ""
	}
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
