package engine

import (
	"log/slog"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/definition"
)

func TestPlan(t *testing.T) {
	now := time.Date(2026, 3, 10, 12, 0, 0, 500, time.UTC)
	at := func(d time.Duration) time.Time { return now.Truncate(time.Second).Add(d) }
	const day = 24 * time.Hour
	window := definition.Window{Max: 6 * time.Hour, Delay: 5 * time.Minute, Overlap: 2 * time.Hour, Retention: 7 * day}
	oldest := at(5*time.Minute - 7*day)
	tests := map[string]struct {
		position     checkpoint.Position
		from, target time.Time
		fresh        time.Time // zero: the same as from
		lost         time.Duration
	}{
		"first round reads from the start, without an overlap before it": {
			position: checkpoint.Position{Cursor: at(-day), Start: at(-day)},
			from:     at(-day), target: at(-5 * time.Minute),
		},
		"polling looks back for records that appear late": {
			position: checkpoint.Position{Cursor: at(-10 * time.Minute), ReadAt: at(-5 * time.Minute), Start: at(-day)},
			from:     at(-10*time.Minute - 2*time.Hour), target: at(-5 * time.Minute),
		},
		"never before the start": {
			position: checkpoint.Position{Cursor: at(-10 * time.Minute), ReadAt: at(-5 * time.Minute), Start: at(-time.Hour)},
			from:     at(-time.Hour), target: at(-5 * time.Minute),
		},
		"an outage is read from the cursor, and what was new then with its overlap": {
			position: checkpoint.Position{Cursor: at(-30 * time.Hour), ReadAt: at(-30*time.Hour + 5*time.Minute), Start: at(-5 * day)},
			from:     at(-32 * time.Hour), target: at(-5 * time.Minute),
		},
		"a backlog that was read long after its time needs no overlap": {
			position: checkpoint.Position{Cursor: at(-3 * day), ReadAt: at(-time.Minute), Start: at(-5 * day)},
			from:     at(-3 * day), target: at(-5 * time.Minute),
		},
		"between two looks back over the whole overlap": {
			position: checkpoint.Position{Cursor: at(-10 * time.Minute), ReadAt: at(-5 * time.Minute), WholeAt: at(-14 * time.Minute), Start: at(-5 * day)},
			from:     at(-15 * time.Minute), target: at(-5 * time.Minute),
		},
		"the look reaches as far before the last one that did, after what is new": {
			position: checkpoint.Position{Cursor: at(-10 * time.Minute), ReadAt: at(-5 * time.Minute), WholeAt: at(-15 * time.Minute), Start: at(-5 * day)},
			from:     at(-20*time.Minute - 2*time.Hour), fresh: at(-15 * time.Minute), target: at(-5 * time.Minute),
		},
		"so it does after an outage": {
			position: checkpoint.Position{Cursor: at(-30 * time.Hour), ReadAt: at(-30*time.Hour + 5*time.Minute), WholeAt: at(-30*time.Hour - 5*time.Minute), Start: at(-5 * day)},
			from:     at(-32*time.Hour - 10*time.Minute), fresh: at(-30*time.Hour - 5*time.Minute), target: at(-5 * time.Minute),
		},
		"a look in the future is not believed": {
			position: checkpoint.Position{Cursor: at(-10 * time.Minute), ReadAt: at(-5 * time.Minute), WholeAt: at(day), Start: at(-5 * day)},
			from:     at(-10*time.Minute - 2*time.Hour), target: at(-5 * time.Minute),
		},
		"an outage longer than the retention loses what lies before it, and what had appeared late when it began": {
			position: checkpoint.Position{Cursor: at(-8*day - 5*time.Minute), ReadAt: at(-8 * day), Start: at(-20 * day)},
			from:     oldest, target: at(-5 * time.Minute), lost: oldest.Sub(at(-8*day - 5*time.Minute - 2*time.Hour)),
		},
		"never what lies before the start": {
			position: checkpoint.Position{Cursor: at(-8*day - 5*time.Minute), ReadAt: at(-8 * day), Start: at(-8*day - time.Hour)},
			from:     oldest, target: at(-5 * time.Minute), lost: oldest.Sub(at(-8*day - time.Hour)),
		},
		"what was lost is told once, where nothing could be read since": {
			position: checkpoint.Position{Cursor: oldest.Add(-time.Hour), ReadAt: at(-8 * day), Start: at(-20 * day), Gaps: []checkpoint.Span{{From: at(-9 * day), To: oldest.Add(-time.Hour)}}},
			from:     oldest, target: at(-5 * time.Minute), lost: time.Hour,
		},
		"an outage a little shorter than the retention loses what had appeared late when it began": {
			position: checkpoint.Position{Cursor: oldest.Add(time.Hour), ReadAt: oldest.Add(65 * time.Minute), WholeAt: oldest.Add(65 * time.Minute), Start: at(-20 * day)},
			from:     oldest, fresh: oldest.Add(55 * time.Minute), target: at(-5 * time.Minute), lost: time.Hour,
		},
		"and so it is told once": {
			position: checkpoint.Position{Cursor: oldest.Add(time.Hour), ReadAt: oldest.Add(65 * time.Minute), WholeAt: oldest.Add(65 * time.Minute), Start: at(-20 * day), Gaps: []checkpoint.Span{{From: at(-8 * day), To: oldest.Add(-time.Minute)}}},
			from:     oldest, fresh: oldest.Add(55 * time.Minute), target: at(-5 * time.Minute), lost: time.Minute,
		},
		"one that is shorter by more than the overlap loses nothing": {
			position: checkpoint.Position{Cursor: oldest.Add(2 * time.Hour), ReadAt: oldest.Add(125 * time.Minute), WholeAt: oldest.Add(125 * time.Minute), Start: at(-20 * day)},
			from:     oldest, fresh: oldest.Add(115 * time.Minute), target: at(-5 * time.Minute), lost: 0,
		},
		"an item that fails for almost as long does not, where the looks back were done": {
			position: checkpoint.Position{Cursor: oldest.Add(time.Hour), ReadAt: oldest.Add(65 * time.Minute), WholeAt: at(-10 * time.Minute), Start: at(-20 * day)},
			from:     oldest.Add(55 * time.Minute), target: at(-5 * time.Minute), lost: 0,
		},
		"a cursor in the future is not believed": {
			position: checkpoint.Position{Cursor: at(day), ReadAt: at(day), Start: at(-20 * day)},
			from:     oldest, target: at(-5 * time.Minute),
		},
		"a cursor a moment ahead is a clock a little off": {
			position: checkpoint.Position{Cursor: at(time.Minute), ReadAt: at(time.Minute), Start: at(-20 * day)},
			from:     at(-4*time.Minute - 2*time.Hour), target: at(-5 * time.Minute),
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p := &partition{engine: &Engine{}, feed: &definition.Feed{Window: &window}, position: test.position, looked: true, log: slog.New(slog.DiscardHandler)}
			from, fresh, target, lost := p.plan(now)
			if !from.Equal(test.from) {
				t.Errorf("reads from %v, want %v", from, test.from)
			}
			if test.fresh.IsZero() {
				test.fresh = test.from
			}
			if !fresh.Equal(test.fresh) {
				t.Errorf("reads first what is from %v on, want %v", fresh, test.fresh)
			}
			if !target.Equal(test.target) {
				t.Errorf("reads to %v, want %v", target, test.target)
			}
			if max(lost, 0) != test.lost {
				t.Errorf("lost %v, want %v", lost, test.lost)
			}
		})
	}
}

