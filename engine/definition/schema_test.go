package definition

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v5"
	"github.com/secure60/s60-m365-connector/feeds"
	"github.com/secure60/s60-m365-connector/mappings"
	"github.com/secure60/s60-m365-connector/schemas"
	"gopkg.in/yaml.v3"
)

// completeFeed and completeMapping hold every object of the two languages.
const completeFeed = `
name: x
auth: {scope: s}
licence: {requires: L, missing: status == 403}
for_each: {kind: '["a"]'}
subscribe: {list: {url: "https://a.example"}, active: "true", start: {url: "https://a.example"}}
request: {url: "https://a.example"}
paging: {style: none}
expand: {url: u, key: k}
cursor: {field: f}
window: {}
reconcile: {every: 12h, depth: 2d}
key: id
rate_limit: {requests: 1, per: 1s}
errors: [{when: status == 1, then: skip}]
mapping: m
`

const completeMapping = `
name: x
flatten: {pairs: [a]}
cases: [{when: "true", fields: {a: "1"}}]
`

// schemaObject is one object of a schema, as far as the test compares it.
type schemaObject struct {
	Properties           map[string]json.RawMessage
	Required             []string
	AdditionalProperties any
	OneOf                []schemaObject
	Defs                 map[string]schemaObject `json:"$defs"`
	Items                *schemaObject
	Enum                 []string
	Const                string
}

