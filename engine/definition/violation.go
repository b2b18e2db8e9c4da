package definition

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v5"
	"github.com/secure60/s60-m365-connector/schemas"
	"gopkg.in/yaml.v3"
)

// validate holds a tree to its schema, and says of each violation where it stands, in
// words for who wrote the file. A partial tree may lack required keys.
func (t *tree) validate(schema *schemas.Document, partial bool) {
	var err *jsonschema.ValidationError
	if !errors.As(schema.Validate(plain(t.root)), &err) {
		return
	}
	v := violations{tree: t, schema: schema, partial: partial, seen: map[*yaml.Node]bool{}}
	v.leaves(err)
}

// violations turns what the validator found into problems.
type violations struct {
	*tree
	schema  *schemas.Document
	partial bool
	seen    map[*yaml.Node]bool // one problem is enough for a value
}

// leaves says each violation that has no further causes, or whose causes are
// alternatives.
func (v *violations) leaves(e *jsonschema.ValidationError) {
	if len(e.Causes) == 0 || strings.HasSuffix(e.KeywordLocation, "/anyOf") {
		v.say(e)
		return
	}
	for _, cause := range e.Causes {
		v.leaves(cause)
	}
}

// violation is one keyword of the schema that a value does not satisfy.
type violation struct {
	keyword   string
	wants     any            // the keyword's value
	schema    map[string]any // the object that holds the keyword
	condition bool           // it is wanted only because of what stands beside it
	key       *yaml.Node     // nil of an element of a list, and of the document
	node      *yaml.Node
	name      string // how messages call it
}

func (v *violations) say(e *jsonschema.ValidationError) {
	location := e.AbsoluteKeywordLocation
	cut := strings.LastIndexByte(location, '/')
	if i := strings.Index(location, "/dependentRequired/"); i >= 0 {
		cut = i
	}
	f := violation{keyword: schemas.Steps(location[cut:])[0]}
	f.wants, f.schema = v.schema.Lookup(location)
	if f.keyword == "dependentRequired" {
		_, f.schema = v.schema.Lookup(location[:cut] + "/dependentRequired")
	}
	f.condition = strings.Contains(e.KeywordLocation, "/then/")
	steps := schemas.Steps(e.InstanceLocation)
	f.node, f.name = v.root, "the "+strings.ToLower(v.schema.Root["title"].(string))
	for _, step := range steps {
		if f.key, f.node = child(f.node, step); f.node == nil {
			return // of a name that YAML writes in another way
		}
		if f.key != nil {
			f.name = strconv.Quote(f.key.Value)
		}
	}
	at, message := v.phrase(f, strings.Contains(e.KeywordLocation, "/propertyNames"), schemas.Steps(location[cut:]))
	if message == "" || v.seen[at] && f.keyword != "required" {
		return
	}
	v.seen[at] = true
	v.report(at, "%s", message)
}

// phrase is what to say, and at which node.
func (v *violations) phrase(f violation, ofName bool, steps []string) (*yaml.Node, string) {
	said, _ := f.schema["errorMessage"].(string)
	switch {
	case ofName && f.keyword == "minLength": // its place is that of the object
		key, _ := child(f.node, "")
		return key, "a name in " + f.name + " is empty"
	case ofName && f.keyword == "enum": // of an object whose other keys say which it may have
		var takes []string
		for _, word := range words(f.wants) {
			if word != "style" {
				takes = append(takes, word)
			}
		}
		message := fmt.Sprintf("this style of paging takes no %q", f.key.Value)
		if len(takes) > 0 {
			message += ": it takes " + strings.Join(takes, ", ")
		}
		return f.key, message
	case ofName:
		return f.key, f.name + " " + said
	}
	switch f.keyword {
	case "additionalProperties":
		known := schemas.Keys(f.schema)
		for i := 0; i+1 < len(f.node.Content); i += 2 {
			if key := f.node.Content[i]; !slices.Contains(known, key.Value) {
				v.report(key, "unknown key %q%s", key.Value, choose(key.Value, known))
				v.seen[key] = true
			}
		}
	case "required":
		if v.partial {
			return nil, ""
		}
		title, _ := f.schema["title"].(string)
		switch {
		case f.condition && title != "":
			f.name += " of " + title
		case f.key == nil && title != "":
			f.name = "the " + strings.ToLower(title)
		}
		at := f.key
		if at == nil {
			at = f.node
		}
		for _, name := range words(f.wants) {
			if key, _ := child(f.node, name); key == nil {
				v.report(at, "%s lacks the key %q", f.name, name)
			}
		}
	case "dependentRequired":
		if v.partial {
			return nil, ""
		}
		key, _ := child(f.node, steps[1])
		if said == "" {
			said = fmt.Sprintf("needs the key %q", f.wants)
		}
		return key, fmt.Sprintf("%q %s", steps[1], said)
	case "uniqueItems":
		first := map[string]bool{}
		for _, item := range f.node.Content {
			if first[item.Value] {
				return item, fmt.Sprintf("%q is given twice", item.Value)
			}
			first[item.Value] = true
		}
	case "maxProperties":
		return f.node.Content[2], fmt.Sprintf("%s holds a second name: it takes one", f.name)
	case "minProperties":
		return f.node, f.name + " is empty"
	case "minItems":
		return f.node, f.name + " is an empty list: give it a value or remove the key"
	default:
		return v.value(f, said)
	}
	return nil, ""
}

