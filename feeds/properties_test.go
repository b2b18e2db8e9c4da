package feeds_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/transform"
)

// sections reads a file of [name …] sections.
func sections(t *testing.T, file string) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]string{}
	var names []string
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '[':
			names = strings.Fields(strings.Trim(line, "[]"))
		default:
			for _, name := range names {
				all[name] = append(all[name], line)
			}
		}
	}
	return all
}

// flat says how a property of a resource arrives in a mapping, and whether names may follow it.
func flat(property string) (name string, open bool) {
	property = strings.TrimPrefix(property, "beta ")
	property, open = strings.CutSuffix(property, ".*")
	property, list := strings.CutSuffix(property, "[]")
	return "event_" + strings.ReplaceAll(property, ".", "_"), open || list
}

// TestProperties: every field of the record that the mapping of a Graph feed reads is a property of the
// resource that the feed lists, or is there for a reason that testdata/fallbacks.txt gives.
func TestProperties(t *testing.T) {
	set, _ := load(t)
	properties, fallbacks := sections(t, "testdata/graph-properties.txt"), sections(t, "testdata/fallbacks.txt")
	feeds := map[string][]string{} // by mapping
	for _, f := range set.Feeds {
		archive := slices.ContainsFunc(set.Feeds, func(of *definition.Feed) bool { return of.Archive == f.Name })
		if !strings.HasPrefix(f.Scope.String(), "${MS_GRAPH_BASE}") || archive { // its records are those of another API
			continue
		}
		if len(properties[f.Name]) == 0 {
			t.Errorf("testdata/graph-properties.txt does not have the resource of %s", f.Name)
		}
		feeds[f.Mapping] = append(feeds[f.Mapping], f.Name)
	}
	for mapping, of := range feeds {
		known := map[string]bool{}
		for _, feed := range of {
			f := set.Feed(feed)
			for _, property := range slices.Concat(properties[feed], added(f)) {
				name, open := flat(property)
				known[name] = known[name] || open
				if f.Snapshot != nil {
					before := "event_before_" + strings.TrimPrefix(name, "event_")
					known[before] = known[before] || open
				}
			}
		}
		excused := map[string]bool{} // false: not needed so far
		for _, line := range fallbacks[mapping] {
			name, reason, _ := strings.Cut(line, ": ")
			if reason == "" {
				t.Errorf("fallbacks.txt: %s has no reason", name)
			}
			excused[name] = false
		}
		compiled, problems := transform.Compile(set.Mapping(mapping), transform.Options{})
		for _, p := range problems {
			t.Fatal(p)
		}
		for _, r := range compiled.References() {
			if isProperty(known, r.Name) {
				continue
			}
			if name := excuse(excused, r.Name); name != "" {
				excused[name] = true
				continue
			}
			t.Error(r.Text.Problem(r.Offset, r.Length, r.Name+" is no property of what "+strings.Join(of, ", ")+" list"))
		}
		for name, used := range excused {
			if !used {
				t.Errorf("fallbacks.txt: %s of %s is a property, or nothing reads it: remove it", name, mapping)
			}
		}
	}
	for mapping := range fallbacks {
		if feeds[mapping] == nil {
			t.Errorf("fallbacks.txt: no Graph feed has the mapping %s", mapping)
		}
	}
}

// added are what the engine puts into the records of a feed.
func added(f *definition.Feed) (names []string) {
	if f.Snapshot != nil {
		names = append(names, "change", "changed")
	}
	if f.Expand != nil {
		for _, add := range f.Expand.Add {
			names = append(names, add.Name)
		}
	}
	return names
}

// isProperty reports whether a field is a property, or within one whose members are not known.
func isProperty(known map[string]bool, name string) bool {
	if _, ok := known[name]; ok || slices.Contains([]string{"event__odata_type", "event__odata_context"}, name) {
		return true
	}
	for at := strings.LastIndexByte(name, '_'); at > 0; at = strings.LastIndexByte(name[:at], '_') {
		if known[name[:at]] {
			return true
		}
	}
	return false
}

// excuse is the entry that covers a name, "" if none does.
func excuse(excused map[string]bool, name string) string {
	for entry := range excused {
		prefix, open := strings.CutSuffix(entry, "*")
		if entry == name || open && strings.HasPrefix(name, prefix) {
			return entry
		}
	}
	return ""
}
