package mappings

import "testing"

func TestNames(t *testing.T) {
	names := ParseNames("a remark\nevent_remark\n\n[one]\nevent_UserId\nevent_Parameters_*\n\n[two]\nevent_id\n")
	for _, c := range []struct {
		mapping, name string
		want          bool
	}{
		{"one", "event_UserId", true},
		{"one", "event_UserID", false},
		{"one", "event_UserId_2", true}, // the second field that arrived at the name
		{"one", "event_Parameters_Identity", true},
		{"one", "event_id", false},
		{"two", "event_id", true},
		{"two", "event_Parameters_Identity", false},
		{"three", "event_id", false},
		{"", "event_remark", false},
	} {
		if got := names.Has(c.mapping, c.name); got != c.want {
			t.Errorf("Has(%q, %q) = %v, want %v", c.mapping, c.name, got, c.want)
		}
	}
	if names.Of("three") || !names.Of("two") {
		t.Error("Of tells the wrong mappings")
	}
}
