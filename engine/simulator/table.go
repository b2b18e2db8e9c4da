package simulator

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"
)

// table is a set of Graph whose rows change: risky users, risk detections,
// alerts, incidents. Its schedule is one of changes; a change makes a row or
// overwrites one. What a row was before a change can no longer be read, so only
// versions that stand, or that were served once, can be missed.
type table struct {
	name  string
	feed  uint8
	clock string // the property that tells when a row changed last
	row   *template
	sim   *Simulator
	// state tables have one row for each user or service principal, others make
	// a new row for most changes.
	perUser  bool
	perRobot bool

	mu       sync.Mutex
	times    timeline
	asked    bool
	next     uint64 // first change that has not been made
	rows     map[string]*tableRow
	order    []*tableRow // rows in the order they were made
	versions map[string]*tableVersion
}

// tableRow is a row as it stands; it is rendered when it is asked for.
type tableRow struct {
	id       string
	seed     recordID // of the change that made it
	made     time.Time
	version  int
	at       time.Time // of the last change
	standing *tableVersion
}

type tableVersion struct {
	key      string
	at       int64
	served   bool
	standing bool
	received int
}

// advance makes the changes that have come due.
func (t *table) advance(now time.Time) {
	if t.rows == nil {
		t.rows, t.versions = map[string]*tableRow{}, map[string]*tableVersion{}
	}
	count := t.times.count(now.UnixNano())
	for ; t.next < count; t.next++ {
		t.change(t.next, time.Unix(0, t.times.at(t.next)).UTC())
	}
}

func (t *table) change(index uint64, at time.Time) {
	h := mix(t.sim.opts.Seed ^ uint64(t.feed)<<40 ^ index ^ 0xc4a49e)
	w := t.sim.world
	seed := recordID{feed: t.feed, index: index}
	var id string
	switch {
	case t.perUser:
		n := h % uint64(len(w.people))
		id, seed.index = w.people[n].oid, n
	case t.perRobot:
		n := h % uint64(len(w.robots))
		id, seed.index = w.robots[n].objectID, n
	case h%4 == 0 && len(t.order) > 0:
		id = t.order[mix(h)%uint64(len(t.order))].id
	default:
		id = t.newID(h, index)
	}
	row := t.rows[id]
	if row == nil {
		row = &tableRow{id: id, seed: seed, made: at}
		t.rows[id] = row
		t.order = append(t.order, row)
	} else {
		row.version++
		if !at.After(row.at) {
			at = row.at.Add(time.Millisecond)
		}
	}
	t.write(row, at)
}

// rewrite changes n rows now.
func (t *table) rewrite(n int) {
	now := t.sim.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.advance(now)
	for i := range min(n, len(t.order)) {
		row := t.order[len(t.order)-1-i]
		row.version++
		t.write(row, now.UTC().Truncate(t.times.unit))
	}
}

func (t *table) newID(h, index uint64) string {
	switch t.name {
	case Alerts:
		return fmt.Sprintf("da%d_%d", 637551227677560813+index, int32(h))
	case Incidents:
		return strconv.FormatUint(28000+index, 10)
	}
	return string(appendHex(appendHex(appendHex(appendHex(nil, h, 16), mix(h), 16), mix(h^1), 16), mix(h^2), 16))
}

// write makes a row's newest version.
func (t *table) write(row *tableRow, at time.Time) {
	row.at = at.UTC().Truncate(t.times.unit)
	if old := row.standing; old != nil {
		old.standing = false
		if !old.served && old.received == 0 {
			delete(t.versions, old.key) // nobody can know it any more
		}
	}
	row.standing = &tableVersion{key: row.id + "|" + row.at.Format(tenths), at: row.at.UnixNano(), standing: true}
	t.versions[row.standing.key] = row.standing
}

// prepare fills in what a row's template draws from.
func (t *table) prepare(r *record, row *tableRow) {
	w := t.sim.world
	w.begin(r, row.seed, [36]byte{}, row.made)
	switch {
	case t.perUser:
		r.user = &w.people[row.seed.index]
	case t.perRobot:
		r.robot = &w.robots[row.seed.index]
	}
	r.rowID, r.version, r.created = row.id, row.version, row.at
	// Detected a while after it happened, and listed a while after that.
	r.detected = row.made.Add(-time.Duration(mix(r.seed^11) % uint64(5*time.Minute))).Truncate(t.times.unit)
	r.activity = r.detected.Add(-time.Duration(mix(r.seed^12) % uint64(3*time.Hour))).Truncate(t.times.unit)
}

func (t *table) append(dst []byte, row *tableRow) []byte {
	var r record
	t.prepare(&r, row)
	return t.row.append(dst, &r, 0)
}

// when is a row's time in one of its properties, in unix nanoseconds.
func (t *table) when(row *tableRow, property string) int64 {
	if property == t.clock {
		return row.at.UnixNano()
	}
	var r record
	t.prepare(&r, row)
	if property == "activityDateTime" {
		return r.activity.UnixNano()
	}
	return r.detected.UnixNano() // detectedDateTime, createdDateTime
}

// standingRow is a row in a listing, with its place in it.
type standingRow struct {
	tableRow
	place int64
}

// snapshot are the rows as they stand, by their time in the given property.
func (t *table) snapshot(now time.Time, property string, retention time.Duration) []standingRow {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.advance(now)
	rows := make([]standingRow, 0, len(t.order))
	for _, row := range t.order {
		if retention == 0 || row.at.After(now.Add(-retention)) {
			rows = append(rows, standingRow{*row, t.when(row, property)})
		}
	}
	slices.SortFunc(rows, func(a, b standingRow) int { return cmp.Or(cmp.Compare(a.place, b.place), cmp.Compare(a.id, b.id)) })
	return rows
}
