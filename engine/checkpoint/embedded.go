package checkpoint

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
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
	// LedgerDetail is how long the ledger keeps each window before it is folded
	// into its day. 0: 7 days.
	LedgerDetail time.Duration
	// LockWait is how long Open waits for another process to let go. 0: 2 seconds,
	// enough for one that looks at the state and for one that is ending.
	LockWait time.Duration
	// Now is the clock for the name of a state set aside. nil: time.Now.
	Now func() time.Time

	fs       vfs.FS // for tests; nil: the operating system's
	memTable uint64 // for tests; 0: memTableSize
}

// Embedded is a Store in a directory of this machine, for one process at a time.
// It is an LSM tree: commits append to a log, so they cost what they bring and not what is
// stored, and a key that was never seen is refused by a filter in memory.
type Embedded struct {
	dir    string // the state directory
	state  string // in it, the engine's
	opts   Options
	disk   *disk
	db     *pebble.DB
	cache  *pebble.Cache
	unlock func() error
	report *Report

	witness witness

	life   sync.RWMutex // held for reading by each call, for writing by Close
	closed atomic.Bool

	readers readers

	// commits is held for reading while a commit is applied, for writing by a sweep
	// from looking at keys until they are gone: no key is swept that a commit has
	// refreshed in between.
	commits sync.RWMutex

	stopOnce sync.Once
	stopped  chan struct{} // closed when the store can no longer be used
	cause    error         // why; set before stopped is closed
}

var _ Store = (*Embedded)(nil)

// Within the state directory.
const (
	stateDir = "state"
	newDir   = "state.new" // while a first state is made
	lockName = "state.lock"
)

// fullPatience is how long a commit waits for space on a full disk before it says so.
const fullPatience = 2 * time.Second

// closePatience is how long Close waits for the work in the background to end.
const closePatience = 4 * time.Second

