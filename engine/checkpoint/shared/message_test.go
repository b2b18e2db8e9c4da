package shared

import (
	"bytes"
	"encoding/binary"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
)

func TestSubjects(t *testing.T) {
	seen := map[string]partitionName{}
	for _, c := range []struct {
		name partitionName
		want string
	}{
		{partitionName{"entries", "a-b_C9"}, "s.entries.a-b_C9"},
		{partitionName{"", ""}, "s.%.%"},
		{partitionName{"%", ""}, "s.%25.%"},
		{partitionName{"a.b", "*"}, "s.a%2Eb.%2A"},
		{partitionName{"a", "b.>"}, "s.a.b%2E%3E"},
		{partitionName{"tenant/feed", "x y\t\x00"}, "s.tenant%2Ffeed.x%20y%09%00"},
		{partitionName{"é", "$"}, "s.%C3%A9.%24"},
	} {
		got := subjectOf("s", c.name)
		if got != c.want {
			t.Errorf("the subject of %q is %q, want %q", c.name, got, c.want)
		}
		if other, ok := seen[got]; ok {
			t.Errorf("%q and %q have one subject", c.name, other)
		}
		seen[got] = c.name
	}
}

func encoded(t testing.TB, m *message) []byte {
	t.Helper()
	msg, err := m.encode("s")
	if err != nil {
		t.Fatal(err)
	}
	return msg.Data
}

// headed is a message of a head alone.
func headed(head string) []byte { return append(binary.AppendUvarint(nil, uint64(len(head))), head...) }

func TestMessagesRefused(t *testing.T) {
	whole := encoded(t, &message{Kind: kindCommit, Feed: "f", Partition: "p", keys: []checkpoint.Key{{1}}})
	for _, c := range []struct {
		name, subject string
		data          []byte
		want          string
	}{
		{"nothing", "s.f.p", nil, "not whole"},
		{"a head cut short", "s.f.p", whole[:20], "not whole"},
		{"a key cut short", "s.f.p", whole[:len(whole)-1], "multiple"},
		{"not JSON", "s.f.p", headed("hello"), "does not parse"},
		{"no version", "s.f.p", headed(`{"kind":"commit","feed":"f","partition":"p"}`), "no version"},
		{"a newer version", "s.f.p", headed(`{"v":3,"kind":"other","feed":7}`), "newer release"},
		{"an unknown kind", "s.f.p", headed(`{"v":1,"kind":"other","feed":"f","partition":"p"}`), "unknown"},
		{"another subject", "s.f.q", whole, "another subject"},
		{"another's entry", "s.f.p", encoded(t, &message{Kind: kindCommit, Feed: "f", Partition: "p", Entry: &checkpoint.Entry{Feed: "f", Partition: "q"}}), "another partition"},
		{"another's day", "s.f.p", encoded(t, &message{Kind: kindFold, Feed: "f", Partition: "p", Days: []checkpoint.Entry{{Feed: "g", Partition: "p"}}}), "another partition"},
	} {
		m, err := decodeMessage("s", c.subject, c.data)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %+v, %v; want an error with %q", c.name, m, err, c.want)
		}
	}
	if _, err := (&message{Kind: kindCommit, Feed: "f", Partition: "\xff"}).encode("s"); err == nil {
		t.Error("a name that JSON would change was encoded")
	}
}

// FuzzSharedMessage decodes whatever the log may hold. What is taken can be applied to a view, and
// says the same when it is encoded again.
func FuzzSharedMessage(f *testing.F) {
	full := &message{Kind: kindCommit, Feed: "f", Partition: "p", Session: "one", Position: &checkpoint.Position{Cursor: noon, LastError: "é"},
		Entry:   &checkpoint.Entry{Feed: "f", Partition: "p", From: noon, To: noon.Add(time.Hour), Reasons: map[string]int64{"gone": 1}},
		Expires: noon, keys: []checkpoint.Key{{1}, {2}}}
	f.Add(encoded(f, full))
	f.Add(encoded(f, &message{Kind: kindFold, Feed: "f", Partition: "p", Days: []checkpoint.Entry{{Feed: "f", Partition: "p", Windows: 3}}, Before: noon}))
	f.Add(encoded(f, &message{Kind: kindPart, Feed: "f", Partition: "p", Part: 1, Objects: []checkpoint.Object{{ID: "gone"}, {ID: "o", State: []byte("{}")}}}))
	f.Add(encoded(f, &message{Kind: kindRelease, Feed: "f", Partition: "p"}))
	f.Add([]byte{0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := decodeMessage("s", "s.f.p", data)
		if err != nil {
			return
		}
		// Without a store behind it, whose work in the background the fuzzer would take for the
		// input's; so it has no parts of an earlier message.
		var b viewBatch
		applied := *m
		if m.Kind == kindCommit {
			applied.Part = 0
		}
		if err := b.add("s.f.p", &applied); err != nil {
			t.Fatalf("%+v cannot be applied: %v", m, err)
		}
		once := encoded(t, m)
		again, err := decodeMessage("s", "s.f.p", once)
		if err != nil {
			t.Fatal(err)
		}
		if twice := encoded(t, again); !bytes.Equal(once, twice) || !reflect.DeepEqual(m.keys, again.keys) {
			t.Errorf("%q came back as %q", once, twice)
		}
	})
}
