package engine_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
)

const modulePath = "github.com/secure60/s60-m365-connector/"

// leaves are the packages that every stage may import.
var leaves = []string{"engine/definition", "engine/expression", "engine/rawjson", "engine/transport"}

// sources are the Go files of the engine, tests left out, by package.
func sources(t *testing.T) map[string][]string {
	t.Helper()
	files := map[string][]string{}
	err := filepath.WalkDir(".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && entry.Name() == "testdata" {
			return filepath.SkipDir
		}
		if strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") {
			pkg := path.Join("engine", filepath.ToSlash(filepath.Dir(name)))
			files[pkg] = append(files[pkg], name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 7 {
		t.Fatalf("only %d packages under engine: is the test in the right folder?", len(files))
	}
	return files
}

// stage is the stage that a package belongs to: "load" of
// "engine/load/internal/web", "" of the engine itself.
func stage(pkg string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(pkg, "engine"), "/"), "/")
	return name
}

// mayImport says which packages of the module a package may import, beside its
// own: a stage the leaves, and no other stage; the leaves only what is below
// them.
func mayImport(own string) []string {
	switch own {
	case "expression":
		return []string{"engine/rawjson"}
	case "rawjson", "transport":
		return nil
	case "definition":
		return []string{"engine/expression", "schemas"}
	}
	return leaves
}

// TestImports holds the rule of the layout: no stage imports its neighbour,
// only the engine composes them.
func TestImports(t *testing.T) {
	for pkg, files := range sources(t) {
		own := stage(pkg)
		if own == "" || own == "simulator" {
			continue
		}
		for _, file := range files {
			tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
			if err != nil {
				t.Fatal(err)
			}
			for _, spec := range tree.Imports {
				imported, _ := strconv.Unquote(spec.Path.Value)
				inner, ours := strings.CutPrefix(imported, modulePath)
				if !ours || strings.HasPrefix(inner+"/", "engine/"+own+"/") || slices.Contains(mayImport(own), inner) {
					continue
				}
				t.Errorf("%s imports %s: it may import %v only; the engine composes the stages", file, inner, mayImport(own))
			}
		}
	}
}

// products are the words that the engine does not know: what is particular to
// a product stands in feeds and mappings.
var products = []string{
	"microsoft", "office", "office365", "entra", "azure", "graph", "exchange", "sharepoint", "onedrive", "teams",
	"defender", "intune", "purview", "m365", "o365", "ms365", "aad", "aadsts", "msgraph", "yammer",
}

var word = regexp.MustCompile(`[A-Za-z0-9]+`)

// words splits a text into its words, those of identifiers too: maxFileSize,
// MAX_FILE_SIZE, HTTPServer, code500.
func words(text string) []string {
	var list []string
	for _, w := range word.FindAllString(text, -1) {
		list = append(list, w, strings.TrimRight(w, "0123456789"))
		runes, start := []rune(w), 0
		for i := 1; i < len(runes); i++ {
			boundary := unicode.IsUpper(runes[i]) && (!unicode.IsUpper(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1]))
			if boundary {
				list = append(list, string(runes[start:i]))
				start = i
			}
		}
		list = append(list, string(runes[start:]))
	}
	return list
}

func product(text string) string {
	for _, w := range words(text) {
		if slices.Contains(products, strings.ToLower(w)) {
			return w
		}
	}
	return ""
}

// TestNoProductNames holds the rule that the engine knows HTTP, OAuth, JSON
// and time, and no product: in no identifier, text or comment.
func TestNoProductNames(t *testing.T) {
	for pkg, files := range sources(t) {
		if stage(pkg) == "simulator" {
			continue
		}
		for _, file := range files {
			set := token.NewFileSet()
			tree, err := parser.ParseFile(set, file, nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			if found := product(filepath.Base(file)); found != "" {
				t.Errorf("%s: a file named for a product: %s", file, found)
			}
			ast.Inspect(tree, func(node ast.Node) bool {
				text := ""
				switch n := node.(type) {
				case *ast.ImportSpec:
					return false
				case *ast.Ident:
					text = n.Name
				case *ast.BasicLit:
					if n.Kind == token.STRING {
						text = n.Value
					}
				case *ast.Comment:
					text = n.Text
				}
				if found := product(text); found != "" {
					t.Errorf("%s: %q is the name of a product, of which the engine knows none", set.Position(node.Pos()), found)
				}
				return true
			})
			for _, group := range tree.Comments {
				for _, comment := range group.List {
					if found := product(comment.Text); found != "" {
						t.Errorf("%s: the comment names the product %q, of which the engine knows none", set.Position(comment.Pos()), found)
					}
				}
			}
		}
	}
}

// TestWords makes sure that the test above can fail.
func TestWords(t *testing.T) {
	for text, want := range map[string]string{
		"graphClient": "graph", "MS_GRAPH_BASE": "GRAPH", "newEntraID": "Entra", "// the Azure way": "Azure",
		`"s60-m365-connector"`: "m365", "AADSTS7000222": "AADSTS", "an officer of 365": "", "paragraph": "", "HTTPExchange": "Exchange",
	} {
		if got := product(text); got != want {
			t.Errorf("product(%q) = %q, want %q", text, got, want)
		}
	}
}
