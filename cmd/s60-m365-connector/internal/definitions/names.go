package definitions

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/tidwall/gjson"
	"gopkg.in/yaml.v3"

	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/expression"
	"github.com/secure60/s60-m365-connector/engine/transform"
	"github.com/secure60/s60-m365-connector/feeds"
	"github.com/secure60/s60-m365-connector/mappings"
)

const GoldenSuffix = ".golden.json"

// This file finds misspelt names of fields. A name that a record lacks is nil,
// and rightly so, as most fields are absent from most records: only a list of
// the names that records do have tells a misspelt one.

// PrintUnknownNames writes the warnings of unknownNames to w.
func PrintUnknownNames(defs *Compiled, dir string, w io.Writer) error {
	problems := unknownNames(defs, dir)
	definition.Sort(problems)
	return definition.Print(w, slices.Compact(problems))
}

// unknownNames warns of names in mappings that no known record has. Mappings of
// the shipped feeds, and those that replace shipped ones, are held to the list
// of their names; of other mappings, whose records nobody here has seen, only
// names that differ in a letter or two from a known one. Fields of the golden
// records under dir are known as well.
func unknownNames(defs *Compiled, dir string) []definition.Problem {
	if !slices.ContainsFunc(defs.Set.Own, func(f definition.OwnFile) bool { return f.Kind == "mapping" }) {
		return nil // the shipped mappings are held to the lists by their tests
	}
	known := mappings.ParseNames(mappings.KnownFields)
	lists := listsOf(defs, known) // before names are added: it asks which mappings have a list
	for name, m := range defs.Mappings {
		addGoldenNames(known, name, m(), defs.Set, dir)
	}
	own := map[string]bool{}
	for _, f := range defs.Set.Own {
		own[f.File] = true
	}
	var problems []definition.Problem
	for name, m := range defs.Mappings {
		section := lists[name]
		for _, r := range m().References() {
			if !own[r.Text.Problem(0, 0, "").File] {
				continue // shipped
			}
			if message := unknownName(known, name, section, r.Name); message != "" {
				p := r.Text.Problem(r.Offset, r.Length, message)
				p.Warning = true
				problems = append(problems, p)
			}
		}
	}
	for _, m := range defs.Set.Mappings() {
		for _, rule := range m.Redact {
			for _, field := range rule.Fields {
				p := field.Problem(0, 0, unredacted(known, m.Name, lists[m.Name], field.Value))
				if p.Warning = true; p.Message != "" && own[p.File] {
					problems = append(problems, p)
				}
			}
		}
	}
	return problems
}

// unredacted is what to say of a field that a rule redacts, "" if records have it or may well: a
// misspelt one is shown in clear, and nothing else would tell.
func unredacted(known mappings.Names, mapping, section, pattern string) string {
	names := transform.RedactedNames(pattern)
	name := names[0]
	if section != "" && slices.ContainsFunc(names[1:], func(n string) bool { return known.Like(section, n) || known.Like(mapping, n) }) {
		return ""
	}
	if !strings.Contains(name, "*") {
		message := unknownName(known, mapping, section, name)
		return strings.Replace(message, "so it is nil", "so nothing is redacted by that", 1)
	}
	if section == "" || known.Like(section, name) || known.Like(mapping, name) {
		return ""
	}
	return fmt.Sprintf("no known record of %s has a field like %s, so nothing is redacted by that", section, name)
}

// unknownName is what to say of a name, "" if it is known or may well be.
func unknownName(known mappings.Names, mapping, section, name string) string {
	if known.Has(mapping, name) || section != "" && known.Has(section, name) {
		return ""
	}
	if section != "" {
		message := fmt.Sprintf("no known record of %s has %s, so it is nil", section, name)
		if near := expression.Nearest(name, known.List(section)); near != "" {
			message += ": did you mean " + near + "?"
		}
		return message
	}
	all := known.List("")
	if slices.Contains(all, name) {
		return ""
	}
	for _, same := range []func(string) string{strings.Clone, strings.ToLower} { // a known name in the same case is likelier meant
		for _, other := range all {
			if slip(same(name), same(other)) {
				return fmt.Sprintf("%s is nearly %s, which other records have: did you mean that?", name, other)
			}
		}
	}
	return ""
}

// slip says whether two long names are nearly one: they differ in one place,
// by a letter or two.
func slip(a, b string) bool {
	const long = len("event_") + 8
	if len(a) < long || len(b) < long {
		return false
	}
	short := min(len(a), len(b))
	front, back := 0, 0
	for front < short && a[front] == b[front] {
		front++
	}
	for back < short-front && a[len(a)-1-back] == b[len(b)-1-back] {
		back++
	}
	return max(len(a), len(b))-front-back <= 2
}

// shippedSet is what is shipped, whatever the settings.
var shippedSet = sync.OnceValue(func() *definition.Set {
	set, _ := definition.Load(definition.Options{Feeds: feeds.FS, Mappings: mappings.FS, Tested: true})
	return set
})

// listsOf names, for each mapping in force, the shipped mapping whose records it
// gets: the one of its own name, or that of the shipped feed that names it.
func listsOf(defs *Compiled, known mappings.Names) map[string]string {
	lists := make(map[string]string)
	for name := range defs.Mappings {
		if known.Of(name) {
			lists[name] = name
		}
	}
	for _, f := range defs.Set.Feeds {
		if was := shippedSet().Feed(f.Name); was != nil && lists[f.Mapping] == "" && known.Of(was.Mapping) {
			lists[f.Mapping] = was.Mapping
		}
	}
	return lists
}

// addGoldenNames notes the fields of the golden records of a mapping, and of the events of the cases of its feeds.
func addGoldenNames(known mappings.Names, name string, m *transform.Mapping, set *definition.Set, dir string) {
	for _, feed := range set.Feeds {
		if feed.Mapping != name {
			continue
		}
		files, _ := filepath.Glob(filepath.Join(dir, "golden", "feeds", feed.Name, "*.yaml"))
		for _, file := range files {
			var c struct {
				Expect struct{ Events []map[string]any }
			}
			if data, err := os.ReadFile(file); err != nil || yaml.Unmarshal(data, &c) != nil {
				continue // test says what is wrong with a case
			}
			for _, event := range c.Expect.Events {
				for field := range event {
					if strings.HasPrefix(field, "event_") {
						known.Add(name, field)
					}
				}
			}
		}
	}
	files, _ := filepath.Glob(filepath.Join(dir, "golden", name, "*.json"))
	mapper := m.NewMapper()
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil || strings.HasSuffix(file, GoldenSuffix) || !gjson.ValidBytes(data) {
			continue // test says what is wrong with a case
		}
		event, _ := mapper.Append(nil, data)
		gjson.ParseBytes(event).ForEach(func(key, _ gjson.Result) bool {
			if strings.HasPrefix(key.Str, "event_") {
				known.Add(name, key.Str)
			}
			return true
		})
	}
}
