package simulator

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"
)

// retention is how long blobs are listed and served.
const retention = 7 * 24 * time.Hour

// repeated is a class of blobs, not of records: its blobs hold records of the
// schedule again.
const repeated = 2

// contentType is one content type of the Management Activity API: its
// subscription, and its blobs. A blob is a range of record indexes and a time;
// its records are rendered when it is fetched.
type contentType struct {
	name  string
	feed  uint8
	sim   *Simulator
	kinds catalogue

	mu     sync.Mutex
	times  timeline
	asked  bool
	blobs  []blob          // of the schedule, by created; a blob's number is its place
	extras []blob          // published or repeated on top, likewise
	next   uint64          // first scheduled record that is in no blob yet
	fresh  uint64          // records published on top so far
	told   map[uint64]told // those of them that belong to an attack

	known     bool // there was a subscription once
	enabled   bool
	spans     []span    // when it was enabled: its content is what was created then
	lastStart time.Time // of the last start request
}

// span is a period in unix milliseconds; an open one has no end yet.
type span struct{ from, to int64 }

type blob struct {
	created int64 // unix milliseconds: contentCreated
	visible int64 // when it is listed
	first   uint64
	n       uint32
	number  uint32
	class   uint8
}

func (b blob) before(o blob) bool {
	return cmp.Or(cmp.Compare(b.created, o.created), cmp.Compare(b.class, o.class), cmp.Compare(b.number, o.number)) < 0
}

func (c *contentType) salt(n uint64) uint64 { return mix(c.sim.opts.Seed ^ uint64(c.feed)<<40 ^ n) }

// extend cuts the records that have come into being into blobs.
func (c *contentType) extend(now time.Time) {
	o := &c.sim.opts
	count := c.times.count(now.UnixNano())
	for c.next < count {
		h := c.salt(0xb10b ^ uint64(len(c.blobs))<<20)
		want := uint64(o.BlobMin) + h%uint64(o.BlobMax-o.BlobMin+1)
		last := c.next + want - 1
		var closes int64
		if c.next < c.times.past {
			last = min(last, c.times.past-1)
			closes = c.times.at(last)
		} else {
			closes = min(c.times.at(last), c.times.at(c.next)+int64(o.BlobEvery))
			if c.times.end != 0 && closes > c.times.end {
				closes = max(c.times.end, c.times.at(count-1))
			}
			if closes > now.UnixNano() {
				return
			}
			last = min(last, c.times.search(count, closes+1)-1)
		}
		b := blob{created: (closes + 999_999) / 1_000_000, first: c.next, n: uint32(last - c.next + 1), number: uint32(len(c.blobs))}
		b.visible = b.created
		if unit(mix(h^1)) < o.Late {
			b.visible += int64(unit(mix(h^2)) * float64(o.LateBy/time.Millisecond))
		}
		c.blobs = append(c.blobs, b)
		c.next = last + 1
	}
}

// within are the blobs created in [from, to) that can be listed now, in order,
// after the given one.
func (c *contentType) within(from, to, now int64, after *blob, limit int) (page []blob, more bool) {
	seek := func(blobs []blob) int {
		if after != nil {
			return sort.Search(len(blobs), func(i int) bool { return after.before(blobs[i]) })
		}
		return sort.Search(len(blobs), func(i int) bool { return blobs[i].created >= from })
	}
	i, j := seek(c.blobs), seek(c.extras)
	for {
		var b blob
		switch {
		case j < len(c.extras) && (i == len(c.blobs) || c.extras[j].before(c.blobs[i])):
			b = c.extras[j]
			j++
		case i < len(c.blobs):
			b = c.blobs[i]
			i++
		default:
			return page, false
		}
		if b.created >= to {
			return page, false
		}
		if !c.available(b, now) {
			continue
		}
		if limit > 0 && len(page) == limit {
			return page, true
		}
		page = append(page, b)
	}
}

// available reports whether the subscription gives access to a blob now.
func (c *contentType) available(b blob, now int64) bool {
	return b.visible <= now && b.created > now-retention.Milliseconds() && c.subscribed(b)
}

// subscribed reports whether a blob was created while the subscription was enabled.
func (c *contentType) subscribed(b blob) bool {
	return slices.ContainsFunc(c.spans, func(s span) bool { return b.created >= s.from && (s.to == 0 || b.created < s.to) })
}

// backfill is how far before its first subscription a content type has blobs.
const backfill = 24 * time.Hour

// enable opens the subscription; the first time it reaches back so far.
func (c *contentType) enable(now time.Time, back time.Duration) {
	from := now
	if len(c.spans) == 0 {
		from = now.Add(-back)
	}
	c.known, c.enabled = true, true
	c.spans = append(c.spans, span{from: from.UnixMilli()})
}

// disable closes the subscription: content created from now on is lost.
func (c *contentType) disable(now time.Time) {
	if c.enabled {
		c.enabled = false
		c.spans[len(c.spans)-1].to = now.UnixMilli()
	}
}

