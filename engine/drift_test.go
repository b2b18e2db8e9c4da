package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/extract"
	"github.com/secure60/s60-m365-connector/engine/load"
	"github.com/secure60/s60-m365-connector/engine/transform"
)

// What is new to the mapping is told once, whatever fails in between; so much of it a day.
func TestDrift(t *testing.T) {
	m, problems := transform.Compile(&definition.Mapping{
		Name: "m", KnownFields: []definition.Text{{Value: "event_id"}, {Value: "event_op"}},
		KnownValues: []definition.Known{{Field: definition.Text{Value: "event_op"}, Is: definition.Text{Value: `event_op == "known"`}, Kind: "operation"}},
	}, transform.Options{})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	now := time.Now()
	r := newRig(t, feedOf("f"), func(c *Config) {
		c.Mappings = compiled(m)
		c.Now = func() time.Time { return now }
	})
	spy := &spy{taker: r.taker}
	r.engine.Destination = spy
	n := 0
	read := func(members ...string) error {
		r.service.read = func(ctx context.Context, _ extract.Window, sink extract.Sink) error {
			var records []string
			for _, member := range members {
				n++
				records = append(records, fmt.Sprintf(`{"id":"r%d",%s}`, n, member))
			}
			return list(ctx, sink, records...)
		}
		return r.window(t.Context(), span(), now, pass{})
	}
	// A process that is new has learned nothing.
	restart := func() { r.mappers = &sync.Pool{New: func() any { return m.NewMapper() }}; r.drift = drift{} }
	told := func() (names []string) {
		for _, event := range spy.events {
			if event["operation"] == "connector-schema-drift" {
				names = append(names, fmt.Sprint(event["event_drift_kind"], " ", event["event_drift_name"], " ", event["event_drift_value"]))
			}
		}
		slices.Sort(names)
		spy.events = nil
		return names
	}
	want := func(what string, want ...string) {
		t.Helper()
		if got := told(); !slices.Equal(got, want) {
			t.Errorf("%s: told %q, want %q", what, got, want)
		}
	}

	fail := errors.New("down")
	spy.fails = func(batch string) error { // what was delivered is committed, what is new is not told
		if strings.Contains(batch, "drift") {
			return fail
		}
		return nil
	}
	if err := read(`"op":"known"`, `"op":"new","fresh":1`); !errors.Is(err, fail) {
		t.Fatalf("got %v", err)
	}
	want("the destination is down")
	spy.fails = nil
	if err := read(`"op":"known"`); err != nil {
		t.Fatal(err)
	}
	want("it is there again", "field event_fresh <nil>", "operation event_op new")
	if err := read(`"op":"new","fresh":1`); err != nil {
		t.Fatal(err)
	}
	want("seen again")
	restart()
	if err := read(`"op":"new","fresh":1`); err != nil {
		t.Fatal(err)
	}
	want("after a restart")
	for e := range r.store.Ledger("") {
		if items, records := e.Difference(); items != 0 || records != 0 || e.Delivered != e.Fetched-e.Duplicate {
			t.Errorf("the ledger does not add up: %+v", e)
		}
	}

	var storm []string
	for i := range 40 {
		storm = append(storm, fmt.Sprintf(`"op":"storm %c%c"`, 'a'+i/26, 'a'+i%26))
	}
	if err := read(storm...); err != nil {
		t.Fatal(err)
	}
	first := told()
	if len(first) != mostDrift-2 {
		t.Errorf("of a storm %d are told in a day", len(first))
	}
	if err := read(`"op":"known"`); err != nil || len(told()) > 0 {
		t.Errorf("more is told on the same day (%v)", err)
	}
	now = now.Add(day)
	if err := read(`"op":"known"`); err != nil {
		t.Fatal(err)
	}
	if second := told(); len(second) != mostDrift || slices.Contains(second, first[0]) {
		t.Errorf("on the next day %d are told: %q", len(second), second)
	}
	if err := r.store.Sweep(now.Add(30 * day)); err != nil {
		t.Fatal(err)
	}
	if _, known, err := r.store.Seen(checkpoint.KeyOf("f", "drift", "operation", "event_op", "new")); !known || err != nil {
		t.Errorf("a month later it is forgotten what was told (%v)", err)
	}
}

// spy is a destination that keeps what it takes.
type spy struct {
	*taker
	fails  func(batch string) error
	events []map[string]any
}

func (s *spy) Deliver(ctx context.Context, b load.Batch) ([]load.Refused, error) {
	for _, text := range b.Events {
		if s.fails != nil {
			if err := s.fails(string(text)); err != nil {
				return nil, err
			}
		}
		var event map[string]any
		if err := json.Unmarshal(text, &event); err != nil {
			return nil, err
		}
		s.mu.Lock()
		s.events = append(s.events, event)
		s.mu.Unlock()
	}
	return nil, nil
}
