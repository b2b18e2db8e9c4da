package definition_test

import (
	"fmt"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/transform"
	"github.com/secure60/s60-m365-connector/feeds"
	"github.com/secure60/s60-m365-connector/mappings"
)

// based are shipped files on bases.
func based() definition.Options {
	return definition.Options{
		Feeds: fstest.MapFS{
			"base.yaml":  file("name: base\nabstract: true\nauth: {scope: \"${BASE}/.default\"}\nrequest: {headers: {A: \"1\"}}\npaging: {style: odata}\nkey: id\nerrors: [{when: status == 404, then: skip}]\n"),
			"log.yaml":   file("name: log\nextends: base\nabstract: true\nwindow: {overlap: 1h}\n"),
			"a.yaml":     file("name: a\nextends: log\nrequest: {url: \"${BASE}/a\", query: {q: \"${window.from}\"}}\ncursor: {field: t}\nmapping: m\n"),
			"plain.yaml": file("name: plain\nextends: base\npaging: null\nrequest: {url: \"${BASE}/p\"}\nmapping: m\n"),
		},
		Mappings: fstest.MapFS{
			"m.yaml":   file("name: m\ninclude: [lib]\nflatten: {pairs: [one]}\nlet: {part: event_p, whole: part + part}\ntables: {t: {a: 1, b: 2}, gone: {x: y}}\nfields: {operation: '\"x\"', user_name: lower(event_a), host_name: event_h}\ncases: [{when: event_c == 1, fields: {outcome: '\"failure\"'}}]\n"),
			"lib.yaml": file("name: lib\ntables: {shared: {k: v}}\nlet: {given: event_g}\nfields: {error_code: event_code}\n"),
		},
		Settings: map[string]any{"BASE": "https://api.example", "PSEUDONYM_KEY_FILE": ""}, OverlayName: "/config",
	}
}

