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
	entries, err := fs.ReadDir(fsys, ".")
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		l.fail(shown, "cannot be read: %v", err)
		return
	}
	for folder, files := range into {
		l.folder(fsys, folder, path.Join(shown, folder), files)
		l.overlooked(fsys, folder, path.Join(shown, folder))
	}
	l.misplaced(into)
	l.overlooked(fsys, ".", shown)
	for _, entry := range entries {
		name := entry.Name()
		file := path.Join(shown, name)
		info, err := fs.Stat(fsys, name)
		if strings.HasPrefix(name, ".") {
			continue
		}
		if err == nil && info.IsDir() {
			if into[name] == nil {
				l.strayFolder(fsys, name, file)
			}
			continue
		}
		base, ok := yamlName(name)
		if !ok {
			continue
		}
		data, err := readFile(fsys, name)
		if err != nil {
			l.fail(file, "cannot be read: %v", err)
			continue
		}
		kind, unreadable := kindOf(file, data)
		if unreadable != nil {
			l.problems = append(l.problems, unreadable...)
			continue
		}
		if kind == "" {
			l.warn(file, "is neither a feed nor a mapping, and is not read: a feed has the key request, a mapping fields, cases or tables")
			continue
		}
		if other, ok := into[kind][base]; ok {
			l.fail(file, "has the same name as %s: remove one of them", other.file)
			continue
		}
		into[kind][base] = &source{fsys: fsys, path: name, file: file}
	}
}

// overlooked warns of what somebody may take for a definition of a folder, and is not read.
func (l *loader) overlooked(fsys fs.FS, dir, shown string) {
	entries, _ := fs.ReadDir(fsys, dir) // where it cannot be read, that is said
	for _, entry := range entries {
		name := entry.Name()
		info, err := fs.Stat(fsys, path.Join(dir, name))
		if _, ok := yamlName(name); ok || err != nil || strings.HasPrefix(name, ".") {
			continue
		}
		if info.IsDir() {
			if dir != "." {
				l.strayFolder(fsys, path.Join(dir, name), path.Join(shown, name))
			}
			continue
		}
		extension := strings.ToLower(path.Ext(name))
		if extension != "" && extension != ".txt" && extension != ".json" {
			continue
		}
		data, err := readFile(fsys, path.Join(dir, name))
		if err != nil {
			continue // it is none of ours
		}
		base, _, _ := strings.Cut(name, ".")
		kind, _ := kindOf(name, data)
		switch {
		case kind != "":
			l.warn(path.Join(shown, name), "is not read: the name of a definition ends in .yaml, as %s.yaml", base)
		case dir != "." && extension == ".json":
			l.warn(path.Join(shown, name), "is not read, and is no definition: if it is an answer of an endpoint, new feed %s --from it writes a feed", base)
		}
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
func (l *loader) strayFolder(fsys fs.FS, name, file string) {
	entries, err := fs.ReadDir(fsys, name)
	if err != nil {
		return // not ours to read
	}
	for _, entry := range entries {
		if _, ok := yamlName(entry.Name()); ok {
			l.warn(file, "is not read: put feeds into feeds/ and mappings into mappings/")
			return
		}
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
	"mappings": {"fields", "cases", "tables", "flatten", "include", "redact", "drop", "sample", "known"},
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
