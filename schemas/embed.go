// Package schemas holds the JSON Schemas (draft 2020-12) of feeds, mappings
// and events. Editors read the files for completion; tests validate every
// shipped definition and every event against them.
package schemas

import (
	"embed"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v5"
)

// FS holds *.schema.json at its root.
//
//go:embed *.schema.json
var FS embed.FS

// Feed is the schema of feeds/*.yaml.
func Feed() *jsonschema.Schema { return compile("feed.schema.json") }

// Mapping is the schema of mappings/*.yaml.
func Mapping() *jsonschema.Schema { return compile("mapping.schema.json") }

// Event is the schema of what is sent. To validate an event, decode it with
// json.Decoder.UseNumber into an any, so that no digit is lost, and pass that.
func Event() *jsonschema.Schema { return compile("event.schema.json") }

// compile panics where the schema is not one: it is part of the program.
func compile(name string) *jsonschema.Schema {
	text, err := FS.ReadFile(name)
	if err != nil {
		panic(err)
	}
	c := jsonschema.NewCompiler()
	c.Draft = jsonschema.Draft2020
	c.AssertFormat = true
	c.ExtractAnnotations = true
	if err := c.AddResource(name, strings.NewReader(string(text))); err != nil {
		panic(err)
	}
	return c.MustCompile(name)
}
