package definition

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// Options say where definitions come from.
type Options struct {
	// Feeds and Mappings are the shipped files: *.yaml at the root of each.
	Feeds, Mappings fs.FS
	// Overlay is the user's directory. Its feeds/*.yaml and mappings/*.yaml (or
	// .yml) replace shipped files of the same name and add others. A file
	// directly in it counts as what its modeline or keys say it is. nil, or a
	// directory that does not exist, is none.
	Overlay fs.FS
	// OverlayName goes before the names of the overlay's files in messages.
	OverlayName string
	// Settings are the names that the expressions of feeds may use, with
	// values. Where they are nil, every name is allowed.
	Settings map[string]any
}

// Set is every feed and mapping.
type Set struct {
	Feeds    []*Feed    // by name
	Mappings []*Mapping // by name
	// Faulty are mappings that have problems, as far as they could be read: their
	// expressions can still be checked, so that all problems show at once.
	Faulty []*Mapping
}

// Feed is the feed of that name, nil if there is none.
func (s *Set) Feed(name string) *Feed {
	i := slices.IndexFunc(s.Feeds, func(f *Feed) bool { return f.Name == name })
	if i < 0 {
		return nil
	}
	return s.Feeds[i]
}

// Mapping is the mapping of that name, nil if there is none.
func (s *Set) Mapping(name string) *Mapping {
	i := slices.IndexFunc(s.Mappings, func(m *Mapping) bool { return m.Name == name })
	if i < 0 {
		return nil
	}
	return s.Mappings[i]
}

// source is a file to load.
type source struct {
	fsys fs.FS
	path string // in fsys
	file string // in messages
	mine bool   // of the overlay
}

// Load reads every definition. It returns all problems of all files, in order
// of file and place, and the definitions that have none: the set is fit for
// use unless the problems are [Invalid].
func Load(options Options) (*Set, []Problem) {
	l := &loader{settings: options.Settings}
	feeds := l.shipped("feeds", options.Feeds)
	mappings := l.shipped("mappings", options.Mappings)
	if options.Overlay != nil {
		l.overlay(options.Overlay, options.OverlayName, feeds, mappings)
	}
	for _, base := range slices.Sorted(maps.Keys(mappings)) {
		if r := l.open(mappings[base]); r != nil {
			l.mappings = append(l.mappings, r.mapping(base))
		}
	}
	for _, base := range slices.Sorted(maps.Keys(feeds)) {
		if r := l.open(feeds[base]); r != nil {
			l.feeds = append(l.feeds, r.feed(base))
		}
	}
	return l.set(slices.Sorted(maps.Keys(mappings)))
}

// ParseFeed reads one feed without regard to the name of its file or to
// whether its mapping exists. A feed with problems is nil.
func ParseFeed(file string, data []byte, settings map[string]any) (*Feed, []Problem) {
	r := newReader(parse(file, data), settings)
	if r.root == nil {
		return nil, r.problems
	}
	f := r.feed("").feed
	Sort(r.problems)
	if len(r.problems) > 0 {
		return nil, r.problems
	}
	return f, nil
}

// ParseMapping reads one mapping without regard to the name of its file. What
// it includes is looked up among included. A mapping with problems is nil.
func ParseMapping(file string, data []byte, included ...*Mapping) (*Mapping, []Problem) {
	r := newReader(parse(file, data), nil)
	if r.root == nil {
		return nil, r.problems
	}
	m := r.mapping("")
	for _, name := range m.include {
		i := slices.IndexFunc(included, func(other *Mapping) bool { return other.Name == name.Value })
		if i < 0 {
			r.at(name, "there is no mapping %q", name.Value)
			continue
		}
		m.mapping.Include = append(m.mapping.Include, included[i])
	}
	Sort(r.problems)
	if len(r.problems) > 0 {
		return nil, r.problems
	}
	return m.mapping, nil
}

type loader struct {
	settings map[string]any
	problems []Problem
	feeds    []*feedFile
	mappings []*mappingFile
}

func (l *loader) fail(file, format string, args ...any) {
	l.problems = append(l.problems, Problem{Pos: Pos{File: file}, Length: 1, Message: fmt.Sprintf(format, args...)})
}

func (l *loader) warn(file, format string, args ...any) {
	l.fail(file, format, args...)
	l.problems[len(l.problems)-1].Warning = true
}

// open reads and parses a file. It is nil where nothing in it can be read
// further; the problems are noted.
func (l *loader) open(s source) *reader {
	data, err := readFile(s.fsys, s.path)
	if err != nil {
		l.fail(s.file, "cannot be read: %v", err)
		return nil
	}
	d := parse(s.file, data)
	if d.root == nil {
		l.problems = append(l.problems, d.problems...)
		return nil
	}
	return newReader(d, l.settings)
}

func (l *loader) shipped(folder string, fsys fs.FS) map[string]source {
	files := map[string]source{}
	if fsys != nil {
		l.folder(fsys, ".", folder, false, files)
	}
	return files
}