// Open opens the state in dir, and makes it where there is none. The state of
// another process is ErrLocked. State that is damaged, or that a newer release wrote, is
// set aside under another name in dir, and a new one begins; SetAside then
// tells of it. An environment that does not let it work (no permission, read-only,
// no space) is an error, never damage.
func Open(dir string, o Options) (*Embedded, error) {
	if o.LedgerDetail <= 0 {
		o.LedgerDetail = 7 * 24 * time.Hour
	}
	if o.LockWait <= 0 {
		o.LockWait = 2 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.memTable == 0 {
		o.memTable = memTableSize
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	d := newDisk(o.fs)
	if !o.ReadOnly {
		if err := d.makeDir(dir); err != nil {
			return nil, openError(dir, err)
		}
	}
	unlock, err := lock(d, dir, o.LockWait)
	if err != nil {
		return nil, err
	}
	s, err := openOrRenew(d, dir, o)
	if err != nil {
		return nil, errors.Join(err, unlock())
	}
	s.unlock = unlock
	return s, nil
}

func openError(dir string, err error) error {
	if e, ok := explain(dir, err); ok {
		return e
	}
	return fmt.Errorf("opening the state in %s: %w", dir, err)
}

func openOrRenew(d *disk, dir string, o Options) (*Embedded, error) {
	state := d.PathJoin(dir, stateDir)
	_, err := d.Stat(state)
	exists := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, openError(dir, err)
	}
	if o.ReadOnly && !exists {
		return nil, fmt.Errorf("there is no state in %s yet: %w", dir, fs.ErrNotExist)
	}
	var report *Report
	if exists {
		s, err := openState(d, dir, state, o)
		var why *unusable
		switch {
		case err == nil:
			return s, nil
		case !errors.As(err, &why):
			return nil, err
		case o.ReadOnly:
			return nil, why
		}
		if report, err = setAside(d, dir, state, why, o.Now()); err != nil {
			return nil, err
		}
	}
	if err := create(d, dir, state, o); err != nil {
		return nil, err
	}
	s, err := openState(d, dir, state, o)
	if err != nil {
		return nil, fmt.Errorf("the new state in %s: %w", dir, err)
	}
	s.report = report
	return s, nil
}

// create makes an empty state. It gets its name once it is whole, so a state
// without its meta value was not left so by a kill.
func create(d *disk, dir, state string, o Options) error {
	fresh := d.PathJoin(dir, newDir)
	if err := d.RemoveAll(fresh); err != nil {
		return openError(dir, err)
	}
	if err := d.MkdirAll(fresh, 0o700); err != nil {
		return openError(dir, err)
	}
	s := newEmbedded(dir, fresh, o)
	if err := s.openDB(); err != nil {
		return openError(dir, err)
	}
	v, err := json.Marshal(meta{Version: formatVersion, Created: o.Now().UTC()})
	if err == nil {
		_, err = guard(s, func() (struct{}, error) { return struct{}{}, s.db.Set([]byte{metaSpace}, v, pebble.Sync) })
	}
	if err = errors.Join(err, s.closeDB()); err != nil {
		return openError(dir, err)
	}
	if err := d.Rename(fresh, state); err != nil {
		return openError(dir, err)
	}
	if err := d.syncDir(dir); err != nil {
		return openError(dir, err)
	}
	return nil
}

// openState opens what is stored; an *unusable error says why it cannot be used.
func openState(d *disk, dir, state string, o Options) (*Embedded, error) {
	mark, err := inspect(d, state)
	if err != nil {
		return nil, verdict(dir, err)
	}
	s := newEmbedded(dir, state, o)
	s.witness.mark = mark
	s.disk.onSynced = s.witness.manifest
	if err := s.openDB(); err != nil {
		return nil, verdict(dir, err)
	}
	if _, err := guard(s, func() (struct{}, error) { return struct{}{}, s.admit(mark) }); err != nil {
		err = verdict(dir, err)
		if e := s.closeDB(); e != nil {
			s.opts.Logger.Debug("state store: closing what cannot be used", "error", e)
		}
		return nil, err
	}
	s.disk.patient.Store(true)
	return s, nil
}

// newEmbedded is a store before its engine is open. Its disk is its own, because it is
// abandoned with it.
func newEmbedded(dir, state string, o Options) *Embedded {
	return &Embedded{dir: dir, state: state, opts: o, disk: newDisk(o.fs), stopped: make(chan struct{})}
}

// verdict decides what an error on opening means.
func verdict(dir string, err error) error {
	var why *unusable
	var damage *damageError
	switch {
	case errors.As(err, &why):
		return why
	case errors.As(err, &damage):
		return damagef("%v", damage.cause)
	case isDamage(err):
		return damagef("%v", err)
	case errors.Is(err, ErrStopped):
		return err
	}
	return openError(dir, err)
}

// admit checks what the engine opened: that it is ours, of this version, and not
// older than what was acknowledged.
func (s *Embedded) admit(mark watermark) error {
	v, closer, err := s.db.Get([]byte{metaSpace})
	if errors.Is(err, pebble.ErrNotFound) {
		return damagef("%s holds no version", s.state)
	}
	if err != nil {
		return err
	}
	m, err := decodeJSON[meta]([]byte{metaSpace}, v)
	if err = errors.Join(err, closer.Close()); err != nil {
		return err
	}
	if m.Version > formatVersion {
		return &unusable{newer: true, reason: fmt.Sprintf("the state was written by a newer release of the connector (version %d; this one knows up to %d)", m.Version, formatVersion)}
	}
	if s.opts.ReadOnly {
		return nil
	}
	b := s.db.NewBatch()
	if v, err = json.Marshal(m); err != nil {
		return err
	}
	if err := b.Set([]byte{metaSpace}, v, nil); err != nil {
		return err
	}
	if err := s.db.Apply(b, pebble.NoSync); err != nil {
		return err
	}
	if seq := uint64(b.SeqNum()); seq <= mark.seq {
		return damagef("its log in %s lost commits that were acknowledged: it ends before number %d, and %d was written", s.state, seq, mark.seq)
	}
	if err := b.Close(); err != nil {
		return err
	}
	return s.witness.open(s.disk, s.state)
}

func (s *Embedded) openDB() error {
	// The filters of all keys must fit, or each lookup reads one from the disk; the
	// rest of the cache serves the keys that repeat.
	s.cache = pebble.NewCache(cacheSize)
	o := &pebble.Options{
		FS:                          s.disk,
		Cache:                       s.cache,
		Comparer:                    pebble.DefaultComparer,
		FormatMajorVersion:          pebble.FormatTableFormatV6, // detects a log damaged in its middle
		ReadOnly:                    s.opts.ReadOnly,
		MemTableSize:                s.opts.memTable,
		MemTableStopWritesThreshold: 4,
		MaxManifestFileSize:         1 << 20,
		MaxOpenFiles:                512,
		L0CompactionThreshold:       2,
		LBaseMaxBytes:               16 << 20,
		Logger:                      engineLog{s},
		EventListener: &pebble.EventListener{
			BackgroundError: func(err error) { s.stop(err) },
			DataCorruption:  func(i pebble.DataCorruptionInfo) { s.stop(&damageError{cause: i.Details}) },
		},
	}
	o.Experimental.FileCacheShards = 1
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(filterBits)
		o.Levels[i].BlockSize = 8 << 10
		o.Levels[i].Compression = func() *sstable.CompressionProfile { return sstable.NoCompression } // hashes do not compress
	}
	for i := range o.TargetFileSizes {
		o.TargetFileSizes[i] = 2 << 20
	}
	db, err := guard(s, func() (*pebble.DB, error) { return pebble.Open(s.state, o) })
	if err != nil {
		s.cache.Unref()
		return err
	}
	s.db = db
	s.readers.db = db
	return nil
}

