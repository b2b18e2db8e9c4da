package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/extract"
	"github.com/secure60/s60-m365-connector/engine/load"
)

func snapshotOf(first string) *definition.Feed {
	feed := feedOf("f")
	feed.Window, feed.Key = nil, nil
	feed.Snapshot = &definition.Snapshot{ID: []string{"id"}, Ignore: []string{"seen", "meta.at"}, First: first}
	return feed
}

// TestSnapshot plays listings, one after the other, and what each tells.
func TestSnapshot(t *testing.T) {
	const (
		a  = `{"id":"a","name":"x","seen":1,"meta":{"at":1,"by":"m"}}`
		a2 = `{"id":"a","name":"y","seen":2,"meta":{"at":2,"by":"m"},"more":[1, 2]}`
		a3 = `{ "meta":{"by":"m","at":9}, "seen":3, "name":"x", "gone":null, "id":"a" }` // a, in other words
		b  = `{"id":"b"}`
		c  = `{"id":"c","n":1}`
	)
	broken := errors.New("503")
	type listing struct {
		list []string
		err  error
		skip bool
		want string
	}
	for _, test := range []struct {
		name, first string
		listings    []listing
	}{
		{"the first is a baseline", definition.FirstBaseline, []listing{{list: []string{a, b}}, {list: []string{a, b}}}},
		{"or is sent", definition.FirstEmit, []listing{{list: []string{a, b}, want: "a created, b created"}, {list: []string{a, b}}}},
		{"what is new, changed and removed", definition.FirstBaseline, []listing{
			{list: []string{a, b}}, {list: []string{a2, c}, want: "a updated more,name, b removed, c created"}, {list: []string{a2, c}},
		}},
		{"there and back again", definition.FirstBaseline, []listing{
			{list: []string{a}}, {list: []string{a2}, want: "a updated more,name"}, {list: []string{a}, want: "a updated more,name"}, {list: []string{a2}, want: "a updated more,name"},
		}},
		{"what is ignored, and the order of members, is no change", definition.FirstBaseline, []listing{{list: []string{a}}, {list: []string{a3}}}},
		{"removed, and there again", definition.FirstBaseline, []listing{
			{list: []string{a, b}}, {list: []string{a}, want: "b removed"}, {list: []string{b, a}, want: "b created"}, {want: "a removed, b removed"},
		}},
		{"a listing that breaks off removes nothing", definition.FirstBaseline, []listing{
			{list: []string{a, b}}, {list: []string{c}, err: broken, want: "c created"}, {list: []string{a, b, c}},
		}},
		{"nor does one of which something was skipped, or lacks its id", definition.FirstBaseline, []listing{
			{list: []string{a, b}}, {list: []string{a}, skip: true}, {list: []string{a, `{"x":1}`}}, {list: []string{a}, want: "b removed"},
		}},
		{"a baseline that breaks off is one still", definition.FirstBaseline, []listing{
			{list: []string{a, b}, err: broken}, {list: []string{a2, c}}, {list: []string{a2, c}},
		}},
		{"listed twice", definition.FirstBaseline, []listing{{list: []string{a}}, {list: []string{a2, c, c, a2}, want: "a updated more,name, c created"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t, snapshotOf(test.first))
			for i, l := range test.listings {
				r.service.read = func(ctx context.Context, _ extract.Window, sink extract.Sink) error {
					if l.skip {
						sink.Skipped("", "HTTP 404")
					}
					if err := list(ctx, sink, l.list...); err != nil {
						return err
					}
					return l.err
				}
				r.taker.got = nil
				if err := r.window(t.Context(), extract.Window{}, time.Now(), pass{}); !errors.Is(err, l.err) {
					t.Fatalf("listing %d ended with %v", i, err)
				}
				got := r.taker.ids()
				slices.Sort(got)
				if got := strings.Join(got, ", "); got != l.want {
					t.Errorf("listing %d told %q, want %q", i, got, l.want)
				}
			}
			if r.status.Difference != 0 {
				t.Errorf("the ledger is off by %d", r.status.Difference)
			}
		})
	}
}

