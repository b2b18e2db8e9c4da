package engine

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/extract"
	"github.com/secure60/s60-m365-connector/engine/load"
	"github.com/secure60/s60-m365-connector/engine/transform"
)

// What a rule of the mapping holds back is counted by its name, and remembered like what
// is delivered; when the rule has changed, reading again brings it.
func TestFiltered(t *testing.T) {
	drop := func(list ...definition.Drop) *transform.Mapping {
		m, problems := transform.Compile(&definition.Mapping{Name: "m", Drop: list}, transform.Options{})
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		return m
	}
	rule := func(as, id string) definition.Drop {
		return definition.Drop{As: as, When: definition.Text{Value: `event_id startsWith "` + id + `"`}}
	}
	ruled := drop(rule("noise", "n"), rule("system", "s"))
	r := newRig(t, feedOf("f"), func(c *Config) { c.Mappings["m"] = ruled })
	r.service.read = func(ctx context.Context, _ extract.Window, sink extract.Sink) error {
		return page(ctx, sink, "a", "n1", "s1", "n2", "b", "n1")
	}
	to := time.Now().UTC().Truncate(time.Second)
	window := extract.Window{From: to.Add(-time.Hour), To: to}
	entry := func() checkpoint.Entry {
		for e, err := range r.store.Ledger("") {
			if err != nil {
				t.Fatal(err)
			}
			return e
		}
		return checkpoint.Entry{}
	}
	read := func(how pass) error { return r.window(t.Context(), window, time.Now(), how) }

	fail := errors.New("down")
	r.taker.deliver = func(context.Context, []string) ([]load.Refused, error) { return nil, fail }
	if err := read(pass{}); !errors.Is(err, fail) {
		t.Fatalf("got %v", err)
	}
	r.taker.deliver = nil
	if err := read(pass{}); err != nil {
		t.Fatal(err)
	}
	e := entry()
	size := int64(0)
	for _, f := range e.Filters {
		size += f.Bytes
	}
	if e.Filters["noise"].Records != 3 && e.Filters["noise"].Records != 2 || e.Filters["system"].Records != 1 || e.Delivered != 2 || size == 0 {
		t.Errorf("the ledger has %+v", e)
	}
	if items, records := e.Difference(); items != 0 || records != 0 || !e.Complete || e.Fetched != 6 {
		t.Errorf("the ledger does not add up: %+v", e)
	}
	status := r.engine.Status().ByFeed()[0]
	if by := status.FilteredBy(); by["system"].Records < 1 || status.Filtered() < e.Filtered {
		t.Errorf("the status has %v, %d", by, status.Filtered())
	}
	heartbeat := r.engine.HeartbeatEvent()
	if heartbeat["event_feed_f_filtered_system"] != status.FilteredBy()["system"].Records || heartbeat["event_feed_f_filtered_noise_bytes"] == nil {
		t.Errorf("the heartbeat has %v", heartbeat)
	}

	if err := read(pass{}); err != nil {
		t.Fatal(err)
	}
	if e = entry(); e.Duplicate != 6 || e.Filtered != 0 {
		t.Errorf("what was filtered is not remembered: %+v", e)
	}

	changed := drop(rule("system", "s"))
	r.mappers = sync.Pool{New: func() any { return changed.NewMapper() }}
	r.taker.got = nil
	if err := read(pass{resend: true, refetch: true, keepCursor: true}); err != nil {
		t.Fatal(err)
	}
	if got := r.taker.ids(); !slices.Contains(got, "n1") || !slices.Contains(got, "n2") || slices.Contains(got, "s1") {
		t.Errorf("after the change, reading again delivered %v", got)
	}
	if got := (Filters{"b": {Records: 2, Bytes: 1600}, "a": {Records: 1, Bytes: 499}}).String(); got != "a 1 of 0 kB, b 2 of 2 kB" || !reflect.DeepEqual(addFilters(nil, nil), Filters(nil)) {
		t.Error(got)
	}
}
