// Package schemas holds the JSON Schemas (draft 2020-12) of feeds, mappings
// and events. Those of feeds and mappings are the one description of the two
// languages: loading validates by them, docs/feeds.md and docs/mappings.md are generated
// from them, and editors read the files for completion.
//
// Beside the standard's keywords they use three of their own. errorMessage says what
// is wrong, in words that follow the name of the key; editors show it, too.
// minimumDuration is the least length of time. extends: append says that an extending
// file's list goes behind that of its base, instead of replacing it.
package schemas

import (
	"bytes"
	"embed"
	"encoding/json"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v5"
)

// FS holds *.schema.json at its root.
//
//go:embed *.schema.json
var FS embed.FS

// Document is a schema with its text as a tree, in which the places that a violation
// names can be looked up. It may be used by several goroutines at once.
type Document struct {
	// Compiled validates. It is made once it is asked for: what is shipped is not validated at each start.
	Compiled func() *jsonschema.Schema
	Root     map[string]any
}

// Validate holds a value to the schema.
func (d *Document) Validate(value any) error { return d.Compiled().Validate(value) }

// Feed is the schema of feeds/*.yaml, Mapping that of mappings/*.yaml, and Event that
// of what is sent. To validate an event, decode it with json.Decoder.UseNumber into an
// any, so that no digit is lost, and pass that.
var (
	Feed    = sync.OnceValue(func() *Document { return read("feed.schema.json") })
	Mapping = sync.OnceValue(func() *Document { return read("mapping.schema.json") })
	Event   = sync.OnceValue(func() *Document { return read("event.schema.json") })
)

// read panics where the schema is not one: it is part of the program.
func read(name string) *Document {
	text, err := FS.ReadFile(name)
	if err != nil {
		panic(err)
	}
	root, err := ordered(json.NewDecoder(bytes.NewReader(text)))
	if err != nil {
		panic(err)
	}
	return &Document{Compiled: sync.OnceValue(func() *jsonschema.Schema { return compile(name, text) }), Root: root.(members).object}
}

func compile(name string, text []byte) *jsonschema.Schema {
	c := jsonschema.NewCompiler()
	c.Draft = jsonschema.Draft2020
	c.AssertFormat = true
	c.ExtractAnnotations = true
	c.RegisterExtension("minimumDuration", nil, durationKeyword{})
	if err := c.AddResource(name, bytes.NewReader(text)); err != nil {
		panic(err)
	}
	return c.MustCompile(name)
}

// order is where a schema's tree keeps the names of properties in the order in which
// they are written.
const order = "properties in order"

// Keys are the names of an object's properties, as they are ordered in the schema.
func Keys(schema map[string]any) []string {
	keys, _ := schema[order].([]string)
	return keys
}

// ordered decodes a value, and notes the order of properties.
func ordered(d *json.Decoder) (any, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch token {
	case json.Delim('['):
		list := []any{}
		for d.More() {
			item, err := ordered(d)
			if err != nil {
				return nil, err
			}
			if m, ok := item.(members); ok {
				item = m.object
			}
			list = append(list, item)
		}
		_, err = d.Token()
		return list, err
	case json.Delim('{'):
		object, names := map[string]any{}, []string{}
		for d.More() {
			name, err := d.Token()
			if err != nil {
				return nil, err
			}
			value, err := ordered(d)
			if err != nil {
				return nil, err
			}
			object[name.(string)] = value
			names = append(names, name.(string))
			if properties, ok := value.(members); ok {
				object[name.(string)] = properties.object
				if name == "properties" {
					object[order] = properties.names
				}
			}
		}
		_, err = d.Token()
		return members{object, names}, err
	}
	return token, nil
}

// members are those of an object, in order.
type members struct {
	object map[string]any
	names  []string
}

// Lookup is the part of the schema that an absolute keyword location points to, and
// the schema object around it. nil, where there is none.
func (d *Document) Lookup(location string) (value any, around map[string]any) {
	_, pointer, _ := strings.Cut(location, "#")
	value = d.Root
	for _, step := range Steps(pointer) {
		switch v := value.(type) {
		case map[string]any:
			around, value = v, v[step]
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i >= len(v) {
				return nil, around
			}
			value = v[i]
		default:
			return nil, around
		}
	}
	return value, around
}

// Follow is the schema that a schema refers to, with what stands beside the
// reference over it.
func (d *Document) Follow(schema map[string]any) map[string]any {
	ref, _ := schema["$ref"].(string)
	if ref == "" {
		return schema
	}
	referred, _ := d.Lookup(ref)
	merged := map[string]any{}
	for _, from := range []any{referred, schema} {
		from, _ := from.(map[string]any)
		for key, value := range from {
			merged[key] = value
		}
	}
	delete(merged, "$ref")
	return merged
}

// Steps are the parts of a JSON pointer, as the validator writes it.
func Steps(pointer string) []string {
	if pointer == "" || pointer == "/" {
		return nil
	}
	steps := strings.Split(strings.TrimPrefix(pointer, "/"), "/")
	for i, step := range steps {
		if plain, err := url.PathUnescape(step); err == nil {
			step = plain
		}
		steps[i] = strings.ReplaceAll(strings.ReplaceAll(step, "~1", "/"), "~0", "~")
	}
	return steps
}
