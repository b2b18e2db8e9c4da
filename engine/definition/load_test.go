package definition_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/feeds"
	"github.com/secure60/s60-m365-connector/mappings"
)

// settings are such as a run has them.
var settings = map[string]any{
	"TENANT_ID": "11111111-2222-4333-8444-555555555555", "CLIENT_ID": "9e714052-0000-4000-8000-000000000005",
	"PUBLISHER_ID": "11111111-2222-4333-8444-555555555555", "MS_CLOUD": "commercial",
	"MS_LOGIN_BASE": "https://login.example", "MS_MANAGE_BASE": "https://manage.example", "MS_GRAPH_BASE": "https://graph.example", "MS_DEFENDER_BASE": "https://defender.example",
	"ENABLE_MGMT_ACTIVITY": true, "ENABLE_GRAPH": true,
	"MGMT_CONTENT_TYPES": []any{"Audit.Exchange", "DLP.All"}, "FEEDS": []any{}, "ENVIRONMENT": "",
}

func TestShippedDefinitionsLoad(t *testing.T) {
	set, problems := definition.Load(definition.Options{Feeds: feeds.FS, Mappings: mappings.FS, Settings: settings})
	for _, p := range problems {
		t.Error(p)
	}
	if len(set.Feeds) < 8 || len(set.Mappings()) < 5 {
		t.Errorf("%d feeds and %d mappings", len(set.Feeds), len(set.Mappings()))
	}
}

const (
	plainFeed    = "name: %s\nrequest: {url: \"https://api.example\"}\nkey: id\nmapping: m\n"
	plainMapping = "name: %s\ndescription: %s\nfields: {operation: '\"x\"'}\n"
)

func file(format string, args ...any) *fstest.MapFile {
	return &fstest.MapFile{Data: fmt.Appendf(nil, format, args...)}
}

// shipped is a small set of shipped files.
func shipped() definition.Options {
	return definition.Options{
		Feeds:    fstest.MapFS{"a.yaml": file(plainFeed, "a"), "b.yaml": file(plainFeed, "b"), "embed.go": file("package feeds")},
		Mappings: fstest.MapFS{"m.yaml": file(plainMapping, "m", "shipped")},
		Settings: map[string]any{},
	}
}

