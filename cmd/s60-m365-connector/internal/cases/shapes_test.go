package cases

import (
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

var update = flag.Bool("update", false, "write what came of the cases in testdata into them")

// TestShapes runs cases of the shapes that no shipped feed has: a form, paging in a body, a delta query. The simulator
// serves their feeds, too: TestShippedFeedsDeliver.
func TestShapes(t *testing.T) {
	all, err := Find(filepath.Join("testdata", "golden"))
	if err != nil || len(all) == 0 {
		t.Fatal(len(all), err)
	}
	defs := doors(t)
	for _, feed := range defs.Set.Feeds {
		if feed.Name != "doors" && !slices.ContainsFunc(all, func(c *Case) bool { return c.Feed == feed.Name }) {
			t.Errorf("%s has no case", feed.Name)
		}
	}
	for _, c := range all {
		t.Run(c.Feed+"/"+c.Name, func(t *testing.T) {
			got, err := c.Run(defs, graph)
			if err != nil {
				t.Fatal(err)
			}
			if *update {
				if err := c.Write(got); err != nil {
					t.Fatal(err)
				}
				return
			}
			if err := c.Compare(got); err != nil {
				t.Error(err)
			}
			if err := HoldToSchema(got.Events...); err != nil {
				t.Error(err)
			}
		})
	}
}

// FuzzCase: whatever a file holds, it is refused, or a case that takes any request and that expects what it expects.
func FuzzCase(f *testing.F) {
	for _, pattern := range []string{"testdata/golden/feeds/*/*.yaml", "../../../../golden/feeds/*/t*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			f.Fatal("no seeds", pattern, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(text)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := parse("feeds/doors/x.yaml", text)
		if err != nil {
			return
		}
		for i := range c.Exchanges {
			x := &c.Exchanges[i]
			if r, err := http.NewRequest(http.MethodPost, x.Request.URL, nil); err == nil {
				x.matches(r, []byte(`{"a":[1]}`))
			}
			x.header()
		}
		if err := c.Compare(c.Expect); err != nil {
			t.Errorf("it differs from itself: %v", err)
		}
	})
}
