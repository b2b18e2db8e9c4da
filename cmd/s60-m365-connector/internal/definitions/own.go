package definitions

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/feeds"
	"github.com/secure60/s60-m365-connector/mappings"
	"github.com/secure60/s60-m365-connector/schemas"
)

// This file tells of the files themselves: which of them are the user's, what is shipped,
// and what is in force.

// overlay is what goes over the shipped definitions: a folder with feeds/ and mappings/,
// or one file. The name goes before those of its files in messages.
func overlay(place string) (fs.FS, string) {
	info, err := os.Stat(place)
	switch {
	case err != nil:
		return nil, place
	case info.IsDir():
		return os.DirFS(place), place
	}
	dir := filepath.Dir(place)
	if kind := filepath.Base(dir); kind == "feeds" || kind == "mappings" {
		dir = filepath.Dir(dir)
		return single{os.DirFS(dir), []string{".", kind, kind + "/" + filepath.Base(place)}}, dir
	}
	return single{os.DirFS(dir), []string{".", filepath.Base(place)}}, dir
}

// single is a folder in which there is one file only. names are the ways to it.
type single struct {
	fs.FS
	names []string
}

// Open opens what leads to the file.
func (s single) Open(name string) (fs.File, error) {
	if !slices.Contains(s.names, name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return s.FS.Open(name)
}

// ReadDir lists what leads to the file.
func (s single) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := fs.ReadDir(s.FS, name)
	return slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return !slices.Contains(s.names, path.Join(name, e.Name())) }), err
}

func options(s *settings.Settings, place string) definition.Options {
	files, name := overlay(place)
	return definition.Options{Feeds: feeds.FS, Mappings: mappings.FS, Tested: true, Overlay: files, OverlayName: name, Settings: s.Names}
}

// DescribeOwn says what a file of the user's does, in a line.
func DescribeOwn(f definition.OwnFile) string {
	text := ""
	switch {
	case f.Extends == f.Name:
		text = "extends the shipped " + f.Kind + " " + f.Name
	case f.Extends != "":
		text = "adds the " + f.Kind + " " + f.Name + ", which extends " + f.Extends
	case f.Replaces:
		text = "replaces the shipped " + f.Kind + " " + f.Name
	default:
		text = "adds the " + f.Kind + " " + f.Name
	}
	return f.File + ": " + text
}

// Kinds are what can be shown.
var Kinds = []string{"feed", "mapping", "schema"}

// Shipped is the file of a shipped definition or schema, nil if there is none of that name.
func Shipped(kind, name string) []byte {
	files, suffix := shipped(kind)
	data, err := fs.ReadFile(files, name+suffix)
	if err != nil {
		return nil
	}
	return data
}

func shipped(kind string) (files fs.FS, suffix string) {
	switch kind {
	case "feed":
		return feeds.FS, ".yaml"
	case "mapping":
		return mappings.FS, ".yaml"
	}
	return schemas.FS, ".schema.json"
}

// Names lists what is shipped of a kind, by name.
func Names(kind string) []string {
	files, suffix := shipped(kind)
	list, _ := fs.Glob(files, "*"+suffix) // the pattern is well formed
	for i, name := range list {
		list[i] = strings.TrimSuffix(path.Base(name), suffix)
	}
	return list
}

// Merged is a feed or mapping as it is in force, with the place of each key, nil if there
// is none of that name.
func Merged(s *settings.Settings, dir, kind, name string) []byte {
	return definition.Merged(options(s, dir), kind, name)
}

// InForce lists the feeds or mappings in force, by name, with who changes them.
func InForce(s *settings.Settings, dir, kind string) []string {
	set, _ := definition.Load(options(s, dir))
	own := map[string]string{}
	for _, f := range set.Own {
		if f.Kind == kind {
			_, does, _ := strings.Cut(DescribeOwn(f), ": ")
			own[f.Name] = fmt.Sprintf("  # %s %s", f.File, does)
		}
	}
	var list []string
	if kind == "feed" {
		for _, f := range set.Feeds {
			list = append(list, f.Name+own[f.Name])
		}
		return list
	}
	for _, m := range set.Mappings() {
		list = append(list, m.Name+own[m.Name])
	}
	return list
}
