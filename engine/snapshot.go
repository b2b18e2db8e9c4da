package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tidwall/gjson"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/definition"
)

// A snapshot is a listing that shows a present state. Each object that is listed is compared with
// what the store holds of it, which is read by key and never loaded as a whole, and what differs makes
// a record; what the store holds and a listing that ended well does not show was removed. The
// new state of an object is committed together with the event that tells of it. kept.go says
// what is kept of one that a mapping redacts.

// What became of an object; the value of the record's member "change".
const (
	created = "created"
	updated = "updated"
	removed = "removed"
)

// listing is one listing of a snapshot.
type listing struct {
	baseline bool // what is listed is remembered, and nothing sent

	mu     sync.Mutex
	listed map[checkpoint.Key]struct{} // 16 bytes for an object
	broken bool                        // a page or item was given up: what is not listed may still be there
}

func (p *partition) newListing() *listing {
	if p.feed.Snapshot == nil {
		return nil
	}
	return &listing{
		baseline: p.position.ReadAt.IsZero() && p.feed.Snapshot.First != definition.FirstEmit,
		listed:   map[checkpoint.Key]struct{}{},
	}
}

// list notes an object, and reports whether it is listed for the first time.
func (l *listing) list(key checkpoint.Key) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, twice := l.listed[key]
	l.listed[key] = struct{}{}
	return !twice
}

func (l *listing) gaveUp() {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken = true
}

// object takes one listed object in.
func (s *source) object(ctx context.Context, raw []byte) error {
	in, l := s.in, s.in.listing
	id := objectID(raw, in.p.feed.Snapshot.ID)
	if id == "" {
		l.gaveUp() // whose object it is, nobody knows: none is taken for removed
		in.count(func(c *checkpoint.Counts) { c.Fetched++; c.Skipped++ })
		in.tally.skip("an object without an id")
		return nil
	}
	if !l.list(checkpoint.KeyOf(in.p.feed.Name, "object", id)) {
		in.count(func(c *checkpoint.Counts) { c.Fetched++; c.Duplicate++ })
		return nil
	}
	name, former, known, err := s.remembered(ctx, id, raw, in.p.feed.Snapshot.ID)
	if err != nil {
		return err
	}
	l.list(checkpoint.KeyOf(in.p.feed.Name, "object", name))
	now := s.keep(id, raw)
	state := &checkpoint.Object{ID: name, State: now.bytes()}
	if known && bytes.Equal(former, state.State) { // as most are at each round
		in.count(func(c *checkpoint.Counts) { c.Fetched++; c.Duplicate++ })
		return nil
	}
	change, record := created, raw
	if known {
		was := s.keptAs(id, former)
		changed, before := differences(was, now, in.p.feed.Snapshot.Ignore)
		if len(changed) == 0 {
			in.count(func(c *checkpoint.Counts) { c.Fetched++; c.Duplicate++ })
			if s.mapper().Redacts() && !bytes.Equal(former, was.bytes()) { // it was kept before the rules were as they are
				return in.packer.also(ctx, state)
			}
			return nil
		}
		change, record = updated, told(raw, updated, changed, before)
	} else {
		record = told(raw, created, nil, nil)
	}
	if l.baseline {
		in.count(func(c *checkpoint.Counts) { c.Fetched++; c.Duplicate++ })
		return in.packer.also(ctx, state)
	}
	return s.take(ctx, becameKey(in.p.feed.Name, id, change, former, raw), record, state)
}

