package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/doc/comment"
	"go/parser"
	"go/token"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/definitions"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/testkit"
	"github.com/secure60/s60-m365-connector/engine/definition"
)

// This file keeps the documentation true: what can be made from the code is,
// and what is shown is tried.

const Root = "../.."

// TestGeneratedParts holds the generated parts of pages fresh; -update writes
// them. What is around the marks is written by hand.
func TestGeneratedParts(t *testing.T) {
	for _, part := range []struct{ page, name, text string }{
		{"configuration", "settings", settingsTables()}, {"configuration", "clouds", cloudsTable()}, {"mappings", "language", languageRules(t)},
	} {
		testkit.Hold(t, part.page, part.name, "\n"+strings.TrimSpace(part.text)+"\n\n")
	}
}

// cell makes text fit into a table.
func cell(s string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(s), " "), "|", `\|`)
}

func settingsTables() string {
	var b strings.Builder
	table := func(list []settings.Setting) {
		b.WriteString("| variable | default | meaning |\n| --- | --- | --- |\n")
		for _, s := range list {
			otherwise := s.Otherwise
			if otherwise != settings.Unset && otherwise != settings.Required && !strings.ContainsAny(otherwise, " `") {
				otherwise = "`" + otherwise + "`"
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", s.Name, otherwise, cell(s.Meaning))
		}
		b.WriteByte('\n')
	}
	for _, g := range settings.Groups {
		fmt.Fprintf(&b, "## %s\n\n", g.Title)
		if g.About != "" {
			b.WriteString(g.About + "\n\n")
		}
		table(g.Settings)
	}
	b.WriteString("## Honoured, too\n\nThese are read by the libraries that the connector is made of.\n\n")
	table(settings.PassedOn)
	return b.String()
}

func cloudsTable() string {
	var b strings.Builder
	b.WriteString("| `MS_CLOUD` | `MS_LOGIN_BASE` | `MS_MANAGE_BASE` | `MS_GRAPH_BASE` | `MS_DEFENDER_BASE` |\n| --- | --- | --- | --- | --- |\n")
	for _, name := range settings.CloudNames {
		c := settings.Clouds[name]
		manage := "`" + c.Manage + "`"
		if c.Manage == "" {
			manage = "none: the Management feed is off by itself"
		}
		defender := "`" + c.Defender + "`"
		if c.Defender == "" {
			defender = "none: its feed is off by itself"
		}
		fmt.Fprintf(&b, "| `%s` | `%s` | %s | `%s` | %s |\n", name, c.Login, manage, c.Graph, defender)
	}
	return b.String()
}

// languageRules is the package comment of engine/expression.
func languageRules(t *testing.T) string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(Root, "engine/expression/doc.go"), nil, parser.ParseComments|parser.PackageClauseOnly)
	if err != nil {
		t.Fatal(err)
	}
	var p comment.Parser
	// What follows the first heading: before it the package speaks to programmers.
	text := f.Doc.Text()
	text = text[strings.Index(text, "# "):]
	// The list is of use to programmers only.
	text = strings.Replace(text, "of the formats that [AppendTime] lists", "of the formats Microsoft uses (without a zone: UTC)", 1)
	printer := comment.Printer{HeadingLevel: 3, HeadingID: func(*comment.Heading) string { return "" }}
	return string(printer.Markdown(p.Parse(text)))
}

