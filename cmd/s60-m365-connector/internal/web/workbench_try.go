package web

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/author"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/definitions"
	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/transform"
)

// This file maps the records of the form with the text beside them, says what differs from what is
// shipped, and makes a golden case of it.

// eventView is one event, its fields in groups.
type eventView struct {
	N       int
	Text    string          // message_text
	Held    *transform.Rule // by which rule it is not delivered
	Differs []differenceView
	Groups  []groupView
	JSON    string
}

type differenceView struct {
	Name, Was, Is string
	Hidden        bool // Was is not shown: it may be what the text redacts
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

// faultView is something wrong in the text.
type faultView struct {
	Line, Column int
	Here         bool // in the text, and not in what it extends
	Place        string
	Message      string
	Source       string // the line, and below it the carets
	Warning      bool
}

// trial is a mapping with the records of the form.
type trial struct {
	mapping *transform.Mapping
	text    string // of the mapping's file
	records [][]byte
}

// mostTime is how long the records of one request may take, recordTime how long one of them: anybody who sees the
// page can write a mapping that would run for hours. The first record is always shown.
const (
	mostTime   = 3 * time.Second
	recordTime = time.Second
)

// benchKey makes pseudonyms on the workbench. With the real key, anybody who sees the page could try
// names until one gives a known pseudonym.
var benchKey = []byte("the workbench, and nothing else.")

// compare maps records with the text of the page, and with what it is compared with.
func (p *pages) compare(ctx context.Context, v *workbenchView, records [][]byte) (*trial, error) {
	now := time.Now()
	options := transform.Options{Patience: recordTime, Constants: definitions.Constants(p.set.Environment), Now: func() time.Time { return now }}
	if p.set.PseudonymKey != nil {
		options.PseudonymKey = benchKey
	}
	mapping, problems := definitions.Edit(p.set, p.set.ConfigDir, v.Of, v.YAML, options)
	for _, found := range problems {
		v.Problems = append(v.Problems, describeFault(found, "CONFIG_DIR/mappings/"+v.Of+".yaml"))
	}
	if mapping == nil {
		return nil, nil
	}
	base := p.base(v, options)
	source := transform.Constant{Name: "source_name", Value: p.defs.Feed(v.Of, p.set.Names)}
	mapper := mapping.NewMapper(source)
	var before *transform.Mapper
	if base != nil {
		before = base.NewMapper(source)
	}
	begun := time.Now()
	for i, record := range records {
		if ctx.Err() != nil {
			return nil, ctx.Err() // nobody waits for it any more
		}
		if i > 0 && time.Since(begun) > mostTime {
			return nil, fmt.Errorf("the mapping takes more than %s for %d records: paste fewer of them", mostTime, len(records))
		}
		event, _ := mapper.Append(nil, record)
		described := describeEvent(i+1, event, mapping.Explain(record, source))
		described.Held = mapper.Filtered(record)
		if before != nil {
			was, _ := before.Append(nil, record)
			described.Differs = differences(was, event)
			for n := range described.Differs {
				if d := &described.Differs[n]; mapper.Redacts() && d.Was != "" {
					d.Was, d.Hidden = "", true
				}
			}
		}
		v.Events = append(v.Events, described)
	}
	return &trial{mapping, v.YAML, records}, nil
}

// base is what the text is compared with: the shipped mapping of the name, or what is in force of it.
func (p *pages) base(v *workbenchView, options transform.Options) *transform.Mapping {
	text := ""
	switch shipped := definitions.Shipped("mapping", v.Of) != nil; {
	case shipped && (v.Changed || v.Whole):
		v.Base, text = "the shipped mapping", "name: "+v.Of+"\nextends: "+v.Of+"\n"
	case !shipped && v.Changed:
		v.Base, text = "the mapping in force", definitions.OwnText(p.defs, p.set.ConfigDir, v.Of)
	}
	if text == "" {
		v.Base = ""
		return nil
	}
	mapping, _ := definitions.Edit(p.set, p.set.ConfigDir, v.Of, text, options)
	return mapping
}

// differences are the fields in which two events differ, by name.
func differences(was, is []byte) (list []differenceView) {
	a, errA := author.EventFields(was)
	b, errB := author.EventFields(is)
	if errA != nil || errB != nil {
		return nil
	}
	for _, name := range author.Differing(a, b) {
		d := differenceView{Name: name}
		if before, had := a[name]; had {
			d.Was = fmt.Sprint(before)
		}
		if after, has := b[name]; has {
			d.Is = fmt.Sprint(after)
		}
		list = append(list, d)
	}
	return list
}

func describeFault(p definition.Problem, file string) faultView {
	v := faultView{Line: p.Line, Column: p.Column, Here: p.File == file, Place: p.Pos.String(), Message: p.Message, Warning: p.Warning}
	if _, below, found := strings.Cut(p.String(), "\n"); found {
		v.Source = below
	}
	return v
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
	v.JSON = indented(event)
	return v
}

func indented(raw []byte) string {
	var text bytes.Buffer
	if json.Indent(&text, raw, "", "  ") != nil {
		return ""
	}
	return text.String()
}

// fieldText is a value as a person reads it: a text without its quotes.
func fieldText(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text
	}
	return string(raw)
}

var caseName = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

// download answers with golden cases of the records, and with the mapping if it was changed: an archive to be
// unpacked in CONFIG_DIR.
func (p *pages) download(w http.ResponseWriter, v *workbenchView, t *trial) error {
	switch {
	case t == nil:
		return fmt.Errorf("the mapping has problems: a golden case of it would be none")
	case !caseName.MatchString(v.Case):
		return fmt.Errorf("%q is no name for a case: write lower-case letters, digits and hyphens", v.Case)
	}
	options := author.Still(p.set)
	options.Patience = recordTime
	still, problems := definitions.Edit(p.set, p.set.ConfigDir, v.Of, t.text, options)
	if still == nil {
		return fmt.Errorf("the mapping cannot be compiled for a case: %s", problems[0].Message)
	}
	var archive bytes.Buffer
	z := zip.NewWriter(&archive)
	add := func(name string, text []byte) error {
		file, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate, Modified: time.Now()})
		if err == nil {
			_, err = file.Write(text)
		}
		return err
	}
	for i, record := range t.records {
		name := "golden/" + v.Of + "/" + v.Case
		if i > 0 {
			name = fmt.Sprintf("%s-%d", name, i+1)
		}
		event, err := author.GoldenEvent(still, v.Of, record)
		if err != nil {
			return err
		}
		if err := add(name+".json", []byte(indented(record)+"\n")); err != nil {
			return err
		}
		if err := add(name+definitions.GoldenSuffix, event); err != nil {
			return err
		}
	}
	if v.Changed {
		if err := add("mappings/"+v.Of+".yaml", []byte(t.text)); err != nil {
			return err
		}
	}
	if err := z.Close(); err != nil {
		return err
	}
	protect(w.Header())
	w.Header().Set("Content-Type", "application/zip")
	w.Header().Set("Content-Disposition", `attachment; filename="`+v.Of+"-"+v.Case+`.zip"`)
	w.Write(archive.Bytes()) //nolint:errcheck // the client has gone
	return nil
}
