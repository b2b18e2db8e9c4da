package checkpoint

import (
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
// use. Since it shows the store as of when it was made, it is used again only as long as nothing
// was committed after.
type lookups struct {
	db *pebble.DB

	mu   sync.Mutex
	idle []*lookup
	age  uint64 // commits so far
}

type lookup struct {
	it   *pebble.Iterator
	age  uint64
	name [1 + len(Key{})]byte
}

func (r *lookups) look(key Key) (expires time.Time, ok bool, err error) {
	one, err := r.take()
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

func (r *lookups) take() (*lookup, error) {
	r.mu.Lock()
	if n := len(r.idle); n > 0 {
		one := r.idle[n-1]
		r.idle = r.idle[:n-1]
		r.mu.Unlock()
		return one, nil
	}
	age := r.age
	r.mu.Unlock()
	it, err := r.db.NewIter(&pebble.IterOptions{
		LowerBound: []byte{keySpace}, UpperBound: successor([]byte{keySpace}),
		KeyTypes: pebble.IterKeyTypePointsOnly, UseL6Filters: true,
	})
	if err != nil {
		return nil, err
	}
	one := &lookup{it: it, age: age}
	one.name[0] = keySpace
	return one, nil
}

func (r *lookups) give(one *lookup) error {
	r.mu.Lock()
	if one.age == r.age {
		r.idle = append(r.idle, one)
		r.mu.Unlock()
		return nil
	}
	r.mu.Unlock()
	return one.it.Close()
}

// renew follows each commit: the iterators made before do not show it, and would keep the
// engine from freeing what it has replaced.
func (r *lookups) renew() {
	r.mu.Lock()
	old := r.idle
	r.idle = nil
	r.age++
	r.mu.Unlock()
	for _, one := range old {
		// Its reads have all been answered; nothing is left to fail.
		_ = one.it.Close()
	}
}