const (
	memTableSize = 1 << 20
	cacheSize    = 28 << 20
	filterBits   = 8
)

// engineLog takes what the engine says. Its Fatalf must not return, and by default ends the
// process; here it stops the store and parks the engine's goroutine, so that the
// connector can say why, and open the state again.
type engineLog struct{ s *Embedded }

func (l engineLog) Infof(format string, args ...any)  { l.debug(format, args) }
func (l engineLog) Errorf(format string, args ...any) { l.debug(format, args) }

func (l engineLog) debug(format string, args []any) {
	log := l.s.opts.Logger
	if log.Enabled(context.Background(), slog.LevelDebug) {
		log.Debug("state store: " + fmt.Sprintf(format, args...))
	}
}

func (l engineLog) Fatalf(format string, args ...any) {
	// Whether it is damage or the environment shows only in the cause, which is
	// among the arguments.
	fatal := &fatalError{text: fmt.Sprintf(format, args...)}
	for _, a := range args {
		if err, ok := a.(error); ok {
			fatal.cause = err
		}
	}
	l.s.stop(fatal)
	select {}
}

// fatalError is what the engine says with its last words, and their cause.
type fatalError struct {
	text  string
	cause error
}

func (e *fatalError) Error() string { return e.text }
func (e *fatalError) Unwrap() error { return e.cause }

// damageError is an [ErrDamaged] that says of what.
type damageError struct {
	dir   string
	cause error
}

func (e *damageError) Error() string {
	return fmt.Sprintf("%v: %s: %v; restart the connector, or open the state again: it is then set aside and built anew", ErrDamaged, e.dir, e.cause)
}

func (e *damageError) Unwrap() []error { return []error{ErrDamaged, e.cause} }

// stop ends the use of the store: calls in progress and later ones return the
// reason.
func (s *Embedded) stop(err error) {
	s.stopOnce.Do(func() {
		explained, environment := explain(s.dir, err)
		var damage *damageError
		switch {
		case errors.As(err, &damage), errors.Is(err, ErrDamaged), pebble.IsCorruptionError(err):
			if damage == nil {
				damage = &damageError{cause: err}
			}
			damage.dir = s.dir
			s.cause = damage
			s.markDamaged(damage.cause)
		case environment:
			s.cause = fmt.Errorf("%w: %w", ErrStopped, explained)
		default:
			s.cause = fmt.Errorf("%w: %s: %w; open it again", ErrStopped, s.dir, err)
		}
		s.disk.abandoned.Store(true)
		close(s.stopped)
	})
}

// markDamaged leaves word for the next Open. Where it cannot, the next run
// finds the damage again.
func (s *Embedded) markDamaged(cause error) {
	if s.opts.ReadOnly {
		return
	}
	f, err := s.disk.Create(s.disk.PathJoin(s.state, damagedMark), vfs.WriteCategoryUnspecified)
	if err != nil {
		return
	}
	_, err = io.WriteString(f, cause.Error())
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		s.opts.Logger.Debug("state store: marking the state as damaged failed", "error", err)
	}
}

// guard runs work of the engine in a goroutine of its own: the engine may park it
// for ever in Fatalf, or panic over a failed write, and either stops the store.
func guard[T any](s *Embedded, work func() (T, error)) (T, error) {
	done := start(s, work)
	select {
	case r := <-done:
		return r.value, r.err
	case <-s.stopped:
		var none T
		return none, s.cause
	}
}

type result[T any] struct {
	value T
	err   error
}

func start[T any](s *Embedded, work func() (T, error)) <-chan result[T] {
	done := make(chan result[T], 1)
	go func() {
		defer func() {
			if r := recover(); r != nil {
				err, ok := r.(error)
				if !ok {
					err = fmt.Errorf("%v", r)
				}
				s.stop(err)
				done <- result[T]{err: s.cause}
			}
		}()
		v, err := work()
		done <- result[T]{v, err}
	}()
	return done
}

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

// failed makes of an error on reading what the caller gets; damage stops the store.
func (s *Embedded) failed(what string, err error) error {
	if err == nil {
		return nil
	}
	if isDamage(err) {
		s.stop(&damageError{cause: err})
		<-s.stopped
		return fmt.Errorf("%s: %w", what, s.cause)
	}
	explained, _ := explain(s.dir, err)
	return fmt.Errorf("%s: %w", what, explained)
}

