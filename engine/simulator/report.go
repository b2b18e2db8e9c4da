package simulator

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"
)

// Report says what became of the records that were on offer.
type Report struct {
	From       time.Time        `json:"from"` // the period judged, by the clock that a client lists by
	To         time.Time        `json:"to"`
	counted                     // over the feeds that were asked for
	Unexpected int64            `json:"unexpected"` // events that name no record on offer
	Other      map[string]int64 `json:"other"`      // events that are no records, by operation
	Feeds      []FeedReport     `json:"feeds"`
	Counts     map[string]int64 `json:"counts"` // requests, tokens, records served, throttled answers
	Faults     map[Kind]int64   `json:"faults"` // hits
	Violations []string         `json:"violations"`
	Tenants    *TenantsReport   `json:"tenants,omitempty"` // where there are several
}

// counted is how many records of a feed, or of several, became what.
type counted struct {
	Offered    int64 `json:"offered"`
	Received   int64 `json:"received"` // of the offered records, those that arrived
	Lost       int64 `json:"lost"`
	Duplicated int64 `json:"duplicated"` // arrivals beyond the first
	Revisions  int64 `json:"revisions"`  // further arrivals that are no fault: of sign-ins published again with other content
	Outside    int64 `json:"outside"`    // records that arrived from outside the period
}

func (c *counted) add(o counted) {
	c.Offered += o.Offered
	c.Received += o.Received
	c.Lost += o.Lost
	c.Duplicated += o.Duplicated
	c.Revisions += o.Revisions
	c.Outside += o.Outside
}

// FeedReport is the part of a report about one feed.
type FeedReport struct {
	Feed  string `json:"feed"`
	Asked bool   `json:"asked"` // the client ever asked for it
	counted
	// Overwritten counts versions of rows that were served, did not arrive, and
	// can no longer be read: a client that was interrupted could not know them.
	Overwritten int64    `json:"overwritten,omitempty"`
	LostIDs     []string `json:"lost_ids,omitempty"` // the first few, with where they were
	TwiceIDs    []string `json:"twice_ids,omitempty"`
}

// maxListed bounds the ids and violations a report lists.
const maxListed = 20

// tally counts arrivals of one feed's records: a byte for each.
type tally struct {
	mu     sync.Mutex
	counts [2][]uint8 // by class, by index
}

func (t *tally) add(id recordID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := &t.counts[id.class]
	for uint64(len(*c)) <= id.index {
		*c = append(*c, make([]uint8, max(64, len(*c)/4, int(id.index)-len(*c)+1))...)
	}
	if (*c)[id.index] < math.MaxUint8 {
		(*c)[id.index]++
	}
}

func (t *tally) of(id recordID) int64 {
	if c := t.counts[id.class]; id.index < uint64(len(c)) {
		return int64(c[id.index])
	}
	return 0
}

// distinct is how many records came, each counted once.
func (t *tally) distinct() (records int64) {
	for _, c := range t.counts {
		for _, n := range c {
			if n > 0 {
				records++
			}
		}
	}
	return records
}

// judge counts one accepted event.
func (s *Simulator) judge(e delivered) {
	for _, text := range e.ids {
		if id, ok := s.ids.find(text); ok {
			if int(id.feed) < len(feedNames) && id.class <= published && s.exists(id) {
				s.tallies[id.feed].add(id)
			} else {
				s.unexpected(text)
			}
			return
		}
	}
	for _, clock := range e.clocks {
		if clock != "" && s.judgeVersion(e.ids[1]+"|"+clock) {
			return
		}
	}
	if e.ids[0]+e.ids[1] != "" {
		s.unexpected(e.ids[0] + e.ids[1])
		return
	}
	s.mu.Lock()
	s.other[e.operation]++
	s.mu.Unlock()
}

func (s *Simulator) unexpected(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.objectIDs[id] {
		s.other["object"]++
		return
	}
	s.strangers++
	if s.strangers <= maxListed {
		s.log.Warn("an event names no record on offer", "id", id)
	}
}

func (s *Simulator) judgeVersion(key string) bool {
	for _, t := range s.tables {
		t.mu.Lock()
		v := t.versions[key]
		if v != nil {
			v.received++
		}
		t.mu.Unlock()
		if v != nil {
			return true
		}
	}
	return false
}

// exists reports whether a record has been made at all.
func (s *Simulator) exists(id recordID) bool {
	if c := s.typeOf(feedNames[id.feed]); c != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		if id.class == published {
			return id.index < c.fresh
		}
		return id.index < c.next
	}
	st := s.streamOf(feedNames[id.feed])
	if st == nil {
		return false
	}
	if id.class == published {
		st.mu.Lock()
		defer st.mu.Unlock()
		return id.index < uint64(len(st.extras))
	}
	return id.index < st.times.past || st.times.live > 0 && st.times.at(id.index) <= s.now().UnixNano()
}

// Report judges all records available so far.
func (s *Simulator) Report() Report { return s.ReportBetween(time.Time{}, s.now()) }

// ReportBetween judges the records whose place in time, by the clock that a
// client lists by, is in [from, to), and which are available now. What a client
// started with a shorter look-back never asked for is left out by from, what it
// had no time to collect by to.
// Of several tenants, the first one's report is the sum of all.
func (s *Simulator) ReportBetween(from, to time.Time) Report {
	if s.tenants != nil {
		return s.tenants.report(from, to)
	}
	return s.reportOwn(from, to)
}

