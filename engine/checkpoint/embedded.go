package checkpoint

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Options of an embedded store. The zero value serves.
type Options struct {
	// Logger gets what the store's engine says of its work, all at DEBUG.
	// nil: nowhere.
	Logger *slog.Logger
	// ReadOnly opens the state to look at it: Commit and Sweep fail, damage is an
	// error, and a state that does not exist yet is fs.ErrNotExist. It takes the
	// lock, so a running connector refuses it.
	ReadOnly bool
	// LockWait is how long Open waits for another process to let go. 0: 2 seconds,
	// enough for one that looks at the state and for one that is ending.
	LockWait time.Duration
	// FS holds the state: vfs.NewMem() for one in memory. nil: the operating system's.
	FS vfs.FS

	memTable uint64 // for tests; 0: memTableSize
}

// Embedded is a Store in a directory of this machine, for one process at a time.
type Embedded struct {
	dir    string // the state directory
	state  string // in it, the engine's
	opts   Options
	disk   *disk
	db     *pebble.DB
	cache  *pebble.Cache
	room   cacheRoom
	unlock func() error
	report *Report

	witness witness

	life   sync.RWMutex // held for reading by each call, for writing by Close
	closed atomic.Bool

	readers lookups

	// commits is held for reading while a commit is applied, for writing by a sweep
	// from looking at keys until they are gone: no key is swept that a commit has
	// refreshed in between.
	commits sync.RWMutex

	stopOnce sync.Once
	stopped  chan struct{} // closed when the store can no longer be used
	cause    error         // why; set before stopped is closed
}

var _ Store = (*Embedded)(nil)

// fullPatience is how long a commit waits for space on a full disk before it says so.
const fullPatience = 2 * time.Second

// closePatience is how long Close waits for the work in the background to end.
const closePatience = 4 * time.Second

// enter begins a call; leave ends it.
func (s *Embedded) enter() error {
	if s.closed.Load() {
		return ErrClosed
	}
	s.life.RLock()
	if s.closed.Load() {
		s.life.RUnlock()
		return ErrClosed
	}
	select {
	case <-s.stopped:
		s.life.RUnlock()
		return s.cause
	default:
		return nil
	}
}

func (s *Embedded) leave() { s.life.RUnlock() }

// SetAside tells of the state that Open found unusable and set aside; nil if it was
// sound, or the first.
func (s *Embedded) SetAside() *Report { return s.report }

var errReadOnly = errors.New("the state was opened to look at it only")

// Commit implements [Store].
func (s *Embedded) Commit(c *Commit) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	if s.opts.ReadOnly {
		return errReadOnly
	}
	b := s.db.NewBatchWithSize(len(c.Keys)*(1+len(Key{})+4+4) + 2048)
	if err := c.write(b); err != nil {
		return errors.Join(err, b.Close())
	}
	if err := s.apply(b, c); err != nil {
		return fmt.Errorf("committing what was delivered of %s %s: %w", c.Feed, c.Partition, err)
	}
	return nil
}

// Apply writes commits in their order, all or nothing, for a store that can say them
// again: a power cut may take the last of them back, though never one before another. It waits
// as long as the disk is full.
func (s *Embedded) Apply(commits []*Commit) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	return guard(s, func() error {
		if err := s.beginTable(); err != nil {
			return err
		}
		s.commits.RLock()
		defer s.commits.RUnlock()
		return s.applyLocked(commits)
	})
}

// beginTable begins a new memory table where it is time.
func (s *Embedded) beginTable() error {
	if !s.readers.full() {
		return nil
	}
	s.commits.Lock()
	defer s.commits.Unlock()
	return s.readers.begin()
}

func (s *Embedded) applyLocked(commits []*Commit) error {
	b := s.db.NewBatch()
	if slices.ContainsFunc(commits, func(c *Commit) bool { return c.Fold != nil }) {
		b = s.db.NewIndexedBatch() // a fold reads what it replaces, here too
	}
	for _, c := range commits {
		if err := c.write(b); err != nil {
			return errors.Join(err, b.Close())
		}
	}
	if err := s.put(b, pebble.NoSync, commits...); err != nil {
		return err
	}
	return b.Close()
}