func TestExtends(t *testing.T) {
	for _, c := range []struct {
		name    string
		own     fstest.MapFS
		problem string // all of the problems' text, "" for none
		look    func(t *testing.T, set *definition.Set)
	}{
		{name: "shipped on bases", look: func(t *testing.T, set *definition.Set) {
			if len(set.Feeds) != 2 || len(set.Whole) != 1 {
				t.Errorf("%d feeds, %d whole mappings: a base never runs", len(set.Feeds), len(set.Whole))
			}
			a := set.Feed("a")
			if a.Scope.String() != "${BASE}/.default" || a.Request.Headers[0].Name != "A" || a.Window.Overlap != time.Hour || a.Window.Max != 24*time.Hour || len(a.Errors) != 1 {
				t.Errorf("%+v", a)
			}
			if got := set.Feed("plain").Paging.Style; got != definition.PagingNone {
				t.Errorf("null leaves paging %s", got)
			}
		}},
		{name: "one key of a shipped feed", own: fstest.MapFS{"feeds/a.yaml": file("name: a\nextends: a\nwindow: {overlap: 2h}\n")}, look: func(t *testing.T, set *definition.Set) {
			a := set.Feed("a")
			if a.Window.Overlap != 2*time.Hour || a.Cursor.Field != "t" || a.File != "/config/feeds/a.yaml" || a.Mapping != "m" {
				t.Errorf("%+v %+v", a, a.Window)
			}
			if got := set.Own; len(got) != 1 || got[0] != (definition.OwnFile{File: "/config/feeds/a.yaml", Kind: "feed", Name: "a", Extends: "a"}) {
				t.Errorf("%+v", got)
			}
		}},
		{name: "directly in the folder", own: fstest.MapFS{"a.yaml": file("name: a\nextends: a\nwindow: {overlap: 2h}\n")}, look: func(t *testing.T, set *definition.Set) {
			if got := set.Feed("a").Window.Overlap; got != 2*time.Hour {
				t.Errorf("overlap %s", got)
			}
		}},
		{name: "a shipped base changed", own: fstest.MapFS{"feeds/base.yaml": file("name: base\nextends: base\nrequest: {headers: {A: \"2\"}}\n")}, look: func(t *testing.T, set *definition.Set) {
			for _, f := range set.Feeds {
				if got, _ := f.Request.Headers[0].Value.Expand(nil); got != "2" {
					t.Errorf("%s sends %s", f.Name, got)
				}
			}
		}},
		{name: "a shipped base replaced", own: fstest.MapFS{"feeds/base.yaml": file("name: base\nrequest: {url: \"https://b.example\"}\nkey: id\nmapping: m\n")}, look: func(t *testing.T, set *definition.Set) {
			if set.Feed("a") == nil || set.Feed("a").Scope == nil {
				t.Error("a shipped feed stands on what replaces its base")
			}
		}},
		{name: "lists replace", own: fstest.MapFS{"feeds/a.yaml": file("name: a\nextends: a\nerrors: [{when: status == 410, then: skip}]\n")}, look: func(t *testing.T, set *definition.Set) {
			if got := set.Feed("a").Errors; len(got) != 1 || got[0].When.String() != "status == 410" {
				t.Errorf("%v", got)
			}
		}},
		{name: "a feed of one's own", own: fstest.MapFS{"feeds/b.yaml": file("name: b\nextends: a\nrequest: {url: \"${BASE}/b\"}\n")}, look: func(t *testing.T, set *definition.Set) {
			if b := set.Feed("b"); b == nil || b.Request.URL.String() != "${BASE}/b" || len(b.Request.Query) != 1 || set.Feed("a") == nil {
				t.Errorf("%+v", b)
			}
		}},
		{name: "nothing taken away", own: fstest.MapFS{"feeds/a.yaml": file("name: a\nextends: a\nlicence: null\n")},
			problem: "/config/feeds/a.yaml:3:1: warning: \"licence\" takes nothing away: the base does not have it\n    licence: null\n    ^^^^^^^"},
		{name: "a required key taken away", own: fstest.MapFS{"feeds/a.yaml": file("name: a\nextends: a\nmapping: null\n")},
			problem: "/config/feeds/a.yaml:1:1: the feed lacks the key \"mapping\"\n    name: a\n    ^^^^"},
		{name: "an unknown base", own: fstest.MapFS{"feeds/b.yaml": file("name: b\nextends: bose\n")},
			problem: "/config/feeds/b.yaml:2:10: there is no feed \"bose\": did you mean \"base\"? Expected one of a, base, log, plain\n    extends: bose\n             ^^^^"},
		{name: "no shipped one of that name", own: fstest.MapFS{"feeds/b.yaml": file("name: b\nextends: b\n")},
			problem: "/config/feeds/b.yaml:2:10: there is no shipped feed \"b\" to extend: remove extends\n    extends: b\n             ^"},
		{name: "a circle", own: fstest.MapFS{"feeds/b.yaml": file("name: b\nextends: c\n"), "feeds/c.yaml": file("name: c\nextends: b\n")},
			problem: "/config/feeds/c.yaml:2:10: \"b\" extends this feed in turn: remove one of the two\n    extends: b\n             ^"},
		{name: "wrong in the base, by what extends it", own: fstest.MapFS{"feeds/a.yaml": file("name: a\nextends: a\nwindow: null\ncursor: null\n")},
			problem: "feeds/a.yaml:3:43: there is no window here: it is known in request and expand, of a feed that has a cursor (in /config/feeds/a.yaml, which extends this file)\n    request: {url: \"${BASE}/a\", query: {q: \"${window.from}\"}}\n                                              ^^^^^^"},
		{name: "wrong in a base of several", own: fstest.MapFS{
			"feeds/mine.yaml": file("name: mine\nabstract: true\nrequest: {url: \"${BAS}/x\"}\nkey: id\nmapping: m\n"),
			"feeds/x.yaml":    file("name: x\nextends: mine\n"), "feeds/y.yaml": file("name: y\nextends: mine\n"),
		}, problem: "/config/feeds/mine.yaml:3:19: unknown name BAS; did you mean BASE? (in /config/feeds/x.yaml, /config/feeds/y.yaml, which extends this file)\n    request: {url: \"${BAS}/x\"}\n                      ^^^"},
		{name: "wrong in an abstract file by itself", own: fstest.MapFS{"feeds/mine.yaml": file("name: mine\nabstract: true\nwindw: {}\n")},
			problem: "/config/feeds/mine.yaml:3:1: unknown key \"windw\": did you mean \"window\"?"},
		{name: "a mapping put over another", own: fstest.MapFS{"mappings/m.yaml": file("name: m\nextends: m\nflatten: {pairs: [two]}\ntables: {t: {b: 3, a: null, c: 4}, gone: null}\nfields: {user_name: upper(event_a), host_name: null, ip_src_address: ip(event_i)}\ncases: [{when: event_c == 2, fields: {outcome: '\"success\"'}}]\n")}, look: func(t *testing.T, set *definition.Set) {
			m := set.Mapping("m")
			if m == nil {
				t.Fatal("no mapping")
			}
			if got := fmt.Sprint(m.Tables); got != "map[t:map[b:3 c:4]]" {
				t.Error(got)
			}
			fields := map[string]string{}
			for _, f := range m.Fields {
				fields[f.Name.Value] = f.Expr.Value
			}
			if got := fmt.Sprint(slices.Sorted(maps.Keys(fields)), fields["user_name"]); got != "[ip_src_address operation user_name]upper(event_a)" {
				t.Error(got)
			}
			if len(m.Pairs) != 2 || len(m.Cases) != 2 || m.Cases[1].When.Value != "event_c == 2" || len(m.Include) != 1 {
				t.Errorf("%+v", m)
			}
		}},
		{name: "source_type stays the base's", own: fstest.MapFS{"mappings/n.yaml": file("name: n\nextends: m\nfields: {user_name: event_b}\n"), "feeds/a.yaml": file("name: a\nextends: a\nmapping: n\n")}, look: func(t *testing.T, set *definition.Set) {
			compiled, problems := transform.Compile(set.Mapping("n"), transform.Options{})
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			event, _ := compiled.NewMapper().Append(nil, []byte(`{"b":"x"}`))
			if !strings.Contains(string(event), `"source_type":"m"`) || !strings.Contains(string(event), `"user_name":"x"`) {
				t.Errorf("%s", event)
			}
		}},
		{name: "values of a mapping put over another", own: fstest.MapFS{
			"mappings/m.yaml":   file("name: m\nextends: m\nlet: {part: 'event_q', more: 'part + given'}\nfields: {user_name: more, host_name: whole}\n"),
			"mappings/lib.yaml": file("name: lib\nfields: {}\n"),
		}, look: func(t *testing.T, set *definition.Set) {
			compiled, problems := transform.Compile(set.Mapping("m"), transform.Options{})
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			event, _ := compiled.NewMapper().Append(nil, []byte(`{"p":"x","q":"y"}`))
			if !strings.Contains(string(event), `"host_name":"yy"`) || strings.Contains(string(event), "user_name") {
				t.Errorf("a value is replaced for those that name it, and that of a replaced library is nil: %s", event)
			}
		}},
		{name: "a mapping that names no base", own: fstest.MapFS{"mappings/n.yaml": file("name: n\nextends: mm\n")},
			problem: "/config/mappings/n.yaml:2:10: there is no mapping \"mm\": did you mean \"m\"?"},
		{name: "an abstract mapping is no feed's", own: fstest.MapFS{"mappings/n.yaml": file("name: n\nabstract: true\nfields: {}\n"), "feeds/a.yaml": file("name: a\nextends: a\nmapping: n\n")},
			problem: "/config/feeds/a.yaml:3:10: the mapping \"n\" is abstract: name one that extends it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			options := based()
			options.Overlay = c.own
			if c.own == nil {
				options.Overlay = fstest.MapFS{}
			}
			set, problems := definition.Load(options)
			var text strings.Builder
			definition.Print(&text, problems)
			if got := strings.TrimSpace(text.String()); c.problem == "" && got != "" || !strings.HasPrefix(got, c.problem) || strings.Count(c.problem, "^")*2 < strings.Count(got, "^") && strings.Contains(c.problem, "^") {
				t.Fatalf("got:\n%s\nwant:\n%s", got, c.problem)
			}
			if c.look != nil {
				c.look(t, set)
			}
		})
	}
}

