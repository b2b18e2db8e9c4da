package definitions

import (
	"io/fs"
	"path"
	"regexp"
	"strings"
	"testing/fstest"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/transform"
)

// Edit compiles a mapping as it would be with another text in its file, over the shipped definitions and
// those under dir. The problems are those of that text. The mapping is nil where there are any but warnings, and where the
// text makes a library of it.
func Edit(s *settings.Settings, dir, name, text string, o transform.Options) (*transform.Mapping, []definition.Problem) {
	const shown = "CONFIG_DIR" // before the name of the file, whose shipped one is called the same
	option := options(s, dir)
	option.Feeds = nil // the user's mapping stands for itself: none is needed, and a page waits
	option.Overlay, option.OverlayName = edited(option.Overlay, name, path.Join("mappings", name+".yaml"), text), shown
	file := path.Join(shown, "mappings", name+".yaml")
	set, problems := definition.Load(option)
	var of []definition.Problem
	for _, p := range problems {
		if p.File == file || strings.Contains(p.By, file) {
			of = append(of, p)
		}
	}
	var compiled *transform.Mapping
	for _, m := range set.Whole {
		if m.Name == name {
			var found []definition.Problem
			compiled, found = transform.Compile(m.Read(), o)
			of = append(of, found...)
		}
	}
	if definition.Invalid(of) || compiled == nil {
		definition.Sort(of)
		return nil, of
	}
	of = append(of, unknownNames(&Compiled{Set: set, Mappings: map[string]func() *transform.Mapping{name: func() *transform.Mapping { return compiled }}}, dir)...)
	definition.Sort(of)
	return compiled, of
}

// edited are the user's files with one in the place of whatever there is for that mapping.
func edited(files fs.FS, name, file, text string) fs.FS {
	all := fstest.MapFS{file: {Data: []byte(text)}}
	if files == nil {
		return all
	}
	for _, dir := range []string{".", "mappings"} {
		entries, err := fs.ReadDir(files, dir)
		if err != nil {
			continue // it is not there
		}
		for _, e := range entries {
			at := path.Join(dir, e.Name())
			if e.IsDir() || strings.TrimSuffix(strings.TrimSuffix(e.Name(), ".yml"), ".yaml") == name {
				continue
			}
			if data, err := fs.ReadFile(files, at); err == nil && (dir != "." || !aFeed.Match(data)) {
				all[at] = &fstest.MapFile{Data: data}
			}
		}
	}
	return all
}

// aFeed is what only feeds have.
var aFeed = regexp.MustCompile(`(?m)^(request|mapping|records|window|cursor):|feed\.schema\.json`)

// OwnText is the user's file of a mapping, "" where there is none.
func OwnText(d *Compiled, dir, name string) string {
	for _, f := range d.Set.Own {
		if f.Kind == "mapping" && f.Name == name {
			files, root := overlay(dir)
			if files == nil {
				return ""
			}
			data, err := fs.ReadFile(files, strings.TrimPrefix(strings.TrimPrefix(f.File, root), "/"))
			if err == nil {
				return string(data)
			}
		}
	}
	return ""
}

// Feed is a feed whose records the mapping gets, one that is on before the others; the mapping's own name, where there is none.
func (d *Compiled) Feed(mapping string, settings map[string]any) string {
	name := mapping
	for _, f := range d.Set.Feeds {
		if f.Mapping != mapping {
			continue
		}
		if on, err := f.Enabled.Bool(settings); err == nil && on {
			return f.Name
		}
		if name == mapping {
			name = f.Name
		}
	}
	return name
}
