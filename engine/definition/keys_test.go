package definition

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/secure60/s60-m365-connector/schemas"
)

// elsewhere are the keys and values that no feed below has, each with the test that holds it.
var elsewhere = map[string]string{
	"errors.then=refresh_token": "engine/extract TestFaultsThatPass",
	"hosts":                     "engine/extract TestTokenStaysAtItsHost",
	"job.result":                "engine/extract TestJob",
	"paging.start":              "engine/extract TestPagingInTheBody",
	"paging.style=link":         "engine/extract TestPagingStyles",
	"paging.style=page":         "engine/extract TestPagingStyles",
	"reconcile":                 "engine TestReconcile",
	"reconcile.depth":           "engine TestReconcile",
	"reconcile.every":           "engine TestReconcile",
	"snapshot.first":            "engine TestSnapshot",
}

// alike are keys that are read as another one is: those of a request or of paging that stands at another place.
var alike = []struct {
	key *regexp.Regexp
	is  string
}{
	{regexp.MustCompile(`^((fallback\.)?job\.(create|poll)|subscribe\.(list|start)|fallback\.request)\.`), "request."},
	{regexp.MustCompile(`^expand\.(method|headers|form|body)$`), "request.$1"},
	{regexp.MustCompile(`^expand\.paging\.`), "paging."},
}

func alikeTo(key string) string {
	for _, a := range alike {
		key = a.key.ReplaceAllString(key, a.is)
	}
	return key
}

// TestEveryKeyIsRun: each key of a feed, and each value of errors.then and paging.style, is in a feed that is run
// against the simulator and has golden cases, which are the shipped ones and those of the shapes that none of them has. A key that
// comes later is in one of them too, or is held by a test that is named here. With -v it says which feed has what, and where that asks.
func TestEveryKeyIsRun(t *testing.T) {
	in := map[string]string{} // the feed, and its endpoint
	for _, pattern := range []string{"../../feeds/*.yaml", "../../cmd/s60-m365-connector/internal/cases/testdata/feeds/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatal(pattern, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var feed map[string]any
			if err := yaml.Unmarshal(text, &feed); err != nil {
				t.Fatal(err)
			}
			request, _ := feed["request"].(map[string]any)
			url, _ := request["url"].(string) // of a base, none
			usedKeys(feed, "", func(key string) { in[alikeTo(key)] = fmt.Sprint(feed["name"], " ", url) })
		}
	}
	keys := map[string]bool{}
	feed := schemas.Feed()
	schemaKeys(feed, feed.Root, "", keys)
	for path, value := range map[string]map[string]any{
		"errors.then":  property(feed.Follow(property(feed.Root, "errors"))["items"].(map[string]any), "then"),
		"paging.style": property(feed.Follow(property(feed.Root, "paging")), "style"),
	} {
		values, _ := value["enum"].([]any)
		if len(values) == 0 {
			t.Errorf("%s has no values", path)
		}
		for _, v := range values {
			keys[fmt.Sprint(path, "=", v)] = true
		}
	}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		test := elsewhere[key]
		switch at := in[alikeTo(key)]; {
		case at == "" && test == "" && alikeTo(key) == key:
			t.Errorf("%s: no feed that is run against the simulator has it, and no test of its own is named", key)
		case at != "" && test != "":
			t.Errorf("%s: %s has it, so %s need not be named", key, at, test)
		default:
			t.Logf("%-28s %s%s", key, at, test)
		}
	}
	for key, test := range elsewhere {
		dir, name, _ := strings.Cut(test, " ")
		files, _ := filepath.Glob(filepath.Join("..", "..", dir, "*_test.go"))
		if !keys[key] || !slices.ContainsFunc(files, func(file string) bool {
			text, err := os.ReadFile(file)
			return err == nil && strings.Contains(string(text), "func "+name+"(")
		}) {
			t.Errorf("%s: there is no such key, or no test %s", key, test)
		}
	}
}

// usedKeys calls use with the path of each key, and with those values that may be among what is asked for.
func usedKeys(v any, path string, use func(key string)) {
	switch v := v.(type) {
	case map[string]any:
		for key, inner := range v {
			at := strings.TrimPrefix(path+"."+key, ".")
			use(at)
			usedKeys(inner, at, use)
		}
	case []any:
		for _, inner := range v {
			usedKeys(inner, path, use)
		}
	case string:
		use(path + "=" + v)
	}
}
