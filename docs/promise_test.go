package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every test that the page of promises names exists, and every row names one.
func TestPromisesAreHeld(t *testing.T) {
	tests := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^(?:func (Test\w+)\(t \*testing\.T\)|(session_\w+)\(\))`)
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() && (entry.Name() == ".git" || entry.Name() == "node_modules") {
			return filepath.SkipDir
		}
		name := filepath.ToSlash(path)
		switch {
		case strings.HasPrefix(name, "../cmd/s60-m365-connector/testdata/session/"):
			tests[entry.Name()] = true
		case strings.HasSuffix(name, "_test.go"), name == "../.ci/docker":
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, match := range declared.FindAllStringSubmatch(string(text), -1) {
				tests[match[1]+match[2]] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("promise.md")
	if err != nil {
		t.Fatal(err)
	}
	name, rows := regexp.MustCompile("`([^`]+)`"), 0
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(strings.TrimSpace(line), " | ")
		if len(cells) != 2 || strings.HasPrefix(line, "| promise") || strings.HasPrefix(line, "| ---") {
			continue
		}
		rows++
		named := name.FindAllStringSubmatch(cells[1], -1)
		if len(named) == 0 {
			t.Errorf("nothing holds: %s", cells[0])
		}
		for _, match := range named {
			if !tests[match[1]] {
				t.Errorf("there is no test %s, which is to hold: %s", match[1], cells[0])
			}
		}
	}
	if rows < 30 {
		t.Errorf("only %d promises were found", rows)
	}
}
