package golden_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

// TestReused: what a mapper learns of some records changes nothing in the events
// of others. Each golden record is mapped by a mapper of its own, and by one that
// maps them all: in turn with the same of other people, so often that special plans are made, then backwards.
func TestReused(t *testing.T) {
	t.Parallel()
	others := []*strings.Replacer{
		strings.NewReplacer("alex@tenant", "Blair@other"),
		strings.NewReplacer("alex@tenant.example", "ServicePrincipal_1", "203.0.113.", "198.51.100."),
		strings.NewReplacer("alex@tenant.example", "i:0#.f|membership|alex@tenant.example", "true", "false", "Success", "Failed"),
		strings.NewReplacer("alex@tenant.example", "Not Available", "0000", "\\u0041\"", "none", "high"),
	}
	set := shipped(t)
	for _, name := range mapped(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := compile(t, set.Mapping(name))
			reused := m.NewMapper()
			type pair struct{ record, event []byte }
			var all []pair
			same := func(p pair) {
				if got, _ := reused.Append(nil, p.record); !bytes.Equal(got, p.event) {
					t.Errorf("%s\nby its own mapper %s\nafter others      %s", p.record, p.event, got)
				}
			}
			for _, c := range cases(t, name) {
				var of []pair
				add := func(record []byte) {
					event, _ := m.NewMapper().Append(nil, record)
					of = append(of, pair{record, event})
				}
				add(record(t, name, c))
				for _, other := range others {
					add([]byte(other.Replace(string(of[0].record))))
				}
				for range 10 {
					for _, p := range of {
						same(p)
						same(p)
					}
				}
				all = append(all, of...)
			}
			for _, p := range slices.Backward(all) {
				same(p)
			}
		})
	}
}
