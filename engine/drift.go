package engine

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/transform"
)

// What the mapping of a feed does not know is told once, by an event of its own: it may be a kind of record
// that the service has added, for which no rule exists yet. Records that have it are delivered all the same. That
// it was told is remembered like the key of a record, together with a place among those of the day: a
// service that changes everything at once makes no storm, and what has no place waits for the next day.

const (
	// mostDrift is how much is told of a feed in a day.
	mostDrift = 20
	// driftKept is how long it is remembered; what is not known by then is told once more.
	driftKept = 400 * day
	// mostWaiting is how much waits to be told, and mostAsked how much is known not to be new.
	mostWaiting = 256
	mostAsked   = 4096
)

// drift is what was seen of a feed and is not told yet.
type drift struct {
	mu      sync.Mutex
	waiting []transform.Unknown
	asked   map[transform.Unknown]struct{} // waiting, or told
}

// note takes what a mapper did not know.
func (d *drift) note(list []transform.Unknown) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, u := range list {
		if _, asked := d.asked[u]; asked || len(d.waiting) == mostWaiting {
			continue
		}
		if d.asked == nil || len(d.asked) == mostAsked {
			d.asked = make(map[transform.Unknown]struct{})
		}
		d.asked[u] = struct{}{}
		d.waiting = append(d.waiting, u)
	}
}

// take takes what waits.
func (d *drift) take() []transform.Unknown {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := d.waiting
	d.waiting = nil
	return list
}

// back puts back what could not be told.
func (d *drift) back(list []transform.Unknown) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.waiting = append(list, d.waiting...)
}

// tellDrift tells of what waits.
func (p *partition) tellDrift(ctx context.Context) error {
	list := p.drift.take()
	for i, u := range list {
		told, err := p.tellUnknown(ctx, u)
		if err != nil || !told {
			p.drift.back(list[i:])
			return err
		}
	}
	return nil
}

// tellUnknown tells of something unknown, unless that was told before. told is false where the day has no place
// for it.
func (p *partition) tellUnknown(ctx context.Context, u transform.Unknown) (told bool, err error) {
	key := checkpoint.KeyOf(p.feed.Name, "drift", u.Kind, u.Name, u.Value)
	if !p.claims.claim(key) { // another partition of the feed is about to
		return true, nil
	}
	defer p.claims.release(key)
	if _, known, err := p.engine.Store.Seen(key); known || err != nil {
		return true, err
	}
	now := p.engine.Now().UTC()
	place, free, err := p.driftPlace(now)
	if err != nil || !free {
		return false, err
	}
	if err := p.tell(ctx, p.driftEvent(u, now)); err != nil {
		return false, err
	}
	p.log.Info("something that no mapping knows was first seen; an event tells it", "kind", u.Kind, "field", u.Name)
	return true, p.commit(ctx, &checkpoint.Commit{Keys: []checkpoint.Key{key, place}, Expires: p.now().Add(driftKept)})
}

// driftPlace is a free place of the day.
func (p *partition) driftPlace(now time.Time) (place checkpoint.Key, free bool, err error) {
	for n := range mostDrift {
		place = checkpoint.KeyOf(p.feed.Name, "drift of "+now.Format(time.DateOnly), strconv.Itoa(n))
		if _, taken, err := p.engine.Store.Seen(place); err != nil || !taken {
			return place, err == nil, err
		}
	}
	return place, false, nil
}

func (p *partition) driftEvent(u transform.Unknown, now time.Time) map[string]any {
	event := p.engine.ownEvent("connector-schema-drift", now)
	event["source_name"] = p.feed.Name
	event["source_severity"] = "low"
	event["event_drift_kind"], event["event_drift_name"] = u.Kind, u.Name
	what := fmt.Sprintf("the field %s", u.Name)
	if u.Value != "" {
		event["event_drift_value"] = u.Value
		what = fmt.Sprintf("the %s %q (%s)", map[string]string{"record-type": "record type", "operation": "operation", "value": "value"}[u.Kind], u.Value, u.Name)
	}
	event["message_text"] = fmt.Sprintf("First seen in records of %s: %s, which no mapping knows; such records are delivered as they are", p.feed.Name, what)
	return event
}
