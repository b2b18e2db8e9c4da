package engine

import (
	"slices"
	"sync"
	"time"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/load"
)

// flight holds the keys of the records of one feed that are on their way: read,
// but not yet committed. A record that comes twice within moments is thus sent
// once, whichever of two pages or items it comes in.
type flight struct {
	mu   sync.Mutex
	keys map[checkpoint.Key]struct{}
}

// claim reports whether the key was free, and takes it.
func (f *flight) claim(key checkpoint.Key) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, taken := f.keys[key]; taken {
		return false
	}
	f.keys[key] = struct{}{}
	return true
}

func (f *flight) release(keys ...checkpoint.Key) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, key := range keys {
		delete(f.keys, key)
	}
}

// batch is what one delivery and its commit hold.
type batch struct {
	arena  []byte // the events, one after the other
	ends   []int  // where each ends in the arena
	keys   []checkpoint.Key
	also   []checkpoint.Key // items read to their end, and keys to be remembered longer
	opened time.Time        // when the first event came
}

var batches = sync.Pool{New: func() any { return new(batch) }}

func (b *batch) reset() {
	b.arena, b.ends, b.keys, b.also = b.arena[:0], b.ends[:0], b.keys[:0], b.also[:0]
}

// accepted are the keys of the events that were not refused.
func (b *batch) accepted(refused []load.Refused) []checkpoint.Key {
	out := make(map[int]bool, len(refused))
	for _, r := range refused {
		out[r.Index] = true
	}
	var keys []checkpoint.Key
	for i, key := range b.keys {
		if !out[i] {
			keys = append(keys, key)
		}
	}
	return keys
}

// room makes room for n more bytes in a batch that is full at most. The arena
// doubles, and ends a little over most: append's own smaller steps would leave
// several times as much for the garbage collector.
func (b *batch) room(n, most int) {
	const spare = 64 << 10
	if cap(b.arena)-len(b.arena) < n {
		b.arena = slices.Grow(b.arena, max(n, min(spare+len(b.arena), spare+most-len(b.arena))))
	}
}

func (b *batch) events() [][]byte {
	events := make([][]byte, len(b.ends))
	start := 0
	for i, end := range b.ends {
		events[i] = b.arena[start:end:end]
		start = end
	}
	return events
}
