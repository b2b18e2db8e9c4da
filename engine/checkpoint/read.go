package checkpoint

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// Position implements [Store].
func (s *Embedded) Position(feed, partition string) (p Position, ok bool, err error) {
	what := "reading the position of " + feed + " " + partition
	name := partitionName(positionSpace, feed, partition)
	v, err := s.get(what, name)
	if err != nil || v == nil {
		return p, false, err
	}
	p, err = decodeJSON[Position](name, v)
	return p, err == nil, s.failed(what, err)
}

// Positions implements [Store].
func (s *Embedded) Positions(prefix string) (map[[2]string]Position, error) {
	const what = "reading the positions"
	all := make(map[[2]string]Position)
	for found, err := range s.walkFeeds(what, positionSpace, prefix) {
		if err != nil {
			return nil, err
		}
		feed, partition, err := cutPartition(found.name)
		if err == nil {
			all[[2]string{feed, partition}], err = decodeJSON[Position](found.name, found.value)
		}
		if err != nil {
			return nil, s.failed(what, err)
		}
	}
	return all, nil
}

// Object implements [Store].
func (s *Embedded) Object(feed, partition, id string) (state []byte, ok bool, err error) {
	state, err = s.get("reading an object of "+feed+" "+partition, append(partitionName(objectSpace, feed, partition), id...))
	return state, state != nil, err
}

// Objects implements [Store].
func (s *Embedded) Objects(feed, partition string) iter.Seq2[Object, error] {
	prefix := partitionName(objectSpace, feed, partition)
	return func(yield func(Object, error) bool) {
		for found, err := range s.walk("reading the objects of "+feed+" "+partition, prefix) {
			var o Object
			if err == nil {
				o = Object{ID: string(found.name[len(prefix):]), State: found.value}
			}
			if !yield(o, err) {
				return
			}
		}
	}
}

// Ledger implements [Store].
func (s *Embedded) Ledger(prefix string) iter.Seq2[Entry, error] {
	const what = "reading the ledger"
	return func(yield func(Entry, error) bool) {
		for _, space := range []byte{daySpace, windowSpace} {
			for found, err := range s.walkFeeds(what, space, prefix) {
				var e Entry
				if err == nil {
					e, err = decodeJSON[Entry](found.name, found.value)
					err = s.failed(what, err)
				}
				if !yield(e, err) || err != nil {
					return
				}
			}
		}
	}
}

// get is what is stored under a name; nil is nothing.
func (s *Embedded) get(what string, name []byte) (value []byte, err error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	v, closer, err := s.db.Get(name)
	switch {
	case errors.Is(err, pebble.ErrNotFound):
		return nil, nil
	case err == nil:
		value = append([]byte{}, v...)
		err = closer.Close()
	}
	return value, s.failed(what, err)
}

type pair struct{ name, value []byte }

// walk is every pair whose name begins with prefix, in order. Nothing is held between one page
// and the next: whoever walks may take his time, and commit meanwhile.
func (s *Embedded) walk(what string, prefix []byte) iter.Seq2[pair, error] {
	return func(yield func(pair, error) bool) {
		for from := prefix; ; {
			page, err := s.page(from, successor(prefix))
			if err != nil {
				yield(pair{}, s.failed(what, err))
				return
			}
			for _, one := range page {
				if !yield(one, nil) {
					return
				}
			}
			if len(page) == 0 {
				return
			}
			from = append(page[len(page)-1].name, 0)
		}
	}
}

// page is the next pairs from a name on, to before another; none at the end.
func (s *Embedded) page(from, to []byte) (pairs []pair, err error) {
	const most = 64 << 10 // bytes
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		return nil, err
	}
	size := 0
	for ok := it.First(); ok && err == nil && size < most; ok = it.Next() {
		var v []byte
		if v, err = it.ValueAndErr(); err == nil {
			pairs = append(pairs, pair{slices.Clone(it.Key()), append([]byte{}, v...)})
			size += len(it.Key()) + len(v)
		}
	}
	return pairs, errors.Join(err, it.Error(), it.Close())
}

// walkFeeds is every pair of a space whose feed's name begins with prefix, in order. Names carry
// their length before them, so the feeds of a prefix lie together for each length of a
// name, and what is in between is leapt over.
func (s *Embedded) walkFeeds(what string, space byte, prefix string) iter.Seq2[pair, error] {
	return func(yield func(pair, error) bool) {
		if prefix == "" {
			s.walk(what, []byte{space})(yield)
			return
		}
		var runs [][]byte
		err := s.leap(space, func(name []byte) (next []byte, err error) {
			n, size := binary.Uvarint(name[1:])
			if size <= 0 {
				return nil, fmt.Errorf("no feed in the name %q", name)
			}
			length := slices.Clone(name[:1+size])
			if n >= uint64(len(prefix)) {
				runs = append(runs, append(slices.Clip(length), prefix...))
			}
			return successor(length), nil
		})
		if err != nil {
			yield(pair{}, s.failed(what, err))
			return
		}
		for _, run := range runs {
			for found, err := range s.walk(what, run) {
				if !yield(found, err) {
					return
				}
			}
		}
	}
}

// partitions are those that have something in a space.
func (s *Embedded) partitions(what string, space byte) (all [][2]string, err error) {
	err = s.leap(space, func(name []byte) (next []byte, err error) {
		feed, partition, err := cutPartition(name)
		all = append(all, [2]string{feed, partition})
		return successor(partitionName(space, feed, partition)), err
	})
	return all, s.failed(what, err)
}

// leap calls f for the first name of a space, then for the first from the name on that f
// returned.
func (s *Embedded) leap(space byte, f func(name []byte) (next []byte, err error)) (err error) {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{space}, UpperBound: []byte{space + 1}})
	if err != nil {
		return err
	}
	for ok := it.First(); ok && err == nil; {
		var next []byte
		if next, err = f(it.Key()); err == nil {
			ok = it.SeekGE(next)
		}
	}
	return errors.Join(err, it.Error(), it.Close())
}

// successor is the first name after all that begin with prefix.
func successor(prefix []byte) []byte {
	b := slices.Clone(prefix)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i]++; b[i] != 0 {
			return b[:i+1]
		}
	}
	return nil
}
