package golden_test

import (
	"bytes"
	"slices"
	"testing"
)

// TestReused: what a mapper learns of some records changes nothing in the events
// of others. Each golden record is mapped by a mapper of its own, and by one that
// maps them all, forwards and backwards.
func TestReused(t *testing.T) {
	t.Parallel()
	set := shipped(t)
	for _, name := range mapped(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := compile(t, set.Mapping(name))
			reused := m.NewMapper()
			all := cases(t, name)
			backwards := slices.Clone(all)
			slices.Reverse(backwards)
			for _, c := range slices.Concat(all, backwards) {
				record := record(t, name, c)
				want, _ := m.NewMapper().Append(nil, record)
				if got, _ := reused.Append(nil, record); !bytes.Equal(got, want) {
					t.Errorf("%s\nby its own mapper %s\nafter others      %s", c, want, got)
				}
			}
		})
	}
}
