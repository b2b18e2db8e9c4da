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

// The shipped list is as Text writes it, so that an update changes nothing but
// what is new.
func TestShippedNamesAreInOrder(t *testing.T) {
	names := ParseNames(KnownFields)
	remark := KnownFields[:len(KnownFields)-len(names.Text(""))]
	if got := names.Text(remark); got != KnownFields {
		t.Error("known-fields.txt is not in order: run go test ./golden -update")
	}
}
