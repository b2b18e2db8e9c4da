package web

import (
	"net/http"
	"slices"
	"strings"

	"github.com/secure60/s60-m365-connector/mappings/vocabulary"
)

// This file is the page of fields and operations: those of the mappings in force, the user's own too.

type fieldsPage struct {
	frame
	Find          string
	Fields        []fieldWords
	Operations    []operationWords
	AllFields     int
	AllOperations int
}

type fieldWords struct {
	Name, Meaning string
	GivenBy, Rest string // the first of the mappings, and the others
	More          int    // how many those are
}

type operationWords struct{ Name, Phrase, Originals string }

const shownGivers = 3

// words are those of the mappings.
type words struct {
	fields     []vocabulary.Field
	operations []vocabulary.Operation
}

func (p *pages) words() words {
	return words{vocabulary.Fields(p.defs.Set), vocabulary.Operations(p.defs.Set)}
}

// showFields is the page, of what holds all words of the query.
func (p *pages) showFields(all func() words) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		all := all()
		v := fieldsPage{frame: p.frame("fields"), Find: r.FormValue("find"), AllFields: len(all.fields), AllOperations: len(all.operations)}
		for _, f := range all.fields {
			if holdsAll(f.Name+" "+f.Meaning, v.Find, f.GivenBy...) {
				first := f.GivenBy[:min(len(f.GivenBy), shownGivers)]
				rest := f.GivenBy[len(first):]
				v.Fields = append(v.Fields, fieldWords{f.Name, f.Meaning, strings.Join(first, ", "), strings.Join(rest, ", "), len(rest)})
			}
		}
		for _, o := range all.operations {
			originals := strings.Join(o.Originals, ", ")
			if holdsAll(o.Name+" "+o.Phrase+" "+originals, v.Find) {
				v.Operations = append(v.Operations, operationWords{o.Name, o.Phrase, originals})
			}
		}
		render(w, http.StatusOK, "fields.html", v)
	}
}

// holdsAll reports whether a text holds every word of a query, or the word is one of names, whatever the case.
func holdsAll(text, query string, names ...string) bool {
	text = strings.ToLower(text)
	for word := range strings.FieldsSeq(strings.ToLower(query)) {
		if !strings.Contains(text, word) && !slices.Contains(names, word) {
			return false
		}
	}
	return true
}