// TestMerged: what is in force is shown with the place of each key, and reads as a definition.
func TestMerged(t *testing.T) {
	options := based()
	options.Overlay = fstest.MapFS{"feeds/a.yaml": file("name: a\nextends: a\nrequest: {query: {z: \"1\"}}\n")}
	got := string(definition.Merged(options, "feed", "a"))
	for _, line := range []string{
		"name: a # /config/feeds/a.yaml:1\n", "paging: {style: odata} # feeds/base.yaml:5\n", "    z: \"1\" # /config/feeds/a.yaml:3\n", "    q: \"${window.from}\" # feeds/a.yaml:3\n", "key: id # feeds/base.yaml:6\n",
	} {
		if !strings.Contains(got, line) {
			t.Errorf("lacks %s in\n%s", line, got)
		}
	}
	plain := strings.Replace(got, "extends: a # /config/feeds/a.yaml:2\n", "", 1)
	if _, problems := definition.ParseFeed("a.yaml", []byte(plain), options.Settings); len(problems) > 0 {
		t.Error(problems)
	}
	if definition.Merged(options, "mapping", "m") == nil || definition.Merged(options, "feed", "none") != nil {
		t.Error("look-up by name")
	}
}

// TestReplacedByTheSmallest: whatever shipped definition is replaced by a minimal one of its name,
// nothing else becomes invalid, and every mapping that runs compiles. Those that no other file names, and
// nothing can depend on, are replaced all at once.
func TestReplacedByTheSmallest(t *testing.T) {
	for kind, c := range map[string]struct {
		shipped fs.FS
		minimal string
	}{
		"feeds":    {feeds.FS, "name: %s\nrequest: {url: \"https://api.example/x\"}\nkey: id\nmapping: entra-signin\n"},
		"mappings": {mappings.FS, "name: %s\nfields: {operation: '\"thing-do\"'}\n"},
	} {
		files, _ := fs.Glob(c.shipped, "*.yaml")
		texts := map[string]string{}
		for _, path := range files {
			text, err := fs.ReadFile(c.shipped, path)
			if err != nil {
				t.Fatal(err)
			}
			texts[path] = string(text)
		}
		unnamed, groups := fstest.MapFS{}, []fstest.MapFS{}
		for _, path := range files {
			name := strings.TrimSuffix(path, ".yaml")
			naming := regexp.MustCompile(`(?m)^((extends|archive|include):.*[ \[]| +- )` + name + `([,\]\s]|$)`)
			group := unnamed
			for of, text := range texts {
				if of != path && naming.MatchString(text) {
					group = fstest.MapFS{}
					groups = append(groups, group)
					break
				}
			}
			group[kind+"/"+path] = file(c.minimal, name)
		}
		if len(groups) < 10 || len(unnamed) < 10 {
			t.Fatalf("of %d %s %d are named by others", len(files), kind, len(groups))
		}
		for i, group := range append(groups, unnamed) {
			if testing.Short() && i%4 > 0 {
				continue
			}
			t.Run(fmt.Sprintf("%s/%d", kind, i), func(t *testing.T) {
				set, problems := definition.Load(definition.Options{
					Feeds: feeds.FS, Mappings: mappings.FS, Tested: true, Settings: settings, Overlay: group, OverlayName: "/config",
				})
				for _, named := range set.Whole {
					m := named.Read()
					if !reaches(m, group) {
						continue // it is as it was
					}
					_, found := transform.Compile(m, transform.Options{})
					problems = append(problems, found...)
				}
				for _, p := range problems {
					t.Error(p)
				}
				for _, f := range set.Feeds {
					if set.Mapping(f.Mapping) == nil {
						t.Errorf("feed %s has no mapping", f.Name)
					}
				}
			})
		}
	}
}

// reaches reports whether a mapping is one of those, or includes one that is.
func reaches(m *definition.Mapping, those fstest.MapFS) bool {
	return those["mappings/"+m.Name+".yaml"] != nil || slices.ContainsFunc(m.Include, func(part *definition.Mapping) bool { return reaches(part, those) })
}
