package main

import (
	"bufio"
	"bytes"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// mayImport says which rooms each room may import: arrows go one way.
var mayImport = map[string][]string{
	"program":     nil,
	"wording":     nil,
	"settings":    {"program"},
	"definitions": {"program", "settings", "wording"},
	"fleet":       {"definitions", "program", "settings", "wording"},
	"author":      {"cases", "definitions", "program", "settings", "wording"},
	"doctor":      {"definitions", "fleet", "program", "settings", "wording"},
	"web":         {"author", "definitions", "fleet", "program", "settings", "wording"},
	"cases":       {"definitions"},
	"demo":        {"doctor", "fleet", "program", "settings", "web", "wording"},
	"testkit":     nil,
}

// mostLines is how long package main may be, tests left out: the work is done in the
// rooms.
const mostLines = 2300

func TestRooms(t *testing.T) {
	const internal = "github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/"
	files, err := filepath.Glob("internal/*/*.go")
	if err != nil || len(files) == 0 {
		t.Fatal("no rooms", err)
	}
	for _, file := range files {
		room := filepath.Base(filepath.Dir(file))
		allowed, known := mayImport[room]
		if !known {
			t.Fatalf("%s: the room %s is not in the layout", file, room)
		}
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range tree.Imports {
			imported, _ := strconv.Unquote(spec.Path.Value)
			if other, ours := strings.CutPrefix(imported, internal); ours && !slices.Contains(allowed, other) {
				t.Errorf("%s imports %s: %s may import %v only", file, other, room, allowed)
			}
		}
	}
	lines := 0
	own, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range own {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(text, []byte(internal+"testkit")) && !strings.HasSuffix(file, "_test.go") {
			t.Errorf("%s imports testkit, which is for tests", file)
		}
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		for s := bufio.NewScanner(bytes.NewReader(text)); s.Scan(); {
			lines++
		}
	}
	if lines > mostLines {
		t.Errorf("package main has %d lines, more than %d: what works goes into a room", lines, mostLines)
	}
}
