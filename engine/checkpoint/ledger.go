package checkpoint

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// Ledger implements [Store].
func (s *Embedded) Ledger(feed string) ([]Entry, error) {
	if feed == "" {
		return s.ledgerOf("")
	}
	return s.ledger(func(space byte, f func(name, value []byte) error) error {
		return s.each(appendText([]byte{space}, feed), f)
	})
}

// ledgerOf is the ledger of the feeds whose names begin with prefix.
func (s *Embedded) ledgerOf(prefix string) ([]Entry, error) {
	return s.ledger(func(space byte, f func(name, value []byte) error) error {
		return s.eachOf(space, prefix, f)
	})
}

// ledger is every entry that each calls its function for, in the days and in the windows.
func (s *Embedded) ledger(each func(space byte, f func(name, value []byte) error) error) ([]Entry, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	var entries []Entry
	for _, space := range []byte{daySpace, windowSpace} {
		err := each(space, func(name, v []byte) error {
			e, err := decodeJSON[Entry](name, v)
			entries = append(entries, e)
			return err
		})
		if err != nil {
			return nil, s.failed("reading the ledger", err)
		}
	}
	slices.SortFunc(entries, func(a, b Entry) int {
		return cmp.Or(a.From.Compare(b.From), a.To.Compare(b.To), cmp.Compare(a.Feed, b.Feed),
			cmp.Compare(a.Partition, b.Partition), cmp.Compare(b.Windows, a.Windows))
	})
	return entries, nil
}

const (
	sweepKeys  = 20_000                // looked at while commits wait
	sweepBatch = 1_000                 // keys deleted at once
	foldBatch  = 200                   // windows folded at once
	sweepPause = 10 * time.Millisecond // for commits in between
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
	return s.sweepKeys(now)
}

// sweepKeys forgets the keys that expired before now.
func (s *Embedded) sweepKeys(now time.Time) error {
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
	return guard(s, func() ([]byte, error) {
		s.commits.Lock()
		defer s.commits.Unlock()
		return s.sweepLocked(from, now)
	})
}

func (s *Embedded) sweepLocked(from []byte, now time.Time) (next []byte, err error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: successor([]byte{keySpace})})
	if err != nil {
		return nil, s.failed("reading the keys", err)
	}
	b := s.db.NewBatch()
	looked := 0
	for it.First(); it.Valid(); it.Next() {
		if looked++; looked > sweepKeys || b.Count() >= sweepBatch {
			next = slices.Clone(it.Key())
			break
		}
		v, err := it.ValueAndErr()
		if err != nil {
			return nil, errors.Join(s.failed("reading the keys", err), it.Close(), b.Close())
		}
		expires, err := decodeExpiry(v)
		if err != nil {
			return nil, errors.Join(s.failed("reading the keys", err), it.Close(), b.Close())
		}
		if expires.Before(now) {
			if err := b.Delete(it.Key(), nil); err != nil {
				return nil, errors.Join(err, it.Close(), b.Close())
			}
		}
	}
	if err := errors.Join(it.Error(), it.Close()); err != nil {
		return nil, errors.Join(s.failed("reading the keys", err), b.Close())
	}
	if b.Empty() {
		return next, b.Close()
	}
	// A deletion that a power cut undoes is done again by the next sweep.
	if err := s.db.Apply(b, pebble.NoSync); err != nil {
		return nil, err
	}
	s.readers.renew()
	return next, b.Close()
}

// sweepLedger folds the windows that ended before the detail is kept into the total
// of the day they began on, each batch in one commit, so none counts twice.
func (s *Embedded) sweepLedger(now time.Time) error {
	for {
		more, err := s.foldStep(now.Add(-s.opts.LedgerDetail))
		if err != nil || !more {
			return err
		}
		time.Sleep(sweepPause)
	}
}

func (s *Embedded) foldStep(before time.Time) (more bool, err error) {
	if err := s.enter(); err != nil {
		return false, err
	}
	defer s.leave()
	return guard(s, func() (bool, error) {
		s.commits.Lock()
		defer s.commits.Unlock()
		return s.foldLocked(before)
	})
}

var errEnough = errors.New("enough for one step")

func (s *Embedded) foldLocked(before time.Time) (more bool, err error) {
	b := s.db.NewBatch()
	days := make(map[string]*Entry)
	err = s.each([]byte{windowSpace}, func(name, v []byte) error {
		e, err := decodeJSON[Entry](name, v)
		if err != nil || !e.To.Before(before) {
			return err
		}
		if b.Count() >= foldBatch {
			return errEnough
		}
		day, err := s.day(days, &e)
		if err != nil {
			return err
		}
		day.fold(&e)
		return b.Delete(name, nil)
	})
	more = errors.Is(err, errEnough)
	if err != nil && !more {
		return false, errors.Join(s.failed("reading the ledger", err), b.Close())
	}
	for name, e := range days {
		v, err := json.Marshal(e)
		if err == nil {
			err = b.Set([]byte(name), v, nil)
		}
		if err != nil {
			return false, errors.Join(err, b.Close())
		}
	}
	if b.Empty() {
		return false, b.Close()
	}
	if err := s.db.Apply(b, pebble.Sync); err != nil {
		return false, err
	}
	return more, b.Close()
}

// day is the total that e belongs to, out of days or out of the store.
func (s *Embedded) day(days map[string]*Entry, e *Entry) (*Entry, error) {
	from := e.From.UTC().Truncate(24 * time.Hour)
	total := &Entry{Feed: e.Feed, Partition: e.Partition, From: from, To: from.Add(24 * time.Hour), Complete: e.Complete}
	name := dayName(total)
	if d := days[string(name)]; d != nil {
		return d, nil
	}
	v, closer, err := s.db.Get(name)
	switch {
	case errors.Is(err, pebble.ErrNotFound):
	case err != nil:
		return nil, err
	default:
		d, err := decodeJSON[Entry](name, v)
		if err = errors.Join(err, closer.Close()); err != nil {
			return nil, err
		}
		total = &d
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
}