// Where the service keeps hardly more than the overlap, a look back passes over some of it each time: no gap.
func TestPlanOfShortRetention(t *testing.T) {
	now := time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)
	read := now.Add(-20 * time.Minute)
	for overlap := time.Hour; overlap <= 4*time.Hour; overlap += time.Hour {
		p := &partition{
			engine: &Engine{}, feed: &definition.Feed{Window: &definition.Window{Max: 6 * time.Hour, Overlap: overlap, Retention: 4 * time.Hour}},
			position: checkpoint.Position{Cursor: read, ReadAt: read, WholeAt: read, Start: now.Add(-24 * time.Hour)}, log: slog.New(slog.DiscardHandler),
		}
		if from, _, _, lost := p.plan(now); lost > 0 {
			t.Errorf("overlap %v: lost %v before %v", overlap, lost, from)
		}
	}
}

func TestRecordKey(t *testing.T) {
	p := &partition{feed: &definition.Feed{Name: "f", Key: []string{"id", "at"}}}
	key := func(raw string) checkpoint.Key { return p.recordKey([]byte(raw), &occurrences{}) }
	same := [][2]string{
		{`{"id":"a","at":"1","x":1}`, `{"x":2,"at":"1","id":"a"}`},
		{`{"id":"a","at":"1"}`, `{"id":"\u0061","at":"1"}`},
	}
	for _, pair := range same {
		if key(pair[0]) != key(pair[1]) {
			t.Errorf("%s and %s have different keys", pair[0], pair[1])
		}
	}
	different := [][2]string{
		{`{"id":"a","at":"1"}`, `{"id":"a","at":"2"}`},
		{`{"id":"a1","at":""}`, `{"id":"a","at":"1"}`},
		{`{"id":"a","at":"1"}`, `{"id":"a"}`},
		{`{"id":null,"x":1}`, `{"id":null,"x":2}`},
		{`{"id":"","x":1}`, `{"x":1}`},
	}
	for _, pair := range different {
		if key(pair[0]) == key(pair[1]) {
			t.Errorf("%s and %s have the same key", pair[0], pair[1])
		}
	}
}

// Records without a key are told apart from their twins, and recognised when
// the same page comes again.
func TestKeylessRecords(t *testing.T) {
	p := &partition{feed: &definition.Feed{Name: "f", Key: []string{"id"}}}
	read := func(pages ...[]string) (keys []checkpoint.Key) {
		var before occurrences
		for _, page := range pages {
			here := occurrences{base: &before}
			for _, raw := range page {
				keys = append(keys, p.recordKey([]byte(raw), &here))
			}
			here.settle()
		}
		return keys
	}
	first := read([]string{`{"a":1}`, `{"a":1}`}, []string{`{"a":1}`, `{"a":2}`})
	unique := map[checkpoint.Key]bool{}
	for _, key := range first {
		unique[key] = true
	}
	if len(unique) != 4 {
		t.Errorf("4 records without a key have %d names", len(unique))
	}
	again := read([]string{`{"a":1}`, `{"a":1}`, `{"a":1}`, `{"a":2}`})
	for i, key := range again {
		if !unique[key] {
			t.Errorf("record %d is not recognised when it is read again", i)
		}
	}
	// A page that broke off is counted anew: its records keep their names.
	var before occurrences
	broken := occurrences{base: &before}
	one := p.recordKey([]byte(`{"a":1}`), &broken)
	whole := occurrences{base: &before}
	if two := p.recordKey([]byte(`{"a":1}`), &whole); one != two {
		t.Error("a record read again after its page broke off has another name")
	}
}
