package definition

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// overlay adds the user's files. Nothing that looks like a definition is passed
// over in silence.
func (l *loader) overlay(fsys fs.FS, shown string, feeds, mappings map[string]*source) {
	into := map[string]map[string]*source{"feeds": feeds, "mappings": mappings}
	entries := l.entries(fsys, ".", shown)
	if entries == nil {
		return // there is nothing, or it cannot be read
	}
	for folder, files := range into {
		l.folder(fsys, folder, path.Join(shown, folder), files)
	}
	l.misplaced(into)
	for _, e := range entries {
		base, isYAML := yamlName(e.name)
		switch {
		case e.dir && into[e.name] != nil:
			continue
		case e.dir:
			l.strayFolder(fsys, e)
			continue
		case !isYAML:
			l.overlooked(fsys, e)
			continue
		}
		data, err := readFile(fsys, e.path)
		if err != nil {
			l.fail(e.file, "cannot be read: %v", err)
			continue
		}
		kind, unreadable := kindOf(e.file, data)
		switch {
		case unreadable != nil:
			l.problems = append(l.problems, unreadable...)
		case kind == "":
			l.warn(e.file, "is neither a feed nor a mapping, and is not read: a feed has the key request, a mapping fields, cases or tables")
		default:
			l.add(into[kind], base, &source{fsys, e.path, e.file})
		}
	}
}

// entry is a file or a folder, with its name in messages.
type entry struct {
	name, path, file string
	dir              bool
}

// entries are those of a folder that are not hidden.
func (l *loader) entries(fsys fs.FS, dir, shown string) (list []entry) {
	found, err := fs.ReadDir(fsys, dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		l.fail(shown, "cannot be read: %v", err)
		return nil
	}
	for _, f := range found {
		if name := f.Name(); !strings.HasPrefix(name, ".") {
			at := path.Join(dir, name)
			info, err := fs.Stat(fsys, at) // follows links
			list = append(list, entry{name, at, path.Join(shown, name), err == nil && info.IsDir()})
		}
	}
	return list
}

// folder collects the definitions of a folder.
func (l *loader) folder(fsys fs.FS, dir, shown string, files map[string]*source) {
	for _, e := range l.entries(fsys, dir, shown) {
		base, isYAML := yamlName(e.name)
		switch {
		case e.dir && isYAML:
			l.warn(e.file, "is a folder, and is not read")
		case e.dir:
			l.strayFolder(fsys, e)
		case isYAML:
			l.add(files, base, &source{fsys, e.path, e.file})
		default:
			l.overlooked(fsys, e)
		}
	}
}

func (l *loader) add(files map[string]*source, base string, s *source) {
	if other, ok := files[base]; ok {
		l.fail(s.file, "has the same name as %s: remove one of them", other.file)
		return
	}
	files[base] = s
}

// overlooked warns of what somebody may take for a definition.
func (l *loader) overlooked(fsys fs.FS, e entry) {
	extension := strings.ToLower(path.Ext(e.name))
	if extension != "" && extension != ".txt" && extension != ".json" {
		return
	}
	data, err := readFile(fsys, e.path)
	if err != nil {
		return // it is none of ours
	}
	base, _, _ := strings.Cut(e.name, ".")
	kind, _ := kindOf(e.name, data)
	switch {
	case kind != "":
		l.warn(e.file, "is not read: the name of a definition ends in .yaml, as %s.yaml", base)
	case e.path != e.name && extension == ".json":
		l.warn(e.file, "is not read, and is no definition: if it is an answer of an endpoint, new feed %s --from it writes a feed", base)
	}
}

// misplaced refuses feeds among the mappings and mappings among the feeds. What is wrong is said once: others
// find them by their names all the same.
func (l *loader) misplaced(into map[string]map[string]*source) {
	other := map[string]string{"feeds": "mappings", "mappings": "feeds"}
	moved := map[string]map[string]*source{"feeds": {}, "mappings": {}}
	for folder, files := range into {
		for base, s := range files {
			data, err := readFile(s.fsys, s.path)
			if err != nil {
				continue // it is read again, and said
			}
			d := parse(s.file, data)
			if d.root == nil || keyOf(d.root, folder) != nil {
				continue
			}
			if key := keyOf(d.root, other[folder]); key != nil {
				l.problems = append(l.problems, d.problem(key.Line, key.Column, len(key.Value), fmt.Sprintf("by its key %q this is one of the %s: put the file into %[2]s/", key.Value, other[folder])))
				delete(files, base)
				moved[other[folder]][base] = s
			}
		}
	}
	for folder, files := range moved {
		for base, s := range files {
			if into[folder][base] == nil {
				into[folder][base] = s
			}
		}
	}
}

// strayFolder warns of YAML in a folder that is not read: most likely its name
// is misspelt.
func (l *loader) strayFolder(fsys fs.FS, e entry) {
	entries, _ := fs.ReadDir(fsys, e.path) // what cannot be read is not ours
	if slices.ContainsFunc(entries, func(f fs.DirEntry) bool { _, ok := yamlName(f.Name()); return ok }) {
		l.warn(e.file, "is not read: put feeds into feeds/ and mappings into mappings/")
	}
}

var modeline = regexp.MustCompile(`\$schema=\S*\b(feed|mapping)\.schema\.json`)

// kindOf says what a file outside of the two folders is: "feeds", "mappings"
// or "". What it cannot be told of is unreadable.
func kindOf(file string, data []byte) (kind string, unreadable []Problem) {
	if m := modeline.FindSubmatch(data); m != nil {
		return string(m[1]) + "s", nil
	}
	d := parse(file, data)
	if d.root == nil {
		return "", d.problems
	}
	for _, kind := range []string{"feeds", "mappings"} {
		if keyOf(d.root, kind) != nil {
			return kind, nil
		}
	}
	return "", nil
}

// tellingKeys are what only definitions of a folder have.
var tellingKeys = map[string][]string{
	"feeds":    {"request", "records", "paging", "mapping", "window", "cursor", "auth"},
	"mappings": {"fields", "cases", "tables", "let", "flatten", "include", "redact", "drop", "sample", "known"},
}

// keyOf is the first key that tells that a definition belongs into a folder, nil if there is none.
func keyOf(root *yaml.Node, folder string) *yaml.Node {
	for i := 0; root.Kind == yaml.MappingNode && i+1 < len(root.Content); i += 2 {
		if slices.Contains(tellingKeys[folder], root.Content[i].Value) {
			return root.Content[i]
		}
	}
	return nil
}
