package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/definitions"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/wording"
	"github.com/secure60/s60-m365-connector/engine/transform"
)

// This file is the mapping workbench: a record in, its event out, with where
// each field comes from. The record is held in memory for the time of the
// request, and goes nowhere.

const (
	workbenchBytes   = 1 << 20 // of a request
	workbenchRecords = 20      // shown of a list
)

type workbenchView struct {
	frame
	Mappings []string
	Mapping  string
	Record   string
	Problem  string
	Events   []eventView
	More     bool // there were further records
}

// eventView is one event, its fields in groups.
type eventView struct {
	N      int
	Text   string // message_text
	Groups []groupView
	JSON   string
}

type groupView struct {
	Name   string
	Open   bool
	Fields []fieldView
}

type fieldView struct {
	Name, Value string
	Empty       bool   // the expression gave nothing, the event lacks the field
	Place       string // file:line:col of the expression
	Source      string // the expression
	When        string // the condition of its case
	Note        string // where it comes from, if no expression gave it
	Failed      string
}

func (p *pages) workbench(mapping string) workbenchView {
	v := workbenchView{frame: p.frame("workbench"), Mappings: slices.Sorted(maps.Keys(p.defs.Mappings)), Mapping: mapping}
	if v.Mapping == "" && len(v.Mappings) > 0 {
		v.Mapping = v.Mappings[0]
		for _, f := range p.defs.Set.Feeds { // that of the first feed is more to the point than the first by name
			if p.defs.Mappings[f.Mapping] != nil {
				v.Mapping = f.Mapping
				break
			}
		}
	}
	return v
}

func (p *pages) showWorkbench(w http.ResponseWriter, r *http.Request) {
	render(w, http.StatusOK, "workbench.html", p.workbench(r.URL.Query().Get("mapping")))
}

// tryRecord maps the records of the form.
func (p *pages) tryRecord(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, workbenchBytes)
	// The bound is that of the body, so that nothing of it goes to a file.
	if err := r.ParseMultipartForm(workbenchBytes); err != nil && !errors.Is(err, http.ErrNotMultipart) {
		v, code := p.workbench(""), http.StatusBadRequest
		v.Problem = "The form could not be read: " + err.Error()
		if _, large := errors.AsType[*http.MaxBytesError](err); large {
			code, v.Problem = http.StatusRequestEntityTooLarge, "That is more than 1 MiB: paste fewer records, or use “"+program.Name+" map --explain”, which has no bound."
		}
		render(w, code, "workbench.html", v)
		return
	}
	v := p.workbench(r.PostFormValue("mapping"))
	v.Record = r.PostFormValue("record")
	select {
	case p.busy <- struct{}{}:
		defer func() { <-p.busy }()
	default:
		v.Problem = "The workbench is busy: try again in a moment."
		render(w, http.StatusServiceUnavailable, "workbench.html", v)
		return
	}
	code := http.StatusOK
	if err := p.try(&v); err != nil {
		code, v.Problem = http.StatusUnprocessableEntity, wording.Sentence(err.Error())
	}
	render(w, code, "workbench.html", v)
}

// errEnough ends reading a list of which enough is shown.
var errEnough = errors.New("enough records")

func (p *pages) try(v *workbenchView) error {
	mapping := p.defs.Mappings[v.Mapping]
	if mapping == nil {
		return fmt.Errorf("there is no mapping %q: choose one of the list", v.Mapping)
	}
	if strings.TrimSpace(v.Record) == "" {
		return errors.New("there is no record: paste one as JSON; an array, one object a line, and an answer of Microsoft Graph are fine, too")
	}
	source := transform.Constant{Name: "source_name", Value: p.defs.SourceName(v.Mapping)}
	mapper := mapping.NewMapper(source)
	err := definitions.EachRecord(strings.NewReader(v.Record), func(n int, record []byte) error {
		if n > workbenchRecords {
			v.More = true
			return errEnough
		}
		event, _ := mapper.Append(nil, record)
		v.Events = append(v.Events, describeEvent(n, event, mapping.Explain(record, source)))
		return nil
	}, "the text")
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// describeEvent puts the fields of an event into groups: what the mapping
// computed comes first, for it is what a person looks for.
func describeEvent(n int, event []byte, fields []transform.Explanation) eventView {
	v := eventView{N: n}
	groups := []groupView{
		{Name: "Computed by the mapping", Open: true},
		{Name: "Constants and defaults", Open: true},
		{Name: "Left out: the expression gave nothing"},
		{Name: "Fields of the record"},
	}
	for _, f := range fields {
		field := fieldView{Name: f.Field, Value: fieldText(f.Value), Failed: f.Failed}
		if f.Origin.Source != "" {
			field.Place, field.Source, field.When = f.Origin.Pos.String(), f.Origin.Source, f.Origin.Case
		}
		if f.Field == "message_text" {
			v.Text = field.Value
		}
		group := 1
		switch {
		case f.Value == nil:
			group, field.Empty = 2, true
		case f.From == transform.FromRule || f.From == transform.FromEngine:
			group = 0
		case f.From == transform.FromRecord:
			group = 3
		default:
			field.Note = f.From
		}
		if f.From == transform.FromEngine {
			field.Note = "what failed in the mapping"
		}
		groups[group].Fields = append(groups[group].Fields, field)
	}
	for _, g := range groups {
		if len(g.Fields) > 0 {
			v.Groups = append(v.Groups, g)
		}
	}
	var text bytes.Buffer
	if json.Indent(&text, event, "", "  ") == nil {
		v.JSON = text.String()
	}
	return v
}

// fieldText is a value as a person reads it: a text without its quotes.
func fieldText(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text
	}
	return string(raw)
}
