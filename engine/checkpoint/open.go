package checkpoint

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
)

// Within the state directory.
const (
	stateDir = "state"
	newDir   = "state.new" // while a first state is made
	lockName = "state.lock"
)

// Open opens the state in dir, and makes it where there is none. The state of
// another process is ErrLocked. State that is damaged, or that a newer release wrote, is
// set aside under another name in dir, and a new one begins; SetAside then
// tells of it. An environment that does not let it work (no permission, read-only,
// no space) is an error, never damage.
func Open(dir string, o Options) (*Embedded, error) {
	if o.LockWait <= 0 {
		o.LockWait = 2 * time.Second
	}
	if o.memTable == 0 {
		o.memTable = memTableSize
		if o.FS != nil {
			o.memTable = memTableSmall
		}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	d := newDisk(o.FS)
	if !o.ReadOnly {
		if err := d.makeDir(dir); err != nil {
			return nil, openError(dir, err)
		}
	}
	unlock, err := lock(d, dir, o)
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
	if e, ok := Explain(dir, err); ok {
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
		return nil, noState(dir)
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
		if report, err = setAside(d, dir, state, why, time.Now()); err != nil {
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
	v, err := json.Marshal(meta{Version: formatVersion, Created: time.Now().UTC()})
	if err == nil {
		err = guard(s, func() error { return s.db.Set([]byte{metaSpace}, v, pebble.Sync) })
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
		return nil, unopened(dir, err)
	}
	s := newEmbedded(dir, state, o)
	s.witness.mark = mark
	s.disk.onSynced = s.witness.manifest
	if err := s.openDB(); err != nil {
		return nil, unopened(dir, err)
	}
	if err := guard(s, func() error { s.sizeCache(); return s.admit(mark) }); err != nil {
		err = unopened(dir, err)
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
	return &Embedded{dir: dir, state: state, opts: o, disk: newDisk(o.FS), stopped: make(chan struct{})}
}

// unopened decides what an error on opening means.
func unopened(dir string, err error) error {
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
	// Memory tables take their place out of the cache's. There are hardly ever more than two.
	s.cache = pebble.NewCache(cacheSize + int64(2*s.opts.memTable))
	o := &pebble.Options{
		FS:                          s.disk,
		Cache:                       s.cache,
		Comparer:                    pebble.DefaultComparer,
		FormatMajorVersion:          pebble.FormatTableFormatV6, // detects a log damaged in its middle
		ReadOnly:                    s.opts.ReadOnly,
		MemTableSize:                s.opts.memTable,
		MemTableStopWritesThreshold: memTables,
		MaxManifestFileSize:         1 << 20,
		MaxOpenFiles:                512,
		Logger:                      engineLog{s},
		EventListener: &pebble.EventListener{
			BackgroundError: func(err error) { s.stop(err) },
			DataCorruption:  func(i pebble.DataCorruptionInfo) { s.stop(&damageError{cause: i.Details}) },
		},
	}
	o.Experimental.FileCacheShards = 1
	if s.opts.FS != nil {
		// Its tick, ten times a second, would be most of the work of years in virtual time.
		o.Experimental.CompactionScheduler = pebble.NewConcurrencyLimitSchedulerWithNoPeriodicGrantingForTest()
	}
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(filterBits)
		o.Levels[i].BlockSize = 8 << 10
		o.Levels[i].Compression = func() *sstable.CompressionProfile { return sstable.NoCompression } // hashes do not compress
	}
	for i := range o.TargetFileSizes {
		o.TargetFileSizes[i] = 4 << 20
	}
	var db *pebble.DB
	if err := guard(s, func() (err error) { db, err = pebble.Open(s.state, o); return err }); err != nil {
		s.cache.Unref()
		return err
	}
	s.db = db
	s.readers.open(db, s.opts.memTable, s.opts.ReadOnly)
	return nil
}

const (
	memTableSize = 4 << 20 // see BenchmarkMemTable
	// In years in virtual time: each sync of a disk in memory copies the log, which is as large as the table.
	memTableSmall = 256 << 10
	memTables     = 4 // one to write to, others on their way to the disk
	filterBits    = 8 // 1 new key in 40 costs a read
)
