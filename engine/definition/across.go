package definition

import (
	"fmt"
	"maps"
	"slices"

	"github.com/secure60/s60-m365-connector/schemas"
	"gopkg.in/yaml.v3"
)

// set checks what goes beyond one file, and puts the valid ones together.
func (l *loader) set() *Set {
	l.includes()
	used := l.used()
	l.shared(used)
	l.former()
	l.constants()
	l.references()
	l.buckets()
	set := &Set{Own: l.ownFiles()}
	for _, f := range l.feeds {
		l.problems = append(l.problems, f.tree.problems...)
		if !Invalid(f.tree.problems) {
			set.Feeds = append(set.Feeds, f.Feed)
		}
	}
	if l.onDemand() {
		set.names, set.read = l.mapping.names(), l.shippedMapping()
		for _, name := range set.names {
			named, tested := false, false
			for _, f := range l.feeds {
				named = named || f.Mapping == name
				tested = tested || f.Mapping == name && !f.tree.changed
			}
			if named {
				set.Whole = append(set.Whole, Named{name, func() *Mapping { return set.read(name) }, tested})
			}
		}
		return set
	}
	valid := map[string]*Mapping{}
	set.read = func(name string) *Mapping { return valid[name] }
	for _, m := range l.mappings {
		mapping := &m.Mapping
		if m.own || used[m] {
			l.problems = append(l.problems, m.tree.problems...)
		}
		if !Invalid(m.tree.problems) {
			set.names, valid[m.Name] = append(set.names, m.Name), mapping
		}
		if l.whole(m) && len(m.Include) == len(mapping.Include) {
			set.Whole = append(set.Whole, Named{m.Name, func() *Mapping { return mapping }, false})
		}
	}
	return set
}

// ownFiles says what the user's files do.
func (l *loader) ownFiles() []OwnFile {
	var list []OwnFile
	for _, k := range []*kind{l.feed, l.mapping} {
		for _, name := range slices.Sorted(maps.Keys(k.own)) {
			s := k.own[name]
			file := OwnFile{File: s.file, Kind: k.name, Name: name}
			if t := k.trees[s]; t != nil {
				file.Extends = t.over
			}
			file.Replaces = k.shipped[name] != nil && file.Extends != name
			list = append(list, file)
		}
	}
	return list
}

func (l *loader) named(name string) *mappingFile {
	return first(l.mappings, func(m *mappingFile) bool { return m.Name == name })
}

// includes resolves what mappings include, and refuses cycles.
func (l *loader) includes() {
	names := l.mapping.names()
	for _, m := range l.mappings {
		for _, name := range m.Include {
			other := l.named(name.Value)
			problem := ""
			switch {
			case other == nil && slices.Contains(names, name.Value): // abstract, or has problems of its own
			case other == nil:
				problem = fmt.Sprintf("there is no mapping %q%s", name.Value, choose(name.Value, others(names, m.Name)))
			case other == m:
				problem = "a mapping cannot include itself"
			case slices.Contains(l.closure(other, nil), m):
				problem = fmt.Sprintf("%q includes this mapping in turn: remove one of the two", name.Value)
			default:
				m.Mapping.Include = append(m.Mapping.Include, &other.Mapping)
			}
			if problem != "" {
				m.tree.add(name.Problem(0, 0, problem))
			}
		}
	}
}

// closure is a mapping and all that it includes, each once.
func (l *loader) closure(m *mappingFile, list []*mappingFile) []*mappingFile {
	if slices.Contains(list, m) {
		return list
	}
	list = append(list, m)
	for _, name := range m.Include {
		if next := l.named(name.Value); next != nil {
			list = l.closure(next, list)
		}
	}
	return list
}

