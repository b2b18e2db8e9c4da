package engine

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/load"
	"github.com/secure60/s60-m365-connector/engine/transform"
	"github.com/secure60/s60-m365-connector/schemas"
)

// diary is a rig whose clock the test sets, and the accounts of days that it sent.
type diary struct {
	*rig
	now  time.Time
	sent []map[string]any
}

func newDiary(t *testing.T) *diary {
	d := &diary{now: time.Date(2026, 3, 2, 23, 0, 0, 0, time.UTC)}
	d.rig = newRig(t, feedOf("the-feed"), func(c *Config) {
		c.Heartbeat = time.Minute
		c.Now = func() time.Time { return d.now }
		for name, value := range map[string]string{
			"vendor": "Microsoft", "product": "Microsoft 365", "type": "cloud", "app_name": "ms365", "technology_group": "cloud", "schema_version": "1.0",
		} {
			c.Constants = append(c.Constants, transform.Constant{Name: name, Value: value})
		}
		c.OnEvent = func(_ string, event []byte) {
			var e map[string]any
			if err := json.Unmarshal(event, &e); err != nil {
				t.Error(err)
			}
			if err := schemas.Event().Validate(e); err != nil {
				t.Errorf("it is no event: %v", err)
			}
			d.sent = append(d.sent, e)
		}
	})
	return d
}

// wrote commits where the feed stands, and windows of its ledger.
func (d *diary) wrote(t *testing.T, p checkpoint.Position, entries ...checkpoint.Entry) {
	t.Helper()
	for _, e := range append(entries, checkpoint.Entry{}) {
		c := checkpoint.Commit{Feed: "the-feed", Position: &p}
		if !e.To.IsZero() {
			e.Feed = "the-feed"
			c.Entry = &e
		}
		if err := d.store.Commit(&c); err != nil {
			t.Fatal(err)
		}
	}
}

