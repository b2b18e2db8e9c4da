package engine

import (
	"bytes"
	"sync"
	"time"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/load"
)

// claims are keys that are on their way: read, but not yet committed. What comes
// twice within moments is thus taken once, whichever of two pages or items it comes
// in. They are as many as there is room in the batches of a process.
type claims struct {
	mu   sync.Mutex
	keys map[checkpoint.Key]struct{}
}

func newClaims() *claims { return &claims{keys: map[checkpoint.Key]struct{}{}} }

// claim reports whether the key was free, and takes it.
func (c *claims) claim(key checkpoint.Key) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, taken := c.keys[key]; taken {
		return false
	}
	c.keys[key] = struct{}{}
	return true
}

func (c *claims) holds(key checkpoint.Key) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, taken := c.keys[key]
	return taken
}

func (c *claims) release(keys ...checkpoint.Key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, key := range keys {
		delete(c.keys, key)
	}
}

// batch is what one delivery and its commit hold.
type batch struct {
	events [][]byte
	keys   []checkpoint.Key
	since  []time.Time      // when each event could be had first; zero: it does not count
	also   []checkpoint.Key // items read to their end, keys to be remembered longer, and of what is not delivered
	opened time.Time        // when the first event came
	bytes  int              // of the events

	chunks []*chunk // where the events stand
	last   []byte   // of them, as far as it is in use

	objects     []checkpoint.Object // new states of objects
	objectBytes int
}

// chunk is memory for events. All are of one size, so that what one batch gives back suits any other, and a batch
// has hardly more of it than its events take.
type chunk [64 << 10]byte

var (
	batches = sync.Pool{New: func() any { return new(batch) }}
	chunks  = sync.Pool{New: func() any { return new(chunk) }}
)

// free gives the batch's memory to the next one.
func (b *batch) free() {
	for _, c := range b.chunks {
		chunks.Put(c)
	}
	clear(b.chunks)
	clear(b.events)
	clear(b.objects)
	*b = batch{events: b.events[:0], keys: b.keys[:0], since: b.since[:0], also: b.also[:0], chunks: b.chunks[:0], objects: b.objects[:0]}
	batches.Put(b)
}

// size is what the events take in the body of a request: each has a separator.
func (b *batch) size() int { return b.bytes + len(b.events) }

// weight is what the batch takes of the memory for what is in flight.
func (b *batch) weight() int64 { return int64(b.size() + b.objectBytes) }

// with adds what is committed with the batch.
func (b *batch) with(object *checkpoint.Object, keys ...checkpoint.Key) {
	b.also = append(b.also, keys...)
	if object != nil {
		b.objects = append(b.objects, *object)
		b.objectBytes += len(object.ID) + len(object.State)
	}
}

// put adds a copy of an event.
func (b *batch) put(key checkpoint.Key, event []byte, since time.Time) {
	b.events = append(b.events, b.copied(event))
	b.bytes += len(event)
	b.keys = append(b.keys, key)
	b.since = append(b.since, since)
}

func (b *batch) copied(event []byte) []byte {
	if len(event) > len(chunk{})/4 { // the rest of a chunk would often be lost
		return bytes.Clone(event)
	}
	if cap(b.last)-len(b.last) < len(event) {
		c := chunks.Get().(*chunk)
		b.chunks, b.last = append(b.chunks, c), c[:0]
	}
	start := len(b.last)
	b.last = append(b.last, event...)
	return b.last[start:len(b.last):len(b.last)]
}

// accepted are the keys of the events that were not refused.
func (b *batch) accepted(refused []load.Refused) []checkpoint.Key {
	if len(refused) == 0 {
		return b.keys
	}
	out := indexes(refused)
	var keys []checkpoint.Key
	for i, key := range b.keys {
		if !out[i] {
			keys = append(keys, key)
		}
	}
	return keys
}

// indexes are which events of a batch were refused.
func indexes(refused []load.Refused) map[int]bool {
	out := make(map[int]bool, len(refused))
	for _, r := range refused {
		out[r.Index] = true
	}
	return out
}

// latency is how long the events waited until now, but for the refused ones.
func (b *batch) latency(now time.Time, refused []load.Refused) Delays {
	out := indexes(refused)
	var d Delays
	for i, since := range b.since {
		if !since.IsZero() && !out[i] {
			d.add(now.Sub(since))
		}
	}
	return d
}
