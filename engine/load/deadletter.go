package load

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// DeadLetterLimits bounds a directory of dead letters. Zero fields take the
// defaults.
type DeadLetterLimits struct {
	FileBytes  int64 // a file that has grown to this is followed by a new one: 16 MiB
	TotalBytes int64 // all files together: 512 MiB
}

// ErrDeadLettersFull says that a directory of dead letters has reached its
// limit. Nothing is removed to make room: the events behind the refused one
// wait until somebody replays or removes dead letters.
var ErrDeadLettersFull = errors.New("the dead letters have reached their limit")

// DeadLetter is an event that the destination refused for good.
type DeadLetter struct {
	Time   time.Time       `json:"time"` // of the refusal, in UTC
	Feed   string          `json:"feed"`
	Status int             `json:"status"` // HTTP status, 0 if none
	Reason string          `json:"reason"`
	Event  json.RawMessage `json:"event"`
}

// DeadLetters keeps refused events in a directory of NDJSON files, one
// [DeadLetter] a line, oldest file first by name. Its methods may be called from
// several goroutines. The directory has one writer; files may be removed from it
// at any time.
type DeadLetters struct {
	dir    string
	limits DeadLetterLimits
	now    func() time.Time

	mu    sync.Mutex
	files []deadLetterFile // oldest first
}

type deadLetterFile struct {
	name  string
	bytes int64
	count int64
}

const deadLetterSuffix = ".ndjson"

// OpenDeadLetters opens a directory of dead letters, and makes it if need be,
// for the owner only.
func OpenDeadLetters(dir string, limits DeadLetterLimits) (*DeadLetters, error) {
	if limits.FileBytes <= 0 {
		limits.FileBytes = 16 << 20
	}
	if limits.TotalBytes <= 0 {
		limits.TotalBytes = 512 << 20
	}
	d := &DeadLetters{dir: dir, limits: limits, now: time.Now}
	if err := d.open(); err != nil {
		return nil, fmt.Errorf("open dead letters: %w", err)
	}
	return d, nil
}

func (d *DeadLetters) open() error {
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return err
	}
	info, err := os.Stat(d.dir)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o077 != 0 {
		if err := os.Chmod(d.dir, 0o700); err != nil {
			return fmt.Errorf("others may read it: %w", err)
		}
	}
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.IsDir() || filepath.Ext(entry.Name()) != deadLetterSuffix {
			continue
		}
		bytes, count, err := countLines(filepath.Join(d.dir, entry.Name()))
		if err != nil {
			return err
		}
		d.files = append(d.files, deadLetterFile{entry.Name(), bytes, count})
	}
	// The number in front of the names decides; ReadDir sorts by name.
	slices.SortStableFunc(d.files, func(a, b deadLetterFile) int { return number(a.name) - number(b.name) })
	return nil
}

// number is the number that a file's name begins with; 0 if it has none.
func number(name string) int {
	digits, _, _ := strings.Cut(name, "-")
	n, err := strconv.Atoi(digits)
	if err != nil {
		return 0
	}
	return n
}

// countLines gives the bytes and the lines of a file. An incomplete line at the
// end does not count as a line.
func countLines(path string) (size, count int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	buffer := make([]byte, 256<<10)
	for {
		n, err := f.Read(buffer)
		size += int64(n)
		count += int64(bytes.Count(buffer[:n], []byte{'\n'}))
		if errors.Is(err, io.EOF) {
			return size, count, nil
		}
		if err != nil {
			return 0, 0, err
		}
	}
}

// Append keeps one refused event of a feed. It is on the disk when Append
// returns nil; otherwise nothing of it is. At the limit, the error is
// [ErrDeadLettersFull].
func (d *DeadLetters) Append(feed string, event []byte, refused Refused) error {
	refused.Index = 0
	return d.AppendAll(feed, [][]byte{event}, []Refused{refused})
}