// put hands b to the engine, with the keys of the commits in it. The caller holds s.commits.
func (s *Embedded) put(b *pebble.Batch, how *pebble.WriteOptions, commits ...*Commit) error {
	s.readers.change(b, commits)
	defer s.readers.changed()
	s.came(b.Count())
	return s.db.Apply(b, how)
}

// write puts the commit into b, which is indexed where it has a fold.
func (c *Commit) write(b *pebble.Batch) error {
	set := func(name []byte, value any) error {
		v, err := json.Marshal(value)
		if err != nil {
			return fmt.Errorf("state of %s %s: %w", c.Feed, c.Partition, err)
		}
		return b.Set(name, v, nil)
	}
	if c.Fold != nil {
		if err := c.Fold.write(b, c.Feed, c.Partition, set); err != nil {
			return err
		}
	}
	if c.Position != nil {
		if err := set(partitionName(positionSpace, c.Feed, c.Partition), c.Position); err != nil {
			return err
		}
	}
	if c.Entry != nil {
		if err := set(windowName(c.Entry), c.Entry); err != nil {
			return err
		}
	}
	for _, o := range c.Objects {
		name := append(partitionName(objectSpace, c.Feed, c.Partition), o.ID...)
		change := func() error { return b.Set(name, o.State, nil) }
		if len(o.State) == 0 {
			change = func() error { return b.Delete(name, nil) }
		}
		if err := change(); err != nil {
			return err
		}
	}
	hour := hoursUp(c.Expires)
	for i := range c.Keys {
		op := b.SetDeferred(1+len(Key{}), 4)
		op.Key[0] = keySpace
		copy(op.Key[1:], c.Keys[i][:])
		binary.BigEndian.PutUint32(op.Value, hour)
		if err := op.Finish(); err != nil {
			return err
		}
	}
	return nil
}

// apply makes b, which is the commit, durable and takes it over. On a full disk it gives up waiting after a while;
// b is then written once there is space, or never.
func (s *Embedded) apply(b *pebble.Batch, c *Commit) error {
	limit := time.NewTimer(fullPatience)
	defer limit.Stop()
	for full := s.disk.Full(); full != nil; full = s.disk.Full() {
		select {
		case <-limit.C:
			if full := s.disk.Full(); full != nil {
				explained, _ := Explain(s.dir, full)
				return errors.Join(explained, b.Close())
			}
			limit.Reset(fullPatience)
		case <-s.stopped:
			return s.cause
		case <-time.After(retryFull):
		}
	}
	count := uint64(b.Count())
	done := start(s, func() error {
		if err := s.beginTable(); err != nil {
			return err
		}
		s.commits.RLock()
		defer s.commits.RUnlock()
		if err := s.put(b, pebble.Sync, c); err != nil {
			return err
		}
		// The commit is durable whether or not its witness can be written.
		// A batch too large for the memory table no longer knows its number; the
		// commits around it are witnessed.
		if seq := uint64(b.SeqNum()); seq > 0 && count > 0 {
			if err := s.witness.committed(seq + count - 1); err != nil {
				s.opts.Logger.Debug("state store: writing the watermark failed", "error", err)
			}
		}
		return b.Close()
	})
	for {
		select {
		case err := <-done:
			return err
		case <-s.stopped:
			return s.cause
		case <-limit.C:
			if full := s.disk.Full(); full != nil {
				explained, _ := Explain(s.dir, full)
				return explained
			}
			limit.Reset(fullPatience)
		}
	}
}

// Close implements [Store].
func (s *Embedded) Close() error {
	if s.closed.Swap(true) {
		return ErrClosed
	}
	s.disk.patient.Store(false) // what waits for space fails, and the calls end
	s.life.Lock()
	defer s.life.Unlock()
	return errors.Join(s.closeDB(), s.unlock())
}

// closeDB ends the engine. One that has stopped, or does not end, is abandoned: it can
// do no more harm, and what was acknowledged is on the disk.
func (s *Embedded) closeDB() error {
	if s.db == nil {
		return nil
	}
	closed := start(s, func() error {
		s.readers.close()
		err := s.db.Close()
		s.cache.Unref()
		return err
	})
	limit := time.NewTimer(closePatience)
	defer limit.Stop()
	var err error
	select {
	case err = <-closed:
		select {
		case <-s.stopped:
			err = nil // the calls have reported it
		default:
		}
	case <-limit.C:
		s.disk.abandoned.Store(true)
	}
	return errors.Join(err, s.witness.close())
}