// whole reports whether a mapping stands for itself: a feed names it, or it is the user's
// and nothing uses it.
func (l *loader) whole(m *mappingFile) bool {
	if slices.ContainsFunc(l.feeds, func(f *feedFile) bool { return f.Mapping == m.Name }) {
		return true
	}
	m.Unused = m.own && !slices.ContainsFunc(l.mappings, func(other *mappingFile) bool {
		return other != m && slices.ContainsFunc(other.Include, func(name Text) bool { return name.Value == m.Name })
	})
	return m.Unused
}

// used are the mappings that are part of what runs, or stand for themselves.
func (l *loader) used() map[*mappingFile]bool {
	used := map[*mappingFile]bool{}
	for _, m := range l.mappings {
		if l.whole(m) {
			for _, part := range l.closure(m, nil) {
				used[part] = true
			}
		}
	}
	return used
}

// shared refuses tables, and values of let, of one name among a mapping and what it includes.
func (l *loader) shared(used map[*mappingFile]bool) {
	for _, m := range l.mappings {
		if !used[m] {
			continue
		}
		seen := map[string]*mappingFile{}
		for _, other := range l.closure(m, nil) {
			for _, what := range slices.Sorted(maps.Keys(other.shared)) {
				first := seen[what]
				if first == nil {
					seen[what] = other
					continue
				}
				if l.within(m, first, other) {
					continue // reported there
				}
				at, place := m.shared[what], other.shared[what].Pos()
				if at == nil && len(m.Include) > 0 {
					at, place = &m.Include[0], first.shared[what].Pos()
				}
				m.tree.add(at.Problem(0, 0, fmt.Sprintf("the %s is also given by %s, which is included: give one of them another name", what, place)))
			}
		}
	}
}

// within reports whether a mapping that m includes holds both a and b.
func (l *loader) within(m, a, b *mappingFile) bool {
	for _, inner := range l.closure(m, nil)[1:] {
		if all := l.closure(inner, nil); !slices.Contains(all, m) && slices.Contains(all, a) && slices.Contains(all, b) {
			return true
		}
	}
	return false
}

// former notes what the shipped mappings gave that the user's replace, so that what others
// read of them is nil instead of unknown.
func (l *loader) former() {
	for _, m := range l.mappings {
		if !m.own || l.mapping.shipped[m.Name] == nil || m.tree.over == m.Name {
			continue
		}
		gave := map[string]map[string]bool{"fields": {}, "tables": {}, "let": {}}
		l.gave(m.Name, gave, map[string]bool{})
		for _, part := range l.closure(m, nil) {
			for table := range part.Tables {
				delete(gave["tables"], table)
			}
			for _, value := range part.Let {
				delete(gave["let"], value.Name.Value)
			}
		}
		m.Former, m.FormerTables, m.FormerLet = slices.Sorted(maps.Keys(gave["fields"])), slices.Sorted(maps.Keys(gave["tables"])), slices.Sorted(maps.Keys(gave["let"]))
	}
}

// gave collects the names of fields, tables and values of a shipped mapping and of what it includes.
func (l *loader) gave(name string, gave map[string]map[string]bool, seen map[string]bool) {
	t := l.tree(l.mapping, name, false)
	if t == nil || seen[name] {
		return
	}
	seen[name] = true
	names := func(of *yaml.Node, key string) {
		_, node := child(of, key)
		for i := 0; node != nil && i+1 < len(node.Content); i += 2 {
			gave[key][node.Content[i].Value] = true
		}
	}
	for key := range gave {
		names(t.root, key)
	}
	if _, cases := t.get("cases"); cases != nil {
		for _, c := range cases.Content {
			names(c, "fields")
		}
	}
	if _, include := t.get("include"); include != nil {
		for _, part := range include.Content {
			l.gave(part.Value, gave, seen)
		}
	}
}

// constants holds the user's mappings to the schema of events and to its names.
func (l *loader) constants() {
	var known []string
	for _, m := range l.mappings {
		if !m.own {
			continue
		}
		m.checkConstants()
		if known == nil {
			known = l.fieldNames()
		}
		if len(known) > 0 {
			m.checkNames(known)
		}
	}
}

