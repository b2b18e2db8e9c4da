// Package golden_test holds the shipped mappings against golden cases:
// <mapping>/<case>.json is a record as Microsoft would send it, and
// <case>.golden.json beside it the event that it becomes. Cases are named for
// the operation. The records are made up after the documented schemas; the
// identities in them do not exist.
//
// go test ./golden -update writes the events anew.
package golden_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/sebdah/goldie/v2"

	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/transform"
	"github.com/secure60/s60-m365-connector/mappings"
	"github.com/secure60/s60-m365-connector/schemas"
)

const goldenSuffix = ".golden.json"

// collected is the time of collection of every case: the timestamp of records
// that have none of their own.
var collected = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// shipped loads the shipped mappings.
func shipped(t testing.TB) *definition.Set {
	t.Helper()
	set, problems := definition.Load(definition.Options{Feeds: fstest.MapFS{}, Mappings: mappings.FS})
	if len(problems) > 0 {
		var text strings.Builder
		if err := definition.Print(&text, problems); err != nil {
			t.Fatal(err)
		}
		t.Fatalf("the shipped mappings have problems:\n%s", text.String())
	}
	return set
}

// compile compiles a shipped mapping as the connector does.
func compile(t testing.TB, m *definition.Mapping) *transform.Mapping {
	t.Helper()
	compiled, problems := transform.Compile(m, transform.Options{
		Constants: []transform.Constant{
			{Name: "vendor", Value: "Microsoft"},
			{Name: "product", Value: "Microsoft 365"},
			{Name: "type", Value: "cloud"},
			{Name: "app_name", Value: "ms365"},
			{Name: "technology_group", Value: "cloud"},
			{Name: "schema_version", Value: "1.0"},
		},
		Now:         func() time.Time { return collected },
		KnownFields: mappings.ParseNames(mappings.KnownFields).Whole(m.Name),
	})
	if len(problems) > 0 {
		var text strings.Builder
		if err := definition.Print(&text, problems); err != nil {
			t.Fatal(err)
		}
		t.Fatalf("%s does not compile:\n%s", m.Name, text.String())
	}
	return compiled
}

// cases are the names of the cases of a mapping, in order.
func cases(t testing.TB, mapping string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(mapping, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, file := range files {
		if name := filepath.Base(file); !strings.HasSuffix(name, goldenSuffix) {
			names = append(names, strings.TrimSuffix(name, ".json"))
		}
	}
	return names
}

// mapped are the mappings that have cases, in order: a folder each, beside the
// stories of detections and the cases of feeds.
func mapped(t testing.TB) []string {
	t.Helper()
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && e.Name() != "detections" && e.Name() != "feeds" {
			names = append(names, e.Name())
		}
	}
	return names
}

// record is the record of a case.
func record(t testing.TB, mapping, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(mapping, name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	if !json.Valid(data) {
		t.Fatalf("%s/%s.json is not JSON", mapping, name)
	}
	return data
}

// untimed tells a record's time that nobody can read, which its event says, from
// an expression that failed.
func untimed(f transform.FieldError) bool {
	return f.Field == "timestamp" && strings.Contains(f.Cause, "holds no time")
}

func TestGolden(t *testing.T) {
	set, schema := shipped(t), schemas.Event()
	for _, name := range mapped(t) {
		m := set.Mapping(name)
		if m == nil {
			t.Errorf("there are cases for %s, which is no mapping", name)
			continue
		}
		mapper := compile(t, m).NewMapper(transform.Constant{Name: "source_name", Value: name})
		g := goldie.New(t, goldie.WithFixtureDir(name), goldie.WithNameSuffix(goldenSuffix), goldie.WithDiffEngine(goldie.ColoredDiff))
		for _, one := range cases(t, name) {
			t.Run(name+"/"+one, func(t *testing.T) {
				event, failed := mapper.Append(nil, record(t, name, one))
				for _, failure := range failed {
					if untimed(failure) {
						continue
					}
					t.Errorf("%s failed: %s", failure.Field, failure.Cause)
				}
				fields := decode(t, event)
				if err := schema.Validate(fields); err != nil {
					t.Errorf("the event is not as event.schema.json says: %#v", err)
				}
				g.Assert(t, one, pretty(t, fields))
			})
		}
	}
}

// decode reads an event without losing a digit.
func decode(t *testing.T, event []byte) any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(event))
	d.UseNumber()
	var fields any
	if err := d.Decode(&fields); err != nil {
		t.Fatalf("the event is not JSON: %v\n%s", err, event)
	}
	return fields
}

// pretty is an event as golden files hold it: indented, in order of its names.
func pretty(t *testing.T, fields any) []byte {
	t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(fields); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Every file under golden belongs to a case, and every mapping that a feed can
// name has one.
func TestNothingIsForgotten(t *testing.T) {
	set := shipped(t)
	for _, name := range mapped(t) {
		known := make(map[string]bool)
		for _, one := range cases(t, name) {
			known[one+".json"], known[one+goldenSuffix] = true, true
		}
		entries, err := os.ReadDir(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if !known[e.Name()] {
				t.Errorf("%s/%s belongs to no case", name, e.Name())
			}
		}
	}
	included := make(map[string]bool)
	for _, m := range set.Mappings() {
		for _, i := range m.Include {
			included[i.Name] = true
		}
	}
	for _, m := range set.Mappings() {
		if len(m.Fields)+len(m.Cases) > 0 && !included[m.Name] && len(cases(t, m.Name)) == 0 {
			t.Errorf("mapping %s has no golden case", m.Name)
		}
	}
}

// Every expression of the shipped mappings gives a value in some case, and every table
// is named by such an expression, or by the condition of one.
func TestEveryRuleIsSeen(t *testing.T) {
	set := shipped(t)
	tables := make(map[string]bool)
	for _, name := range mapped(t) {
		m := set.Mapping(name)
		if m == nil {
			continue
		}
		compiled := compile(t, m)
		seen := make(map[definition.Pos]bool)
		for _, one := range cases(t, name) {
			for _, e := range compiled.Explain(record(t, name, one)) {
				if e.From == transform.FromRule && e.Value != nil {
					seen[e.Origin.Pos] = true
				}
			}
		}
		for _, m := range parts(m) {
			for table := range m.Tables {
				if _, listed := tables[table]; !listed {
					tables[table] = false
				}
			}
			for _, let := range m.Let {
				for _, found := range tableName.FindAllStringSubmatch(let.Expr.Value, -1) {
					tables[found[1]] = true
				}
			}
			for _, c := range append([]definition.Case{{When: m.When, Fields: m.Fields}}, m.Cases...) {
				for _, f := range c.Fields {
					pos := f.Expr.Pos()
					if !seen[pos] {
						t.Errorf("%s:%d: no case of %s in which %s gets a value: %s", pos.File, pos.Line, name, f.Name.Value, f.Expr.Value)
						continue
					}
					for _, found := range tableName.FindAllStringSubmatch(c.When.Value+" "+f.Expr.Value, -1) {
						tables[found[1]] = true
					}
				}
			}
		}
	}
	for table, used := range tables {
		if !used {
			t.Errorf("no case looks anything up in table %s", table)
		}
	}
}

var tableName = regexp.MustCompile(`tables\.(\w+)`)

// parts are a mapping and all that it includes.
func parts(m *definition.Mapping) []*definition.Mapping {
	list := []*definition.Mapping{m}
	for _, included := range m.Include {
		list = append(list, parts(included)...)
	}
	return list
}
