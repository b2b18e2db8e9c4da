package engine

import (
	"io"
	"slices"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// crash is what a power cut leaves of a disk: what was synced, and of the rest about half the names and half the
// blocks. Which half follows from the seed, the life and the names: vfs draws lots in the order of a map, which no
// second run has.
func (w *world) crash(fs *vfs.MemFS, life int) *vfs.MemFS {
	left := fs.CrashClone(vfs.CrashCloneCfg{})
	all := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: w.dice("all")})
	w.restore(left, all, "/", life)
	return left
}

// restore has what lies in a directory of all survive in left by chance.
func (w *world) restore(left, all *vfs.MemFS, dir string, life int) {
	const block = 4096
	names, err := all.List(dir)
	w.must(err)
	slices.Sort(names)
	for _, name := range names {
		path := all.PathJoin(dir, name)
		_, err := left.Stat(path)
		lots := w.dice("crash", life, path)
		synced := err == nil
		if !synced && lots.IntN(2) == 0 {
			continue
		}
		info, err := all.Stat(path)
		w.must(err)
		if info.IsDir() {
			w.must(left.MkdirAll(path, 0o700))
			w.restore(left, all, path, life)
			continue
		}
		content, former := w.content(all, path), []byte(nil)
		if synced {
			former = w.content(left, path)
		}
		survives := slices.Clone(former)
		for at := 0; at < len(content); at += block {
			end := min(at+block, len(content))
			if synced && lots.IntN(2) == 0 {
				continue
			}
			if end > len(survives) {
				survives = append(survives, make([]byte, end-len(survives))...)
			}
			copy(survives[at:end], content[at:end])
		}
		if synced && slices.Equal(survives, former) {
			continue
		}
		f, err := left.Create(path, vfs.WriteCategoryUnspecified)
		w.must(err)
		_, err = f.Write(survives)
		w.must(err)
		w.must(f.Sync())
		w.must(f.Close())
	}
	d, err := left.OpenDir(dir)
	w.must(err)
	w.must(d.Sync())
	w.must(d.Close())
}

func (w *world) content(fs *vfs.MemFS, path string) []byte {
	f, err := fs.Open(path)
	w.must(err)
	content, err := io.ReadAll(f)
	w.must(err)
	w.must(f.Close())
	return content
}

// must ends the test where the disk of memory fails.
func (w *world) must(err error) {
	if err != nil {
		w.t.Helper()
		panic(err) // also off the goroutine of the test
	}
}

// fullFS is a disk that is full at times.
type fullFS struct {
	*vfs.MemFS
	w *world
}

func (f fullFS) full() error {
	if f.w.diskFull(time.Now()) {
		return syscall.ENOSPC
	}
	return nil
}

// Create implements [vfs.FS].
func (f fullFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := f.full(); err != nil {
		return nil, err
	}
	file, err := f.MemFS.Create(name, category)
	return fullFile{file, f}, err
}

// ReuseForWrite implements [vfs.FS].
func (f fullFS) ReuseForWrite(old, name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.MemFS.ReuseForWrite(old, name, category)
	return fullFile{file, f}, err
}

type fullFile struct {
	vfs.File
	fs fullFS
}

// Write implements [vfs.File].
func (f fullFile) Write(p []byte) (int, error) {
	if err := f.fs.full(); err != nil {
		return 0, err
	}
	return f.File.Write(p)
}
