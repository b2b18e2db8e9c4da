package definition

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
	"unicode/utf8"
)

func seeds(f *testing.F, patterns ...string) {
	for _, pattern := range patterns {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			f.Fatal("no seeds", pattern, err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
}

// check makes sure that problems lie in the file.
func check(t *testing.T, data []byte, problems []Problem) {
	lines := strings.Split(strings.ReplaceAll(strings.TrimPrefix(string(data), "\ufeff"), "\r\n", "\n"), "\n")
	for _, p := range problems {
		if p.Line < 1 || p.Line > len(lines) || p.Column < 1 || p.Column > utf8.RuneCountInString(p.Source)+1 || p.Length < 1 || p.Message == "" {
			t.Fatalf("%+v is no place in the file", p)
		}
		if utf8.RuneCountInString(lines[p.Line-1]) != utf8.RuneCountInString(p.Source) {
			t.Fatalf("the source %q is not line %d, %q", p.Source, p.Line, lines[p.Line-1])
		}
		if text := p.String(); !strings.Contains(text, "x.yaml:") {
			t.Fatal(text)
		}
	}
}

func FuzzFeed(f *testing.F) {
	seeds(f, "testdata/err/*.yaml", "../../feeds/*.yaml", "../../cmd/s60-m365-connector/internal/cases/testdata/feeds/*.yaml")
	f.Fuzz(func(t *testing.T, data []byte) {
		feed, problems := ParseFeed("x.yaml", data, nil)
		if feed == nil && len(problems) == 0 {
			t.Fatal("neither a feed nor a problem")
		}
		check(t, data, problems)
	})
}

func FuzzMapping(f *testing.F) {
	seeds(f, "testdata/err/mapping-*.yaml", "../../mappings/*.yaml")
	f.Fuzz(func(t *testing.T, data []byte) {
		m, problems := ParseMapping("x.yaml", data)
		if m == nil && len(problems) == 0 {
			t.Fatal("neither a mapping nor a problem")
		}
		if m != nil { // places within its texts
			for _, field := range m.Fields {
				length := utf8.RuneCountInString(field.Expr.Value)
				for offset := range length + 2 {
					if offset < length && offset%(1+length/50) > 0 {
						continue // of a long one, every so many
					}
					problems = append(problems, field.Expr.Problem(offset, 3, "here"))
				}
			}
		}
		check(t, data, problems)
	})
}

// FuzzExtends puts whatever over a shipped feed and mapping: the faults of a merged definition lie in
// one of its files.
func FuzzExtends(f *testing.F) {
	seeds(f, "testdata/err/*.yaml", "../../feeds/entra-s*.yaml")
	f.Add([]byte("name: a\nextends: a\nrequest: null\nerrors: [{when: '1', then: skip}]\n"))
	base := fstest.MapFS{
		"a.yaml":    {Data: []byte("name: a\nextends: base\nrequest: {url: \"https://api.example/a\", query: {q: \"${window.from}\"}}\ncursor: {field: t}\nmapping: a\n")},
		"base.yaml": {Data: []byte("name: base\nabstract: true\nauth: {scope: s}\nkey: id\nwindow: {}\n")},
	}
	mappings := fstest.MapFS{"a.yaml": {Data: []byte("name: a\ntables: {t: {a: 1}}\nfields: {operation: '\"x\"'}\ncases: [{when: event_a, fields: {b: '1'}}]\n")}}
	f.Fuzz(func(t *testing.T, data []byte) {
		text := regexp.MustCompile(`(?m)^(name|extends):.*\n`).ReplaceAll(data, nil)
		own := append([]byte("name: a\nextends: a\n"), text...)
		for _, kind := range []string{"feeds", "mappings"} {
			_, problems := Load(Options{Feeds: base, Mappings: mappings, Overlay: fstest.MapFS{kind + "/a.yaml": {Data: own}}, Settings: map[string]any{"BASE": "https://api.example"}})
			for _, p := range problems {
				if p.Message == "" || !strings.Contains(p.File, "a.yaml") && !strings.Contains(p.File, "base.yaml") {
					t.Fatalf("%+v", p)
				}
			}
		}
	})
}
