package setup

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/feeds"
	"github.com/secure60/s60-m365-connector/mappings"
)

var update = flag.Bool("update", false, "write the permission table into the scripts")

const (
	shellScript      = "setup-s60-m365-connector.sh"
	powershellScript = "setup-s60-m365-connector.ps1"

	graphScope  = "https://graph.microsoft.com/.default"
	manageScope = "https://manage.office.com/.default"
)

// permissionTable is what permissions.json adds to what the feeds declare.
type permissionTable struct {
	Resources map[string]string
	Plans     map[string]map[string]string // by licence, as feeds name it: service plans that include it
	OnRequest map[string]string            // permissions of default feeds that are asked for by switch only, and why
	Sets      map[string][]string          // the switches
}

func readTable(t *testing.T) permissionTable {
	t.Helper()
	var table permissionTable
	if err := json.Unmarshal([]byte(readFile(t, "permissions.json")), &table); err != nil {
		t.Fatalf("permissions.json: %v", err)
	}
	return table
}

// row is one permission of a set: a pack, a switch, or the default.
type row struct {
	set, resource, name string
	licence             string // without it the permission is of no use
	plans               string // the ids of service plans that include it
}

var packName = regexp.MustCompile(`"([a-z-]+)" in FEEDS`)

var settings = map[string]any{
	"TENANT_ID": "11111111-2222-4333-8444-555555555555", "PUBLISHER_ID": "11111111-2222-4333-8444-555555555555",
	"MS_MANAGE_BASE": "https://manage.office.com", "MS_GRAPH_BASE": "https://graph.microsoft.com", "MS_DEFENDER_BASE": "https://api.securitycenter.microsoft.com",
	"ENABLE_MGMT_ACTIVITY": true, "ENABLE_GRAPH": true, "MGMT_CONTENT_TYPES": []any{"Audit.General", "DLP.All"}, "FEEDS": []any{},
}

// shipped are the feeds, loaded once for all tests.
var shipped = sync.OnceValues(func() (*definition.Set, []definition.Problem) {
	return definition.Load(definition.Options{Feeds: feeds.FS, Mappings: mappings.FS, Settings: settings})
})

// rows are what the scripts carry, made from the shipped feeds.
func rows(t *testing.T) []row {
	t.Helper()
	table := readTable(t)
	set, problems := shipped()
	for _, p := range problems {
		t.Error(p)
	}
	resources := map[string]string{} // by permission
	for _, feed := range set.Feeds {
		scope, err := feed.Scope.Expand(settings)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range feed.Permissions {
			resources[name] = map[string]string{graphScope: "Microsoft Graph", manageScope: "Office 365 Management APIs", "https://api.securitycenter.microsoft.com/.default": "WindowsDefenderATP"}[scope]
			if resources[name] == "" {
				t.Fatalf("%s: permissions.json lists no service for the scope %s", feed.Name, scope)
			}
		}
	}
	var made []row
	add := func(set, licence, name string) {
		of := row{set: set, resource: table.Resources[resources[name]], name: name}
		if plans := table.Plans[licence]; set == "default" && plans != nil {
			of.licence, of.plans = licence, strings.Join(slices.Sorted(maps.Values(plans)), ",")
		}
		i := slices.IndexFunc(made, func(r row) bool { return r.set == set && r.name == name })
		switch {
		case i < 0:
			made = append(made, of)
		case made[i].licence != of.licence:
			made[i].licence, made[i].plans = "", "" // some feed of the set can use it without
		}
	}
	licence := func(feed *definition.Feed) string {
		if feed.Licence == nil {
			return ""
		}
		return feed.Licence.Requires
	}
	packs := map[string][]*definition.Feed{}
	for _, feed := range set.Feeds {
		on, err := feed.Enabled.Bool(settings)
		if err != nil {
			t.Fatal(err)
		}
		for _, pack := range packName.FindAllStringSubmatch(feed.Enabled.String(), -1) {
			if set.Feed(pack[1]) == nil {
				packs[pack[1]] = append(packs[pack[1]], feed)
			}
		}
		if !on {
			continue
		}
		for _, name := range feed.Permissions {
			if table.OnRequest[name] == "" {
				add("default", licence(feed), name)
			}
		}
	}
	for _, set := range slices.Sorted(maps.Keys(table.Sets)) {
		for _, name := range table.Sets[set] {
			if resources[name] == "" {
				t.Errorf("permissions.json: %s asks for %s, which no feed declares", set, name)
			}
			add(set, "", name)
		}
	}
	for _, pack := range slices.Sorted(maps.Keys(packs)) {
		for _, feed := range packs[pack] {
			for _, name := range feed.Permissions {
				add(pack, "", name)
			}
		}
	}
	for name := range resources {
		if !slices.ContainsFunc(made, func(r row) bool { return r.name == name }) {
			t.Errorf("feeds declare %s, and no set of permissions.json, no pack and no default feed asks for it", name)
		}
	}
	return made
}

