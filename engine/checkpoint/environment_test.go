package checkpoint

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// faultyFS fails every change with an error while it is set, and writes half of
// what it is given before it does.
type faultyFS struct {
	vfs.FS
	fault atomic.Pointer[error]
	met   atomic.Int64 // how often
}

func (f *faultyFS) set(err error) {
	if err == nil {
		f.fault.Store(nil)
	} else {
		f.fault.Store(&err)
	}
}

func (f *faultyFS) err(op, name string) error {
	if e := f.fault.Load(); e != nil {
		f.met.Add(1)
		return &fs.PathError{Op: op, Path: name, Err: *e}
	}
	return nil
}

func (f *faultyFS) file(op, name string, open func() (vfs.File, error)) (vfs.File, error) {
	if err := f.err(op, name); err != nil {
		return nil, err
	}
	file, err := open()
	if err != nil {
		return nil, err
	}
	return &faultyFile{file, f, name}, nil
}

func (f *faultyFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.file("create", name, func() (vfs.File, error) { return f.FS.Create(name, c) })
}

func (f *faultyFS) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.file("create", to, func() (vfs.File, error) { return f.FS.ReuseForWrite(from, to, c) })
}

func (f *faultyFS) MkdirAll(dir string, perm os.FileMode) error {
	return errors.Join(f.err("mkdir", dir), f.FS.MkdirAll(dir, perm))
}

type faultyFile struct {
	vfs.File
	fs   *faultyFS
	name string
}

func (f *faultyFile) Write(p []byte) (int, error) {
	if err := f.fs.err("write", f.name); err != nil {
		n, e := f.File.Write(p[:len(p)/2])
		return n, errors.Join(err, e)
	}
	return f.File.Write(p)
}

func (f *faultyFile) Preallocate(off, n int64) error { return nil }

// The real disk tells of a fault as a *fs.PathError; joined errors would span lines.
func (f *faultyFile) Sync() error {
	if err := f.fs.err("sync", f.name); err != nil {
		return err
	}
	return f.File.Sync()
}

func openFaulty(t *testing.T) (*faultyFS, func() (*Embedded, error)) {
	f := &faultyFS{FS: vfs.NewMem()}
	return f, func() (*Embedded, error) { return Open("/dir", Options{FS: f, memTable: smallTable}) }
}

func TestOpenInABadEnvironment(t *testing.T) {
	for _, c := range []struct {
		fault error
		is    error
		says  []string
	}{
		{syscall.ENOSPC, ErrDiskFull, []string{"/dir", "free some space"}},
		{syscall.EDQUOT, ErrDiskFull, []string{"/dir", "free some space"}},
		{syscall.EACCES, fs.ErrPermission, []string{"/dir", "not writable", "owner"}},
		{syscall.EROFS, syscall.EROFS, []string{"/dir", "read-only", "writable volume"}},
		{syscall.EMFILE, syscall.EMFILE, []string{"/dir", "ulimit -n"}},
		{syscall.ENOMEM, syscall.ENOMEM, []string{"/dir"}},
	} {
		t.Run(c.fault.Error(), func(t *testing.T) {
			disk, open := openFaulty(t)
			disk.set(c.fault)
			_, err := open()
			wantError(t, err, c.is, c.says...)
			disk.set(nil)
			s, err := open()
			if err != nil {
				t.Fatal(err)
			}
			commitNumbered(t, s, 0, 20)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			disk.set(c.fault)
			_, err = open()
			wantError(t, err, c.is, c.says...)
			if errors.Is(err, ErrDamaged) {
				t.Error("the environment's fault was taken for damage")
			}
			disk.set(nil)
			s, err = open()
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if s.SetAside() != nil {
				t.Errorf("a sound state was set aside: %s", s.SetAside())
			}
			wantNumbered(t, s, 20)
		})
	}
}