// The former values come with a change, the last ones with a removal.
func TestSnapshotRecords(t *testing.T) {
	changed, before := differences(kept{object: []byte(`{"id":"a","c":{"d-e":"x","f":[1, 2]},"n":1}`)}, kept{object: []byte(`{"id":"a","c":{"d-e":"y","f":[1,2]},"m":true}`)}, nil)
	got := string(told([]byte(` { "id":"a"}`), updated, changed, before))
	if want := `{"change":"updated","changed":"c_d_e,m,n","before":{"c_d_e":"x","n":1},"id":"a"}`; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	if got := string(told([]byte(`{}`), removed, nil, nil)); got != `{"change":"removed"}` {
		t.Error(got)
	}
	if one, two := objectID([]byte(`{"a":"1","b":"23"}`), []string{"a", "b"}), objectID([]byte(`{"a":"12","b":"3"}`), []string{"a", "b"}); one == two || one == "" {
		t.Errorf("ids %q and %q", one, two)
	}
}

// A destination that fails in the middle: what was not delivered is told by the next listing, once.
func TestSnapshotIsCommittedWithItsEvents(t *testing.T) {
	r := newRig(t, snapshotOf(definition.FirstEmit))
	r.taker.events, r.taker.batches = 10, 3
	var objects []string
	for i := range 100 {
		objects = append(objects, fmt.Sprintf(`{"id":"%03d","n":%d}`, i, i))
	}
	r.service.read = func(ctx context.Context, _ extract.Window, sink extract.Sink) error {
		return list(ctx, sink, objects...)
	}
	gone := errors.New("gone")
	r.taker.deliver = func(_ context.Context, ids []string) ([]load.Refused, error) {
		if ids[0] == "050 created" {
			return nil, gone
		}
		return nil, nil
	}
	if err := r.window(t.Context(), extract.Window{}, time.Now(), pass{}); !errors.Is(err, gone) {
		t.Fatal(err)
	}
	r.taker.deliver = nil
	if err := r.window(t.Context(), extract.Window{}, time.Now(), pass{}); err != nil {
		t.Fatal(err)
	}
	got := r.taker.ids()
	slices.Sort(got)
	if n := len(slices.Compact(slices.Clone(got))); n != 100 || len(got) != 100 {
		t.Errorf("%d events of %d objects", len(got), n)
	}
}

// A row that came before with another content says so; one that comes as it was is no event.
func TestChangedRows(t *testing.T) {
	feed := feedOf("f")
	feed.Key = []string{"id", "state"}
	r := newRig(t, feed)
	for _, c := range []struct{ record, want string }{
		{`{"id":"a","state":"interrupted"}`, "a"},
		{`{"id":"a","state":"interrupted"}`, ""},
		{`{"id":"a","state":"done"}`, "a updated"},
		{`{"id":"b","state":"done"}`, "b"},
	} {
		r.service.read = func(ctx context.Context, _ extract.Window, sink extract.Sink) error { return list(ctx, sink, c.record) }
		r.taker.got = nil
		if err := r.window(t.Context(), span(), time.Now(), pass{}); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(r.taker.ids(), ", "); got != c.want {
			t.Errorf("%s gave %q, want %q", c.record, got, c.want)
		}
	}
	// Both within one batch.
	r.service.read = func(ctx context.Context, _ extract.Window, sink extract.Sink) error {
		return list(ctx, sink, `{"id":"c","state":"one"}`, `{"id":"c","state":"two"}`)
	}
	r.taker.got = nil
	if err := r.window(t.Context(), span(), time.Now(), pass{}); err != nil || strings.Join(r.taker.ids(), ", ") != "c, c updated" || len(r.claims.keys) != 0 {
		t.Errorf("%v, %v, %d claims are left", r.taker.ids(), err, len(r.claims.keys))
	}
}
