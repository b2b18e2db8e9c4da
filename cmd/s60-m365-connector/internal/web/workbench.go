package web

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/definitions"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/wording"
)

// This file is the mapping workbench: paste a record, see its event and where each field comes from, and
// edit the mapping beside it. It is one form that works without JavaScript. What is pasted or
// typed is held in memory for the time of the request only; a result worth keeping is downloaded.

const (
	workbenchBytes   = 1 << 20  // of a request
	workbenchYAML    = 64 << 10 // of a mapping that is being changed
	workbenchRecords = 20       // shown of a list

	benchWait = 2 * time.Second // for the request before, then the page asks again
)

type workbenchView struct {
	frame
	Mappings []string
	Mapping  string // chosen; "" to guess
	Of       string // the mapping that the record is shown with, and that YAML is of
	Examples []exampleView
	Record   string
	YAML     string
	Whole    bool // YAML is the user's own file
	Case     string

	Problem  string // with the request
	Note     string // how well the record fits
	Problems []faultView
	Changed  bool   // YAML is not what the page gave
	Base     string // what the events are compared with
	Events   []eventView
	More     bool // there were further records
}

type exampleView struct {
	Value, Name string
	Own         bool
}

// what a button of the form asks for.
const (
	doExample = "example" // take the chosen example for the record
	doCase    = "case"    // download a golden case
)

// offered are the mappings to choose from: libraries, which compute no field, are none.
func (p *pages) offered() []string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(p.defs.Mappings)) {
		if m := p.defs.Set.Mapping(name); m != nil && (!m.Unused || len(m.Fields)+len(m.Cases) > 0) {
			list = append(list, name)
		}
	}
	return list
}

// workbench is the page for a mapping, "" for that of the record.
func (p *pages) workbench(mapping, record string) workbenchView {
	return workbenchView{frame: p.frame("workbench"), Mappings: p.offered(), Mapping: mapping, Record: record, Case: "example"}
}

// showBench answers with the page; until a mapping is known, it has a few examples of each.
func (p *pages) showBench(w http.ResponseWriter, code int, v workbenchView) {
	if v.Examples == nil { // no mapping was turned to
		for _, name := range v.Mappings {
			list := p.examples(name)
			for _, e := range list[:min(len(list), 3)] {
				e.Name = name + ": " + e.Name
				v.Examples = append(v.Examples, e)
			}
		}
	}
	render(w, code, "workbench.html", v)
}

func (p *pages) showWorkbench(w http.ResponseWriter, r *http.Request) {
	v := p.workbench(r.URL.Query().Get("mapping"), "")
	if v.Mapping != "" && p.defs.Mappings[v.Mapping] != nil {
		p.turnTo(&v, v.Mapping)
	}
	p.showBench(w, http.StatusOK, v)
}

// tryRecord maps the records of the form.
func (p *pages) tryRecord(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, workbenchBytes)
	// The bound is that of the body, so that nothing of it goes to a file.
	if err := r.ParseMultipartForm(workbenchBytes); err != nil && !errors.Is(err, http.ErrNotMultipart) {
		v, code := p.workbench("", ""), http.StatusBadRequest
		v.Problem = "The form could not be read: " + err.Error()
		if _, large := errors.AsType[*http.MaxBytesError](err); large {
			code, v.Problem = http.StatusRequestEntityTooLarge, "That is more than 1 MiB: paste fewer records, or use “"+program.Name+" map --explain”, which has no bound."
		}
		p.showBench(w, code, v)
		return
	}
	v := p.workbench(r.PostFormValue("mapping"), r.PostFormValue("record"))
	if name := r.PostFormValue("case"); name != "" {
		v.Case = name
	}
	select {
	case p.busy <- struct{}{}:
		defer func() { <-p.busy }()
	case <-r.Context().Done():
		return // what was typed since has been sent: this is what nobody waits for
	case <-time.After(benchWait):
		v.Of, v.YAML = r.PostFormValue("of"), r.PostFormValue("yaml")
		v.Problem = "The workbench is busy: try again in a moment."
		p.showBench(w, http.StatusServiceUnavailable, v)
		return
	}
	code := http.StatusOK
	tried, err := p.try(&v, r)
	switch {
	case err != nil:
		code, v.Problem = http.StatusUnprocessableEntity, wording.Sentence(err.Error())
	case r.PostFormValue("do") == doCase:
		if err = p.download(w, &v, tried); err == nil {
			return
		}
		code, v.Problem = http.StatusUnprocessableEntity, wording.Sentence(err.Error())
	}
	p.showBench(w, code, v)
}

// errEnough ends reading a list of which enough is shown.
var errEnough = errors.New("enough records")

// try works on the form: which mapping it is about, its text, and the events of its records.
func (p *pages) try(v *workbenchView, r *http.Request) (*trial, error) {
	if v.Mapping != "" && p.defs.Mappings[v.Mapping] == nil {
		return nil, fmt.Errorf("there is no mapping %q: choose one of the list", v.Mapping)
	}
	text, of := strings.ReplaceAll(r.PostFormValue("yaml"), "\r\n", "\n"), r.PostFormValue("of")
	if len(text) > workbenchYAML {
		return nil, fmt.Errorf("the mapping is longer than %d KiB: use %s map --config, which has no bound", workbenchYAML>>10, program.Name)
	}
	if p.defs.Mappings[of] == nil {
		of = ""
	}
	changed := of != "" && strings.TrimSpace(text) != "" && strings.TrimSpace(text) != strings.TrimSpace(p.text(of))
	if r.PostFormValue("do") == doExample {
		v.Record = p.example(r.PostFormValue("example"))
	}
	records, more, err := readRecords(v.Record)
	v.More = more
	switch {
	case err == nil && len(records) == 0:
		err = errors.New("there is no record: paste one as JSON, or take an example; an array, one object a line, and an answer of Microsoft Graph are fine, too")
	case err == nil && v.Mapping == "" && changed:
		p.turnTo(v, of) // what was typed is not lost for another record
	case err == nil && v.Mapping == "":
		err = p.guess(v, records[0])
	}
	if v.Mapping != "" {
		p.turnTo(v, v.Mapping)
	}
	if v.Of == "" && of != "" {
		p.turnTo(v, of)
	}
	if changed && v.Of == of {
		v.YAML, v.Changed = text, true
	}
	if err != nil {
		return nil, err
	}
	if v.Note == "" && v.Mapping != "" {
		p.doubt(v, records[0])
	}
	return p.compare(r.Context(), v, records)
}

// turnTo makes the page one about a mapping.
func (p *pages) turnTo(v *workbenchView, mapping string) {
	v.Of, v.YAML, v.Whole = mapping, p.text(mapping), definitions.OwnText(p.defs, p.set.ConfigDir, mapping) != ""
	v.Examples = p.examples(mapping)
}

// text is what a mapping's file in CONFIG_DIR holds, or the beginning of one.
func (p *pages) text(mapping string) string {
	if own := definitions.OwnText(p.defs, p.set.ConfigDir, mapping); own != "" {
		return own
	}
	return "name: " + mapping + "\nextends: " + mapping + "\n# fields:\n#   user_name: lower(event_userPrincipalName)\n"
}

// readRecords reads the records of the form, as many as are shown.
func readRecords(text string) (records [][]byte, more bool, err error) {
	err = definitions.EachRecord(strings.NewReader(text), func(n int, record []byte) error {
		if n > workbenchRecords {
			more = true
			return errEnough
		}
		records = append(records, slices.Clone(record))
		return nil
	}, "the text", io.Discard)
	if errors.Is(err, errEnough) {
		err = nil
	}
	return records, more, err
}
