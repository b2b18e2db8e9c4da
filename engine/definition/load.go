package definition

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/secure60/s60-m365-connector/schemas"
)

// Options say where definitions come from.
type Options struct {
	// Feeds and Mappings are the shipped files: *.yaml at the root of each.
	Feeds, Mappings fs.FS
	// Tested says that the shipped files are known to be valid, as tests hold them to that: only what the overlay
	// adds or changes is validated, and where it has no mapping, each shipped one is read when it is asked for.
	// Both take most of the time of loading.
	Tested bool
	// Overlay is the user's directory. Its feeds/*.yaml and mappings/*.yaml (or
	// .yml) replace shipped files of the same name, extend them and add others. A file
	// directly in it counts as what its modeline or keys say it is. nil, or a
	// directory that does not exist, is none.
	Overlay fs.FS
	// OverlayName goes before the names of the overlay's files in messages.
	OverlayName string
	// Settings are the names that the expressions of feeds may use, with
	// values. Where they are nil, every name is allowed.
	Settings map[string]any
}

// Set is every feed and mapping that is not abstract.
type Set struct {
	Feeds []*Feed // by name
	// Whole are the mappings that stand for themselves, by name: those that a feed
	// names, and those of the user's that nothing uses. What is included may
	// use names of its includer, and is compiled as a part of it. Some may have problems:
	// their expressions can be checked all the same, so that all problems show at once.
	Whole []Named
	// Own are the user's files, by name.
	Own []OwnFile

	names []string // of mappings, maybe abstract
	read  func(name string) *Mapping
}

// Named is a mapping that may not have been read yet.
type Named struct {
	Name   string
	Read   func() *Mapping
	Tested bool // all of it is shipped, and so is a feed that names it: it is known to stand for itself
}

// OwnFile is a file of the user's.
type OwnFile struct {
	File, Kind, Name string // Kind is "feed" or "mapping"
	Extends          string // the definition that it extends, "" if none
	Replaces         bool   // it stands in the place of a shipped one without extending it
}

// Feed is the feed of that name, nil if there is none.
func (s *Set) Feed(name string) *Feed {
	return first(s.Feeds, func(f *Feed) bool { return f.Name == name })
}

// ArchiveOf is the feed whose archive the feed of that name is, nil if it is none.
func (s *Set) ArchiveOf(name string) *Feed {
	return first(s.Feeds, func(f *Feed) bool { return f.Archive == name })
}

// Mapping is the mapping of that name, nil if there is none.
func (s *Set) Mapping(name string) *Mapping { return s.read(name) }

// Mappings are all of them, by name.
func (s *Set) Mappings() []*Mapping {
	var list []*Mapping
	for _, name := range s.names {
		if m := s.read(name); m != nil {
			list = append(list, m)
		}
	}
	return list
}

// first is the first of a list that is what is asked for, nil if there is none.
func first[T any](list []*T, is func(*T) bool) *T {
	if i := slices.IndexFunc(list, is); i >= 0 {
		return list[i]
	}
	return nil
}

// source is a file to load.
type source struct {
	fsys fs.FS
	path string // in fsys
	file string // in messages
}

// Load reads every definition. It returns all problems of all files, in order
// of file and place, and the definitions that have none: the set is fit for
// use unless the problems are [Invalid].
func Load(options Options) (*Set, []Problem) {
	l := newLoader(options)
	l.read()
	set := l.set()
	l.problems = joined(l.problems)
	return set, l.problems
}

// Merged is a feed or mapping as it is in force, after extends, as YAML: beside each
// key that is another file's stands where it comes from. kind is "feed" or "mapping". It is nil
// where there is none of that name, or it cannot be read.
func Merged(options Options, kind, name string) []byte {
	l := newLoader(options)
	k := l.mapping
	if kind == "feed" {
		k = l.feed
	}
	t := l.tree(k, name, k.own[name] != nil)
	if t == nil {
		return nil
	}
	return t.yaml(k.schema())
}