// reportOwn is the report of this tenant alone.
func (s *Simulator) reportOwn(from, to time.Time) Report {
	now := s.now()
	if oldest := s.start.Add(-365 * 24 * time.Hour); from.Before(oldest) {
		from = oldest
	}
	r := Report{From: from.UTC(), To: to.UTC(), Other: map[string]int64{}, Counts: map[string]int64{}, Faults: map[Kind]int64{}, Violations: []string{}}
	for _, c := range s.types {
		r.Feeds = append(r.Feeds, c.report(from, to, now))
	}
	for _, st := range s.streams {
		r.Feeds = append(r.Feeds, st.report(from, to, now))
	}
	for _, t := range s.tables {
		r.Feeds = append(r.Feeds, t.report(from, to, now))
	}
	for _, f := range r.Feeds {
		if f.Asked {
			r.counted.add(f.counted)
		}
	}
	s.mu.Lock()
	r.Unexpected = s.strangers
	maps.Copy(r.Other, s.other)
	for v, n := range s.violations {
		if n > 1 {
			v = fmt.Sprintf("%s (%d times)", v, n)
		}
		r.Violations = append(r.Violations, v)
	}
	s.mu.Unlock()
	slices.Sort(r.Violations)
	s.counts.Range(func(k, v any) bool {
		r.Counts[k.(string)] = v.(*counter).Load()
		return true
	})
	s.faults.mu.Lock()
	maps.Copy(r.Faults, s.faults.hits)
	s.faults.mu.Unlock()
	return r
}

// weigh adds one offered record to a feed's report.
// It may arrive as often as allowed.
func (f *FeedReport) weigh(arrivals, allowed int64, name func() string) {
	f.Offered++
	switch {
	case arrivals == 0:
		f.Lost++
		if len(f.LostIDs) < maxListed {
			f.LostIDs = append(f.LostIDs, name())
		}
		return
	case arrivals <= allowed:
		f.Revisions += arrivals - 1
	default:
		f.Revisions += allowed - 1
		f.Duplicated += arrivals - allowed
		if len(f.TwiceIDs) < maxListed {
			f.TwiceIDs = append(f.TwiceIDs, name())
		}
	}
	f.Received++
}

func (s *Simulator) naming(id recordID, at time.Time) func() string {
	return func() string {
		guid := s.guid(id)
		return string(guid[:]) + " " + at.UTC().Format(time.RFC3339Nano)
	}
}

func (c *contentType) report(from, to, now time.Time) FeedReport {
	c.sim.searches.mu.Lock() // before c.mu, as a search takes them
	searched := slices.Clone(c.sim.searches.read)
	c.sim.searches.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.extend(now)
	t := &c.sim.tallies[c.feed]
	t.mu.Lock()
	defer t.mu.Unlock()
	f := FeedReport{Feed: c.name, Asked: c.asked}
	// What was expired when the simulator started was never to be had; what
	// expired since was.
	earliest := max(from.UnixMilli(), c.sim.start.Add(-retention).UnixMilli())
	weighed := int64(0)
	f.Asked = f.Asked || len(searched) > 0
	for _, list := range [][]blob{c.blobs, c.extras} {
		for _, b := range list {
			if b.class == repeated || b.created >= to.UnixMilli() || b.visible > now.UnixMilli() {
				continue
			}
			listed := b.created >= earliest && c.subscribed(b)
			if !listed && len(searched) == 0 {
				continue
			}
			for i := range uint64(b.n) {
				if !listed {
					at := c.happenedAt(b, b.first+i)
					if !slices.ContainsFunc(searched, func(s span) bool { return at >= s.from && at < s.to }) {
						continue
					}
				}
				id := recordID{feed: c.feed, class: b.class, index: b.first + i}
				n := t.of(id)
				if n > 0 {
					weighed++
				}
				f.weigh(n, 1, c.sim.naming(id, time.UnixMilli(b.created)))
			}
		}
	}
	f.Outside = t.distinct() - weighed
	return f
}

func (st *stream) report(from, to, now time.Time) FeedReport {
	f := FeedReport{Feed: st.name}
	t := &st.sim.tallies[st.feed]
	weighed := int64(0)
	first := max(from.UnixNano(), st.sim.start.Add(-st.sim.graphRetention()).UnixNano())
	t.mu.Lock()
	defer t.mu.Unlock()
	st.walk(first, to.UnixNano(), now.UnixNano(), false, nil, func(p place) bool {
		id := recordID{feed: st.feed, class: p.class, index: p.index}
		n := t.of(id)
		if n > 0 {
			weighed++
		}
		allowed := int64(1)
		if p.class == scheduled {
			if _, revised := st.revision(p.index, now.UnixNano()); revised {
				allowed = 2
			}
		}
		f.weigh(n, allowed, st.sim.naming(id, time.Unix(0, p.at)))
		return true
	})
	st.mu.Lock()
	f.Asked = st.asked
	st.mu.Unlock()
	f.Outside = t.distinct() - weighed
	return f
}

func (t *table) report(from, to, now time.Time) FeedReport {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.advance(now)
	f := FeedReport{Feed: t.name, Asked: t.asked}
	for _, key := range slices.Sorted(maps.Keys(t.versions)) {
		v := t.versions[key]
		if !v.served && (!v.standing || v.at < from.UnixNano() || v.at >= to.UnixNano()) {
			if v.received > 0 {
				f.Outside++
			}
			continue
		}
		if !v.standing && v.received == 0 {
			f.Overwritten++
			continue
		}
		f.weigh(int64(v.received), 1, func() string { return strings.Replace(key, "|", " ", 1) })
	}
	return f
}
