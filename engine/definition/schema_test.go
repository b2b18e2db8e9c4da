package definition

import (
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/secure60/s60-m365-connector/feeds"
	"github.com/secure60/s60-m365-connector/mappings"
	"github.com/secure60/s60-m365-connector/schemas"
)

// special are the keys that no field of a value has: extends and abstract are gone when a
// definition is read, expand.url becomes one of two fields, fallback.request and .job go over the feed's.
var special = []string{"extends", "abstract", "auth", "flatten", "known", "fallback.request", "fallback.job"}

// TestEveryKeyIsRead compares, both ways, the keys of the schemas with those that the
// values are decoded from.
func TestEveryKeyIsRead(t *testing.T) {
	for name, c := range map[string]struct {
		schema *schemas.Document
		value  any
	}{"feed": {schemas.Feed(), Feed{}}, "mapping": {schemas.Mapping(), mappingText{}}} {
		want, got := map[string]bool{}, map[string]bool{}
		schemaKeys(c.schema, c.schema.Root, "", want)
		valueKeys(reflect.TypeOf(c.value), "", got)
		for key := range want {
			if !got[key] && !slices.Contains(special, key) {
				t.Errorf("%s: the schema has %s, which nothing reads", name, key)
			}
		}
		for key := range got {
			if !want[key] {
				t.Errorf("%s: %s is read, and the schema does not have it", name, key)
			}
		}
		if len(want) < 20 {
			t.Errorf("%s: %d keys", name, len(want))
		}
	}
}

func schemaKeys(d *schemas.Document, schema map[string]any, path string, into map[string]bool) {
	schema = d.Follow(schema)
	if items, ok := schema["items"].(map[string]any); ok {
		schemaKeys(d, items, path, into)
	}
	properties, _ := schema["properties"].(map[string]any)
	for name, p := range properties {
		at := strings.TrimPrefix(path+"."+name, ".")
		into[at] = true
		if !strings.HasPrefix(at, "fallback.") {
			schemaKeys(d, p.(map[string]any), at, into)
		}
	}
}

func valueKeys(of reflect.Type, path string, into map[string]bool) {
	for of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice {
		of = of.Elem()
	}
	if of.Kind() != reflect.Struct || of == reflect.TypeFor[Text]() {
		return
	}
	for i := range of.NumField() {
		field := of.Field(i)
		key, ok := field.Tag.Lookup("key")
		switch {
		case !ok:
			continue
		case key == ".":
			valueKeys(field.Type, path, into)
			continue
		}
		at := strings.TrimPrefix(path+"."+key, ".")
		into[at] = true
		valueKeys(field.Type, at, into)
	}
}

// TestModelines: an editor finds the schema of each shipped file. That they follow
// it, loading says.
func TestModelines(t *testing.T) {
	for kind, fsys := range map[string]fs.FS{"feed": feeds.FS, "mapping": mappings.FS} {
		files, err := fs.Glob(fsys, "*.yaml")
		if err != nil || len(files) == 0 {
			t.Fatal("no files", err)
		}
		for _, file := range files {
			data, err := fs.ReadFile(fsys, file)
			if err != nil {
				t.Fatal(err)
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
		"TENANT_ID": "t", "PUBLISHER_ID": "p", "MS_MANAGE_BASE": "https://manage.example", "MS_GRAPH_BASE": "https://graph.example", "MS_DEFENDER_BASE": "https://defender.example",
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
		problems := []Problem(nil)
		if kind, _ := kindOf(file, data); kind == "mappings" {
			_, problems = ParseMapping(file, data)
		} else {
			_, problems = ParseFeed(file, data, settings)
		}
		for _, p := range problems {
			t.Error(p)
		}
	}
}
