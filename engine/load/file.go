package load

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
)

// file appends events to a file, one a line, and syncs it before a delivery counts.
type file struct {
	path    string
	log     *slog.Logger
	open    *os.File // nil: to be opened again
	regular bool     // not a pipe or a device, which can be neither synced nor cut
}

// openFile makes the destination that appends to a file. The file is made if
// need be, readable by its owner only.
func openFile(config Config) (Destination, error) {
	f := &file{path: config.Path, log: config.Logger}
	if err := f.ready(); err != nil {
		return nil, err
	}
	return newLines(config, f.write, f.close), nil
}

// write writes all of p, or nothing: what was written of a batch that failed is
// cut off again.
func (f *file) write(p []byte) (int, error) {
	if err := f.ready(); err != nil {
		return 0, err
	}
	n, err := f.open.Write(p)
	if !f.regular {
		return n, err
	}
	if err == nil {
		// After a sync that failed, nobody knows what is on the disk: the
		// batch is written anew.
		err = f.open.Sync()
	}
	if err == nil {
		return len(p), nil
	}
	return 0, errors.Join(err, f.cut(n))
}

// cut takes the last n bytes off the file, and closes it. They stay when
// somebody else wrote after them; the next write then begins on a line of its own.
func (f *file) cut(n int) error {
	defer func() { f.open = nil }()
	before, err := f.open.Seek(0, io.SeekCurrent)
	if err == nil && n > 0 {
		var info os.FileInfo
		if info, err = f.open.Stat(); err == nil && info.Size() == before {
			err = f.open.Truncate(before - int64(n))
		}
	}
	return errors.Join(err, f.open.Close())
}

// ready opens the file, and opens it anew when it was moved or removed
// meanwhile: what is written to a removed file is lost.
func (f *file) ready() error {
	if f.open != nil {
		if !f.regular {
			return nil
		}
		ours, err := f.open.Stat()
		if err != nil {
			return err
		}
		theirs, err := os.Stat(f.path)
		if err == nil && os.SameFile(ours, theirs) {
			return nil
		}
		f.open.Close() // all that was written to it is synced
		f.open = nil
	}
	_, err := os.Stat(f.path)
	fresh := errors.Is(err, os.ErrNotExist)
	opened, err := os.OpenFile(f.path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	info, err := opened.Stat()
	if err != nil {
		return errors.Join(err, opened.Close())
	}
	regular := info.Mode().IsRegular()
	if regular {
		err = f.mend(opened, info.Size())
		if err == nil && fresh {
			err = syncDir(filepath.Dir(f.path))
		}
	}
	if err != nil {
		return errors.Join(err, opened.Close())
	}
	f.open, f.regular = opened, regular
	return nil
}

// mendBytes is the longest last line that mend takes for an event.
const mendBytes = 4 << 20

// mend makes the file end with a whole line. A last line that breaks off in the
// middle of a JSON object is what a kill left of a batch that was never
// confirmed, and comes again: it is cut off. Anything else stays, and gets its line feed.
func (f *file) mend(opened *os.File, size int64) error {
	from := max(0, size-mendBytes)
	tail := make([]byte, size-from)
	if _, err := opened.ReadAt(tail, from); err != nil {
		return fmt.Errorf("read the end of %s: %w", f.path, err)
	}
	before := bytes.LastIndexByte(tail, '\n')
	last := tail[before+1:]
	switch {
	case len(last) == 0:
		return nil
	case last[0] == '{' && (before >= 0 || from == 0) && !json.Valid(last):
		f.log.Warn(fmt.Sprintf("%s ended in a broken line of %d bytes: it was cut off, and its event comes again", f.path, len(last)))
		return opened.Truncate(size - int64(len(last)))
	}
	_, err := opened.Write([]byte{'\n'})
	return err
}

func (f *file) close() error {
	if f.open == nil {
		return nil
	}
	return f.open.Close()
}

// syncDir makes the names in a directory durable.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
