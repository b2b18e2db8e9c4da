package checkpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"
)

// lock makes this process the only one in dir, or says who is there. The lock is a
// file beside the state, so that it holds while the state is set aside.
func lock(d *disk, dir string, o Options) (unlock func() error, err error) {
	name := d.PathJoin(dir, lockName)
	if !d.real {
		l, err := d.FS.Lock(name)
		if err != nil {
			return nil, refused(dir, "")
		}
		return l.Close, nil
	}
	mode := os.O_RDWR | os.O_CREATE
	if o.ReadOnly {
		mode = os.O_RDONLY
	}
	f, err := os.OpenFile(name, mode, 0o600)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, noState(dir)
		}
		return nil, openError(dir, err)
	}
	for deadline := time.Now().Add(o.LockWait); ; time.Sleep(20 * time.Millisecond) {
		ok, err := lockFile(f)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("locking %s: %w", name, err), f.Close())
		}
		if ok {
			break
		}
		if time.Now().After(deadline) {
			holder := make([]byte, 256)
			n, _ := f.ReadAt(holder, 0)
			return nil, errors.Join(refused(dir, strings.TrimSpace(string(holder[:n]))), f.Close())
		}
	}
	// Who holds it is a courtesy to the next one; on a full disk it is left out.
	host, _ := os.Hostname()
	if !o.ReadOnly && f.Truncate(0) == nil {
		_, _ = fmt.Fprintf(f, "process %d on %s\n", os.Getpid(), host)
	}
	return f.Close, nil
}

func noState(dir string) error {
	return fmt.Errorf("there is no state in %s yet: %w", dir, fs.ErrNotExist)
}

func refused(dir, holder string) error {
	if holder == "" {
		holder = "another process"
	}
	return fmt.Errorf("%w: %s belongs to %s; stop that one, or give this one its own STATE_DIR", ErrLocked, dir, holder)
}
