package main

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/author"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/definitions"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/wording"
	"github.com/secure60/s60-m365-connector/engine/transform"
)

type mapCommand struct {
	configFlag
	Mapping string `required:"" help:"The mapping to apply."`
	Feed    string `help:"The feed whose name goes into source_name; needed only where several feeds use the mapping."`
	Compare string `placeholder:"DIR" help:"Say what the definitions of DIR change of the events, by field."`
	Stats   bool   `help:"Count operations by events and bytes, and what the rules of the mapping hold back, instead of printing events."`
	Explain bool   `help:"Say for each field which line of which mapping gave it."`
	File    string `arg:"" optional:"" help:"Records: a JSON array, an object, or one object a line. Standard input if not given."`
}

// Run maps records to events, one a line.
func (m mapCommand) Run(std streams) (err error) {
	s, _, err := settings.Load(true, m.Config)
	if err != nil {
		return err
	}
	defs, err := definitions.LoadValid(s, s.ConfigDir, std.err)
	if err != nil {
		return err
	}
	named := defs.Mappings[m.Mapping]
	if named == nil {
		wrong := fmt.Sprintf("there is no mapping %q", m.Mapping)
		if defs.Set.Mapping(m.Mapping) != nil {
			wrong = fmt.Sprintf("the mapping %q is a part of others and does not stand for itself: name one that includes it", m.Mapping)
		}
		return program.Exit(program.Usage, fmt.Errorf("%s; there are: %s", wrong, strings.Join(slices.Sorted(maps.Keys(defs.Mappings)), ", ")))
	}
	mapping := named()
	in, name := std.in, "standard input"
	if m.File != "" {
		f, err := os.Open(m.File)
		if err != nil {
			return program.Exit(program.Usage, err)
		}
		defer f.Close()
		in, name = f, m.File
	}
	source := transform.Constant{Name: "source_name", Value: cmp.Or(m.Feed, defs.SourceName(m.Mapping))}
	mapper := mapping.NewMapper(source)
	if m.Compare != "" {
		return m.compare(s, defs, in, name, std)
	}
	if m.Stats {
		return definitions.Stats(mapper, in, name, std.out, std.err)
	}
	out := bufio.NewWriter(std.out)
	defer func() { err = errors.Join(err, out.Flush()) }()
	var event []byte
	return definitions.EachRecord(in, func(n int, record []byte) error {
		if m.Explain {
			if err := explainEvent(out, n, mapping.Explain(record, source)); err != nil {
				return err
			}
		}
		event, _ = mapper.Append(event[:0], record)
		if rule := mapper.Filtered(record); rule != nil {
			fmt.Fprintf(std.err, "record %d is not delivered: %s, by %q (%s)\n", n, rule.As, wording.Shorten(rule.When.Value), rule.When.Pos())
			return nil
		}
		if m.Explain {
			return nil
		}
		out.Write(wording.EscapeControls(nil, event)) //nolint:errcheck // Flush tells
		return out.WriteByte('\n')
	}, name, std.err)
}

// compare says what other definitions change.
func (m mapCommand) compare(s *settings.Settings, defs *definitions.Compiled, in io.Reader, name string, std streams) error {
	if info, err := os.Stat(m.Compare); err != nil || !info.IsDir() {
		return program.Exit(program.Usage, fmt.Errorf("--compare %s: there is no such folder", m.Compare))
	}
	others, err := definitions.LoadValid(s, m.Compare, std.err)
	if err != nil {
		return err
	}
	var mappers [2]*transform.Mapper
	for i, d := range []*definitions.Compiled{defs, others} {
		mapping, err := author.CompileStill(d, s, m.Mapping)
		if err != nil {
			return err
		}
		mappers[i] = mapping.NewMapper(transform.Constant{Name: "source_name", Value: cmp.Or(m.Feed, d.SourceName(m.Mapping))})
	}
	c := author.Comparison{Fields: map[string]*author.FieldChange{}}
	if err := definitions.EachRecord(in, func(_ int, record []byte) error { return c.Add(mappers[0], mappers[1], record) }, name, std.err); err != nil {
		return err
	}
	return c.Print(std.out)
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
			origin = fmt.Sprintf("%s: %s", f.Origin.Pos, wording.Shorten(f.Origin.Source))
			if f.Origin.Case != "" {
				origin += "  when " + wording.Shorten(f.Origin.Case)
			}
			if f.From != transform.FromRule {
				origin = f.From + ", for " + origin
			}
		}
		if f.Failed != "" {
			origin += " FAILED: " + f.Failed
		}
		fmt.Fprintf(table, "  %s\t%s\t%s\n", f.Field, wording.Shorten(wording.Visible(value)), wording.Visible(origin))
	}
	return table.Flush()
}
