package definitions

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/testkit"
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

// A mapping that reads a field of what is to include it, and that nothing includes, does not stand for itself, also
// where it has the name of a shipped one: what asks for mappings by name does without it.
func TestPartOfNone(t *testing.T) {
	dir := testkit.Folder(t, map[string]string{
		"mappings/posture-domain.yaml": "name: posture-domain\nfields: {user_name: door_owner}\n",
		"mappings/mine.yaml":           "name: mine\nfields: {user_name: event_a}\ndrop: [{as: a, when: event_a == 1}]\n",
		"feeds/posture-domains.yaml":   "name: posture-domains\nextends: posture-domains\nmapping: mine\n",
	})
	s, err := settings.Read(map[string]string{"CONFIG_DIR": dir}, true)
	if err != nil {
		t.Fatal(err)
	}
	defs, problems := Load(s, dir)
	if defs == nil || !slices.ContainsFunc(problems, func(p definition.Problem) bool { return strings.Contains(p.Message, "unknown name door_owner") }) {
		t.Fatal(problems)
	}
	if defs.Mappings["posture-domain"] != nil || defs.Mappings["mine"]() == nil {
		t.Errorf("it stands for itself, or what is whole does not: %v", defs.Mappings)
	}
	if list := Blinding(defs); list != nil {
		t.Error(list)
	}
	if err := PrintUnknownNames(defs, dir, t.Output()); err != nil {
		t.Error(err)
	}
}

// A feed of the user's that names a part of other mappings is refused with its place, and does not end the program when its
// first record comes. What a shipped feed names too is still compiled when it is asked for.
func TestOwnFeedOfAPart(t *testing.T) {
	for mapping, whole := range map[string]bool{"o365-teams": false, "entra-signin": true} {
		dir := testkit.Folder(t, map[string]string{"feeds/mine.yaml": "name: mine\nextends: graph-reports\ndescription: d\nmapping: " + mapping + "\n" +
			"request: {url: \"${MS_GRAPH_BASE}/v1.0/mine\"}\ncursor: {field: at}\nkey: id\n"})
		s, err := settings.Read(map[string]string{"CONFIG_DIR": dir}, true)
		if err != nil {
			t.Fatal(err)
		}
		defs, problems := Load(s, dir)
		switch {
		case whole && (defs == nil || defs.Mappings[mapping]() == nil):
			t.Errorf("%s: %v", mapping, problems)
		case !whole && (defs != nil || !slices.ContainsFunc(problems, func(p definition.Problem) bool { return strings.Contains(p.Message, "tables has no outcomes") })):
			t.Errorf("%s is taken for whole: %v", mapping, problems)
		}
	}
}