// value is what to say of a value that is not as it must be.
func (v *violations) value(f violation, said string) (*yaml.Node, string) {
	switch {
	case isNull(f.node):
		at := f.key
		if at == nil {
			at = f.node
		}
		if f.schema["title"] == "Value" {
			return at, f.name + " has no value: give it an expression, or nil to leave the field out"
		}
		return at, f.name + " has no value: give it one or remove the key"
	case f.keyword == "minLength", f.keyword == "pattern" && strings.TrimSpace(f.node.Value) == "":
		return f.node, f.name + " is empty"
	case f.keyword == "enum":
		return f.node, fmt.Sprintf("unknown %s %q%s", strings.Trim(f.name, `"`), f.node.Value, choose(f.node.Value, words(f.wants)))
	case f.keyword == "minimumDuration":
		if least, _ := ParseDuration(f.wants.(string)); least > 0 {
			return f.node, fmt.Sprintf("%s must be at least %s", f.name, f.wants)
		}
		return f.node, f.name + " " + said
	case f.keyword == "minimum", f.keyword == "type" && f.wants == "integer":
		message := fmt.Sprintf("%s must be a whole number of at least %v", f.name, f.schema["minimum"])
		if f.schema["type"] != "integer" {
			message = fmt.Sprintf("%s must be at least %v", f.name, f.wants)
		}
		if _, err := strconv.Atoi(f.node.Value); err == nil && f.node.Tag == "!!str" {
			message += ", without quotes"
		}
		return f.node, message
	case f.keyword == "maximum":
		return f.node, fmt.Sprintf("%s must be at most %v", f.name, f.wants)
	case f.keyword != "type":
		return f.node, f.name + " " + said
	}
	if f.node.Kind == yaml.ScalarNode && (f.node.Tag == "!!int" || f.node.Tag == "!!float") {
		if _, ok := number(f.node); !ok {
			return f.node, f.name + " is a number in a form that reads in more than one way: write it as plain decimal, or in quotes"
		}
	}
	message := fmt.Sprintf("%s is %s, but ", f.name, describe(f.node))
	switch {
	case strings.HasPrefix(said, "must be"):
		message += said
	case f.wants == "object":
		message += "must be a mapping of keys to values"
	case f.wants == "array":
		message += "must be a list: write [a, b]"
	case f.wants == "boolean":
		message += "must be true or false"
	case f.wants == "number":
		message += "must be a number"
	default:
		message += "must be a text"
		if f.wants == "string" && f.node.Kind == yaml.ScalarNode {
			message += fmt.Sprintf(": write it in quotes, %q", f.node.Value)
		}
	}
	return f.node, message
}

// words are the texts of a list in a schema.
func words(list any) []string {
	var out []string
	items, _ := list.([]any)
	for _, item := range items {
		out = append(out, fmt.Sprint(item))
	}
	return out
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

// plain turns YAML into what the schemas are asked about. A number in a form that
// reads in more than one way (010, 1_000, .inf) is none.
func plain(node *yaml.Node) any {
	switch node.Kind {
	case yaml.MappingNode:
		object := make(map[string]any, len(node.Content)/2)
		for i := 0; i+1 < len(node.Content); i += 2 {
			object[node.Content[i].Value] = plain(node.Content[i+1])
		}
		return object
	case yaml.SequenceNode:
		list := make([]any, len(node.Content))
		for i, item := range node.Content {
			list[i] = plain(item)
		}
		return list
	}
	switch node.Tag {
	case "!!str", "!!timestamp":
		return node.Value
	case "!!bool":
		return strings.EqualFold(node.Value, "true")
	case "!!int", "!!float":
		if n, ok := number(node); ok {
			return json.Number(fmt.Sprint(n))
		}
	}
	return nil
}

// number is the value of a number, an int or a float64, if it is written in the one
// form that everyone reads alike.
func number(node *yaml.Node) (any, bool) {
	if node.Tag == "!!int" {
		n, err := strconv.Atoi(node.Value)
		return n, err == nil && strconv.Itoa(n) == node.Value
	}
	f, err := strconv.ParseFloat(node.Value, 64)
	return f, err == nil && f-f == 0 && !strings.ContainsAny(node.Value, "_xX") // neither infinite nor NaN
}