// packNames are the packs among the sets of the rows.
func packNames(t *testing.T, all []row) []string {
	var names []string
	table := readTable(t)
	for _, r := range all {
		if r.set != "default" && table.Sets[r.set] == nil && !slices.Contains(names, r.set) {
			names = append(names, r.set)
		}
	}
	return names
}

// What everybody grants is of use to everybody, and nothing writes.
func TestTableIsSound(t *testing.T) {
	table, all := readTable(t), rows(t)
	guid := regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	for name, id := range table.Resources {
		if !guid.MatchString(id) {
			t.Errorf("resource %s: %q is no id", name, id)
		}
	}
	for licence, plans := range table.Plans {
		for plan, id := range plans {
			if !guid.MatchString(id) {
				t.Errorf("plan %s of %s: %q is no id", plan, licence, id)
			}
		}
	}
	for _, r := range all {
		if !strings.Contains(r.name, ".Read") || strings.Contains(r.name, "Write") {
			t.Errorf("%s: the connector only reads", r.name)
		}
	}
	var always, licensed []string
	for _, r := range all {
		switch {
		case r.set != "default":
		case r.plans == "":
			always = append(always, r.name)
		default:
			licensed = append(licensed, r.name)
		}
	}
	slices.Sort(always)
	slices.Sort(licensed)
	if !slices.Equal(always, core) || !slices.Equal(licensed, risk) {
		t.Errorf("always asked for are %v, by licence %v; want %v and %v", always, licensed, core, risk)
	}
}

// The scripts offer one switch for each set.
func TestScriptsOfferEachSet(t *testing.T) {
	shell, powershell := readFile(t, shellScript), readFile(t, powershellScript)
	for set := range readTable(t).Sets {
		if !strings.Contains(shell, "--"+set+" ") {
			t.Errorf("%s has no option --%s", shellScript, set)
		}
		if parameter := "[switch]$" + pascal(set); !strings.Contains(powershell, parameter) {
			t.Errorf("%s has no parameter %s", powershellScript, parameter)
		}
	}
}

func TestScriptsCarryTable(t *testing.T) {
	all := rows(t)
	packs := packNames(t, all)
	var shell, powershell []string
	for _, r := range all {
		plans := r.plans
		if plans == "" {
			plans = "-"
		}
		shell = append(shell, strings.TrimSpace(strings.Join([]string{r.set, r.resource, r.name, plans, r.licence}, " ")))
		powershell = append(powershell, fmt.Sprintf("    [pscustomobject]@{ Set = '%s'; Resource = '%s'; Name = '%s'; Plans = '%s'; Licence = '%s' }", r.set, r.resource, r.name, r.plans, r.licence))
	}
	carry(t, shellScript, "permissions='"+strings.Join(shell, "\n")+"'\npack_names='"+strings.Join(packs, " ")+"'\n")
	carry(t, powershellScript, "$Permissions = @(\n"+strings.Join(powershell, "\n")+"\n)\n$PackNames = @('"+strings.Join(packs, "', '")+"')\n")
}

// carry holds the table in the file to what is wanted, or writes it there.
func carry(t *testing.T, file, want string) {
	text := readFile(t, file)
	start, end := strings.Index(text, "# <permissions>"), strings.Index(text, "# </permissions>")
	if start < 0 || end < start {
		t.Fatalf("%s has no place for the table, between # <permissions> and # </permissions>", file)
	}
	start += strings.Index(text[start:], "\n") + 1
	if text[start:end] == want {
		return
	}
	if !*update {
		t.Errorf("%s does not carry the permissions of the feeds; run: go generate ./setup", file)
		return
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text[:start]+want+text[end:]), info.Mode()); err != nil {
		t.Fatal(err)
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