func TestOverlay(t *testing.T) {
	for _, c := range []struct {
		name    string
		overlay fstest.MapFS
		feeds   string // loaded, by name
		problem string // in the problems
		warning bool   // the problem is one
	}{
		{name: "empty", overlay: fstest.MapFS{}, feeds: "a b"},
		{name: "adds", overlay: fstest.MapFS{"feeds/c.yaml": file(plainFeed, "c")}, feeds: "a b c"},
		{name: "adds yml", overlay: fstest.MapFS{"feeds/c.yml": file(plainFeed, "c")}, feeds: "a b c"},
		{name: "replaces", overlay: fstest.MapFS{"feeds/a.yaml": file("name: a\nenabled: false\nrequest: {url: \"https://b.example\"}\nkey: id\nmapping: m\n")}, feeds: "a b"},
		{name: "replaces by yml", overlay: fstest.MapFS{"feeds/a.yml": file(plainFeed, "a")}, feeds: "a b"},
		{name: "broken replacement", overlay: fstest.MapFS{"feeds/a.yaml": file("name: a\n")}, feeds: "b", problem: "/config/feeds/a.yaml:1:1: the feed lacks the key"},
		{name: "directly", overlay: fstest.MapFS{"c.yaml": file(plainFeed, "c")}, feeds: "a b c"},
		{name: "directly, by modeline", overlay: fstest.MapFS{"c.yaml": file("# yaml-language-server: $schema=../schemas/feed.schema.json\nname: c\n")}, feeds: "a b", problem: "/config/c.yaml:2:1: the feed lacks the key"},
		{name: "directly, neither", overlay: fstest.MapFS{"compose.yaml": file("services: {}\n")}, feeds: "a b", problem: "/config/compose.yaml: warning: is neither a feed nor a mapping", warning: true},
		{name: "directly, no YAML", overlay: fstest.MapFS{"c.yaml": file("\x00")}, feeds: "a b", problem: "/config/c.yaml:1:1: control character"},
		{name: "directly, broken", overlay: fstest.MapFS{"c.yaml": file("name: c\nrequest: {url: x\nkey: id\n")}, feeds: "a b", problem: "/config/c.yaml:2:1: not YAML"},
		{name: "twice", overlay: fstest.MapFS{"c.yaml": file(plainFeed, "c"), "feeds/c.yaml": file(plainFeed, "c")}, feeds: "a b c", problem: "/config/c.yaml: has the same name as /config/feeds/c.yaml"},
		{name: "twice by extension", overlay: fstest.MapFS{"feeds/c.yaml": file(plainFeed, "c"), "feeds/c.yml": file(plainFeed, "c")}, feeds: "a b c", problem: "/config/feeds/c.yml: has the same name as /config/feeds/c.yaml"},
		{name: "misspelt folder", overlay: fstest.MapFS{"feed/c.yaml": file(plainFeed, "c")}, feeds: "a b", problem: "/config/feed: warning: is not read", warning: true},
		{name: "folder of that name", overlay: fstest.MapFS{"feeds/c.yaml/d": file("x")}, feeds: "a b", problem: "/config/feeds/c.yaml: warning: is a folder", warning: true},
		{name: "folder in a folder", overlay: fstest.MapFS{"feeds/mine/c.yaml": file(plainFeed, "c")}, feeds: "a b", problem: "/config/feeds/mine: warning: is not read: put feeds into feeds/", warning: true},
		{name: "another extension", overlay: fstest.MapFS{"feeds/c.yaml.txt": file(plainFeed, "c")}, feeds: "a b", problem: "/config/feeds/c.yaml.txt: warning: is not read: the name of a definition ends in .yaml, as c.yaml", warning: true},
		{name: "JSON", overlay: fstest.MapFS{"feeds/c.json": file(`{"name": "c", "request": {}}`)}, feeds: "a b", problem: "/config/feeds/c.json: warning: is not read", warning: true},
		{name: "an answer", overlay: fstest.MapFS{"feeds/c.json": file(`{"value": []}`)}, feeds: "a b", problem: "/config/feeds/c.json: warning: is not read, and is no definition: if it is an answer of an endpoint, new feed c --from it", warning: true},
		{name: "in capitals", overlay: fstest.MapFS{"feeds/c.YAML": file(plainFeed, "c")}, feeds: "a b c"},
		{name: "a mapping among the feeds", overlay: fstest.MapFS{"feeds/n.yaml": file(plainMapping, "n", "mine"), "feeds/c.yaml": file("name: c\nrequest: {url: \"https://api.example\"}\nkey: id\nmapping: n\n")}, feeds: "a b c",
			problem: "/config/feeds/n.yaml:3:1: by its key \"fields\" this is one of the mappings: put the file into mappings/\n"},
		{name: "a feed among the mappings", overlay: fstest.MapFS{"mappings/c.yaml": file(plainFeed, "c")}, feeds: "a b c", problem: "/config/mappings/c.yaml:2:1: by its key \"request\" this is one of the feeds: put the file into feeds/\n"},
		{name: "others", overlay: fstest.MapFS{"README.md": file("x"), ".hidden/a.yaml": file("x"), "golden/m/a.json": file("{}"), "feeds/notes.txt": file("x"), "feeds/.c.yaml": file("x")}, feeds: "a b"},
		{name: "too large", overlay: fstest.MapFS{"feeds/c.yaml": {Data: bytes.Repeat([]byte("#"), 2<<20)}}, feeds: "a b", problem: "/config/feeds/c.yaml: cannot be read: the file is larger than 1024 KiB"},
		{name: "mapping", overlay: fstest.MapFS{"mappings/n.yaml": file(plainMapping, "n", "mine"), "feeds/c.yaml": file("name: c\nrequest: {url: \"https://api.example\"}\nkey: id\nmapping: n\n")}, feeds: "a b c"},
		{name: "mapping with problems is there", overlay: fstest.MapFS{"mappings/m.yaml": file("name: m\nfield: {}\n")}, feeds: "a b", problem: "/config/mappings/m.yaml:1:1: the mapping does nothing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			options := shipped()
			options.Overlay, options.OverlayName = c.overlay, "/config"
			set, problems := definition.Load(options)
			var names []string
			for _, f := range set.Feeds {
				names = append(names, f.Name)
			}
			if got := strings.Join(names, " "); got != c.feeds {
				t.Errorf("feeds %s, want %s", got, c.feeds)
			}
			var text strings.Builder
			definition.Print(&text, problems)
			if (c.problem == "") != (len(problems) == 0) || !strings.Contains(text.String(), c.problem) {
				t.Errorf("problems: %s\nwant: %s", &text, c.problem)
			}
			if want := c.problem != "" && !c.warning; definition.Invalid(problems) != want {
				t.Errorf("invalid: %v, want %v", !want, want)
			}
		})
	}
}