// TestSettingsTable: the table has every name that the package reads, no other,
// and the defaults.
func TestSettingsTable(t *testing.T) {
	read := map[string]bool{}
	for _, name := range []string{"settings", "credential", "destination", "clouds", "shared"} {
		f, err := parser.ParseFile(token.NewFileSet(), "internal/settings/"+name+".go", nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.STRING {
				text, err := strconv.Unquote(literal.Value)
				// The values of LOG_LEVEL look like names.
				if err == nil && regexp.MustCompile(`^[A-Z][A-Z0-9_]+$`).MatchString(text) && text != "INFO" && text != "DEBUG" {
					read[text] = true
				}
			}
			return true
		})
	}
	listed := map[string]bool{}
	for _, g := range settings.Groups {
		for _, s := range g.Settings {
			if listed[s.Name] {
				t.Errorf("%s is listed twice", s.Name)
			}
			listed[s.Name] = true
			if !read[s.Name] {
				t.Errorf("%s is listed, but nothing reads it", s.Name)
			}
			if s.Meaning == "" {
				t.Errorf("%s has no meaning", s.Name)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(read)) {
		if !listed[name] {
			t.Errorf("%s is read, which is not listed", name)
		}
	}

	minimal := map[string]string{"TENANT_ID": "fabrikam.example", "CLIENT_ID": "app", "CLIENT_SECRET": "s", "PROJECT_ID": "301", "TOKEN": "t"}
	want, err := settings.Read(minimal, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range settings.Groups {
		for _, s := range g.Settings {
			if s.Otherwise == settings.Required {
				without := maps.Clone(minimal)
				delete(without, s.Name)
				if _, err := settings.Read(without, false); err == nil {
					t.Errorf("%s is said to be required, and is not", s.Name)
				}
				continue
			}
			value := s.Otherwise
			switch {
			case value == settings.Unset:
				continue
			case value == "of the cloud":
				value = map[string]string{"MS_LOGIN_BASE": settings.Clouds["commercial"].Login, "MS_MANAGE_BASE": settings.Clouds["commercial"].Manage, "MS_GRAPH_BASE": settings.Clouds["commercial"].Graph, "MS_DEFENDER_BASE": settings.Clouds["commercial"].Defender}[s.Name]
			case value == "name of the host":
				value, _ = os.Hostname() //nolint:errcheck // then it has no name of its own
			case strings.HasPrefix(value, "`"):
				value = minimal[strings.Trim(value, "`")]
			}
			env := maps.Clone(minimal)
			env[s.Name] = value
			if got, err := settings.Read(env, false); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%s=%s is said to be the default, and changes the settings: %v", s.Name, value, err)
			}
		}
	}
}

// pagesOfDocs are the pages whose examples are tried.
func pagesOfDocs(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(Root, "docs/*.md"))
	if err != nil || len(files) == 0 {
		t.Fatal("no docs", err)
	}
	list := []string{"README.md"}
	for _, f := range files {
		list = append(list, "docs/"+filepath.Base(f))
	}
	return list
}

// shownLines are the command lines that a page shows.
func shownLines(t *testing.T, page string) (lines []string) {
	t.Helper()
	for _, block := range testkit.Fences(testkit.Read(t, page), "console") {
		lines = append(lines, commandsOf(block)...)
	}
	return lines
}

