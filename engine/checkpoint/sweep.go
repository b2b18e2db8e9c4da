package checkpoint

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

const (
	day         = 24 * time.Hour
	keepWindows = 7 * day               // of the ledger
	keepDays    = 400 * day             // of the ledger's totals
	foldSpan    = 60 * day              // of windows that one fold takes at most, so that its totals stay few
	sweepKeys   = 20_000                // looked at while commits wait
	sweepBatch  = 1_000                 // keys deleted at once
	sweepPause  = 10 * time.Millisecond // for commits in between
)

// Sweep implements [Store]. It reads every key, so it is for once a day or so; it goes
// in small steps, and a commit waits for one step at most, some milliseconds.
func (s *Embedded) Sweep(now time.Time) error {
	if s.opts.ReadOnly {
		return errReadOnly
	}
	if err := s.sweepLedger(now); err != nil {
		return fmt.Errorf("folding the ledger: %w", err)
	}
	return s.SweepKeys(now)
}

// SweepKeys forgets the keys that expired before now, and does no more.
func (s *Embedded) SweepKeys(now time.Time) error {
	from := []byte{keySpace}
	for from != nil {
		var err error
		if from, err = s.sweepStep(from, now); err != nil {
			return fmt.Errorf("forgetting expired keys: %w", err)
		}
		time.Sleep(sweepPause)
	}
	return nil
}

// sweepStep deletes expired keys from the name from on, and returns where to go on;
// nil at the end.
func (s *Embedded) sweepStep(from []byte, now time.Time) (next []byte, err error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	if err := s.Full(); err != nil { // a sweep frees nothing at once, and would hold up who waits
		return nil, err
	}
	var rest []byte
	err = guard(s, func() (err error) {
		s.commits.Lock()
		defer s.commits.Unlock()
		rest, err = s.sweepLocked(from, now)
		return err
	})
	if err != nil {
		return nil, s.failed("reading the keys", err)
	}
	return rest, nil
}

func (s *Embedded) sweepLocked(from []byte, now time.Time) (next []byte, err error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: []byte{keySpace + 1}})
	if err != nil {
		return nil, err
	}
	b := s.db.NewBatch()
	var gone Commit
	looked := 0
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		if looked++; looked > sweepKeys || b.Count() >= sweepBatch {
			next = slices.Clone(it.Key())
			break
		}
		var v []byte
		var expires time.Time
		if v, err = it.ValueAndErr(); err == nil {
			expires, err = decodeExpiry(v)
		}
		if err == nil && expires.Before(now) {
			gone.Keys = append(gone.Keys, Key(it.Key()[1:]))
			err = b.Delete(it.Key(), nil)
		}
	}
	if err = errors.Join(err, it.Error(), it.Close()); err != nil || b.Empty() {
		return next, errors.Join(err, b.Close())
	}
	// A deletion that a power cut undoes is done again by the next sweep.
	if err := s.put(b, pebble.NoSync, &gone); err != nil {
		return nil, err
	}
	return next, b.Close()
}

