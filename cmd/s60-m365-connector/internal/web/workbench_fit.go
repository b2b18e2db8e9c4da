package web

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/tidwall/gjson"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/definitions"
	"github.com/secure60/s60-m365-connector/engine/transform"
	"github.com/secure60/s60-m365-connector/mappings"
)

// This file finds the mapping of a record, and example records of a mapping.

// knownNames are the names that records of the shipped mappings have.
var knownNames = sync.OnceValue(func() mappings.Names { return mappings.ParseNames(mappings.KnownFields) })

// fit is how well a record fits a mapping.
type fit struct {
	mapping    string
	known, all int     // fields of the record
	part       float64 // 0 to 1
}

// enoughFit is the least share of a record's fields that a mapping has to know.
const enoughFit = 0.6

// fits says how well a record fits each mapping, the best first.
func (p *pages) fits(record []byte) []fit {
	var list []fit
	for _, name := range p.offered() {
		list = append(list, p.fit(name, record))
	}
	slices.SortStableFunc(list, func(a, b fit) int {
		switch {
		case a.part > b.part:
			return -1
		case a.part < b.part:
			return 1
		}
		return b.known - a.known
	})
	return list
}

func (p *pages) fit(name string, record []byte) fit {
	m := p.defs.Mappings[name]()
	event, _ := m.NewMapper().Append(nil, record)
	has := map[string]bool{}
	gjson.ParseBytes(event).ForEach(func(key, _ gjson.Result) bool {
		if strings.HasPrefix(key.Str, "event_") {
			has[key.Str] = true
		}
		return true
	})
	return fitOf(name, m, has)
}

// fitOf goes by the list of names of a shipped mapping's records; of one that has none, by what it reads.
func fitOf(name string, m *transform.Mapping, has map[string]bool) fit {
	f := fit{mapping: name, all: len(has)}
	if known := knownNames(); known.Of(name) {
		for field := range has {
			if known.Has(name, field) {
				f.known++
			}
		}
		f.part = float64(f.known) / float64(max(f.all, 1))
		return f
	}
	reads := map[string]bool{}
	for _, r := range m.References() {
		if strings.HasPrefix(r.Name, "event_") {
			reads[r.Name] = true
		}
	}
	for field := range reads {
		if has[field] {
			f.known++
		}
	}
	f.part = float64(f.known) / float64(max(len(reads), 1))
	return f
}

// guess finds the mapping of a record. The error says that none fits.
func (p *pages) guess(v *workbenchView, record []byte) error {
	list := p.fits(record)
	if len(list) == 0 || list[0].part < enoughFit || list[0].known == 0 {
		near := ""
		if len(list) > 0 && list[0].known > 0 {
			near = fmt.Sprintf("; %s comes nearest, and knows %d of its %d fields", list[0].mapping, list[0].known, list[0].all)
		}
		return fmt.Errorf("the record fits none of the mappings%s: choose one by hand, or write a feed for it, with new feed", near)
	}
	v.Note = fmt.Sprintf("By its fields a record of %s: %d of %d are known.", list[0].mapping, list[0].known, list[0].all)
	if len(list) > 1 && list[1].part == list[0].part && list[1].known == list[0].known {
		v.Note += fmt.Sprintf(" It fits %s as well.", list[1].mapping)
	}
	p.turnTo(v, list[0].mapping)
	return nil
}

// doubt says when a record does not look like one of the chosen mapping.
func (p *pages) doubt(v *workbenchView, record []byte) {
	if p.defs.Mappings[v.Of] == nil || p.fit(v.Of, record).part >= enoughFit {
		return // as most do: the others are not asked
	}
	list := p.fits(record)
	i := slices.IndexFunc(list, func(f fit) bool { return f.mapping == v.Of })
	if i <= 0 {
		return
	}
	v.Note = fmt.Sprintf("The record does not look like one of %s, which knows %d of its %d fields.", v.Of, list[i].known, list[i].all)
	if list[0].part >= enoughFit {
		v.Note += fmt.Sprintf(" It looks like one of %s.", list[0].mapping)
	}
}

// examples are the records by which a mapping can be tried: the golden ones of CONFIG_DIR, then those that are shipped.
func (p *pages) examples(mapping string) []exampleView {
	list := []exampleView{} // not nil where there are none
	files, _ := filepath.Glob(filepath.Join(p.set.ConfigDir, "golden", mapping, "*.json"))
	for _, file := range files {
		if !strings.HasSuffix(file, definitions.GoldenSuffix) {
			name := strings.TrimSuffix(filepath.Base(file), ".json")
			list = append(list, exampleView{mapping + "/own/" + name, name, true})
		}
	}
	for _, e := range mappings.Examples(mapping) {
		list = append(list, exampleView{mapping + "/shipped/" + e.Name, e.Name, false})
	}
	return list
}

// example is the record that the form names, "" if there is none.
func (p *pages) example(value string) string {
	mapping, rest, _ := strings.Cut(value, "/")
	from, name, _ := strings.Cut(rest, "/")
	if from == "own" && slices.ContainsFunc(p.examples(mapping), func(e exampleView) bool { return e.Value == value }) {
		text, err := os.ReadFile(filepath.Join(p.set.ConfigDir, "golden", mapping, name+".json"))
		if err == nil && len(text) < workbenchBytes/2 {
			return string(text)
		}
		return ""
	}
	for _, e := range mappings.Examples(mapping) {
		if e.Name == name {
			return indented(e.Record)
		}
	}
	return ""
}