// SetAside tells of the state that Open found unusable and set aside; nil if it was
// sound, or the first.
func (s *Embedded) SetAside() *Report { return s.report }

// Position implements [Store].
func (s *Embedded) Position(feed, partition string) (p Position, ok bool, err error) {
	if err := s.enter(); err != nil {
		return p, false, err
	}
	defer s.leave()
	name := positionName(feed, partition)
	v, closer, err := s.db.Get(name)
	if errors.Is(err, pebble.ErrNotFound) {
		return p, false, nil
	}
	if err == nil {
		p, err = decodeJSON[Position](name, v)
		err = errors.Join(err, closer.Close())
	}
	return p, err == nil, s.failed("reading the position of "+feed+" "+partition, err)
}

// Positions implements [Store].
func (s *Embedded) Positions() (map[[2]string]Position, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	all := make(map[[2]string]Position)
	err := s.each([]byte{positionSpace}, func(name, v []byte) error {
		feed, rest, ok := cutText(name[1:])
		partition, _, ok2 := cutText(rest)
		if !ok || !ok2 {
			return fmt.Errorf("no feed and partition in the name %q", name)
		}
		p, err := decodeJSON[Position](name, v)
		all[[2]string{feed, partition}] = p
		return err
	})
	if err != nil {
		return nil, s.failed("reading the positions", err)
	}
	return all, nil
}

// each calls f for every pair whose name begins with prefix, in order.
func (s *Embedded) each(prefix []byte, f func(name, value []byte) error) (err error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: successor(prefix)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for it.First(); it.Valid(); it.Next() {
		v, err := it.ValueAndErr()
		if err == nil {
			err = f(it.Key(), v)
		}
		if err != nil {
			return err
		}
	}
	return it.Error()
}

// successor is the first name after all that begin with prefix.
func successor(prefix []byte) []byte {
	b := append([]byte(nil), prefix...)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i]++; b[i] != 0 {
			return b[:i+1]
		}
	}
	return nil
}

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
	if err := s.apply(b); err != nil {
		return fmt.Errorf("committing what was delivered of %s %s: %w", c.Feed, c.Partition, err)
	}
	return nil
}

// write puts the commit into b.
func (c *Commit) write(b *pebble.Batch) error {
	if c.Position != nil {
		v, err := json.Marshal(c.Position)
		if err != nil {
			return fmt.Errorf("position of %s %s: %w", c.Feed, c.Partition, err)
		}
		if err := b.Set(positionName(c.Feed, c.Partition), v, nil); err != nil {
			return err
		}
	}
	if c.Entry != nil {
		v, err := json.Marshal(c.Entry)
		if err != nil {
			return fmt.Errorf("ledger entry of %s %s: %w", c.Feed, c.Partition, err)
		}
		if err := b.Set(windowName(c.Entry), v, nil); err != nil {
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

// apply makes b durable and takes it over. On a full disk it gives up waiting after a while;
// b is then written once there is space, or never.
func (s *Embedded) apply(b *pebble.Batch) error {
	limit := time.NewTimer(fullPatience)
	defer limit.Stop()
	for full := s.disk.Full(); full != nil; full = s.disk.Full() {
		select {
		case <-limit.C:
			explained, _ := explain(s.dir, full)
			return errors.Join(explained, b.Close())
		case <-s.stopped:
			return s.cause
		case <-time.After(retryFull):
		}
	}
	count := uint64(b.Count())
	done := start(s, func() (none struct{}, err error) {
		s.commits.RLock()
		defer s.commits.RUnlock()
		if err := s.db.Apply(b, pebble.Sync); err != nil {
			return none, err
		}
		s.readers.renew()
		// The commit is durable whether or not its witness can be written.
		// A batch too large for the memory table no longer knows its number; the
		// commits around it are witnessed.
		if seq := uint64(b.SeqNum()); seq > 0 && count > 0 {
			if err := s.witness.committed(seq + count - 1); err != nil {
				s.opts.Logger.Debug("state store: writing the watermark failed", "error", err)
			}
		}
		return none, b.Close()
	})
	for {
		select {
		case r := <-done:
			return r.err
		case <-s.stopped:
			return s.cause
		case <-limit.C:
			if full := s.disk.Full(); full != nil {
				explained, _ := explain(s.dir, full)
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
	closed := start(s, func() (none struct{}, err error) {
		s.readers.renew()
		err = s.db.Close()
		s.cache.Unref()
		return none, err
	})
	limit := time.NewTimer(closePatience)
	defer limit.Stop()
	var err error
	select {
	case r := <-closed:
		err = r.err
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
