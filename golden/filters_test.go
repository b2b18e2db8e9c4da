package golden_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/tidwall/gjson"

	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/transform"
	"github.com/secure60/s60-m365-connector/mappings"
)

var (
	yamlBlock = regexp.MustCompile("(?s)```yaml\n(.*?)```")
	measured  = regexp.MustCompile(`(?s)(<!-- measured: written by TestFilters -->\n).*?(<!-- end of measured -->)`)
)

// TestFilters holds docs/filters.md to the golden records: what its rules take of them, that
// none of the ten takes an event that detections rely on, and that those do which
// one must not write.
func TestFilters(t *testing.T) {
	path := filepath.Join("..", "docs", "filters.md")
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	blocks := yamlBlock.FindAllSubmatch(page, -1)
	if len(blocks) != 2 {
		t.Fatalf("%d blocks of rules, want 2", len(blocks))
	}
	type taken struct{ events, bytes, severe int }
	take := func(block []byte) ([]transform.Rule, map[string]taken, taken) {
		set, problems := definition.Load(definition.Options{Feeds: fstest.MapFS{}, Mappings: mappings.FS, Overlay: fstest.MapFS{"mappings/o365-management.yaml": {Data: block}}})
		if definition.Invalid(problems) {
			t.Fatal(problems)
		}
		mapping := compile(t, set.Mapping("o365-management"))
		mapper := mapping.NewMapper()
		by, all := map[string]taken{}, taken{}
		for _, one := range cases(t, "o365-management") {
			event, _ := mapper.Append(nil, record(t, "o365-management", one))
			all.events, all.bytes = all.events+1, all.bytes+len(event)
			for _, rule := range mapper.Holding() {
				sum := by[rule.As]
				sum.events, sum.bytes = sum.events+1, sum.bytes+len(event)
				if slices.Contains(severities, gjson.GetBytes(event, "source_severity").String()) {
					sum.severe++
					all.severe++
				}
				by[rule.As] = sum
			}
		}
		return mapping.Filters(), by, all
	}

	rules, by, all := take(blocks[0][1])
	var table strings.Builder
	fmt.Fprintf(&table, "\n| rule | golden events | of %d | bytes of one |\n|---|--:|--:|--:|\n", all.events)
	for _, rule := range rules {
		sum := by[rule.As]
		if sum.events == 0 || sum.severe > 0 {
			t.Errorf("%s takes %d golden events, %d of them with a severity of medium or more", rule.As, sum.events, sum.severe)
			continue
		}
		fmt.Fprintf(&table, "| `%s` | %d | %.1f %% | %d |\n", rule.As, sum.events, 100*float64(sum.events)/float64(all.events), sum.bytes/sum.events)
	}
	table.WriteByte('\n')
	if len(rules) != 10 {
		t.Errorf("%d rules, want ten", len(rules))
	}
	want := measured.ReplaceAll(page, []byte("${1}"+table.String()+"${2}"))
	if update := flag.Lookup("update"); update.Value.String() == "true" {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
	} else if string(want) != string(page) {
		t.Errorf("docs/filters.md has other figures: go test ./golden -run TestFilters -update; want\n%s", table.String())
	}

	rules, by, _ = take(blocks[1][1])
	for _, rule := range rules {
		if by[rule.As].severe == 0 {
			t.Errorf("%s blinds nothing", rule.As)
		}
	}
	if len(rules) != 3 {
		t.Errorf("%d rules that one must not write, want three", len(rules))
	}
}