// changed takes one row of a delta query in. What a query that begins anew, or a page that broke off and is asked
// for again, lists as it was told last is no change.
func (s *source) changed(ctx context.Context, raw []byte) error {
	in := s.in
	id := objectID(raw, in.p.feed.Key)
	if id == "" {
		in.anew.gaveUp() // whose row it is, nobody knows: none is taken for removed
		return s.take(ctx, s.keyless.key(in.p.feed.Name, raw), raw, nil)
	}
	state := checkpoint.KeyOf(in.p.feed.Name, "row", string(canonical(raw)))
	name, former, known, err := s.remembered(ctx, id, raw, in.p.feed.Key)
	if err != nil {
		return err
	}
	former = former[:min(len(former), len(state))] // without the mark of a removal
	if in.anew != nil {
		for _, n := range []string{id, name} { // the one under which it was kept, and is
			in.anew.list(checkpoint.KeyOf(in.p.feed.Name, "object", n))
		}
	}
	row := checkpoint.KeyOf(in.p.feed.Name, "row of", id)
	in.rowsMu.Lock()
	taken, again := in.rows[row] // and perhaps not committed yet
	if again {
		former = taken[:]
	}
	if in.rows == nil {
		in.rows = map[checkpoint.Key]checkpoint.Key{}
	}
	in.rows[row] = state
	in.rowsMu.Unlock()
	if (known || again) && bytes.Equal(former, state[:]) && (again || !in.how.resend) {
		in.count(func(c *checkpoint.Counts) { c.Fetched++; c.Duplicate++ })
		return nil
	}
	kept := state[:]
	if gjson.GetBytes(raw, `\@removed`).Exists() {
		kept = append(kept, removedRow)
	}
	return s.take(ctx, becameKey(in.p.feed.Name, id, updated, former, state[:]), raw, &checkpoint.Object{ID: name, State: kept})
}

// removedRow ends the state of a row of a delta query that was told as removed.
const removedRow = 'r'

// takeUnlisted makes records of the rows that a delta query which began anew does not list any more: they were removed
// while its link had expired, and the service does not say so. One that lists nothing at all tells of none: a query may ask for
// what changes from now on.
func (in *intake) takeUnlisted(ctx context.Context) error {
	if in.anew == nil || len(in.anew.listed) == 0 {
		return nil
	}
	name := "id"
	if len(in.p.feed.Key) == 1 {
		name = in.p.feed.Key[0]
	}
	return in.unlisted(in.anew, func(s *source, object checkpoint.Object) error {
		if len(object.State) > len(checkpoint.Key{}) { // it was told as removed
			return nil
		}
		raw := append(append(append(appendText([]byte("{"), name), ':'), appendText(nil, object.ID)...), `,"@removed":{"reason":"no longer listed"}}`...)
		state := checkpoint.KeyOf(in.p.feed.Name, "row", string(canonical(raw)))
		return s.take(ctx, becameKey(in.p.feed.Name, object.ID, removed, object.State, state[:]), raw, &checkpoint.Object{ID: object.ID, State: append(state[:], removedRow)})
	})
}

// canonical is the same for rows that differ in the order of their members only.
func canonical(raw []byte) []byte {
	fields := flat(raw)
	var out []byte
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		out = appendText(append(out, name...), fields[name])
	}
	return out
}

// takeRemoved makes records of what a listing that ended well does not show any more.
func (in *intake) takeRemoved(ctx context.Context) error {
	return in.unlisted(in.listing, func(s *source, object checkpoint.Object) error {
		gone := checkpoint.Object{ID: object.ID}
		if in.listing.baseline {
			return in.packer.also(ctx, &gone)
		}
		return s.take(ctx, becameKey(in.p.feed.Name, object.ID, removed, object.State, nil), told(s.keptAs(object.ID, object.State).object, removed, nil, nil), &gone)
	})
}

// unlisted takes each object that the store holds and a listing does not show; nothing where there is none, or it is broken.
func (in *intake) unlisted(l *listing, take func(s *source, object checkpoint.Object) error) error {
	if l == nil || l.broken {
		return nil
	}
	s := in.Open("", time.Time{}).(*source)
	for object, err := range in.p.engine.Store.Objects(in.p.feed.Name, in.p.account) {
		if err != nil {
			return err
		}
		if _, there := l.listed[checkpoint.KeyOf(in.p.feed.Name, "object", object.ID)]; there {
			continue
		}
		if err := take(s, object); err != nil {
			return err
		}
	}
	return s.End()
}

