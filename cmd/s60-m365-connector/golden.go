package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/cases"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/definitions"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/wording"
	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/transform"
)

type testCommand struct {
	configFlag
	Dir    string `arg:"" optional:"" help:"Folder with golden/<mapping>/<case>.json and golden/feeds/<feed>/<case>.yaml, or that golden folder itself; CONFIG_DIR if not given."`
	Update bool   `help:"Write the events as they are now, instead of comparing."`
}

// goldenTime is the time of collection in golden cases: the timestamp of
// records that have none of their own.
var goldenTime = cases.Start

// goldenCase is a record, and the event that it must become.
type goldenCase struct{ mapping, name, record, golden string }

// Run compares the events of golden cases with those on file. Mappings under
// the folder go over the shipped ones.
func (t testCommand) Run(std streams) error {
	s, _, err := settings.Load(true, t.Config)
	if err != nil {
		return err
	}
	dir := s.ConfigDir
	if t.Dir != "" {
		dir = t.Dir
	}
	root, overlay := filepath.Join(dir, "golden"), dir
	if info, err := os.Stat(root); err != nil || !info.IsDir() {
		root, overlay = dir, s.ConfigDir
	}
	ofFeeds, err := cases.Find(root)
	if err != nil {
		return program.Exit(program.Usage, err)
	}
	ofMappings, err := goldenCases(root)
	if err == nil && len(ofMappings)+len(ofFeeds) == 0 {
		err = fmt.Errorf("%s holds no cases: write a record into %s, or exchanges into %s",
			root, filepath.Join(root, "<mapping>", "<case>.json"), filepath.Join(root, "feeds", "<feed>", "<case>.yaml"))
	}
	if err != nil {
		return program.Exit(program.Usage, err)
	}
	defs, err := definitions.LoadValid(s, overlay, std.err)
	if err != nil {
		return err
	}
	if err := definitions.PrintUnknownNames(s, defs, overlay, std.err); err != nil {
		return err
	}
	compiled := map[string]*transform.Mapping{}
	passed, wrong, written := 0, 0, 0
	for _, c := range ofMappings {
		var event []byte
		mapping, err := c.compile(defs, s, compiled)
		if err == nil {
			event, err = c.event(mapping)
		}
		if err == nil && t.Update {
			err = os.WriteFile(c.golden, event, 0o644)
			written++
		} else if err == nil {
			fields, _ := eventFields(event) // it was just encoded
			err = errors.Join(c.compare(event), cases.HoldToSchema(fields))
		}
		if err != nil {
			wrong++
			fmt.Fprintf(std.out, "FAIL %s/%s\n%s\n", c.mapping, c.name, indent(wording.Visible(err.Error())))
			continue
		}
		passed++
	}
	for _, c := range ofFeeds {
		got, err := c.Run(defs, s.Names)
		if err == nil && t.Update {
			err = c.Write(got)
			written++
		} else if err == nil {
			err = errors.Join(c.Compare(got), cases.HoldToSchema(got.Events...))
		}
		if err != nil {
			wrong++
			fmt.Fprintf(std.out, "FAIL feeds/%s/%s\n%s\n", c.Feed, c.Name, indent(wording.Visible(err.Error())))
			continue
		}
		passed++
	}
	switch {
	case wrong > 0:
		fmt.Fprintf(std.out, "%d passed, %d failed\n", passed, wrong)
		return program.Exit(program.Failed, nil)
	case t.Update:
		fmt.Fprintf(std.out, "%d golden files written\n", written)
	default:
		fmt.Fprintf(std.out, "%d passed, 0 failed\n", passed)
	}
	return nil
}

// goldenCases finds the cases under a folder.
func goldenCases(root string) ([]goldenCase, error) {
	files, err := filepath.Glob(filepath.Join(root, "*", "*.json"))
	if err != nil {
		return nil, err
	}
	var cases []goldenCase
	for _, file := range files {
		if strings.HasSuffix(file, definitions.GoldenSuffix) {
			continue
		}
		name := strings.TrimSuffix(file, ".json")
		cases = append(cases, goldenCase{
			mapping: filepath.Base(filepath.Dir(file)), name: filepath.Base(name), record: file, golden: name + definitions.GoldenSuffix,
		})
	}
	return cases, nil
}

