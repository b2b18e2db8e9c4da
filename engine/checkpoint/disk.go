package checkpoint

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// disk is the file system as the store sees it. It differs from the plain one in
// four ways: what it creates is readable by the owner only; a full disk makes
// writers wait for space instead of failing, because the store does not survive a failed
// write; once abandoned it changes nothing more, so that what is left running of a
// stopped store cannot reach the files of the next one; and it says what was made
// durable of a manifest.
type disk struct {
	vfs.FS
	real     bool // the operating system's, with modes
	onSynced func(manifest string, size int64, sum uint32)

	abandoned atomic.Bool
	patient   atomic.Bool // wait for space

	mu      sync.Mutex
	waiting int   // writers that wait for space
	full    error // why they do
}

func newDisk(inner vfs.FS) *disk {
	if inner == nil {
		return &disk{FS: vfs.Default, real: true}
	}
	return &disk{FS: inner}
}

var errAbandoned = errors.New("the store was stopped")

// retryFull is how often a writer that waits for space tries again.
const retryFull = 250 * time.Millisecond

// Full is the error of the writers that wait for space, nil if none does.
func (d *disk) Full() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.full
}

func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// write runs a change of the disk, again and again while there is no space for it.
func (d *disk) write(change func() error) error {
	waits := false
	defer func() {
		if !waits {
			return
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.waiting--; d.waiting == 0 {
			d.full = nil
		}
	}()
	for {
		if d.abandoned.Load() {
			return errAbandoned
		}
		err := change()
		if !isFull(err) || !d.patient.Load() {
			return err
		}
		if !waits {
			waits = true
			d.mu.Lock()
			d.waiting++
			d.full = err
			d.mu.Unlock()
		}
		time.Sleep(retryFull)
	}
}

// open runs an operation that creates or opens a file for writing.
func (d *disk) open(name string, open func() (vfs.File, error)) (f vfs.File, err error) {
	err = d.write(func() (err error) { f, err = open(); return err })
	if err != nil {
		return nil, err
	}
	if d.real {
		if err := os.Chmod(name, 0o600); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	base := d.PathBase(name)
	return &diskFile{File: f, disk: d, name: base, manifest: strings.HasPrefix(base, "MANIFEST-")}, nil
}

func (d *disk) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return d.open(name, func() (vfs.File, error) { return d.FS.Create(name, c) })
}

func (d *disk) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return d.open(name, func() (vfs.File, error) { return d.FS.OpenReadWrite(name, c, o...) })
}

func (d *disk) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return d.open(to, func() (vfs.File, error) { return d.FS.ReuseForWrite(from, to, c) })
}

func (d *disk) Link(from, to string) error {
	return d.write(func() error { return d.FS.Link(from, to) })
}

func (d *disk) Rename(from, to string) error {
	return d.write(func() error { return d.FS.Rename(from, to) })
}

func (d *disk) Remove(name string) error {
	return d.write(func() error { return d.FS.Remove(name) })
}

func (d *disk) RemoveAll(name string) error {
	return d.write(func() error { return d.FS.RemoveAll(name) })
}

func (d *disk) MkdirAll(dir string, _ fs.FileMode) error {
	return d.write(func() error { return d.FS.MkdirAll(dir, 0o700) })
}

// Lock succeeds at once: the store's own lock, taken before, covers the directory
// and what is beside it.
func (d *disk) Lock(string) (io.Closer, error) { return io.NopCloser(nil), nil }

func (d *disk) Unwrap() vfs.FS { return d.FS }

// makeDir makes a directory, and those above it, to stay: MkdirAll alone leaves
// their names to the next power cut.
func (d *disk) makeDir(dir string) error {
	if _, err := d.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := d.PathDir(dir)
	if err := d.makeDir(parent); err != nil {
		return err
	}
	if err := d.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return d.syncDir(parent)
}

// syncDir makes the names in a directory durable.
func (d *disk) syncDir(dir string) error {
	f, err := d.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

type diskFile struct {
	vfs.File
	disk     *disk
	name     string
	manifest bool
	size     int64  // of what was written to a manifest
	sum      uint32 // CRC-32 of it
}

func (f *diskFile) Write(p []byte) (n int, err error) {
	written := p
	if f.manifest {
		written = slices.Clone(p) // p is the writer's, and may change under it
	}
	err = f.disk.write(func() error {
		m, err := f.File.Write(p[n:])
		n += m
		return err
	})
	if f.manifest {
		f.size += int64(n)
		f.sum = crc32.Update(f.sum, crc32.IEEETable, written[:n])
	}
	return n, err
}

func (f *diskFile) WriteAt(p []byte, off int64) (n int, err error) {
	err = f.disk.write(func() error {
		m, err := f.File.WriteAt(p[n:], off+int64(n))
		n += m
		return err
	})
	return n, err
}

// synced follows every kind of sync. One that fails is not tried again: the system
// may have dropped what it could not write, and a second sync would then lie.
func (f *diskFile) synced(err error) error {
	if err != nil {
		return err
	}
	if f.disk.abandoned.Load() {
		return errAbandoned
	}
	if f.manifest && f.disk.onSynced != nil {
		f.disk.onSynced(f.name, f.size, f.sum)
	}
	return nil
}

func (f *diskFile) Sync() error     { return f.synced(f.File.Sync()) }
func (f *diskFile) SyncData() error { return f.synced(f.File.SyncData()) }

func (f *diskFile) SyncTo(length int64) (fully bool, err error) {
	// Part of the file at most is durable afterwards; that is not worth noting.
	return f.File.SyncTo(length)
}

// Full is why writers wait for space on the disk; nil while none does.
func (s *Embedded) Full() error {
	err := s.disk.Full()
	if err != nil {
		err, _ = Explain(s.dir, err)
	}
	return err
}

// Explain says what to do about an error of the operating system; ok is false for an error
// that is not the environment's but the data's, as a missing file is.
func Explain(dir string, err error) (explained error, ok bool) {
	var errno syscall.Errno
	var path *fs.PathError
	switch {
	case errors.Is(err, ErrDiskFull):
		return err, true // explained where it was met
	case errors.Is(err, syscall.EIO) && errors.As(err, &path) && path.Op == "read":
		return nil, false // a sector that cannot be read is lost data
	case isFull(err):
		return fmt.Errorf("%w: %s: %w; free some space, or give the state a larger volume", ErrDiskFull, dir, err), true
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("the state directory %s is not writable by this user (uid %d): %w; give it to that user, on the host of the volume (chown -R %[2]d %[1]s), or run the connector as its owner", dir, os.Getuid(), err), true
	case errors.Is(err, syscall.EROFS):
		return fmt.Errorf("the state directory %s is on a read-only file system: %w; mount a writable volume there", dir, err), true
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return fmt.Errorf("too many open files while using the state in %s: %w; raise the limit (ulimit -n) to 1024 or more", dir, err), true
	case errors.Is(err, syscall.EIO):
		return fmt.Errorf("using the state in %s: %w; see whether its disk and file system are in order (dmesg, on the host of the volume)", dir, err), true
	case errors.As(err, &errno) && errno != syscall.ENOENT:
		return fmt.Errorf("using the state in %s: %w", dir, err), true
	}
	return nil, false
}