// folder collects the YAML files of a folder. Those of the same name that are
// there already are replaced.
func (l *loader) folder(fsys fs.FS, dir, shown string, mine bool, files map[string]source) {
	entries, err := fs.ReadDir(fsys, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		l.fail(shown, "cannot be read: %v", err)
		return
	}
	here := map[string]string{}
	for _, entry := range entries {
		name := entry.Name()
		base, ok := yamlName(name)
		if !ok {
			continue
		}
		file := path.Join(shown, name)
		if info, err := fs.Stat(fsys, path.Join(dir, name)); err == nil && info.IsDir() {
			l.warn(file, "is a folder, and is not read")
			continue
		}
		if other := here[base]; other != "" {
			l.fail(file, "has the same name as %s: remove one of them", other)
			continue
		}
		here[base] = file
		files[base] = source{fsys: fsys, path: path.Join(dir, name), file: file, mine: mine}
	}
}

// yamlName is the name of a YAML file without its extension. Hidden files are
// none.
func yamlName(name string) (base string, ok bool) {
	extension := path.Ext(name)
	if strings.HasPrefix(name, ".") || extension != ".yaml" && extension != ".yml" {
		return "", false
	}
	return strings.TrimSuffix(name, extension), true
}

// set checks what goes beyond one file, and puts the valid ones together.
// names are those of every mapping file, readable or not.
func (l *loader) set(names []string) (*Set, []Problem) {
	l.includes(names)
	set := &Set{}
	for _, m := range l.mappings {
		l.problems = append(l.problems, m.reader.problems...)
	}
	l.references(names)
	l.buckets()
	for _, f := range l.feeds {
		l.problems = append(l.problems, f.reader.problems...)
		if len(f.reader.problems) == 0 {
			set.Feeds = append(set.Feeds, f.feed)
		}
	}
	for _, m := range l.mappings {
		if len(m.reader.problems) == 0 {
			set.Mappings = append(set.Mappings, m.mapping)
		} else if len(m.include) == len(m.mapping.Include) {
			set.Faulty = append(set.Faulty, m.mapping)
		}
	}
	Sort(l.problems)
	return set, l.problems
}

func (l *loader) mapping(name string) *mappingFile {
	i := slices.IndexFunc(l.mappings, func(m *mappingFile) bool { return m.mapping.Name == name })
	if i < 0 {
		return nil
	}
	return l.mappings[i]
}

// includes resolves what mappings include, and refuses cycles and tables of
// one name.
func (l *loader) includes(names []string) {
	for _, m := range l.mappings {
		for _, name := range m.include {
			other := l.mapping(name.Value)
			switch {
			case other == nil && slices.Contains(names, name.Value): // has problems of its own
			case other == nil:
				m.reader.at(name, "there is no mapping %q%s", name.Value, choose(name.Value, names))
			case other == m:
				m.reader.at(name, "a mapping cannot include itself")
			case l.reaches(other, m, nil):
				m.reader.at(name, "%q includes this mapping in turn: remove one of the two", name.Value)
			default:
				m.mapping.Include = append(m.mapping.Include, other.mapping)
			}
		}
	}
	for _, m := range l.mappings {
		seen := map[string]*mappingFile{}
		for _, other := range l.closure(m, nil) {
			for _, table := range slices.Sorted(maps.Keys(other.tables)) {
				if first := seen[table]; first != nil {
					if l.within(m, first, other) {
						continue // reported there
					}
					at, place := m.tables[table], other.tables[table].Pos()
					if at.doc == nil && len(m.include) > 0 {
						at, place = m.include[0], first.tables[table].Pos()
					}
					m.reader.at(at, "the table %q is also given by %s, which is included: give one of them another name", table, place)
					continue
				}
				seen[table] = other
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

// reaches reports whether from includes to, directly or not, or is it.
func (l *loader) reaches(from, to *mappingFile, visited []*mappingFile) bool {
	if from == to {
		return true
	}
	if slices.Contains(visited, from) {
		return false
	}
	visited = append(visited, from)
	for _, name := range from.include {
		if next := l.mapping(name.Value); next != nil && l.reaches(next, to, visited) {
			return true
		}
	}
	return false
}

// closure is a mapping and all that it includes, each once.
func (l *loader) closure(m *mappingFile, list []*mappingFile) []*mappingFile {
	if slices.Contains(list, m) {
		return list
	}
	list = append(list, m)
	for _, name := range m.include {
		if next := l.mapping(name.Value); next != nil {
			list = l.closure(next, list)
		}
	}
	return list
}

// references checks that each feed's mapping exists.
func (l *loader) references(names []string) {
	for _, f := range l.feeds {
		if f.mapping.Value != "" && !slices.Contains(names, f.mapping.Value) {
			f.reader.at(f.mapping, "there is no mapping %q%s", f.mapping.Value, choose(f.mapping.Value, names))
		}
	}
}

// buckets checks that feeds which share a budget agree on it.
func (l *loader) buckets() {
	first := map[string]*feedFile{}
	for _, f := range l.feeds {
		limit := f.feed.RateLimit
		if limit == nil || f.bucket == nil {
			continue
		}
		other := first[limit.Bucket]
		if other == nil {
			first[limit.Bucket] = f
			continue
		}
		if o := other.feed.RateLimit; o.Requests != limit.Requests || o.Per != limit.Per {
			f.reader.node(f.bucket, "the bucket %q allows %d requests in %s in feed %s (%s:%d), but %d in %s here: feeds that share a bucket must agree",
				limit.Bucket, o.Requests, short(o.Per), other.feed.Name, other.feed.File, other.bucket.Line, limit.Requests, short(limit.Per))
		}
	}
}