func TestFullDisk(t *testing.T) {
	disk, open := openFaulty(t)
	s, err := open()
	if err != nil {
		t.Fatal(err)
	}
	commitNumbered(t, s, 0, 20)
	disk.set(syscall.ENOSPC)
	for range 2 {
		start := time.Now()
		wantError(t, s.Commit(numberedCommit("a", 20)), ErrDiskFull, "/dir", "free some space", "feed a")
		if took := time.Since(start); took > fullPatience+time.Minute {
			t.Errorf("the error took %v", took)
		}
		if _, ok, err := s.Seen(numberedKey("a", 7)); !ok || err != nil {
			t.Errorf("reading on a full disk: %v %v", ok, err)
		}
	}
	disk.set(nil)
	// The store goes on by itself, well beyond what the memory table holds.
	commitNumbered(t, s, 20, 400)
	wantNumbered(t, s, 400)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = open(); err != nil {
		t.Fatal(err)
	}
	wantNumbered(t, s, 400)

	// The process may also be told to end while the disk is full.
	disk.set(syscall.ENOSPC)
	failed, met := make(chan error), disk.met.Load()
	go func() { failed <- s.Commit(numberedCommit("a", 400)) }()
	for disk.met.Load() == met {
		time.Sleep(time.Millisecond)
	}
	start := time.Now()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(start); took > closePatience+time.Minute {
		t.Errorf("closing took %v", took)
	}
	wantError(t, <-failed, nil, "/dir")
	disk.set(nil)
	if s, err = open(); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s.SetAside() != nil {
		t.Errorf("a sound state was set aside: %s", s.SetAside())
	}
	wantNumbered(t, s, 400)
}

// TestWriteFails: an error that waiting does not cure stops the store, not the
// process, and opening it again finds all that was acknowledged.
func TestWriteFails(t *testing.T) {
	for fault, remedy := range map[error]string{syscall.EIO: "see whether its disk", syscall.EROFS: "mount a writable volume"} {
		t.Run(fault.Error(), func(t *testing.T) {
			disk, open := openFaulty(t)
			s, err := open()
			if err != nil {
				t.Fatal(err)
			}
			commitNumbered(t, s, 0, 20)
			disk.set(fault)
			wantError(t, s.Commit(numberedCommit("a", 20)), ErrStopped, "/dir", remedy)
			_, _, err = s.Seen(Key{})
			wantError(t, err, ErrStopped)
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			disk.set(nil)
			if s, err = open(); err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if s.SetAside() != nil {
				t.Errorf("a sound state was set aside: %s", s.SetAside())
			}
			wantNumbered(t, s, 20)
		})
	}
}

// TestSmallVolume fills a real volume, for what a simulated one does not show:
// preallocated logs, a lock file, free space that comes back late.
func TestSmallVolume(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=12m", "none", dir).CombinedOutput(); err != nil {
		t.Skipf("mounting a small volume needs root: %s", out)
	}
	defer func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %s", out)
		}
	}()
	s, err := Open(dir, Options{memTable: smallTable})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	ballast := filepath.Join(dir, "ballast")
	f, err := os.Create(ballast)
	if err != nil {
		t.Fatal(err)
	}
	for block := make([]byte, 4<<10); err == nil; {
		_, err = f.Write(block)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	n := 0
	for err = nil; err == nil && n < 100_000; n++ {
		err = s.Commit(numberedCommit("a", n))
	}
	wantError(t, err, ErrDiskFull, dir, "free some space")
	n-- // that one
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	commitNumbered(t, s, n, n+50)
	wantNumbered(t, s, n+50)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-o", "remount,ro", dir).CombinedOutput(); err == nil {
		_, err = Open(dir, Options{})
		wantError(t, err, syscall.EROFS, dir, "read-only")
		if out, err := exec.Command("mount", "-o", "remount,rw", dir).CombinedOutput(); err != nil {
			t.Fatalf("remount: %s", out)
		}
	} else {
		t.Logf("remount: %s", out)
	}
	if s, err = Open(dir, Options{memTable: smallTable}); err != nil {
		t.Fatal(err)
	}
	if s.SetAside() != nil {
		t.Fatalf("a sound state was set aside: %s", s.SetAside())
	}
	wantNumbered(t, s, n+50)
}