// loader reads the files of both kinds.
type loader struct {
	Options
	problems      []Problem
	feed, mapping *kind
	feeds         []*feedFile
	mappings      []*mappingFile
}

// kind is one of the two languages, with its files.
type kind struct {
	name         string // in messages
	schema       func() *schemas.Document
	shipped, own map[string]*source
	trees        map[*source]*tree // those that were read; nil while one is
}

// feedFile is a feed with its tree.
type feedFile struct {
	*Feed
	tree *tree
	own  bool
}

func newLoader(options Options) *loader {
	l := &loader{Options: options}
	l.feed = &kind{name: "feed", schema: schemas.Feed, shipped: l.shipped("feeds", options.Feeds), own: map[string]*source{}, trees: map[*source]*tree{}}
	l.mapping = &kind{name: "mapping", schema: schemas.Mapping, shipped: l.shipped("mappings", options.Mappings), own: map[string]*source{}, trees: map[*source]*tree{}}
	if options.Overlay != nil {
		l.overlay(options.Overlay, options.OverlayName, l.feed.own, l.mapping.own)
	}
	return l
}

// onDemand says that mappings are read when they are asked for.
func (l *loader) onDemand() bool { return l.Tested && len(l.mapping.own) == 0 }

// read reads every definition in force.
func (l *loader) read() {
	for _, name := range l.mapping.names() {
		if l.onDemand() {
			break
		}
		own := l.mapping.own[name] != nil
		t := l.tree(l.mapping, name, own)
		if t == nil || l.base(l.mapping, t) {
			continue
		}
		m := t.mapping(name, l.Settings)
		m.own = own
		m.SourceType = t.sourceType()
		l.mappings = append(l.mappings, m)
	}
	for _, name := range l.feed.names() {
		own := l.feed.own[name] != nil
		if t := l.tree(l.feed, name, own); t != nil && !l.base(l.feed, t) {
			l.feeds = append(l.feeds, &feedFile{t.feed(name, l.Settings), t, own})
		}
	}
}

// shippedMapping is what reads a shipped mapping with all that it includes, each once.
func (l *loader) shippedMapping() func(name string) *Mapping {
	var mu sync.Mutex
	of := &loader{Options: l.Options, mapping: l.mapping}
	known := map[string]*Mapping{}
	var read func(name string) *Mapping
	read = func(name string) *Mapping {
		if m, ok := known[name]; ok {
			return m
		}
		t := of.tree(of.mapping, name, false)
		if t == nil || t.abstract() {
			return nil
		}
		m := t.mapping(name, of.Settings)
		m.SourceType = t.sourceType()
		for _, part := range m.Include {
			m.Mapping.Include = append(m.Mapping.Include, read(part.Value))
		}
		known[name] = &m.Mapping
		return known[name]
	}
	return func(name string) *Mapping {
		mu.Lock()
		defer mu.Unlock()
		defer clear(of.mapping.trees) // of all that a mapping stands on, nobody needs them any more
		return read(name)
	}
}