// AppendAll keeps the refused ones of a batch of events, all or none, as
// [Destination.Deliver] tells them.
func (d *DeadLetters) AppendAll(feed string, events [][]byte, refused []Refused) error {
	if len(refused) == 0 {
		return nil
	}
	var lines bytes.Buffer
	now := d.now().UTC()
	for _, r := range refused {
		if err := appendDeadLetter(&lines, now, feed, events[r.Index], r); err != nil {
			return fmt.Errorf("keep a dead letter of feed %s: %w", feed, err)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.append(lines.Bytes(), int64(len(refused))); err != nil {
		return fmt.Errorf("keep %d dead letters of feed %s in %s: %w", len(refused), feed, d.dir, err)
	}
	return nil
}

// appendDeadLetter writes the line of one dead letter. The event stands in it byte for
// byte, unless it is not JSON: then it stands there as a text.
func appendDeadLetter(dst *bytes.Buffer, now time.Time, feed string, event []byte, refused Refused) error {
	head, err := json.Marshal(DeadLetter{Time: now, Feed: feed, Status: refused.Status, Reason: refused.Reason, Event: json.RawMessage("0")})
	if err != nil {
		return err
	}
	dst.Write(bytes.TrimSuffix(head, []byte("0}")))
	if err := json.Compact(dst, event); err != nil {
		text, err := json.Marshal(string(event))
		if err != nil {
			return err
		}
		dst.Write(text)
	}
	dst.WriteString("}\n")
	return nil
}

func (d *DeadLetters) append(lines []byte, count int64) error {
	if d.bytes()+int64(len(lines)) > d.limits.TotalBytes {
		d.forgetRemoved()
		if bytes := d.bytes(); bytes+int64(len(lines)) > d.limits.TotalBytes {
			return fmt.Errorf("%w of %d bytes (%d are there): replay them, or move files out of the directory",
				ErrDeadLettersFull, d.limits.TotalBytes, bytes)
		}
	}
	if len(d.files) == 0 || d.files[len(d.files)-1].bytes >= d.limits.FileBytes {
		d.next()
	}
	current := &d.files[len(d.files)-1]
	path := filepath.Join(d.dir, current.name)
	// Dead letters are rare: a file is opened for each, so that one that
	// somebody has moved away is not written to.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	size, err := writeLines(f, lines)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Close(); err != nil {
		return err
	}
	if size == 0 {
		if err := syncDir(d.dir); err != nil {
			return err
		}
		current.count = 0
	}
	current.bytes = size + int64(len(lines))
	current.count += count
	return nil
}

// writeLines appends lines durably, or leaves the file as it was. It gives the size
// before. A line that a kill left incomplete was never confirmed: it is cut off first.
func writeLines(f *os.File, lines []byte) (size int64, err error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	size, err = wholeLines(f, info.Size())
	if err != nil {
		return 0, err
	}
	if size < info.Size() {
		if err := f.Truncate(size); err != nil {
			return 0, err
		}
	}
	if _, err = f.Write(lines); err == nil {
		err = f.Sync()
	}
	if err != nil {
		return 0, errors.Join(err, f.Truncate(size))
	}
	return size, nil
}

// wholeLines gives the size of a file up to its last line feed.
func wholeLines(f *os.File, size int64) (int64, error) {
	buffer := make([]byte, 4<<10)
	for size > 0 {
		from := max(0, size-int64(len(buffer)))
		part := buffer[:size-from]
		if _, err := f.ReadAt(part, from); err != nil {
			return 0, err
		}
		if i := bytes.LastIndexByte(part, '\n'); i >= 0 {
			return from + int64(i) + 1, nil
		}
		size = from
	}
	return 0, nil
}

// next begins a new file, which is made when something is written to it.
func (d *DeadLetters) next() {
	last := 0
	if len(d.files) > 0 {
		last = number(d.files[len(d.files)-1].name)
	}
	name := fmt.Sprintf("%06d-%s%s", last+1, d.now().UTC().Format("20060102T150405Z"), deadLetterSuffix)
	d.files = append(d.files, deadLetterFile{name: name})
}

func (d *DeadLetters) bytes() (total int64) {
	for _, f := range d.files {
		total += f.bytes
	}
	return total
}

// forgetRemoved stops counting files that are no longer there.
func (d *DeadLetters) forgetRemoved() {
	d.files = slices.DeleteFunc(d.files, func(f deadLetterFile) bool {
		_, err := os.Stat(filepath.Join(d.dir, f.name))
		return errors.Is(err, fs.ErrNotExist)
	})
}

// Count is the number of dead letters, without those in files that were removed.
func (d *DeadLetters) Count() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.forgetRemoved()
	total := int64(0)
	for _, f := range d.files {
		total += f.count
	}
	return total
}

// Bytes is the size of all dead letters, without those in files that were removed.
func (d *DeadLetters) Bytes() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.forgetRemoved()
	return d.bytes()
}

// Files are the paths of the files, oldest first.
func (d *DeadLetters) Files() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.forgetRemoved()
	var paths []string
	for _, f := range d.files {
		paths = append(paths, filepath.Join(d.dir, f.name))
	}
	return paths
}

// ReadDeadLetters reads a file of dead letters, one at a time. A line that is
// not a dead letter gives an error with its place, and reading goes on. An incomplete
// last line is one that is being written, or was never confirmed: it is left out.
func ReadDeadLetters(path string) iter.Seq2[DeadLetter, error] {
	return func(yield func(DeadLetter, error) bool) {
		f, err := os.Open(path)
		if err != nil {
			yield(DeadLetter{}, fmt.Errorf("read dead letters: %w", err))
			return
		}
		defer f.Close()
		reader := bufio.NewReaderSize(f, 64<<10)
		for number := 1; ; number++ {
			line, err := reader.ReadBytes('\n')
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(DeadLetter{}, fmt.Errorf("read dead letters: %w", err))
				return
			}
			var letter DeadLetter
			if err := json.Unmarshal(line, &letter); err != nil {
				letter, err = DeadLetter{}, fmt.Errorf("%s:%d: not a dead letter: %w", path, number, err)
				if !yield(letter, err) {
					return
				}
				continue
			}
			if !yield(letter, nil) {
				return
			}
		}
	}
}