// publish adds a blob of n new records, or of n records already offered,
// created that long ago and listed from now on. It returns how many it holds.
func (c *contentType) publish(n int, age time.Duration, again bool) int {
	now := c.sim.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.extend(now)
	b := blob{created: now.Add(-age).UnixMilli(), visible: now.UnixMilli(), first: c.fresh, n: uint32(n), class: published}
	if again {
		if c.next == 0 {
			return 0
		}
		b.class, b.n = repeated, uint32(min(uint64(n), c.next))
		b.first = c.salt(0xa6a1^uint64(len(c.extras))) % (c.next - uint64(b.n) + 1)
	} else {
		c.fresh += uint64(n)
	}
	at := sort.Search(len(c.extras), func(i int) bool { return b.before(c.extras[i]) })
	b.number = uint32(len(c.extras))
	c.extras = slices.Insert(c.extras, at, b)
	return int(b.n)
}

// contentID names a blob the way Microsoft does: its time twice, its content
// type twice, a region.
func (c *contentType) contentID(b blob) string {
	stamp := strings.Replace(time.UnixMilli(b.created).UTC().Format("20060102150405.000"), ".", "", 1) +
		fmt.Sprintf("%06d", b.number%1_000_000)
	name := strings.ReplaceAll(c.name, ".", "_")
	return fmt.Sprintf("%s$%s$%s$%s$emea%04d", stamp, stamp, strings.ToLower(name), name, uint32(b.class)+10*(b.number/1_000_000))
}

// find is the blob of a content id.
func (c *contentType) find(id string) (blob, bool) {
	parts := strings.Split(id, "$")
	if len(parts) != 5 || len(parts[0]) != 23 || len(parts[4]) < 8 {
		return blob{}, false
	}
	low, err1 := strconv.ParseUint(parts[0][17:], 10, 32)
	region, err2 := strconv.ParseUint(parts[4][4:], 10, 32)
	if err1 != nil || err2 != nil {
		return blob{}, false
	}
	b, ok := c.blob(uint32(region/10*1_000_000+low), uint8(region%10))
	return b, ok && c.contentID(b) == id
}

// blob is the blob of a number and a class.
func (c *contentType) blob(number uint32, class uint8) (b blob, ok bool) {
	if class == scheduled {
		if int(number) < len(c.blobs) {
			return c.blobs[number], true
		}
		return b, false
	}
	i := slices.IndexFunc(c.extras, func(e blob) bool { return e.number == number && e.class == class })
	if i < 0 {
		return b, false
	}
	return c.extras[i], true
}

// record prepares a record of a blob. Its event happened before the blob was
// created: mostly within the hour, now and then days before.
func (c *contentType) record(r *record, b blob, index uint64) {
	id := recordID{feed: c.feed, class: b.class, index: index}
	if b.class == repeated {
		id.class = scheduled
	}
	if t, ok := c.told[index]; ok && id.class == published {
		c.sim.world.begin(r, id, c.sim.guid(id), t.at.UTC())
		r.user, r.ip, r.place, r.told = t.user, t.ip, t.place, t.is
		return
	}
	h := c.salt(0x1a7e ^ uint64(id.class)<<36 ^ index<<4)
	u := unit(h)
	lag := 20*time.Second + time.Duration(u*u*u*float64(80*time.Minute))
	if h%40 == 0 {
		lag += time.Duration(u * float64(4*24*time.Hour))
	}
	at := b.created * int64(time.Millisecond)
	if id.class == scheduled {
		at = c.times.at(index)
	}
	c.sim.world.begin(r, id, c.sim.guid(id), time.Unix(0, at-int64(lag)).UTC())
	o := &c.sim.opts
	if o.Odd > 0 && unit(mix(h^1)) < o.Odd {
		r.odd = 1 << (mix(h^2) % 3)
		if mix(h^3)%6 == 0 {
			r.odd = oddType
		}
	}
}

// write renders the first n records of a blob as a JSON array, and what the
// blob repeats: records of its own, or of days before, with other key order.
func (c *contentType) write(w io.Writer, b blob, n uint32, sensitive bool) error {
	buf := append(make([]byte, 0, 80<<10), '[')
	var r record
	again := func(index uint64) {
		c.record(&r, b, index)
		r.sensitive = sensitive
		buf = c.kinds.append(append(buf, ','), &r, 1+int(mix(index)%7))
	}
	for i := range uint64(n) {
		index := b.first + i
		c.record(&r, b, index)
		r.sensitive = sensitive
		first := 0
		if b.class == repeated {
			first = 2 + int(index%5)
		}
		if i > 0 {
			buf = append(buf, ',')
		}
		buf = c.kinds.append(buf, &r, first)
		if share := c.sim.opts.Repeated; share > 0 && b.class == scheduled {
			if h := c.salt(0xd0b1 ^ index<<8); unit(h) < share {
				if h%3 == 0 || index == 0 {
					again(index)
				} else {
					again(mix(h) % index)
				}
			}
		}
		if len(buf) >= 64<<10 {
			if _, err := w.Write(buf); err != nil {
				return err
			}
			buf = buf[:0]
		}
	}
	_, err := w.Write(append(buf, ']'))
	return err
}