// TestOverlayOnDisk follows what a container sees: a folder that is not there,
// and one of links, as a Kubernetes ConfigMap is mounted.
func TestOverlayOnDisk(t *testing.T) {
	dir := t.TempDir()
	options := shipped()
	options.Overlay = os.DirFS(filepath.Join(dir, "absent"))
	if set, problems := definition.Load(options); len(problems) > 0 || len(set.Feeds) != 2 {
		t.Errorf("an absent folder: %v", problems)
	}
	data := filepath.Join(dir, "..2026_01_01")
	if err := os.Mkdir(data, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(data, "a.yaml"), fmt.Appendf(nil, plainFeed+"description: mine\n", "a"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("..2026_01_01", filepath.Join(dir, "..data")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join("..data", "a.yaml"), filepath.Join(dir, "a.yaml")); err != nil {
		t.Fatal(err)
	}
	options.Overlay, options.OverlayName = os.DirFS(dir), dir
	set, problems := definition.Load(options)
	if len(problems) > 0 || set.Feed("a") == nil || set.Feed("a").Description != "mine" {
		t.Errorf("a mounted ConfigMap: %v", problems)
	}
	if set.Feed("none") != nil || set.Mapping("none") != nil || set.Mapping("m") == nil {
		t.Error("look-up by name")
	}
}

func TestBucketsMustAgree(t *testing.T) {
	limited := func(name, limit string) *fstest.MapFile {
		return file("name: %s\nrequest: {url: \"https://api.example\"}\nkey: id\nrate_limit: %s\nmapping: m\n", name, limit)
	}
	options := shipped()
	options.Feeds = fstest.MapFS{
		"a.yaml": limited("a", "{requests: 5, per: 10s, bucket: shared}"),
		"b.yaml": limited("b", "{requests: 5, per: 10000ms, bucket: shared}"),
		"c.yaml": limited("c", "{requests: 6, per: 10s, bucket: shared}"),
		"d.yaml": limited("d", "{requests: 1, per: 1s}"),
	}
	set, problems := definition.Load(options)
	const want = `feeds/c.yaml:4:45: the bucket "shared" allows 5 requests in 10s in feed a (feeds/a.yaml:4), but 6 in 10s here: feeds that share a bucket must agree
    rate_limit: {requests: 6, per: 10s, bucket: shared}
                                                ^^^^^^`
	if len(problems) != 1 || problems[0].String() != want {
		t.Errorf("got %v, want %s", problems, want)
	}
	if got := set.Feed("d").RateLimit.Bucket; got != "d" {
		t.Errorf("a feed that names no bucket has %q", got)
	}
}

func TestIncludes(t *testing.T) {
	options := shipped()
	options.Mappings = fstest.MapFS{
		"m.yaml":    file("name: m\ninclude: [one, two]\nfields: {a: '1'}\n"),
		"one.yaml":  file("name: one\ninclude: [base]\nwhen: event_x == 1\nfields: {b: '1'}\n"),
		"two.yaml":  file("name: two\ninclude: [base]\ntables: {t: {a: 1}}\n"),
		"base.yaml": file("name: base\ntables: {shared: {0: zero, yes: true, half: 0.5, n: -3}}\n"),
	}
	set, problems := definition.Load(options)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	m := set.Mapping("m")
	if len(m.Include) != 2 || m.Include[0] != set.Mapping("one") || m.Include[1].Include[0] != set.Mapping("base") {
		t.Errorf("included: %v", m.Include)
	}
	if got := m.Include[0].When.Value; got != "event_x == 1" {
		t.Errorf("when: %q", got)
	}
	table := set.Mapping("base").Tables["shared"]
	for key, want := range map[string]any{"0": "zero", "yes": true, "half": 0.5, "n": -3} {
		if table[key] != want {
			t.Errorf("%s is %#v, want %#v", key, table[key], want)
		}
	}

	options.Mappings.(fstest.MapFS)["base.yaml"] = file("name: base\ninclude: [m]\ntables: {t: {a: 1}}\n")
	_, problems = definition.Load(options)
	var text strings.Builder
	definition.Print(&text, problems)
	for _, want := range []string{
		`mappings/base.yaml:2:11: "m" includes this mapping in turn`,
		`mappings/m.yaml:2:11: "one" includes this mapping in turn`,
		`the table "t" is also given by`,
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%s\nlacks %s", &text, want)
		}
	}
}

// TestFeedValues looks at what a feed says, and at what it leaves out.
func TestFeedValues(t *testing.T) {
	f, problems := definition.ParseFeed("f.yaml", []byte(`
name: f
for_each: {kind: KINDS}
licence: {requires: L, missing: status == 403}
subscribe: {list: {url: "${BASE}/list"}, active: state == "on" && name == kind, start: {method: POST, url: "${BASE}/start"}}
request:
  url: ${BASE}/v1
  headers: {B: "2", A: "1"}
  query: {z: "${window.from}", a: 1000, m: true}
paging: {style: page, param: p, size: 50}
expand: {url: u, key: k}
cursor: {field: t}
key: [id, rev]
errors: [{when: status == 404, then: skip}]
mapping: m
`), map[string]any{"BASE": "https://api.example", "KINDS": []any{"a"}})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if on, err := f.Enabled.Bool(nil); !on || err != nil {
		t.Errorf("a feed is on unless it says otherwise: %v %v", on, err)
	}
	if f.Request.Method != "GET" || f.Subscribe.Start.Method != "POST" || f.Records != "@this" || f.Expand.Records != "@this" {
		t.Errorf("%+v", f)
	}
	if f.Licence.Confirm != 3 || f.Licence.Recheck != 6*time.Hour || f.Subscribe.Wait != 15*time.Minute || f.Expand.Concurrency != 4 {
		t.Errorf("%+v %+v %+v", f.Licence, f.Subscribe, f.Expand)
	}
	if *f.Window != (definition.Window{Max: 24 * time.Hour, Retention: 7 * 24 * time.Hour}) || f.Cursor.Format != "rfc3339" {
		t.Errorf("%+v %+v", f.Window, f.Cursor)
	}
	if f.Paging.Start != 1 || f.Paging.Size != 50 || len(f.Key) != 2 {
		t.Errorf("%+v %v", f.Paging, f.Key)
	}
	names := ""
	for _, q := range append(f.Request.Headers, f.Request.Query...) {
		value, err := q.Value.Expand(map[string]any{"window": map[string]any{"from": "F", "to": "T"}})
		if err != nil {
			t.Error(err)
		}
		names += q.Name + "=" + value + " "
	}
	if names != "B=2 A=1 z=F a=1000 m=true " {
		t.Errorf("order or values: %s", names)
	}
	active, err := f.Subscribe.Active.Bool(map[string]any{"state": "on", "name": "a", "kind": "a"})
	if !active || err != nil {
		t.Errorf("active: %v %v", active, err)
	}
}

// What a fallback gives of a job goes over the feed's own: a query is not asked for twice.
func TestFallbackOfJob(t *testing.T) {
	for own, want := range map[string]string{
		"": "https://api.example/beta?a=1 https://api.example/beta/x?b=2",
		"job: {create: {url: \"${BASE}/v1\"}, poll: {query: {b: 3}}}": "https://api.example/v1?a=1 https://api.example/beta/x?b=3",
	} {
		f, problems := definition.ParseFeed("f.yaml", []byte(`
name: f
job: {create: {url: "${BASE}/beta", query: {a: 1}}, id: id, poll: {url: "${BASE}/beta/x", query: {b: 2}}, done: status == 200}
request: {url: "${BASE}/beta/x/records"}
fallback: {when: status == 404, request: {url: "${BASE}/v1/x/records"}, `+own+`}
key: id
mapping: m
`), map[string]any{"BASE": "https://api.example"})
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		shown := func(r *definition.Request) string {
			url, err := r.URL.Expand(map[string]any{"BASE": "https://api.example"})
			if err != nil {
				t.Error(err)
			}
			var query []string
			for _, q := range r.Query {
				query = append(query, q.Name+"="+q.Value.String())
			}
			return url + "?" + strings.Join(query, "&")
		}
		j := f.Fallback.Job
		if got := shown(&j.Create) + " " + shown(&j.Poll); got != want || j.ID != "id" || j.Every != f.Job.Every || j.Most != f.Job.Most || j.Done == nil {
			t.Errorf("%s: %s, want %s; %+v", own, got, want, j)
		}
	}
}

func TestProblemShowsTabs(t *testing.T) {
	_, problems := definition.ParseFeed("f.yaml", []byte("name:\t\"☃ \\t\tf\"\n"), nil)
	const want = "f.yaml:1:8: \"name\" may hold only a-z, 0-9, - and _\n    name:\t\"☃ \\t\tf\"\n         \t ^^^^^^"
	for _, p := range problems {
		if p.String() == want {
			return
		}
	}
	t.Errorf("got %v, want %s", problems, want)
}

// What is read when it is asked for is as what is read and checked with all the rest; a base is none.
func TestOnDemand(t *testing.T) {
	load := func(tested bool) (set *definition.Set, whole []string) {
		set, problems := definition.Load(definition.Options{Feeds: feeds.FS, Mappings: mappings.FS, Tested: tested, Settings: settings})
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		for _, named := range set.Whole {
			whole = append(whole, named.Name)
			if m := named.Read(); m == nil || m != set.Mapping(named.Name) {
				t.Errorf("%s is not read, or twice", named.Name)
			}
		}
		return set, whole
	}
	all, names := load(false)
	set, whole := load(true)
	if !slices.Equal(whole, names) || !reflect.DeepEqual(set.Mappings(), all.Mappings()) {
		t.Errorf("%v stand for themselves of %d mappings, want %v of %d", whole, len(set.Mappings()), names, len(all.Mappings()))
	}
	set, _ = definition.Load(definition.Options{Tested: true, Mappings: fstest.MapFS{
		"base.yaml": file("name: %s\nabstract: true\nfields: {operation: '\"a\"'}\n", "base"), "m.yaml": file("name: %s\nextends: base\n", "m"),
	}})
	if m := set.Mapping("m"); m == nil || len(m.Fields) != 1 || len(set.Mappings()) != 1 || set.Mapping("base") != nil || set.Mapping("none") != nil {
		t.Errorf("%v", set.Mappings())
	}
}

// BenchmarkLoad is the part of every start that reads the shipped files.
func BenchmarkLoad(b *testing.B) {
	for b.Loop() {
		definition.Load(definition.Options{Feeds: feeds.FS, Mappings: mappings.FS, Tested: true, Settings: settings})
	}
}
