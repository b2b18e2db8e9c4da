package definition

import (
	"errors"
	"io/fs"
	"path"
	"regexp"
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
	}
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
	if d.root.Kind != yaml.MappingNode {
		return "", nil
	}
	for i := 0; i+1 < len(d.root.Content); i += 2 {
		switch d.root.Content[i].Value {
		case "request", "records", "paging", "mapping", "window", "cursor", "auth":
			return "feeds", nil
		case "fields", "cases", "tables", "flatten", "include", "redact", "drop", "sample", "known":
			return "mappings", nil
		}
	}
	return "", nil
}