// fieldNames are the fields that events of the shipped mappings have.
func (l *loader) fieldNames() []string {
	names := map[string]bool{}
	for name := range l.mapping.shipped {
		l.gave(name, map[string]map[string]bool{"fields": names}, map[string]bool{})
	}
	for name := range schemas.Event().Compiled().Properties {
		names[name] = true
	}
	return slices.Sorted(maps.Keys(names))
}

// references checks that what feeds name exists.
func (l *loader) references() {
	mappings, feeds := l.mapping.names(), l.feed.names()
	for _, f := range l.feeds {
		if _, at := f.tree.get("mapping"); at != nil && f.Mapping != "" {
			switch {
			case !slices.Contains(mappings, f.Mapping):
				f.tree.report(at, "there is no mapping %q%s", f.Mapping, choose(f.Mapping, mappings))
			case (f.tree.changed || !l.onDemand()) && l.isAbstract(f.Mapping):
				f.tree.report(at, "the mapping %q is abstract: name one that extends it", f.Mapping)
			}
		}
		l.archive(f, feeds)
	}
}

// archive checks the archive that a feed names.
func (l *loader) archive(f *feedFile, feeds []string) {
	if f.Archive == "" {
		return
	}
	_, at := f.tree.get("archive")
	if at == nil {
		return
	}
	other := first(l.feeds, func(other *feedFile) bool { return other.Name == f.Archive })
	problem := ""
	switch {
	case other == nil && !slices.Contains(feeds, f.Archive):
		problem = fmt.Sprintf("there is no feed %q%s", f.Archive, choose(f.Archive, others(feeds, f.Name)))
	case other == nil: // it has problems of its own
	case other == f:
		problem = "a feed cannot be its own archive"
	case f.Window == nil:
		problem = "only a feed with a window has an archive: every poll of this one reads all of it"
	case other.Job == nil || other.Window == nil:
		problem = fmt.Sprintf("the feed %q is no archive: it has no job, or no window", f.Archive)
	case other.ForEach != nil:
		problem = fmt.Sprintf("the feed %q is no archive: it has for_each, but an archive is read once for all", f.Archive)
	case other.Enabled != nil && other.Enabled.String() != "false":
		problem = fmt.Sprintf(`the feed %q is no archive: an archive runs for backfill only, so it says enabled: "false"`, f.Archive)
	}
	switch {
	case problem == "":
	case other != nil && other.own && !f.own: // replaced by one that is no archive
		f.Archive = ""
	default:
		f.tree.report(at, "%s", problem)
	}
}

// isAbstract reports whether a mapping in force is but a base for others.
func (l *loader) isAbstract(name string) bool {
	t := l.tree(l.mapping, name, l.mapping.own[name] != nil)
	return t != nil && t.abstract()
}

// buckets checks that feeds which share a budget agree on it.
func (l *loader) buckets() {
	first := map[string]*feedFile{}
	for _, f := range l.feeds {
		limit := f.RateLimit
		if limit == nil {
			continue
		}
		other := first[limit.Bucket]
		if other == nil {
			first[limit.Bucket] = f
			continue
		}
		if o := other.RateLimit; o.Requests != limit.Requests || o.Per != limit.Per {
			_, at := f.tree.get("rate_limit.bucket")
			if at == nil {
				_, at = f.tree.get("rate_limit")
			}
			line := 1
			if _, there := other.tree.get("rate_limit"); there != nil {
				line = there.Line
			}
			f.tree.report(at, "the bucket %q allows %d requests in %s in feed %s (%s:%d), but %d in %s here: feeds that share a bucket must agree",
				limit.Bucket, o.Requests, short(o.Per), other.Name, other.File, line, limit.Requests, short(limit.Per))
		}
	}
}

// others are names without one.
func others(names []string, one string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return name == one })
}