// Once a day has been read to its end, one event tells what became of its records, whoever restarts.
func TestCompleteness(t *testing.T) {
	d := newDiary(t)
	at := func(day, hour int) time.Time { return time.Date(2026, 3, day, hour, 0, 0, 0, time.UTC) }
	account := func() {
		t.Helper()
		if err := d.engine.sendAccounts(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	account() // of a connector that has read nothing yet
	d.wrote(t, checkpoint.Position{Start: at(2, 0), Cursor: at(2, 23)},
		checkpoint.Entry{From: at(1, 22), To: at(2, 0), Complete: true, Counts: checkpoint.Counts{Listed: 99, Fetched: 99, Delivered: 99}}, // of the day before
		checkpoint.Entry{From: at(1, 22), To: at(2, 8), Complete: true,
			Counts:  checkpoint.Counts{Listed: 10, Fetched: 10, Delivered: 5, Duplicate: 2, Filtered: 3},
			Filters: map[string]checkpoint.Filtered{"noise": {Records: 2, Bytes: 20}, "big-noise": {Records: 1, Bytes: 9}}},
		checkpoint.Entry{From: at(2, 8), To: at(2, 20), Counts: checkpoint.Counts{Listed: 50, Fetched: 50, Delivered: 4}}, // and was halved
		checkpoint.Entry{From: at(2, 8), To: at(2, 14), Complete: true, Counts: checkpoint.Counts{Listed: 7, Fetched: 7, Delivered: 1, Duplicate: 5, DeadLettered: 1}},
		checkpoint.Entry{From: at(2, 14), To: at(2, 23), Complete: true},
		checkpoint.Entry{From: at(1, 3), To: at(1, 4), Complete: true, Looked: at(2, 4), Counts: checkpoint.Counts{Listed: 3, Fetched: 3, Delivered: 2, Duplicate: 1}},
		checkpoint.Entry{From: at(2, 3), To: at(2, 4), Complete: true, Looked: at(3, 4), Counts: checkpoint.Counts{Listed: 6, Fetched: 6, Delivered: 6}},
	)
	account()
	d.now = at(3, 0).Add(time.Minute)
	account() // the day is over, and not read yet
	if len(d.sent) != 0 {
		t.Fatalf("too early it told %v", d.sent)
	}
	d.wrote(t, checkpoint.Position{Start: at(2, 0), Cursor: at(3, 0)},
		checkpoint.Entry{From: at(2, 23), To: at(3, 0), Complete: true, Counts: checkpoint.Counts{Listed: 1, Fetched: 1, Delivered: 1}})
	fail := errors.New("down")
	d.taker.deliver = func(context.Context, []string) ([]load.Refused, error) { return nil, fail }
	if err := d.engine.sendAccounts(t.Context()); !errors.Is(err, fail) {
		t.Errorf("not delivered: %v", err)
	}
	d.taker.deliver = nil
	account()
	account()
	if len(d.sent) != 1 {
		t.Fatalf("it told %v", d.sent)
	}
	for name, want := range map[string]any{
		"operation": "connector-completeness", "outcome": "success", "event_day": "2026-03-02", "event_agrees": true, "event_gaps": 0.,
		"event_feed_the_feed_listed": 25., "event_feed_the_feed_delivered": 13., "event_feed_the_feed_duplicate": 8.,
		"event_feed_the_feed_filtered": 3., "event_feed_the_feed_filtered_noise": 2., "event_feed_the_feed_filtered_big_noise": 1.,
		"event_feed_the_feed_dead_lettered": 1., "event_feed_the_feed_late": 2., "event_feed_the_feed_gaps": 0., "event_feed_the_feed_agrees": true,
		"message_text": "2026-03-02: of 25 records listed by 1 feeds 13 were delivered, 8 came again, 3 were filtered, 1 are dead letters; 2 came late, 0 gaps, 0 feeds gated; the sums agree",
	} {
		if got := d.sent[0][name]; !reflect.DeepEqual(got, want) {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}

	// The next day has a gap, and a window that does not add up; the connector was down at its end.
	d.wrote(t, checkpoint.Position{Start: at(2, 0), Cursor: at(4, 0)},
		checkpoint.Entry{From: at(3, 0), To: at(3, 5), Complete: true, Counts: checkpoint.Counts{Listed: 4, Fetched: 4, Delivered: 3}},
		checkpoint.Entry{From: at(3, 7), To: at(4, 0), Complete: true})
	d.now = at(4, 9)
	account()
	if len(d.sent) != 2 {
		t.Fatalf("it told %v", d.sent)
	}
	for name, want := range map[string]any{
		"outcome": "failure", "event_day": "2026-03-03", "event_agrees": false, "event_feed_the_feed_agrees": false, "event_feed_the_feed_late": 6.,
		"event_feed_the_feed_gaps": 1., "event_feed_the_feed_gaps_seconds": 7200., "event_feed_the_feed_gap_from": "2026-03-03T05:00:00Z",
	} {
		if got := d.sent[1][name]; !reflect.DeepEqual(got, want) {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}

	// A host that is a day ahead tells a day when it is over at the service.
	d.partition.ahead.Store(int64(-26 * time.Hour))
	d.now = at(5, 0).Add(26*time.Hour - time.Minute)
	if account(); len(d.sent) != 2 {
		t.Fatalf("before the day was over it told %v", d.sent[2:])
	}
	d.partition.ahead.Store(0)

	// A feed that does not get on is waited for some hours, one behind a gate not at all.
	d.now = at(5, 5)
	account()
	if len(d.sent) != 2 {
		t.Fatalf("a feed that is behind was not waited for: %v", d.sent[2:])
	}
	d.partition.ahead.Store(int64(26 * time.Hour)) // nor is a host that is a day slow late
	d.now = at(5, 7).Add(-26 * time.Hour)
	account()
	d.partition.ahead.Store(0)
	if len(d.sent) != 3 || d.sent[2]["outcome"] != "failure" || d.sent[2]["event_feed_the_feed_gaps_seconds"] != 86400. {
		t.Fatalf("of a feed that is behind it told %v", d.sent[2:])
	}
	d.wrote(t, checkpoint.Position{Start: at(2, 0), Cursor: at(4, 0), GateReason: "no licence"})
	d.now = at(6, 1)
	account()
	if len(d.sent) != 4 || d.sent[3]["outcome"] != "success" || d.sent[3]["event_feed_the_feed_gate"] != "no licence" {
		t.Fatalf("of a feed behind a gate it told %v", d.sent[3:])
	}
}
