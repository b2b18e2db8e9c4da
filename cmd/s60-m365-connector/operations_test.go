package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestLogLinesAreDocumented holds the table of log lines in docs/operations.md
// to the source: every warning and error is in it, and every line of it is one
// that the program can log.
func TestLogLinesAreDocumented(t *testing.T) {
	doc, err := os.ReadFile(filepath.FromSlash("../../docs/operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(doc), "\n## Lines of the log\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var lines []*regexp.Regexp
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(section, -1) {
		lines = append(lines, regexp.MustCompile("^"+strings.ReplaceAll(regexp.QuoteMeta(row[1]), "…", ".*")))
	}
	if len(lines) < 20 {
		t.Fatalf("only %d lines are documented", len(lines))
	}
	known := make([]bool, len(lines))
	for place, message := range logMessages(t) {
		found := false
		for i, line := range lines {
			if line.MatchString(message.text) {
				known[i], found = true, true
			}
		}
		if !found && message.level != "Info" && message.level != "Debug" {
			t.Errorf("%s logs a line that docs/operations.md does not explain: %q", place, message.text)
		}
	}
	for i, line := range lines {
		if !known[i] {
			t.Errorf("docs/operations.md explains a line that nothing logs: %s", line)
		}
	}
}

type logMessage struct{ level, text string }

// logMessages are the literal texts that the connector logs, by their place.
func logMessages(t *testing.T) map[string]logMessage {
	t.Helper()
	found := map[string]logMessage{}
	files := token.NewFileSet()
	for _, root := range []string{".", filepath.FromSlash("../../engine")} {
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case entry.IsDir() && (entry.Name() == "simulator" || entry.Name() == "testdata"):
				return filepath.SkipDir
			case entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
				return nil
			}
			tree, err := parser.ParseFile(files, path, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(tree, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok || len(call.Args) == 0 {
					return true
				}
				method, ok := call.Fun.(*ast.SelectorExpr)
				if !ok || !isLogger(method.X) {
					return true
				}
				switch level := method.Sel.Name; level {
				case "Debug", "Info", "Warn", "Error":
					text, ok := literal(call.Args[0])
					if !ok && (level == "Warn" || level == "Error") {
						t.Errorf("%s: the text that is logged begins with no literal", files.Position(call.Pos()))
					}
					found[files.Position(call.Pos()).String()] = logMessage{level, text}
				case "LogAttrs":
					if text, ok := literal(call.Args[2]); ok {
						found[files.Position(call.Pos()).String()] = logMessage{"Info", text}
					}
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return found
}

func isLogger(x ast.Expr) bool {
	switch x := x.(type) {
	case *ast.Ident:
		return x.Name == "log"
	case *ast.SelectorExpr:
		return x.Sel.Name == "log" || x.Sel.Name == "Log"
	}
	return false
}

// literal is the text that an expression begins with: a string, the format of a
// Sprintf, or the first of a sum.
func literal(x ast.Expr) (string, bool) {
	switch x := x.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(x.Value)
		return text, err == nil
	case *ast.BinaryExpr:
		return literal(x.X)
	case *ast.CallExpr:
		return literal(x.Args[0])
	}
	return "", false
}