// sweepLedger folds the old windows of each partition.
func (s *Embedded) sweepLedger(now time.Time) error {
	const what = "reading the ledger"
	for _, space := range []byte{windowSpace, daySpace} {
		names, err := s.partitions(what, space)
		if err != nil {
			return err
		}
		for _, n := range names {
			for more := true; more; time.Sleep(sweepPause) {
				if more, err = s.foldStep(n[0], n[1], now); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// foldStep folds in one commit, so that none counts twice.
func (s *Embedded) foldStep(feed, partition string, now time.Time) (more bool, err error) {
	if err := s.enter(); err != nil {
		return false, err
	}
	defer s.leave()
	if err := s.Full(); err != nil {
		return false, err
	}
	folds := false
	err = guard(s, func() error {
		s.commits.Lock()
		defer s.commits.Unlock()
		f, needed, err := s.fold(feed, partition, now)
		if !needed || err != nil {
			return s.failed("reading the ledger", err)
		}
		folds = true
		return s.applyLocked([]*Commit{{Feed: feed, Partition: partition, Fold: f}})
	})
	if err != nil {
		return false, err
	}
	return folds, nil
}

// Fold is what a partition's ledger asks for at a time: totals of the days whose windows are older
// than the detail that is kept, and the end of those that are kept long enough; needed is
// whether there are any. Of windows that reach far back it takes the older ones; the next
// one takes more.
func (s *Embedded) Fold(feed, partition string, now time.Time) (f *Fold, needed bool, err error) {
	if err := s.enter(); err != nil {
		return nil, false, err
	}
	defer s.leave()
	f, needed, err = s.fold(feed, partition, now)
	return f, needed, s.failed("reading the ledger", err)
}

func (s *Embedded) fold(feed, partition string, now time.Time) (f *Fold, needed bool, err error) {
	f = &Fold{Before: now.Add(-keepWindows), Forget: now.Add(-keepDays)}
	days := make(map[string]*Entry)
	begun := false
	// Windows lie in the order of their beginning.
	err = eachEntry(s.db, windowSpace, feed, partition, f.Before, func(_ []byte, e *Entry) error {
		if !e.To.Before(f.Before) {
			return nil
		}
		if limit := e.From.Add(foldSpan); !begun && limit.Before(f.Before) {
			f.Before = limit
		}
		begun = true
		if !e.To.Before(f.Before) {
			return nil
		}
		total, err := s.total(days, e)
		if err == nil {
			total.fold(e)
		}
		return err
	})
	if err == nil {
		err = eachEntry(s.db, daySpace, feed, partition, time.Time{}, func(name []byte, e *Entry) error {
			if e.To.Before(f.Forget) {
				needed = true
			} else if days[string(name)] == nil {
				f.Same = append(f.Same, *e)
			}
			return nil
		})
	}
	for _, e := range days {
		f.Days, needed = append(f.Days, *e), true
	}
	return f, needed, err
}

// total is what of a day e belongs to, out of days or out of the store.
func (s *Embedded) total(days map[string]*Entry, e *Entry) (*Entry, error) {
	from := e.From.UTC().Truncate(day)
	total := &Entry{Feed: e.Feed, Partition: e.Partition, From: from, To: from.Add(day), Complete: e.Complete}
	name := dayName(total)
	if d := days[string(name)]; d != nil {
		return d, nil
	}
	v, closer, err := s.db.Get(name)
	if err == nil {
		var d Entry
		d, err = decodeJSON[Entry](name, v)
		total, err = &d, errors.Join(err, closer.Close())
	}
	if err != nil && !errors.Is(err, pebble.ErrNotFound) {
		return nil, err
	}
	days[string(name)] = total
	return total, nil
}

// fold adds one window, or another total, to a day's total.
func (e *Entry) fold(window *Entry) {
	e.Windows += max(window.Windows, 1)
	e.Counts.Add(&window.Counts)
	for reason, n := range window.Reasons {
		if e.Reasons == nil {
			e.Reasons = make(map[string]int64)
		}
		e.Reasons[reason] += n
	}
	for rule, n := range window.Filters {
		if e.Filters == nil {
			e.Filters = make(map[string]Filtered)
		}
		sum := e.Filters[rule]
		e.Filters[rule] = Filtered{sum.Records + n.Records, sum.Bytes + n.Bytes}
	}
}

// write puts the fold into b.
func (f *Fold) write(b *pebble.Batch, feed, partition string, set func(name []byte, value any) error) error {
	for _, past := range []struct {
		space byte
		end   time.Time
	}{{windowSpace, f.Before}, {daySpace, f.Forget}} {
		err := eachEntry(b, past.space, feed, partition, past.end, func(name []byte, e *Entry) error {
			if !e.To.Before(past.end) {
				return nil
			}
			return b.Delete(name, nil)
		})
		if err != nil {
			return err
		}
	}
	for i := range f.Days {
		if err := set(dayName(&f.Days[i]), &f.Days[i]); err != nil {
			return err
		}
	}
	return nil
}

// eachEntry calls do for every entry of a partition in a space that begins before a time, oldest first; for every one
// where before is zero.
func eachEntry(r pebble.Reader, space byte, feed, partition string, before time.Time, do func(name []byte, e *Entry) error) error {
	prefix := partitionName(space, feed, partition)
	end := successor(prefix)
	if !before.IsZero() { // most of a ledger is younger than what a fold takes
		end = appendTime(slices.Clone(prefix), before)
	}
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: end})
	if err != nil {
		return err
	}
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		var v []byte
		if v, err = it.ValueAndErr(); err == nil {
			var e Entry
			if e, err = decodeJSON[Entry](it.Key(), v); err == nil {
				err = do(it.Key(), &e)
			}
		}
	}
	return errors.Join(err, it.Error(), it.Close())
}