// names are those of all definitions in force.
func (k *kind) names() []string {
	names := slices.Collect(maps.Keys(k.own))
	for name := range k.shipped {
		if _, own := k.own[name]; !own {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// base validates a definition, and reports whether it is but a base for others: that is held to its
// schema as far as it goes, and to everything else in those that extend it.
func (l *loader) base(k *kind, t *tree) bool {
	if !l.Tested || t.changed {
		t.validate(k.schema(), t.abstract())
	}
	if t.abstract() {
		t.checkName(strings.TrimSuffix(path.Base(t.doc.file), path.Ext(t.doc.file)))
		l.problems = append(l.problems, t.problems...)
	}
	return t.abstract()
}

// tree is the user's or the shipped definition of a name, put over what it extends. It
// is nil where it cannot be read; the problems are noted.
func (l *loader) tree(k *kind, name string, own bool) *tree {
	s := k.shipped[name]
	if own {
		s = k.own[name]
	}
	if t, ok := k.trees[s]; ok || s == nil {
		return t
	}
	k.trees[s] = nil
	data, err := readFile(s.fsys, s.path)
	if err != nil {
		l.fail(s.file, "cannot be read: %v", err)
		return nil
	}
	t := newTree(parse(s.file, data))
	t.changed = own
	if t.root == nil {
		l.problems = append(l.problems, t.problems...)
		return nil
	}
	if _, base := t.get("extends"); base != nil && base.Value != "" {
		if !l.extend(k, t, name, own) {
			l.problems = append(l.problems, t.problems...)
			return nil
		}
	}
	k.trees[s] = t
	return t
}

// extend puts a definition over what it extends. It is false where that cannot be had.
//
// A shipped definition stands on the shipped base, and on the user's of that name
// only where that extends the shipped one: so a replaced base makes no shipped file invalid.
func (l *loader) extend(k *kind, t *tree, name string, own bool) bool {
	_, at := t.get("extends")
	base := at.Value
	ofUser := k.own[base] != nil && base != name
	if ofUser && !own && k.shipped[base] != nil {
		over := l.tree(k, base, true)
		ofUser = over != nil && over.over == base
	}
	s := k.shipped[base]
	if ofUser {
		s = k.own[base]
	}
	b, opened := k.trees[s]
	switch {
	case base == name && !own:
		t.report(at, "a %s cannot extend itself", k.name)
		return false
	case s == nil && base == name:
		t.report(at, "there is no shipped %s %q to extend: remove extends", k.name, base)
		return false
	case s == nil:
		t.report(at, "there is no %s %q%s", k.name, base, choose(base, others(k.names(), name)))
		return false
	case opened && b == nil && l.readable(s):
		t.report(at, "%q extends this %s in turn: remove one of the two", base, k.name)
		return false
	}
	if b = l.tree(k, base, ofUser); b == nil {
		return false // its own problems are reported
	}
	t.over, t.base = base, b
	t.changed = t.changed || b.changed
	t.extend(b, k.schema())
	return true
}

// readable reports whether a file holds a definition at all.
func (l *loader) readable(s *source) bool {
	data, err := readFile(s.fsys, s.path)
	return err == nil && parse(s.file, data).root != nil
}

func (l *loader) fail(file, format string, args ...any) {
	l.problems = append(l.problems, Problem{Pos: Pos{File: file}, Length: 1, Message: fmt.Sprintf(format, args...)})
}

func (l *loader) warn(file, format string, args ...any) {
	l.fail(file, format, args...)
	l.problems[len(l.problems)-1].Warning = true
}

func (l *loader) shipped(folder string, fsys fs.FS) map[string]*source {
	files := map[string]*source{}
	if fsys != nil {
		l.folder(fsys, ".", folder, files)
	}
	return files
}

// yamlName is the name of a YAML file without its extension, whose case is no matter. Hidden files are
// none.
func yamlName(name string) (base string, ok bool) {
	given := path.Ext(name)
	extension := strings.ToLower(given)
	if strings.HasPrefix(name, ".") || extension != ".yaml" && extension != ".yml" {
		return "", false
	}
	return strings.TrimSuffix(name, given), true
}

// joined are problems in order, each once: one that several extending files have in a
// file that they share names them all.
func joined(problems []Problem) []Problem {
	by := map[Problem][]string{}
	for _, p := range problems {
		key := p
		key.By = ""
		by[key] = append(by[key], p.By)
	}
	list := make([]Problem, 0, len(by))
	for p, files := range by {
		slices.Sort(files)
		files = slices.Compact(files)
		switch more := len(files) - 3; {
		case files[0] == "": // the file is faulty by itself
		case more > 0:
			p.By = fmt.Sprintf("%s and %d more", strings.Join(files[:3], ", "), more)
		default:
			p.By = strings.Join(files, ", ")
		}
		list = append(list, p)
	}
	Sort(list)
	return list
}
