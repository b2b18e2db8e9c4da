package extract

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// usage is a file that tells the next process what this one has sent of a limit, as the service
// goes on counting when a process ends. It is a ring of the times of the last requests, in
// nanoseconds since 1970, which holds as many as the limit allows in a span. Each is written before its
// request is sent. A kill loses none of them; a crash of the host may, but takes longer than
// most spans. The file is opened for each, as a process of many tenants has thousands.
type usage struct {
	path   string
	places int // in the ring
	next   int // place
	log    *slog.Logger
	failed bool // and that was told
}

// keep has the requests of the limit written to a file, and takes over what an earlier process
// wrote there. It is called again when the limit has changed.
func (l *limit) keep(dir, name string, log *slog.Logger) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.requests == 0 || l.usage != nil && l.usage.places >= l.requests {
		return
	}
	u := &usage{path: filepath.Join(dir, url.PathEscape(name)+".times"), places: l.requests, log: log}
	now := time.Now()
	if l.usage == nil {
		before, err := u.read(now)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			u.fail(err)
		}
		l.sent = append(before, l.sent...)
	}
	l.usage = u
	u.begin(l.sent)
}

// read gives the times in the file, the oldest first. One of a clock that was ahead is now.
func (u *usage) read(now time.Time) ([]time.Time, error) {
	data, err := os.ReadFile(u.path)
	if err != nil {
		return nil, err
	}
	var at []time.Time
	for ; len(data) >= 8; data = data[8:] {
		if n := int64(binary.LittleEndian.Uint64(data)); n > 0 {
			// Without the wall clock's part in it, a difference would not follow steps of that clock.
			at = append(at, now.Add(-max(now.Sub(time.Unix(0, n)), 0)))
		}
	}
	slices.SortFunc(at, time.Time.Compare)
	return at, nil
}

// begin writes a new ring, with the last of the times in it.
func (u *usage) begin(at []time.Time) {
	at = at[max(len(at)-u.places, 0):]
	u.next = len(at) % u.places
	ring := make([]byte, 8*u.places)
	for i, t := range at {
		binary.LittleEndian.PutUint64(ring[8*i:], uint64(t.UnixNano()))
	}
	if err := os.MkdirAll(filepath.Dir(u.path), 0o700); err != nil {
		u.fail(err)
		return
	}
	if err := os.WriteFile(u.path, ring, 0o600); err != nil {
		u.fail(err)
	}
}

// add writes the time of one more request.
func (u *usage) add(at time.Time) {
	if u == nil {
		return
	}
	f, err := os.OpenFile(u.path, os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteAt(binary.LittleEndian.AppendUint64(nil, uint64(at.UnixNano())), int64(8*u.next))
		err = errors.Join(err, f.Close())
	}
	u.next = (u.next + 1) % u.places
	if err != nil {
		u.fail(err)
	}
}

// fail tells once that the next process may exceed the limit for a span.
func (u *usage) fail(err error) {
	if !u.failed {
		u.log.Warn("what was sent of a limit of requests cannot be kept for the next start, which may therefore exceed it for one span; make STATE_DIR writable", "error", err)
	}
	u.failed = true
}
