// Package definitions loads and compiles the feeds and mappings that are in force: the shipped ones,
// and those of CONFIG_DIR over them. What it returns can run; what is wrong is a problem with its place.
//
// How it works: engine/definition reads the files, engine/transform compiles the mappings. Then come warnings
// that need both: names that no record has (names.go), and rules that hold back what detections
// need (blinding.go). own.go tells shipped files from the user's, records.go reads records in any form that
// people have them, stats.go counts the events that they become.
package definitions

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/wording"
	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/transform"
	"github.com/secure60/s60-m365-connector/mappings"
)

// Compiled are the feeds and mappings in force, compiled.
type Compiled struct {
	Set *definition.Set
	// Mappings gives each that stands for itself by its name. One that tests hold to compile is read and compiled
	// once it is asked for: most commands need none, and a connector those of which records come.
	Mappings map[string]func() *transform.Mapping
}

// With are the definitions with feeds switched on or off.
func (d *Compiled) With(switched map[string]bool) *Compiled {
	if len(switched) == 0 {
		return d
	}
	set := *d.Set
	set.Feeds = slices.Clone(set.Feeds)
	for i, f := range set.Feeds {
		if on, ok := switched[f.Name]; ok {
			set.Feeds[i] = f.With(on)
		}
	}
	return &Compiled{&set, d.Mappings}
}

// Constants are the fields that every event carries, by the Secure60 Common
// Information Model.
func Constants(environment string) []transform.Constant {
	list := []transform.Constant{
		{Name: "vendor", Value: "Microsoft"},
		{Name: "product", Value: "Microsoft 365"},
		{Name: "type", Value: "cloud"},
		{Name: "app_name", Value: "ms365"},
		{Name: "technology_group", Value: "cloud"},
		{Name: "schema_version", Value: "1.0"},
	}
	if environment != "" {
		list = append(list, transform.Constant{Name: "environment", Value: environment})
	}
	return list
}

// Load loads and compiles every feed and mapping, with those under
// dir, or the file that it names, over the shipped ones. Everything wrong is in problems, and what is only
// doubtful as well; definitions are nil where something is wrong.
func Load(s *settings.Settings, dir string) (*Compiled, []definition.Problem) {
	set, problems := definition.Load(options(s, dir))
	compiled := map[string]func() *transform.Mapping{}
	known := sync.OnceValue(func() mappings.Names { return mappings.ParseNames(mappings.KnownFields) })
	environment := s.Environment
	if s.TenantsDir != "" {
		environment = "" // each tenant's engine adds its own
	}
	compile := func(m *definition.Mapping) (*transform.Mapping, []definition.Problem) {
		return transform.Compile(m, transform.Options{Constants: Constants(environment), PseudonymKey: s.PseudonymKey, KnownFields: known().Whole(cmp.Or(m.SourceType, m.Name))})
	}
	for _, named := range set.Whole {
		if named.Tested {
			compiled[named.Name] = sync.OnceValue(func() *transform.Mapping {
				c, found := compile(named.Read())
				if c == nil {
					panic(fmt.Sprint("a shipped mapping does not compile: ", found)) // it is part of the program
				}
				return c
			})
			continue
		}
		m := named.Read()
		if m == nil {
			continue // it is but a base, which is told
		}
		c, found := compile(m)
		if m.Unused {
			found = ofLibrary(found)
		}
		problems = append(problems, found...)
		if c != nil { // a library that reads names of what includes it does not stand for itself
			compiled[m.Name] = func() *transform.Mapping { return c }
		}
	}
	if definition.Invalid(problems) {
		return nil, problems
	}
	return &Compiled{Set: set, Mappings: compiled}, problems
}

// ofLibrary are the problems of a mapping that nothing uses: a name that it does not know may
// be one of a mapping that is to include it.
func ofLibrary(problems []definition.Problem) []definition.Problem {
	for i, p := range problems {
		problems[i].Warning = strings.HasPrefix(p.Message, "unknown name")
	}
	return problems
}

// LoadValid loads definitions for a subcommand that needs valid ones. It
// prints what is wrong or doubtful.
func LoadValid(s *settings.Settings, dir string, w io.Writer) (*Compiled, error) {
	defs, problems := Load(s, dir)
	definition.Sort(problems)
	// A mapping that several others include has its problems in each of them.
	problems = slices.Compact(problems)
	if err := definition.Print(w, problems); err != nil {
		return nil, err
	}
	if defs == nil {
		wrong := 0
		for _, p := range problems {
			if !p.Warning {
				wrong++
			}
		}
		return nil, program.Exit(program.Definitions, fmt.Errorf("%d %s in the feed and mapping files", wrong, wording.Plural(wrong, "problem")))
	}
	return defs, NamedFeeds(s, defs.Set)
}

// NamedFeeds checks that every feed, or pack of feeds, that the settings switch on
// exists: a misspelt one would otherwise be off in silence. A pack is a name that
// the feeds of it ask for in enabled.
func NamedFeeds(s *settings.Settings, set *definition.Set) error {
	var problems settings.Problems
	for _, name := range s.Names["FEEDS"].([]any) {
		if set.Feed(name.(string)) != nil || slices.ContainsFunc(set.Feeds, func(f *definition.Feed) bool {
			return strings.Contains(f.Enabled.String(), strconv.Quote(name.(string))+" in FEEDS")
		}) {
			continue
		}
		var known []string
		for _, f := range set.Feeds {
			known = append(known, f.Name)
		}
		problems = append(problems, fmt.Sprintf("FEEDS holds %q, and there is no such feed or pack: write some of %s", name, strings.Join(known, ", ")))
	}
	if problems != nil {
		return problems
	}
	return nil
}

// SourceName is the feed that uses the mapping, if there is just one.
func (d *Compiled) SourceName(mapping string) string {
	var users []string
	for _, f := range d.Set.Feeds {
		if f.Mapping == mapping {
			users = append(users, f.Name)
		}
	}
	if len(users) == 1 {
		return users[0]
	}
	return mapping
}
