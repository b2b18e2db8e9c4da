package engine

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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
	r := newRig(t, feedOf("f"), func(c *Config) { c.Mappings = compiled(ruled) })
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
	heartbeat := r.engine.heartbeatEvent()
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
	r.mappers = &sync.Pool{New: func() any { return changed.NewMapper() }}
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

// The enemy of rules: several that hold for one record, samples of nothing and of all, conditions that read what is
// redacted or fail, and a destination and a state that fail in between. Each record is delivered or held back, once;
// the ledger says which; and it stays so after a restart.
func TestFilteredUnderFaults(t *testing.T) {
	text := func(s string) definition.Text { return definition.Text{Value: s} }
	m, problems := transform.Compile(&definition.Mapping{
		Name: "m",
		Redact: []definition.Redact{
			{Fields: []definition.Text{text("event_secret")}, With: "remove"}, {Fields: []definition.Text{text("event_nothing*")}, With: "mask"},
			{Fields: []definition.Text{text("event_owner")}, When: text(`event_n + [] == nil`), With: "mask"}, // fails: redacted
		},
		Drop: []definition.Drop{
			{As: "sevens", When: text(`event_n % 7 == 0`)}, {As: "both", When: text(`event_n % 14 == 0 or event_n % 5 == 0`)},
			{As: "sees", When: text(`event_secret == "s"`)}, {As: "fails", When: text(`event_n + [] == nil`)},
		},
		Sample: []definition.Sample{{As: "half", When: text(`event_n % 2 == 0`), Keep: 0.5}, {As: "none", When: text(`event_n % 11 == 0`), Keep: 0}, {As: "all", When: text(`true`), Keep: 1}},
	}, transform.Options{})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	const records = 400
	r := newRig(t, feedOf("f"), func(c *Config) { c.Mappings = compiled(m) })
	r.taker.events = 7
	var turn atomic.Int64 // batches are delivered side by side
	fail := errors.New("fails")
	r.taker.deliver = func(_ context.Context, ids []string) ([]load.Refused, error) {
		switch n := turn.Add(1); {
		case n%5 == 0:
			return nil, fail
		case n%3 == 0:
			return []load.Refused{{Index: len(ids) / 2, Reason: "no"}}, nil
		}
		return nil, nil
	}
	commits := 0
	r.store.fails = func(*checkpoint.Commit) error {
		if commits++; commits%4 == 0 {
			return fail
		}
		return nil
	}
	var seen []string
	r.engine.OnEvent = func(_ string, event []byte) { seen = append(seen, string(event)) }
	r.service.read = func(ctx context.Context, _ extract.Window, sink extract.Sink) error {
		var all []string
		for n := range records {
			all = append(all, fmt.Sprintf(`{"id":"r%d","n":%d,"secret":"s","owner":"owner"}`, n, n))
		}
		return list(ctx, sink, append(all, all[:50]...)...)
	}
	window := span()
	var entry checkpoint.Entry
	sums := map[string]int64{}
	var delivered, dead, filtered int64
	for round := range 60 {
		err := r.window(t.Context(), window, time.Now(), pass{})
		if err != nil && !errors.Is(err, fail) {
			t.Fatal(err)
		}
		for entry = range r.store.Ledger("") {
		}
		for as, f := range entry.Filters {
			sums[as] += f.Records
		}
		delivered, dead, filtered = delivered+entry.Delivered, dead+entry.DeadLettered, filtered+entry.Filtered
		byRule := int64(0)
		for _, f := range entry.Filters {
			byRule += f.Records
		}
		items, difference := entry.Difference()
		if err == nil && (items != 0 || difference != 0 || entry.Fetched != records+50 || byRule != entry.Filtered) {
			t.Fatalf("round %d: the ledger does not add up: %+v", round, entry)
		}
		r.mappers = &sync.Pool{New: func() any { return m.NewMapper() }} // as after a restart
		if err == nil {
			break
		}
	}
	if !entry.Complete {
		t.Fatalf("it never ended: %+v", entry)
	}
	if err := r.window(t.Context(), window, time.Now(), pass{}); err != nil {
		t.Fatal(err)
	}
	for entry = range r.store.Ledger("") {
	}
	if entry.Duplicate != records+50 || entry.Filtered != 0 || entry.Delivered != 0 {
		t.Errorf("when all is known, a round has %+v", entry)
	}
	got := map[string]int{}
	for _, id := range r.taker.ids() {
		got[id]++
	}
	held := 0
	for n := range records {
		id := fmt.Sprint("r", n)
		must := n%7 == 0 || n%5 == 0 || n%11 == 0
		if must && got[id] > 0 || got[id] > 1 {
			t.Errorf("%s was delivered %d times", id, got[id])
		}
		if !must && n%2 == 1 && got[id] == 0 {
			held++ // a dead letter
		}
		if known := r.remembers(id); len(known) == 0 {
			t.Errorf("%s is not remembered", id)
		}
	}
	if int64(held) > dead {
		t.Errorf("%d records are neither delivered nor dead letters (%d)", held, dead)
	}
	if delivered != int64(len(r.taker.ids())) || sums["fails"]+sums["sees"]+sums["all"] != 0 || sums["sevens"] < 58 || sums["none"] == 0 || sums["half"] == 0 || sums["both"] == 0 {
		t.Errorf("%d delivered, the ledger says %d; by rule %v", len(r.taker.ids()), delivered, sums)
	}
	for _, event := range seen {
		if strings.Contains(event, `"s"`) || strings.Contains(event, `"owner"`+`"`) || !strings.Contains(event, `"event_owner":"o***"`) {
			t.Fatalf("delivered %s", event)
		}
	}
}
