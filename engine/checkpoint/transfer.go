package checkpoint

import (
	"encoding/binary"
	"fmt"
	"iter"
	"time"
)

// Export is the state as commits that build it anew elsewhere: for each partition the
// totals of its ledger by day, then its position and objects in one; and in the end the keys,
// under the last partition.
func (s *Embedded) Export() iter.Seq2[*Commit, error] {
	return func(yield func(*Commit, error) bool) {
		positions, err := s.Positions("")
		if err != nil {
			yield(nil, err)
			return
		}
		var last [2]string
		for name, position := range positions {
			last = name
			days, err := s.totals(name[0], name[1])
			if err != nil {
				yield(nil, err)
				return
			}
			for ; len(days) > 0; days = days[min(len(days), exportDays):] {
				c := &Commit{Feed: name[0], Partition: name[1], Fold: &Fold{Days: days[:min(len(days), exportDays)]}}
				if !yield(c, nil) {
					return
				}
			}
			c := &Commit{Feed: name[0], Partition: name[1], Position: &position}
			for o, err := range s.Objects(name[0], name[1]) {
				if err != nil {
					yield(nil, err)
					return
				}
				c.Objects = append(c.Objects, o)
			}
			if !yield(c, nil) {
				return
			}
		}
		s.exportKeys(last, yield)
	}
}

const (
	exportDays = 200
	exportKeys = 5_000
)

// exportKeys gathers the keys by the hour at which they expire.
func (s *Embedded) exportKeys(name [2]string, yield func(*Commit, error) bool) {
	hours := make(map[uint32][]Key)
	flush := func(hour uint32) bool {
		keys := hours[hour]
		delete(hours, hour)
		return yield(&Commit{Feed: name[0], Partition: name[1], Keys: keys, Expires: hourTime(hour)}, nil)
	}
	for found, err := range s.walk("reading the keys", []byte{keySpace}) {
		if err == nil && (len(found.name) != 1+len(Key{}) || len(found.value) != 4) {
			err = s.failed("reading the keys", fmt.Errorf("%x is no key", found.name))
		}
		if err != nil {
			yield(nil, err)
			return
		}
		hour := binary.BigEndian.Uint32(found.value)
		hours[hour] = append(hours[hour], Key(found.name[1:]))
		if len(hours[hour]) == exportKeys && !flush(hour) {
			return
		}
	}
	for hour := range hours {
		if !flush(hour) {
			return
		}
	}
}

// totals are those of all days of a partition, its windows too.
func (s *Embedded) totals(feed, partition string) (all []Entry, err error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	days := make(map[string]*Entry)
	for _, space := range []byte{daySpace, windowSpace} {
		if err == nil {
			err = eachEntry(s.db, space, feed, partition, time.Time{}, func(_ []byte, e *Entry) error {
				total, err := s.total(days, e)
				if err == nil && space == windowSpace {
					total.fold(e)
				}
				return err
			})
		}
	}
	for _, e := range days {
		all = append(all, *e)
	}
	return all, s.failed("reading the ledger", err)
}

// Import takes over what another store has exported. A partition that is here already keeps its
// ledger and objects, and gets the position that covers what both delivered.
func (s *Embedded) Import(exported iter.Seq2[*Commit, error]) error {
	known, err := s.Positions("")
	if err != nil {
		return err
	}
	for c, err := range exported {
		if err != nil {
			return err
		}
		switch here, ok := known[[2]string{c.Feed, c.Partition}]; {
		case ok && c.Position != nil:
			both := here.Union(*c.Position)
			c = &Commit{Feed: c.Feed, Partition: c.Partition, Position: &both}
		case ok && c.Fold != nil:
			continue
		}
		if err := s.Apply([]*Commit{c}); err != nil {
			return err
		}
	}
	return s.Commit(&Commit{}) // what was applied is durable with it
}

// Union is the position of which everything before the cursor was delivered by p or by q: where
// the two began and ended apart, the end of the earlier one, so that what lies between is
// read.
func (p Position) Union(q Position) Position {
	if q.Start.Before(p.Start) {
		p, q = q, p
	}
	u := p
	if !q.Start.After(p.Cursor) && q.Cursor.After(p.Cursor) {
		u, u.Start = q, p.Start
	}
	if q.Forwarded > p.Forwarded {
		p = q
	}
	u.Forwarded, u.Counts, u.Filters = p.Forwarded, p.Counts, p.Filters
	return u
}
