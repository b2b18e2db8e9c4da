package setup

import (
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

var update = flag.Bool("update", false, "write the permission table into the scripts")

const (
	shellScript      = "setup-s60-m365-connector.sh"
	powershellScript = "setup-s60-m365-connector.ps1"
)

type permission struct {
	Resource string
	Name     string
	ID       string
}

type permissionSet struct {
	Name        string
	For         string
	Permissions []permission
}

type permissionTable struct {
	Resources map[string]string
	Sets      []permissionSet
	// ByHand are permissions that the scripts do not grant.
	ByHand []struct{ Resource, Name, Why string }
}

func readTable(t *testing.T) permissionTable {
	t.Helper()
	data, err := os.ReadFile("permissions.json")
	if err != nil {
		t.Fatal(err)
	}
	var table permissionTable
	if err := json.Unmarshal(data, &table); err != nil {
		t.Fatalf("permissions.json: %v", err)
	}
	return table
}

// feedPermissions gives, for each permission that a shipped feed declares, the
// feeds that do.
func feedPermissions(t *testing.T) map[string][]string {
	t.Helper()
	files, err := fs.Glob(os.DirFS("../feeds"), "*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no feeds found: %v", err)
	}
	declared := map[string][]string{}
	for _, file := range files {
		data, err := os.ReadFile("../feeds/" + file)
		if err != nil {
			t.Fatal(err)
		}
		var feed struct {
			Permissions []string
			Extends     string
			Abstract    bool
		}
		if err := yaml.Unmarshal(data, &feed); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if len(feed.Permissions) == 0 && feed.Extends == "" && !feed.Abstract {
			t.Errorf("%s declares no permissions", file)
		}
		for _, name := range feed.Permissions {
			declared[name] = append(declared[name], file)
		}
	}
	return declared
}

func TestTableCoversFeeds(t *testing.T) {
	table, declared := readTable(t), feedPermissions(t)
	listed := map[string]string{} // permission -> set
	for _, set := range table.Sets {
		for _, p := range set.Permissions {
			listed[p.Name] = set.Name
			// The core is granted to everybody: nothing in it may be idle.
			if set.Name == "core" && declared[p.Name] == nil {
				t.Errorf("permissions.json: core asks for %s, which no feed declares", p.Name)
			}
		}
	}
	for _, p := range table.ByHand {
		if p.Why == "" || table.Resources[p.Resource] == "" || listed[p.Name] != "" || declared[p.Name] == nil {
			t.Errorf("permissions.json: %s has no reason or resource, is granted after all, or no feed declares it", p.Name)
		}
		listed[p.Name] = "by hand"
	}
	for name, files := range declared {
		if listed[name] == "" {
			t.Errorf("feeds/%s declares %s, which permissions.json does not list", files[0], name)
		}
	}
}

func TestTableIsSound(t *testing.T) {
	table := readTable(t)
	guid := regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	seen := map[string]bool{}
	for resource, id := range table.Resources {
		if !guid.MatchString(id) {
			t.Errorf("resource %s: %q is no id", resource, id)
		}
	}
	for _, set := range table.Sets {
		if set.For == "" || len(set.Permissions) == 0 {
			t.Errorf("set %s says not what it is for, or is empty", set.Name)
		}
		for _, p := range set.Permissions {
			if !guid.MatchString(p.ID) || seen[p.ID] || seen[p.Name] {
				t.Errorf("%s %s: the id is none, or one of them stands twice", p.Name, p.ID)
			}
			seen[p.ID], seen[p.Name] = true, true
			if table.Resources[p.Resource] == "" {
				t.Errorf("%s is of resource %q, which is not listed", p.Name, p.Resource)
			}
			if !strings.Contains(p.Name, ".Read") || strings.Contains(p.Name, "Write") {
				t.Errorf("%s: the connector only reads", p.Name)
			}
		}
	}
}

// The scripts offer one switch for each set beyond the core.
func TestScriptsOfferEachSet(t *testing.T) {
	shell, powershell := readFile(t, shellScript), readFile(t, powershellScript)
	for _, set := range readTable(t).Sets {
		if set.Name == "core" {
			continue
		}
		if !strings.Contains(shell, "--"+set.Name+" ") {
			t.Errorf("%s has no option --%s", shellScript, set.Name)
		}
		if parameter := "[switch]$" + pascal(set.Name); !strings.Contains(powershell, parameter) {
			t.Errorf("%s has no parameter %s", powershellScript, parameter)
		}
	}
}

func TestScriptsCarryTable(t *testing.T) {
	table := readTable(t)
	for _, script := range []struct {
		file, before, line, after string
	}{
		{shellScript, "permissions='", "%[1]s %[2]s %[3]s %[4]s", "'"},
		{powershellScript, "$Permissions = @(", "    [pscustomobject]@{ Set = '%[1]s'; Resource = '%[2]s'; Name = '%[3]s'; Id = '%[4]s' }", ")"},
	} {
		var lines []string
		for _, set := range table.Sets {
			for _, p := range set.Permissions {
				lines = append(lines, fmt.Sprintf(script.line, set.Name, table.Resources[p.Resource], p.Name, p.ID))
			}
		}
		separator := "\n"
		if script.file == shellScript {
			lines[0] = script.before + lines[0]
			lines[len(lines)-1] += script.after
		} else {
			lines = slices.Concat([]string{script.before}, lines, []string{script.after})
		}
		want := strings.Join(lines, separator) + "\n"

		text := readFile(t, script.file)
		newline := "\n"
		start := strings.Index(text, "# <permissions>")
		end := strings.Index(text, "# </permissions>")
		if start < 0 || end < start {
			t.Fatalf("%s has no place for the table, between # <permissions> and # </permissions>", script.file)
		}
		start += strings.Index(text[start:], newline) + len(newline)
		if text[start:end] == want {
			continue
		}
		if !*update {
			t.Errorf("%s does not carry the table of permissions.json; run: go generate ./setup", script.file)
			continue
		}
		info, err := os.Stat(script.file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(script.file, []byte(text[:start]+want+text[end:]), info.Mode()); err != nil {
			t.Fatal(err)
		}
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// pascal turns a set's name into that of a PowerShell parameter.
func pascal(name string) string {
	var b strings.Builder
	for part := range strings.SplitSeq(name, "-") {
		b.WriteString(strings.ToUpper(part[:1]) + part[1:])
	}
	return b.String()
}
