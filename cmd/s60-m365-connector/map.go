package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/tidwall/gjson"

	"github.com/secure60/s60-m365-connector/engine/transform"
)

type mapCommand struct {
	Mapping string `required:"" help:"The mapping to apply."`
	Feed    string `help:"The feed whose name goes into source_name; needed only where several feeds use the mapping."`
	Explain bool   `help:"Say for each field which line of which mapping gave it."`
	File    string `arg:"" optional:"" help:"Records: a JSON array, an object, or one object a line. Standard input if not given."`
}

// Run maps records to events, one a line.
func (m mapCommand) Run(std streams) (err error) {
	s, _, err := loadSettings(true)
	if err != nil {
		return err
	}
	defs, err := definitionsOr(s, s.configDir, std.err)
	if err != nil {
		return err
	}
	mapping := defs.mappings[m.Mapping]
	if mapping == nil {
		return exit(exitUsage, fmt.Errorf("there is no mapping %q; there are: %s", m.Mapping, strings.Join(slices.Sorted(maps.Keys(defs.mappings)), ", ")))
	}
	in, name := std.in, "standard input"
	if m.File != "" {
		f, err := os.Open(m.File)
		if err != nil {
			return exit(exitUsage, err)
		}
		defer f.Close()
		in, name = f, m.File
	}
	source := transform.Constant{Name: "source_name", Value: m.sourceName(defs)}
	mapper := mapping.NewMapper(source)
	out := bufio.NewWriter(std.out)
	defer func() { err = errors.Join(err, out.Flush()) }()
	var event []byte
	return eachRecord(in, func(n int, record []byte) error {
		if m.Explain {
			return explainEvent(out, n, mapping.Explain(record, source))
		}
		event, _ = mapper.Append(event[:0], record)
		out.Write(escapeControls(nil, event)) //nolint:errcheck // Flush tells
		return out.WriteByte('\n')
	}, name)
}

// explainEvent prints where each field of an event comes from.
func explainEvent(w io.Writer, n int, fields []transform.Explanation) error {
	fmt.Fprintf(w, "record %d\n", n)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range fields {
		value := string(f.Value)
		if f.Value == nil {
			value = "(left out)"
		}
		origin := f.From
		if f.Origin.Source != "" {
			origin = fmt.Sprintf("%s: %s", f.Origin.Pos, shorten(f.Origin.Source))
			if f.Origin.Case != "" {
				origin += "  when " + shorten(f.Origin.Case)
			}
			if f.From != transform.FromRule {
				origin = f.From + ", for " + origin
			}
		}
		if f.Failed != "" {
			origin += " FAILED: " + f.Failed
		}
		fmt.Fprintf(table, "  %s\t%s\t%s\n", f.Field, shorten(visible(value)), visible(origin))
	}
	return table.Flush()
}

// shorten keeps a line readable on a terminal.
func shorten(s string) string {
	const longest = 60
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > longest {
		return string(r[:longest-1]) + "…"
	}
	return s
}

// sourceName is the feed that uses the mapping, if there is just one.
func (m mapCommand) sourceName(defs *definitions) string {
	if m.Feed != "" {
		return m.Feed
	}
	var users []string
	for _, f := range defs.set.Feeds {
		if f.Mapping == m.Mapping {
			users = append(users, f.Name)
		}
	}
	if len(users) == 1 {
		return users[0]
	}
	return m.Mapping
}

// eachRecord reads records in any of the forms people have them: a JSON array,
// one object, several objects, one object a line, or an answer of Microsoft
// Graph with its records under "value". n counts from 1.
func eachRecord(in io.Reader, use func(n int, record []byte) error, name string) error {
	reader := bufio.NewReaderSize(in, 1<<16)
	if bom, err := reader.Peek(3); err == nil && bytes.Equal(bom, []byte("\xef\xbb\xbf")) {
		reader.Discard(3) //nolint:errcheck // they were peeked
	}
	dec := jsontext.NewDecoder(reader, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	n := 0
	for {
		switch kind := dec.PeekKind(); kind {
		case '[', ']':
			if _, err := dec.ReadToken(); err != nil {
				return unreadable(name, n, err)
			}
			continue
		}
		value, err := dec.ReadValue()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return unreadable(name, n, err)
		}
		value = bytes.ToValidUTF8(value, []byte("\ufffd"))
		for _, record := range unwrapped(value) {
			n++
			if err := use(n, record); err != nil {
				return err
			}
		}
	}
}

// unwrapped are the records of an answer of Microsoft Graph, or the record
// itself.
func unwrapped(value []byte) [][]byte {
	list := gjson.GetBytes(value, "value")
	if !list.IsArray() || !gjson.GetBytes(value, `@odata\.context`).Exists() {
		return [][]byte{value}
	}
	var records [][]byte
	for _, record := range list.Array() {
		records = append(records, []byte(record.Raw))
	}
	return records
}

func unreadable(name string, n int, err error) error {
	return fmt.Errorf("%s: after %d %s: not JSON: %w", name, n, plural(n, "record"), err)
}
