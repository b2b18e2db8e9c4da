package main

import (
	"io"
	"path/filepath"
	"testing"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/cases"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/definitions"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
)

// TestFeedCases runs the golden cases of the shipped feeds, of which each has three at least.
func TestFeedCases(t *testing.T) {
	s, _, err := settings.Load(true, "")
	if err != nil {
		t.Fatal(err)
	}
	defs, err := definitions.LoadValid(s, "", io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	all, err := cases.Find(filepath.Join("..", "..", "golden"))
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, c := range all {
		count[c.Feed]++
		t.Run(c.Feed+"/"+c.Name, func(t *testing.T) {
			got, err := c.Run(defs, s.Names)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Compare(got); err != nil {
				t.Errorf("%v\nif that is right: s60-m365-connector test --update", err)
			}
			if err := cases.HoldToSchema(got.Events...); err != nil {
				t.Error(err)
			}
		})
	}
	for _, feed := range defs.Set.Feeds {
		if count[feed.Name] < 3 {
			t.Errorf("feed %s has %d cases, want three at least", feed.Name, count[feed.Name])
		}
	}
}