func commandsOf(block string) (lines []string) {
	for line := range strings.Lines(block) {
		if line, ok := strings.CutPrefix(strings.TrimSpace(line), "$ "); ok {
			line, _, _ = strings.Cut(line, " #")
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

// way is what a command line of the program does, values left out: the subcommand, and its flags in order.
type way []string

// wayOf is that of a line; an error where the program does not take it.
func wayOf(line string) (way, error) {
	line, _, _ = strings.Cut(line, " | ")
	args := strings.Fields(strings.NewReplacer("'", "", `"`, "").Replace(line))
	var cli commands
	k, err := kong.New(&cli, kong.Name(program.Name), kong.Writers(io.Discard, io.Discard), kong.Exit(func(int) {}))
	if err != nil {
		return nil, err
	}
	parsed, err := k.Parse(args)
	if err != nil {
		return nil, err
	}
	does := way{parsed.Command()}
	for _, arg := range args {
		if name, _, _ := strings.Cut(arg, "="); strings.HasPrefix(name, "--") {
			does = append(does, name)
		}
	}
	return does, nil
}

// covers reports whether w does all that other does.
func (w way) covers(other way) bool {
	return w[0] == other[0] && !slices.ContainsFunc(other, func(part string) bool { return !slices.Contains(w, part) })
}

// pastedLines are the commands of the blocks that the scripts of the checks run as the pages show them.
func pastedLines(t *testing.T) (lines []string) {
	t.Helper()
	for _, script := range []string{".ci/run", ".ci/docker"} {
		for _, call := range regexp.MustCompile(`(?m)^\tpasted (\S+) '(.+)'$`).FindAllStringSubmatch(testkit.Read(t, script), -1) {
			_, from, found := strings.Cut(testkit.Read(t, call[1]), "\n$ "+call[2])
			block, _, _ := strings.Cut("$ "+call[2]+from, "```")
			if !found {
				t.Errorf("%s runs what %s shows from %q on, which it does not", script, call[1], call[2])
			}
			lines = append(lines, commandsOf(block)...)
		}
	}
	return lines
}

// TestShownCommands: every command line that a page shows is run. Those of recipes are by TestRecipes, to the letter;
// those that need Docker or the checkout by the checks, to the letter (those of replicas where .ci/docker is told to);
// the program's own by a session, which may have other values; those of Kubernetes by the tests of deploy, which follow
// their page.
func TestShownCommands(t *testing.T) {
	pasted := pastedLines(t)
	var ran []way
	files, err := filepath.Glob("testdata/session/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(archive.Comment)) {
			if before, command, found := strings.Cut(strings.TrimSpace(line), program.Name+" "); found && strings.Contains(before, "exec ") {
				command = regexp.MustCompile(`\$\([^)]*\)`).ReplaceAllString(command, "2026-01-01")
				if does, err := wayOf(strings.TrimSuffix(command, " &")); err == nil { // sessions try what is wrong, too
					ran = append(ran, does)
				}
			}
		}
	}
	byDeploy := regexp.MustCompile(`replicasPage = "../(docs/[a-z]+\.md)"`).FindStringSubmatch(testkit.Read(t, "deploy/replicas_test.go"))
	if byDeploy == nil {
		t.Fatal("the tests of deploy follow no page")
	}
	shown := 0
	for _, page := range pagesOfDocs(t) {
		recipes := recipesOf(testkit.Read(t, page), page)
		for _, line := range shownLines(t, page) {
			shown++
			_, command, own := strings.Cut(line, program.Name+" ") // in a container, too
			switch {
			case slices.Contains(recipes, line), slices.Contains(pasted, line):
			case own:
				does, err := wayOf(command)
				if err != nil || !slices.ContainsFunc(ran, func(w way) bool { return w.covers(does) }) {
					t.Errorf("%s shows %q, and no session runs %q: %v", page, line, does, err)
				}
			case page == byDeploy[1]:
			default:
				t.Errorf("%s shows %q, which nothing runs", page, line)
			}
		}
	}
	if shown < 50 {
		t.Errorf("only %d commands were found", shown)
	}
}

// TestShownDefinitions: every feed and mapping that a page shows is valid,
// together with the others of its page and the shipped ones.
func TestShownDefinitions(t *testing.T) {
	s, err := settings.Read(map[string]string{}, true)
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pagesOfDocs(t) {
		t.Run(page, func(t *testing.T) {
			dir, shown := t.TempDir(), 0
			for _, block := range testkit.Fences(testkit.Read(t, page), "yaml") {
				name := regexp.MustCompile(`(?m)^name: (\S+)`).FindStringSubmatch(block)
				if name == nil {
					continue
				}
				kind := "mappings"
				if strings.Contains(block, "\nrequest:") || strings.Contains(block, "/feed.schema.json") || strings.Contains(block, "CONFIG_DIR/feeds/") {
					kind = "feeds"
				}
				if err := os.MkdirAll(filepath.Join(dir, kind), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, kind, name[1]+".yaml"), []byte(block), 0o644); err != nil {
					t.Fatal(err)
				}
				shown++
			}
			if shown == 0 {
				t.Skip("it shows none")
			}
			defs, problems := definitions.Load(s, dir)
			if defs == nil {
				var text bytes.Buffer
				definition.Print(&text, problems) //nolint:errcheck // it is memory
				t.Errorf("what the page shows is not valid:\n%s", &text)
			}
		})
	}
}

// TestReadmeIsWhatSessionsRun: the two examples of the README are files of
// sessions, and the commands beside them are run there.
func TestReadmeIsWhatSessionsRun(t *testing.T) {
	readme := testkit.Read(t, "README.md")
	for section, session := range map[string]string{"Fix a mapping": "fix-a-mapping", "Add a feed": "add-a-feed"} {
		_, text, found := strings.Cut(readme, "\n## "+section+"\n")
		if !found {
			t.Errorf("the README has no section %q", section)
			continue
		}
		text, _, _ = strings.Cut(text, "\n## ")
		archive, err := txtar.ParseFile("testdata/session/" + session + ".txtar")
		if err != nil {
			t.Fatal(err)
		}
		files := map[string]bool{}
		for _, f := range archive.Files {
			files[string(f.Data)] = true
		}
		blocks := slices.Concat(testkit.Fences(text, "yaml"), testkit.Fences(text, "json"))
		if len(blocks) == 0 {
			t.Errorf("%s: the README shows no file", section)
		}
		for _, block := range blocks {
			if !files[block] {
				t.Errorf("%s: no file of %s.txtar is this block of the README:\n%s", section, session, block)
			}
		}
		for _, block := range testkit.Fences(text, "console") {
			for line := range strings.Lines(block) {
				command := strings.TrimPrefix(strings.TrimSpace(line), "$ ")
				if strings.HasPrefix(line, "$ ") && !strings.Contains(string(archive.Comment), "exec "+command+"\n") {
					t.Errorf("%s: %s.txtar does not run %q", section, session, command)
				}
			}
		}
	}
}

// TestNamedSettingsExist: what a file sets for the connector is a setting.
func TestNamedSettingsExist(t *testing.T) {
	known := map[string]bool{"GOMEMLIMIT": true}
	for _, g := range settings.Groups {
		for _, s := range g.Settings {
			known[s.Name] = true
		}
	}
	for _, s := range settings.PassedOn {
		known[s.Name] = true
	}
	line := regexp.MustCompile(`(?m)^#?([A-Z][A-Z0-9_]+)=`)
	names := line.FindAllStringSubmatch(testkit.Read(t, ".env.example"), -1)
	if len(names) < 10 {
		t.Errorf(".env.example: only %d settings were found", len(names))
	}
	for _, name := range names {
		if !known[name[1]] {
			t.Errorf(".env.example sets %s, which is no setting", name[1])
		}
	}
	for _, row := range regexp.MustCompile("(?m)^\\| (`[A-Z].*?) \\|").FindAllStringSubmatch(testkit.Read(t, "README.md"), -1) {
		for _, name := range regexp.MustCompile("`([A-Z][A-Z0-9_]+)`").FindAllStringSubmatch(row[1], -1) {
			if !known[name[1]] {
				t.Errorf("the README lists %s, which is no setting", name[1])
			}
		}
	}
}

// TestReadmeShowsAnEvent: the event in the README is one that a golden case makes, named by its feed: a golden
// case has no feed, and is named by its mapping.
func TestReadmeShowsAnEvent(t *testing.T) {
	_, text, _ := strings.Cut(testkit.Read(t, "README.md"), "\n## Data format\n")
	shown := testkit.Fences(text, "json")
	golden := testkit.Read(t, "golden/o365-management/file-download-by-url.golden.json")
	if len(shown) == 0 || shown[0] != strings.Replace(golden, `"source_name": "o365-management"`, `"source_name": "o365-management-activity"`, 1) {
		t.Error("the README's event is not golden/o365-management/file-download-by-url.golden.json")
	}
}