func (s schemaObject) property(t *testing.T, path ...string) schemaObject {
	t.Helper()
	for _, name := range path {
		raw, ok := s.Properties[name]
		if !ok {
			t.Fatalf("the schema has no property %q", name)
		}
		s = schemaObject{}
		if err := json.Unmarshal(raw, &s); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func readSchema(t *testing.T, name string) schemaObject {
	t.Helper()
	raw, err := schemas.FS.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var s schemaObject
	if err := json.Unmarshal(raw, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSchemaKeys compares, both ways, the keys that the loader asks for with
// those of the schemas, and which of them are required.
func TestSchemaKeys(t *testing.T) {
	feed, mapping := readSchema(t, "feed.schema.json"), readSchema(t, "mapping.schema.json")
	asked := map[string]*shape{}
	for kind, text := range map[string]string{"feed": completeFeed, "mapping": completeMapping} {
		r := newReader(parse("x.yaml", []byte(text)), nil)
		if kind == "feed" {
			r.feed("x")
		} else {
			r.mapping("x")
		}
		for _, p := range r.problems {
			t.Error(p)
		}
		for kind, s := range r.asked {
			asked[kind] = s
		}
	}
	objects := map[string]schemaObject{
		"feed": feed, "auth": feed.property(t, "auth"), "licence": feed.property(t, "licence"),
		"subscribe": feed.property(t, "subscribe"), "request": feed.Defs["request"], "expand": feed.property(t, "expand"),
		"cursor": feed.property(t, "cursor"), "window": feed.property(t, "window"), "reconcile": feed.property(t, "reconcile"), "rate_limit": feed.property(t, "rate_limit"),
		"errors":  *feed.property(t, "errors").Items,
		"mapping": mapping, "flatten": mapping.property(t, "flatten"), "cases": *mapping.property(t, "cases").Items,
	}
	// Of paging, the loader asks for the keys of all styles; for_each has no keys
	// of its own.
	union := schemaObject{AdditionalProperties: false, Required: []string{"style"}, Properties: map[string]json.RawMessage{}}
	for _, branch := range feed.property(t, "paging").OneOf {
		for key, raw := range branch.Properties {
			union.Properties[key] = raw
		}
	}
	objects["paging"] = union
	delete(asked, "for_each")
	for kind, s := range asked {
		object, ok := objects[kind]
		if !ok {
			t.Errorf("the loader reads an object %q that this test does not find in the schemas", kind)
			continue
		}
		delete(objects, kind)
		if object.AdditionalProperties != false {
			t.Errorf("%s: additionalProperties is not false", kind)
		}
		var keys []string
		for key := range object.Properties {
			keys = append(keys, key)
		}
		same(t, kind+" keys", s.keys, keys)
		same(t, kind+" required", s.required, object.Required)
	}
	for kind := range objects {
		t.Errorf("the loader reads no object %q", kind)
	}
}

func same(t *testing.T, what string, loader, schema []string) {
	t.Helper()
	loader, schema = slices.Clone(loader), slices.Clone(schema)
	slices.Sort(loader)
	slices.Sort(schema)
	if !slices.Equal(loader, schema) {
		t.Errorf("%s: loader %v, schema %v", what, loader, schema)
	}
}

// TestSchemaWords compares the words that keys may have as values.
func TestSchemaWords(t *testing.T) {
	feed := readSchema(t, "feed.schema.json")
	same(t, "then", thens, (*feed.property(t, "errors").Items).property(t, "then").Enum)
	var styles []string
	for _, branch := range feed.property(t, "paging").OneOf {
		style := branch.property(t, "style").Const
		styles = append(styles, style)
		var keys []string
		for key := range branch.Properties {
			if key != "style" && key != "keep" {
				keys = append(keys, key)
			}
		}
		spec := pagingKeys[style]
		same(t, "paging "+style, append(slices.Clone(spec.needs), spec.takes...), keys)
		same(t, "paging "+style+" required", append([]string{"style"}, spec.needs...), branch.Required)
		if _, keep := branch.Properties["keep"]; keep != (Paging{Style: style}).followsLink() {
			t.Errorf("paging %s: keep is in only one of loader and schema", style)
		}
	}
	same(t, "paging styles", pagingStyles, styles)
	for _, method := range feed.Defs["request"].property(t, "method").Enum {
		if !methodName.MatchString(method) {
			t.Errorf("the loader refuses the method %s", method)
		}
	}
	var all struct {
		Defs map[string]struct{ Pattern string } `json:"$defs"`
	}
	raw, _ := schemas.FS.ReadFile("feed.schema.json")
	if err := json.Unmarshal(raw, &all); err != nil {
		t.Fatal(err)
	}
	if got := all.Defs["duration"].Pattern; got != durationForm.String() {
		t.Errorf("durations: loader %s, schema %s", durationForm, got)
	}
}

// TestSchemaHelps makes sure that an editor has something to show for every
// key.
func TestSchemaHelps(t *testing.T) {
	for _, name := range []string{"feed.schema.json", "mapping.schema.json"} {
		raw, err := schemas.FS.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var tree any
		if err := json.Unmarshal(raw, &tree); err != nil {
			t.Fatal(err)
		}
		count := 0
		var walk func(at string, node any)
		walk = func(at string, node any) {
			switch n := node.(type) {
			case []any:
				for _, child := range n {
					walk(at, child)
				}
			case map[string]any:
				if properties, ok := n["properties"].(map[string]any); ok {
					for key, p := range properties {
						count++
						p := p.(map[string]any)
						if text, _ := p["description"].(string); len(text) < 10 {
							t.Errorf("%s: %s.%s has no description", name, at, key)
						}
						if examples, _ := p["examples"].([]any); len(examples) == 0 {
							t.Errorf("%s: %s.%s has no examples", name, at, key)
						}
					}
				}
				for key, child := range n {
					walk(at+"."+key, child)
				}
			}
		}
		walk("", tree)
		if count < 10 {
			t.Errorf("%s: %d properties found", name, count)
		}
	}
}

// TestSchemaExamples checks each example of a key against the key's own
// schema.
func TestSchemaExamples(t *testing.T) {
	for name, schema := range map[string]*jsonschema.Schema{"feed": schemas.Feed(), "mapping": schemas.Mapping(), "event": schemas.Event()} {
		seen := map[*jsonschema.Schema]bool{}
		var walk func(at string, s *jsonschema.Schema)
		walk = func(at string, s *jsonschema.Schema) {
			if s == nil || seen[s] {
				return
			}
			seen[s] = true
			for _, example := range s.Examples {
				if err := s.Validate(example); err != nil {
					t.Errorf("%s%s: example %v: %v", name, at, example, err)
				}
			}
			for key, p := range s.Properties {
				walk(at+"."+key, p)
			}
			for _, branch := range s.OneOf {
				walk(at, branch)
			}
			if s.Items2020 != nil {
				walk(at+"[]", s.Items2020)
			}
			walk(at, s.Ref)
		}
		walk("", schema)
		if len(seen) < 10 {
			t.Errorf("%s: %d schemas walked", name, len(seen))
		}
	}
}

// plain turns YAML into what the schema library validates.
func plain(t testing.TB, node *yaml.Node) any {
	switch node.Kind {
	case yaml.DocumentNode:
		return plain(t, node.Content[0])
	case yaml.MappingNode:
		m := map[string]any{}
		for i := 0; i+1 < len(node.Content); i += 2 {
			m[node.Content[i].Value] = plain(t, node.Content[i+1])
		}
		return m
	case yaml.SequenceNode:
		list := []any{}
		for _, child := range node.Content {
			list = append(list, plain(t, child))
		}
		return list
	}
	if node.Tag == "!!str" || node.Tag == "!!timestamp" {
		return node.Value
	}
	var v any
	if err := node.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

func validate(t testing.TB, schema *jsonschema.Schema, data []byte) error {
	var node yaml.Node
	if err := yaml.Unmarshal(data, &node); err != nil {
		t.Fatal(err)
	}
	return schema.Validate(plain(t, &node))
}

func TestShippedFilesFollowTheSchemas(t *testing.T) {
	for kind, of := range map[string]struct {
		fsys   fs.FS
		schema *jsonschema.Schema
	}{"feed": {feeds.FS, schemas.Feed()}, "mapping": {mappings.FS, schemas.Mapping()}} {
		files, err := fs.Glob(of.fsys, "*.yaml")
		if err != nil || len(files) == 0 {
			t.Fatal("no files", err)
		}
		for _, file := range files {
			data, err := fs.ReadFile(of.fsys, file)
			if err != nil {
				t.Fatal(err)
			}
			if err := validate(t, of.schema, data); err != nil {
				t.Errorf("%s: %#v", file, err)
			}
			first, _, _ := strings.Cut(string(data), "\n")
			if want := "# yaml-language-server: $schema=../schemas/" + kind + ".schema.json"; first != want {
				t.Errorf("%s: the first line is %q, not %q", file, first, want)
			}
		}
	}
}

// TestExamples loads the examples of the documentation as they stand.
func TestExamples(t *testing.T) {
	settings := map[string]any{
		"TENANT_ID": "t", "PUBLISHER_ID": "p", "MS_MANAGE_BASE": "https://manage.example", "MS_GRAPH_BASE": "https://graph.example",
		"ENABLE_MGMT_ACTIVITY": true, "ENABLE_GRAPH": true, "MGMT_CONTENT_TYPES": []any{"Audit.Exchange"},
	}
	files, _ := filepath.Glob("testdata/examples/*.yaml")
	if len(files) != 3 {
		t.Fatalf("%d examples", len(files))
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		schema, problems := schemas.Feed(), []Problem(nil)
		if kind, _ := kindOf(file, data); kind == "mappings" {
			schema = schemas.Mapping()
			_, problems = ParseMapping(file, data)
		} else {
			_, problems = ParseFeed(file, data, settings)
		}
		for _, p := range problems {
			t.Error(p)
		}
		if err := validate(t, schema, data); err != nil {
			t.Errorf("%s: %#v", file, err)
		}
	}
}
