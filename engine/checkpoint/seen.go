package checkpoint

import (
	"encoding/binary"
	"errors"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// Seen implements [Store].
func (s *Embedded) Seen(key Key) (expires time.Time, ok bool, err error) {
	if err := s.enter(); err != nil {
		return expires, false, err
	}
	defer s.leave()
	expires, ok, err = s.readers.look(key)
	if err != nil {
		return time.Time{}, false, s.failed("looking up a key", err)
	}
	return expires, ok, nil
}

// lookups are iterators for looking up keys. The engine's plain Get leaves out the
// filters of the lowest level, where nearly all keys are, and so reads a block for
// each new key; an iterator can be told to use them, but costs more to make than to
// use.
//
// The memory table has no filter, and most keys that are asked for are new: to find that in its list took an eighth of a
// record's processor time. So those that came since it began have a filter here, and the iterators for all others
// leave it out. A table is flushed from here, before the engine would, so that it is known when it ends.
type lookups struct {
	db *pebble.DB

	mu      sync.Mutex
	all     readers
	written readers         // of what is on the disk
	fresh   filter          // the keys that changed since the memory table began; nil: all may have
	leaving filter          // those of the table before, until it is on the disk
	flushed <-chan struct{} // closed once it is; nil: none is leaving
	size    uint64          // of the memory table, about
	most    uint64
}

// readers are iterators that show the same: the store as of when the first was made.
type readers struct {
	idle []*lookup
	age  uint64
}

type lookup struct {
	it   *pebble.Iterator
	of   *readers
	age  uint64
	name [1 + len(Key{})]byte
}

// open begins with what is stored. A store that is only looked at, or could not write what its log holds, has it in memory.
func (r *lookups) open(db *pebble.DB, memTable uint64, readOnly bool) {
	r.db, r.most = db, memTable/4*3
	if !readOnly && db.Metrics().MemTable.Count == 1 {
		r.fresh = newFilter(memTable)
	}
}

func (r *lookups) look(key Key) (expires time.Time, ok bool, err error) {
	one, err := r.take(key)
	if err != nil {
		return expires, false, err
	}
	copy(one.name[1:], key[:])
	ok = one.it.SeekPrefixGE(one.name[:])
	if ok {
		v, e := one.it.ValueAndErr()
		if err = e; err == nil {
			expires, err = decodeExpiry(v)
		}
	} else {
		err = one.it.Error()
	}
	if err != nil {
		return expires, false, errors.Join(err, one.it.Close())
	}
	return expires, ok, r.give(one)
}

func (r *lookups) take(key Key) (*lookup, error) {
	r.mu.Lock()
	of := &r.written
	if r.may(key) {
		of = &r.all
	}
	if n := len(of.idle); n > 0 {
		one := of.idle[n-1]
		of.idle = of.idle[:n-1]
		r.mu.Unlock()
		return one, nil
	}
	age := of.age
	r.mu.Unlock()
	it, err := r.db.NewIter(&pebble.IterOptions{
		LowerBound: []byte{keySpace}, UpperBound: successor([]byte{keySpace}),
		KeyTypes: pebble.IterKeyTypePointsOnly, UseL6Filters: true, OnlyReadGuaranteedDurable: of == &r.written,
	})
	if err != nil {
		return nil, err
	}
	one := &lookup{it: it, of: of, age: age}
	one.name[0] = keySpace
	return one, nil
}

// may reports whether the key may have changed since the oldest table in memory began.
func (r *lookups) may(key Key) bool { return r.fresh == nil || r.fresh.has(key) || r.leaving.has(key) }

func (r *lookups) give(one *lookup) error {
	r.mu.Lock()
	if one.age == one.of.age {
		one.of.idle = append(one.of.idle, one)
		r.mu.Unlock()
		return nil
	}
	r.mu.Unlock()
	return one.it.Close()
}

// change is called before a batch that is these commits is applied.
func (r *lookups) change(b *pebble.Batch, commits []*Commit) {
	r.mu.Lock()
	defer r.mu.Unlock()
	const node = 32 // bytes of the table's own for each
	r.size += uint64(b.Len()) + node*uint64(b.Count())
	if r.fresh == nil {
		return
	}
	for _, c := range commits {
		for _, key := range c.Keys {
			r.fresh.add(key)
		}
	}
}

// changed follows each batch: the iterators made before do not show it, and would keep the
// engine from freeing what it has replaced.
func (r *lookups) changed() {
	r.mu.Lock()
	old := r.all.renew()
	select {
	case <-r.flushed:
		old = append(old, r.written.renew()...) // which do not show what was leaving
		r.leaving, r.flushed = nil, nil
	default:
	}
	r.mu.Unlock()
	closeAll(old)
}

// full reports whether a new memory table is to begin.
func (r *lookups) full() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.size >= r.most && r.fresh != nil && r.leaving == nil
}

// begin begins a new memory table, if another has not, and has the one before written. No batch is on its way: the
// caller holds [Embedded.commits] for itself.
func (r *lookups) begin() error {
	if !r.full() {
		return nil
	}
	flushed, err := r.db.AsyncFlush()
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.flushed, r.leaving, r.fresh, r.size = flushed, r.fresh, make(filter, len(r.fresh)), 0
	return nil
}

// close closes what is idle; nothing is looked up any more.
func (r *lookups) close() {
	r.mu.Lock()
	old := append(r.all.renew(), r.written.renew()...)
	r.mu.Unlock()
	closeAll(old)
}

func (r *readers) renew() (old []*lookup) {
	old, r.idle = r.idle, nil
	r.age++
	return old
}

func closeAll(list []*lookup) {
	for _, one := range list {
		// Its reads have all been answered; nothing is left to fail.
		_ = one.it.Close()
	}
}

// filter tells most keys that are not in it, by three bits of a line of the processor's cache. Keys are hashes themselves.
type filter []uint64

const line = 8 // words

// newFilter has 16 bits for each key that fits into a memory table.
func newFilter(memTable uint64) filter { return make(filter, max(memTable/64*16/64/line, 1)*line) }

// place gives the line of a key, and its bits in it.
func (f filter) place(key Key) (words filter, bits [3]uint64) {
	at := binary.LittleEndian.Uint64(key[:8]) % uint64(len(f)/line) * line
	h := binary.LittleEndian.Uint64(key[8:])
	return f[at : at+line], [3]uint64{h & 511, h >> 9 & 511, h >> 18 & 511}
}

func (f filter) add(key Key) {
	words, bits := f.place(key)
	for _, b := range bits {
		words[b>>6] |= 1 << (b & 63)
	}
}

func (f filter) has(key Key) bool {
	if len(f) == 0 {
		return false
	}
	words, bits := f.place(key)
	for _, b := range bits {
		if words[b>>6]&(1<<(b&63)) == 0 {
			return false
		}
	}
	return true
}
