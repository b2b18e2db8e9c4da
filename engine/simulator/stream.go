package simulator

import (
	"cmp"
	"encoding/json"
	"sort"
	"sync"
	"time"
)

// stream is a log of Graph whose rows are many and keep their time: sign-ins,
// directory audits, provisioning, device audits. Rows are rendered when asked
// for. A share of them becomes visible late, or is published again with other
// content, at the time that is in their nature.
type stream struct {
	name  string
	feed  uint8
	clock string // the property that is the row's time
	sim   *Simulator

	mu     sync.Mutex
	times  timeline
	asked  bool
	extras []extraRow // rows published on top of the schedule, by time
}

type extraRow struct {
	at, visible int64
	index       uint64
}

// place is where a row stands in a listing.
type place struct {
	at    int64
	feed  uint8
	class uint8
	index uint64
}

func (p place) before(o place) bool {
	return cmp.Or(cmp.Compare(p.at, o.at), cmp.Compare(p.feed, o.feed), cmp.Compare(p.class, o.class), cmp.Compare(p.index, o.index)) < 0
}

func (s *stream) salt(class uint8, index uint64) uint64 {
	return mix(s.sim.opts.Seed ^ uint64(s.feed)<<40 ^ uint64(class)<<36 ^ index ^ 0x57ea4)
}

// visible is when a scheduled row can first be read.
func (s *stream) visible(index uint64) int64 {
	at := s.times.at(index)
	if h := s.salt(0, index); unit(h) < s.sim.opts.Late {
		at += int64(unit(mix(h)) * float64(s.sim.opts.LateBy))
	}
	return at
}

// revision reports whether a row is of the share that is published again, and
// whether that has happened.
func (s *stream) revision(index uint64, now int64) (revised, done bool) {
	if s.feed > 8 || s.sim.opts.Revised == 0 { // sign-ins only
		return false, false
	}
	h := mix(s.salt(0, index) ^ 2)
	if unit(h) >= s.sim.opts.Revised {
		return false, false
	}
	return true, s.visible(index)+int64(unit(mix(h))*float64(s.sim.opts.RevisedBy)) <= now
}

// walk calls yield for the rows in [from, to) that are visible, in order from
// the given place on, until it returns false.
func (s *stream) walk(from, to, now int64, descending bool, after *place, yield func(place) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	count := s.times.count(now)
	lo, hi := s.times.search(count, from), s.times.search(count, to)
	elo := sort.Search(len(s.extras), func(i int) bool { return s.extras[i].at >= from })
	ehi := sort.Search(len(s.extras), func(i int) bool { return s.extras[i].at >= to })
	row := func(i uint64) place { return place{s.times.at(i), s.feed, scheduled, i} }
	extra := func(i int) place { return place{s.extras[i].at, s.feed, published, s.extras[i].index} }
	if after != nil && !descending {
		lo += uint64(sort.Search(int(hi-min(lo, hi)), func(i int) bool { return after.before(row(lo + uint64(i))) }))
		elo += sort.Search(max(ehi-elo, 0), func(i int) bool { return after.before(extra(elo + i)) })
	}
	if after != nil && descending {
		hi = lo + uint64(sort.Search(int(hi-min(lo, hi)), func(i int) bool { return !row(lo + uint64(i)).before(*after) }))
		ehi = elo + sort.Search(max(ehi-elo, 0), func(i int) bool { return !extra(elo + i).before(*after) })
	}
	for lo < hi || elo < ehi {
		var p place
		var seen int64
		takeRow := elo >= ehi
		if !takeRow && lo < hi {
			if descending {
				takeRow = extra(ehi - 1).before(row(hi - 1))
			} else {
				takeRow = row(lo).before(extra(elo))
			}
		}
		switch {
		case takeRow && descending:
			hi--
			p, seen = row(hi), s.visible(hi)
		case takeRow:
			p, seen = row(lo), s.visible(lo)
			lo++
		case descending:
			ehi--
			p, seen = extra(ehi), s.extras[ehi].visible
		default:
			p, seen = extra(elo), s.extras[elo].visible
			elo++
		}
		if seen <= now && !yield(p) {
			return
		}
	}
}

// publish adds n rows of that age, visible from now on.
func (s *stream) publish(n int, age time.Duration) {
	now := s.sim.now()
	at := now.Add(-age).UnixNano()
	at -= at % int64(s.times.unit)
	s.mu.Lock()
	defer s.mu.Unlock()
	next := uint64(len(s.extras))
	for i := range n {
		s.extras = append(s.extras, extraRow{at: at, visible: now.UnixNano(), index: next + uint64(i)})
	}
	sort.SliceStable(s.extras, func(i, j int) bool { return s.extras[i].at < s.extras[j].at })
}

// append renders a row. The caller holds the lock.
func (s *stream) append(dst []byte, p place, now int64, beta, policies bool) []byte {
	w := s.sim.world
	id := recordID{feed: s.feed, class: p.class, index: p.index}
	var r record
	w.begin(&r, id, s.sim.guid(id), time.Unix(0, p.at).UTC())
	switch s.name {
	case DirectoryAudits:
		return w.kindsOf(DirectoryAudits).append(dst, &r, 0)
	case Provisioning, DeviceAudits:
		return named[s.name].append(dst, &r, 0)
	}
	r.policies, r.hidden = policies, s.sim.licence() != P2
	if p.class == scheduled {
		if revised, done := s.revision(p.index, now); revised && !done {
			r.version = -1 // its second factor is still to come
		}
	}
	return w.signIn(dst, s.name, &r, beta)
}

// sample is some row, for the properties it has.
func (s *stream) sample(beta bool) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.append(nil, place{at: s.times.start, feed: s.feed}, 0, beta, false)
}

// decoded is a row as the filter sees it: decoded only when a property besides
// its time is asked for.
func decoded(clock string, at int64, render func() []byte) fields {
	var object map[string]any
	return func(path []string) any {
		if len(path) == 1 && path[0] == clock {
			return time.Unix(0, at)
		}
		if object == nil {
			if err := json.Unmarshal(render(), &object); err != nil {
				panic("simulator: a row is not JSON: " + err.Error())
			}
		}
		return property(object, path)
	}
}