// objectID is what names an object: the values of its id; "" where it lacks one.
func objectID(raw []byte, paths []string) string {
	var parts []string
	for _, path := range paths {
		value := gjson.GetBytes(raw, path)
		if !value.Exists() || value.Type == gjson.Null || value.Type == gjson.String && value.Str == "" {
			return ""
		}
		parts = append(parts, value.String())
	}
	if len(parts) == 1 {
		return parts[0]
	}
	var id []byte
	for _, part := range parts { // lengths keep a|bc and ab|c apart
		id = append(strconv.AppendInt(id, int64(len(part)), 10), ':')
		id = append(id, part...)
	}
	return string(id)
}

// becameKey names an event of an object: the id and what it became, from what.
func becameKey(feed, id, change string, former, now []byte) checkpoint.Key {
	return checkpoint.KeyOf(feed, "became", id, change, string(former), string(now))
}

// told is the record of a change: the object with what became of it before its own members.
func told(object []byte, change string, changed []string, before map[string]string) []byte {
	out := append([]byte(`{"change":"`), change...)
	out = append(out, '"')
	if len(changed) > 0 {
		out = append(out, `,"changed":`...)
		out = appendText(out, strings.Join(changed, ","))
	}
	if len(before) > 0 {
		out = append(out, `,"before":{`...)
		for i, name := range slices.Sorted(maps.Keys(before)) {
			if i > 0 {
				out = append(out, ',')
			}
			out = append(append(appendText(out, name), ':'), before[name]...)
		}
		out = append(out, '}')
	}
	members := bytes.TrimSpace(object)
	if members = bytes.TrimSpace(bytes.TrimPrefix(members, []byte("{"))); len(members) > 0 && members[0] != '}' {
		out = append(out, ',')
	}
	return append(out, members...)
}

func appendText(out []byte, text string) []byte {
	quoted, _ := json.Marshal(text) // a text can always be written
	return append(out, quoted...)
}

// differences are the names of the fields in which two states of an object differ, in order, and
// the values that they had before, where they may be told. Names are flattened as events have them, without
// "event_".
func differences(former, now kept, ignore []string) (changed []string, before map[string]string) {
	old, new := flat(former.object), flat(now.object)
	before = map[string]string{}
	differ := func(name string) {
		if former.same(&now, name, old[name], new[name]) || ignored(name, ignore) {
			return
		}
		changed = append(changed, name)
		if value, there := old[name]; there {
			before[name] = value
		}
	}
	for _, fields := range []map[string]string{old, new, former.digests, now.digests} {
		for name := range fields {
			differ(name)
		}
	}
	slices.Sort(changed)
	return slices.Compact(changed), before
}

// ignored reports whether a field, or what it is a part of, is not compared.
func ignored(name string, ignore []string) bool {
	return slices.ContainsFunc(ignore, func(path string) bool {
		rest, under := strings.CutPrefix(name, fieldName(path))
		return under && (rest == "" || rest[0] == '_')
	})
}

// flat gives the scalars and arrays of an object by their flattened names; null is as good as absent.
func flat(object []byte) map[string]string {
	fields := map[string]string{}
	var add func(name string, value gjson.Result)
	add = func(name string, value gjson.Result) {
		switch {
		case value.Type == gjson.Null:
		case value.IsObject():
			value.ForEach(func(key, v gjson.Result) bool {
				inner := fieldName(key.String())
				if name != "" {
					inner = name + "_" + inner
				}
				add(inner, v)
				return true
			})
		case value.IsArray():
			var compact bytes.Buffer
			if json.Compact(&compact, []byte(value.Raw)) == nil {
				fields[name] = compact.String()
			}
		default:
			fields[name] = value.Raw
		}
	}
	add("", gjson.ParseBytes(object))
	return fields
}