// compile is the mapping of the case, compiled for the first of its cases.
func (c goldenCase) compile(defs *definitions.Compiled, s *settings.Settings, known map[string]*transform.Mapping) (*transform.Mapping, error) {
	if known[c.mapping] != nil {
		return known[c.mapping], nil
	}
	compiled, err := compileStill(defs, s, c.mapping)
	if err == nil {
		known[c.mapping] = compiled
	}
	return compiled, err
}

// compileStill compiles a mapping for which time stands still: records without a time of
// their own get [goldenTime].
func compileStill(defs *definitions.Compiled, s *settings.Settings, name string) (*transform.Mapping, error) {
	m := defs.Set.Mapping(name)
	if m == nil {
		return nil, fmt.Errorf("there is no mapping %q", name)
	}
	compiled, problems := transform.Compile(m, transform.Options{
		Constants: definitions.Constants(s.Environment), PseudonymKey: s.PseudonymKey, Now: func() time.Time { return goldenTime },
	})
	if definition.Invalid(problems) {
		return nil, errors.New(problems[0].String())
	}
	return compiled, nil
}

// event is what the record of the case becomes, as golden files hold it: of one that a rule
// holds back, the name of the rule.
func (c goldenCase) event(mapping *transform.Mapping) ([]byte, error) {
	record, err := os.ReadFile(c.record)
	if err != nil {
		return nil, err
	}
	if !json.Valid(record) {
		return nil, fmt.Errorf("%s is not JSON", c.record)
	}
	mapper := mapping.NewMapper(transform.Constant{Name: "source_name", Value: c.mapping})
	raw, _ := mapper.Append(nil, record)
	if as, filtered := mapper.Filtered(record); filtered {
		return fmt.Appendf(nil, "{\n  \"not_delivered\": %q\n}\n", as), nil
	}
	fields, err := eventFields(raw)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err = e.Encode(fields)
	return b.Bytes(), err
}

// eventFields decodes an event without losing a digit.
func eventFields(event []byte) (map[string]any, error) {
	d := json.NewDecoder(bytes.NewReader(event))
	d.UseNumber()
	var fields map[string]any
	err := d.Decode(&fields)
	return fields, err
}

// compare tells how the event differs from the one on file, field by field.
func (c goldenCase) compare(event []byte) error {
	golden, err := os.ReadFile(c.golden)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("it has no %s: check the event with map, then write it with test --update", filepath.Base(c.golden))
	}
	if err != nil {
		return err
	}
	if bytes.Equal(golden, event) {
		return nil
	}
	want, err := eventFields(golden)
	if err != nil {
		return fmt.Errorf("%s is not JSON: %w", c.golden, err)
	}
	got, err := eventFields(event)
	if err != nil {
		return err
	}
	var text strings.Builder
	names := maps.Clone(want)
	maps.Copy(names, got)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		was, had := want[name]
		is, has := got[name]
		if had && has && fmt.Sprint(was) == fmt.Sprint(is) {
			continue
		}
		if had {
			writeField(&text, "-", name, was)
		}
		if has {
			writeField(&text, "+", name, is)
		}
	}
	if text.Len() == 0 {
		return nil // only the layout of the file differs
	}
	return errors.New(strings.TrimSuffix(text.String(), "\n"))
}

func writeField(w io.Writer, sign, name string, value any) {
	text, err := json.Marshal(value)
	if err != nil {
		text = []byte(fmt.Sprint(value))
	}
	fmt.Fprintf(w, "%s %s: %s\n", sign, name, text)
}

func indent(s string) string { return "  " + strings.ReplaceAll(s, "\n", "\n  ") }
