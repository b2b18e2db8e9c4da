package definition_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/secure60/s60-m365-connector/engine/definition"
)

var update = flag.Bool("update", false, "rewrite the expected problems")

// TestProblems loads each file of testdata/err, which holds one mistake, and
// compares the whole text of what is reported. A file whose name begins with
// mapping- is a mapping, every other a feed.
func TestProblems(t *testing.T) {
	files, err := filepath.Glob("testdata/err/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	for _, file := range files {
		base := strings.TrimSuffix(filepath.Base(file), ".yaml")
		t.Run(base, func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := problemsOf(base, data)
			golden := strings.TrimSuffix(file, ".yaml") + ".out"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
			if got == "" {
				t.Error("no problem is reported")
			}
		})
	}
	outs, _ := filepath.Glob("testdata/err/*.out")
	if len(outs) != len(files) {
		t.Errorf("%d files, but %d expectations", len(files), len(outs))
	}
}

// problemsOf loads one file beside a mapping that feeds can name.
func problemsOf(base string, data []byte) string {
	name := "x"
	mappings := fstest.MapFS{"sample.yaml": {Data: []byte("name: sample\ntables: {shared: {a: 1}}\nlet: {parts: event_parts}\n")}}
	own := fstest.MapFS{}
	if strings.HasPrefix(base, "mapping-") {
		own["mappings/"+name+".yaml"] = &fstest.MapFile{Data: data}
	} else {
		own["feeds/"+name+".yaml"] = &fstest.MapFile{Data: data}
	}
	_, problems := definition.Load(definition.Options{Mappings: mappings, Overlay: own, Settings: map[string]any{
		"BASE": "https://api.example", "ON": true, "KINDS": []any{"a", "b"}, "TENANT": "t",
	}})
	var b strings.Builder
	if err := definition.Print(&b, problems); err != nil {
		panic(err)
	}
	return b.String()
}
