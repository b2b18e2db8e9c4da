package schemas_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/secure60/s60-m365-connector/schemas"
)

//go:generate go test . -run TestPages -update

var update = flag.Bool("update", false, "write the generated parts of docs/feeds.md and docs/mappings.md")

// TestPages holds the tables of keys in the pages to the schemas; -update writes them.
// What is around the marks is written by hand.
func TestPages(t *testing.T) {
	for page, schema := range map[string]*schemas.Document{"feeds.md": schemas.Feed(), "mappings.md": schemas.Mapping()} {
		path := filepath.Join("..", "docs", page)
		old, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		mark := regexp.MustCompile(`(?s)(<!-- keys: generated[^>]*-->\n).*?(<!-- end of keys -->)`)
		parts := mark.FindSubmatch(old)
		if parts == nil {
			t.Fatalf("%s has no place for the keys", page)
		}
		var b bytes.Buffer
		b.WriteString("| key | meaning | default | example |\n| --- | --- | --- | --- |\n")
		table{&b, schema}.rows(schema.Root, "")
		made := bytes.Replace(old, parts[0], fmt.Appendf(nil, "%s\n%s\n%s", parts[1], &b, parts[2]), 1)
		if *update {
			if err := os.WriteFile(path, made, 0o644); err != nil {
				t.Fatal(err)
			}
		} else if !bytes.Equal(made, old) {
			t.Errorf("docs/%s is not what the schema says: run go generate ./schemas", page)
		}
	}
}

// table writes a row for each key.
type table struct {
	*bytes.Buffer
	schema *schemas.Document
}

func (b table) rows(schema map[string]any, path string) {
	properties, _ := schema["properties"].(map[string]any)
	for _, name := range schemas.Keys(schema) {
		p := b.schema.Follow(properties[name].(map[string]any))
		at := strings.TrimPrefix(path+"."+name, ".")
		meaning := fmt.Sprint(p["description"])
		if required, _ := schema["required"].([]any); slices.Contains(required, any(name)) {
			meaning = "**Required.** " + meaning
		}
		if enum, _ := p["enum"].([]any); len(enum) > 0 && !strings.Contains(meaning, enum[0].(string)) {
			meaning += " One of `" + strings.Join(texts(enum), "`, `") + "`."
		}
		if p["extends"] == "append" {
			meaning += " With `extends`, it is added behind that of the base."
		}
		example := ""
		if examples, _ := p["examples"].([]any); len(examples) > 0 && p["properties"] == nil { // the keys within have their own
			example = code(examples[0])
		}
		otherwise := ""
		if p["default"] != nil {
			otherwise = code(p["default"])
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", at, cell(meaning), otherwise, example)
		if ref := properties[name].(map[string]any)["$ref"]; path != "" && (ref == "#/$defs/request" || ref == "#/$defs/paging") {
			continue // as those of the feed itself
		}
		b.rows(p, at)
		b.styles(p, at)
		if items, ok := p["items"].(map[string]any); ok {
			b.rows(b.schema.Follow(items), at+"[]")
		}
	}
}

// styles are the alternatives of an object, each with the keys that it takes.
func (b table) styles(schema map[string]any, path string) {
	conditions, _ := schema["allOf"].([]any)
	for _, c := range conditions {
		then, _ := c.(map[string]any)["then"].(map[string]any)
		title, _ := then["title"].(string)
		name, ok := strings.CutPrefix(title, "style ")
		if !ok {
			continue
		}
		takes, _ := then["propertyNames"].(map[string]any)["enum"].([]any)
		required, _ := then["required"].([]any)
		keys := texts(takes)
		for i, key := range keys {
			if i > 0 && !slices.Contains(required, any(key)) {
				keys[i] += "?"
			}
		}
		fmt.Fprintf(b, "| `%s: {style: %s}` | %s Keys: `%s`. | | |\n", path, name, cell(fmt.Sprint(then["description"])), strings.Join(keys, "`, `"))
	}
}

func texts(list []any) []string {
	var out []string
	for _, item := range list {
		out = append(out, fmt.Sprint(item))
	}
	return out
}

// cell makes text fit into a table.
func cell(s string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(s), " "), "|", `\|`)
}

// code shows a value as it is written in YAML.
func code(v any) string {
	if s, ok := v.(string); ok {
		return "`" + cell(s) + "`"
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return ""
	}
	return "`" + cell(b.String()) + "`"
}
