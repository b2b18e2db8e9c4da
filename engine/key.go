package engine

import (
	"cmp"
	"strconv"
	"time"

	"github.com/tidwall/gjson"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
)

// expires is until when a key committed now is remembered: the retention, the
// overlap, and a day to spare. What is read soon after a start or a gap may have happened before, where an
// archive lists it: it is remembered as long as that reaches back. By the service's clock, by which the state is swept:
// a host that was a day slow, and is set right, would forget a day too early.
func (p *partition) expires() time.Time {
	keep := cmp.Or(p.keep, p.retention())
	now := p.now()
	if p.archive != nil && now.Before(p.unbroken().Add(p.retention())) {
		keep = max(keep, p.archive.Window.Retention)
	}
	keep += 24 * time.Hour
	if p.feed.Window != nil {
		keep += p.feed.Window.Overlap
	}
	return now.Add(keep)
}

// unbroken is since when the partition has collected without a gap.
func (p *partition) unbroken() time.Time {
	since := p.position.Start
	for _, g := range p.position.Gaps {
		since = later(since, g.To)
	}
	return since
}

func (p *partition) itemKey(key string) checkpoint.Key {
	return checkpoint.KeyOf(p.feed.Name, "item", key)
}

// youngKey says that an item was fetched while it may have been incomplete.
func (p *partition) youngKey(key string) checkpoint.Key {
	return checkpoint.KeyOf(p.feed.Name, "young item", key)
}

// recordKey names a record by the feed's key. A record that lacks a part of
// it is named by its content and its place among records of the same content:
// it is never taken for a duplicate of another, and still is one of itself
// when it is read again.
func (p *partition) recordKey(raw []byte, keyless *occurrences) checkpoint.Key {
	var parts [4]string
	names := append(parts[:0], "record")
	for _, path := range p.feed.Key {
		value := gjson.GetBytes(raw, path)
		if value.Type == gjson.Null || value.Type == gjson.String && value.Str == "" {
			return keyless.key(p.feed.Name, raw)
		}
		names = append(names, value.String())
	}
	if len(names) == 1 {
		return keyless.key(p.feed.Name, raw)
	}
	return checkpoint.KeyOf(p.feed.Name, names...)
}

// rowKey names the row of which a record is one content, where the feed's key has further
// parts that tell contents apart.
func (p *partition) rowKey(raw []byte) (key checkpoint.Key, ok bool) {
	if len(p.feed.Key) < 2 {
		return key, false
	}
	id := gjson.GetBytes(raw, p.feed.Key[0])
	if !id.Exists() || id.Type == gjson.Null || id.Type == gjson.String && id.Str == "" {
		return key, false
	}
	return checkpoint.KeyOf(p.feed.Name, "row", id.String()), true
}

// mostOccurrences is how many contents of records without a key are told apart within a
// window. Beyond them a record is named by how many came before it.
const mostOccurrences = 16 << 10

// occurrences counts records of the same content: within one item, or within
// the pages of one window. A page that breaks off is counted again from its
// first record.
type occurrences struct {
	item string       // that they are in
	base *occurrences // of the pages before
	all  int
	seen map[checkpoint.Key]int
}

func (o *occurrences) key(feed string, raw []byte) checkpoint.Key {
	content := checkpoint.KeyOf(feed, "content", o.item, string(raw))
	n, place, known := o.seen[content], o.all, len(o.seen)
	if o.base != nil {
		n, place, known = n+o.base.seen[content], place+o.base.all, known+len(o.base.seen)
	}
	o.all++
	if n == 0 && known >= mostOccurrences {
		return checkpoint.KeyOf(feed, "keyless", string(content[:]), "place", strconv.Itoa(place))
	}
	if o.seen == nil {
		o.seen = map[checkpoint.Key]int{}
	}
	o.seen[content]++
	return checkpoint.KeyOf(feed, "keyless", string(content[:]), strconv.Itoa(n))
}

// settle adds what was counted to the pages before.
func (o *occurrences) settle() {
	if o.base == nil {
		return
	}
	o.base.all += o.all
	if o.base.seen == nil && o.seen != nil {
		o.base.seen = map[checkpoint.Key]int{}
	}
	for content, n := range o.seen {
		o.base.seen[content] += n
	}
}