func TestPermissions(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "there", "yet")
	s := openTest(t, dir, Options{memTable: smallTable})
	commitNumbered(t, s, 0, 200)
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	files := 0
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return nil // removed by the store's engine
		}
		want := fs.FileMode(0o600)
		if e.IsDir() {
			want = 0o700
		} else {
			files++
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %v, want %v", path, got, want)
		}
		return nil
	})
	if err != nil || files < 6 {
		t.Errorf("%d files, %v", files, err)
	}
	if os.Getuid() == 0 {
		return // whom modes do not stop
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, lockName), 0); err != nil {
		t.Fatal(err)
	}
	_, err = Open(dir, Options{})
	wantError(t, err, fs.ErrPermission, dir, "not writable", "owner")
}

func TestReadOnly(t *testing.T) {
	dir := t.TempDir()
	_, err := Open(dir, Options{ReadOnly: true})
	wantError(t, err, fs.ErrNotExist, dir)
	_, err = Open(filepath.Join(dir, "none"), Options{ReadOnly: true})
	wantError(t, err, fs.ErrNotExist, dir)
	if _, err := os.Stat(filepath.Join(dir, "none")); err == nil {
		t.Error("looking made the directory")
	}

	sound, n := lived(t)
	before := tree(t, sound)
	s := openTest(t, sound, Options{ReadOnly: true})
	wantNumbered(t, s, n)
	if err := s.Commit(numberedCommit("a", n)); err == nil {
		t.Error("a commit into a state opened read-only succeeded")
	}
	if err := s.Sweep(noon); err == nil {
		t.Error("a sweep of a state opened read-only succeeded")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if after := tree(t, sound); before != after {
		t.Errorf("looking changed the files:\n%s\n%s", before, after)
	}

	if err := os.WriteFile(filepath.Join(sound, stateDir, damagedMark), []byte("bad sector"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Open(sound, Options{ReadOnly: true})
	wantError(t, err, ErrDamaged, "bad sector")
	if _, err := os.Stat(filepath.Join(sound, stateDir)); err != nil {
		t.Error("looking set the damaged state aside")
	}
}

// tree lists the names of a directory's files but the lock's.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Name() != lockName && e.Name() != "LOCK" {
			names = append(names, strings.TrimPrefix(path, dir))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(names, "\n")
}

func TestStateFromTheFuture(t *testing.T) {
	future := func(t *testing.T, change func(dir string)) {
		dir := t.TempDir()
		s := openTest(t, dir, Options{})
		commitNumbered(t, s, 0, 5)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		change(dir)
		aside := regexp.MustCompile(`/state-newer-\d{8}T\d{6}Z(-2)?$`)
		for earlier := ""; ; {
			s = openTest(t, dir, Options{})
			r := s.SetAside()
			if r == nil {
				t.Fatal("state from the future was taken for our own")
			}
			if !aside.MatchString(r.Path) || r.Path == earlier || !strings.Contains(r.String(), "newer release") {
				t.Errorf("report %+v, earlier as %s", r, earlier)
			}
			wantNumbered(t, s, 0)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if earlier != "" {
				return
			}
			earlier = r.Path
			change(dir)
		}
	}
	t.Run("a layout we do not know", func(t *testing.T) {
		future(t, func(dir string) {
			s := openTest(t, dir, Options{})
			if err := s.db.Set([]byte{metaSpace}, []byte(`{"version": 2}`), nil); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		})
	})
	t.Run("files we do not know", func(t *testing.T) {
		future(t, func(dir string) {
			marks, err := filepath.Glob(filepath.Join(dir, stateDir, "marker.format-version.*"))
			if err != nil || len(marks) == 0 {
				t.Fatalf("no marker: %v", err)
			}
			for _, m := range marks {
				if err := os.Rename(m, m[:strings.LastIndexByte(m, '.')]+".999"); err != nil {
					t.Fatal(err)
				}
			}
		})
	})
}
