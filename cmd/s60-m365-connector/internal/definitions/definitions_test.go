package definitions

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/engine/definition"
)

// A fault in a mapping's form does not hide those in its expressions: all
// problems show at once.
func TestAllProblemsOfAMapping(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "mappings"), 0o700); err != nil {
		t.Fatal(err)
	}
	text := "name: y\nfields:\n  _bad: event_a\n  operation: lower(\n  x: nosuch(event_a)\ncases: [{fields: {outcome: 1 +}}]\n"
	if err := os.WriteFile(filepath.Join(dir, "mappings", "y.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s, _, err := settings.Load(true, "")
	if err != nil {
		t.Fatal(err)
	}
	_, problems := Load(s, dir)
	definition.Sort(problems)
	var b strings.Builder
	if err := definition.Print(&b, problems); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"_bad" begins with _`, "y.yaml:4:", "unknown function nosuch", `lacks the key "when"`, "y.yaml:6:30"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %s in\n%s", want, b.String())
		}
	}
}
