package load

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// errDeadLettersFull says that a directory of dead letters has reached its
// limit. Nothing is removed to make room: the events behind the refused one
// wait until somebody replays or removes dead letters.
var errDeadLettersFull = errors.New("the dead letters have reached their limit")

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
// several goroutines.
//
// Several processes may share the directory: each writes to files of its own.
// Files may be renamed, moved away and removed at any time, also the one that is being
// written: a dead letter that this would hide is written again, to a new file.
type DeadLetters struct {
	dir                   string
	fileBytes, totalBytes int64 // of a file that is followed by a new one; of all
	now                   func() time.Time

	mu      sync.Mutex
	files   []deadLetterFile // oldest first
	current string           // name of the file to append to; empty: a new one
}

type deadLetterFile struct {
	name  string
	bytes int64
	count int64
}

const deadLetterSuffix = ".ndjson"

// OpenDeadLetters opens a directory of dead letters, and makes it if need be,
// for the owner only.
func OpenDeadLetters(dir string) (*DeadLetters, error) {
	d := &DeadLetters{dir: dir, fileBytes: 16 << 20, totalBytes: 512 << 20, now: time.Now}
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
	return d.look()
}

// look brings files up to date with the directory. Only files that have changed
// since the last look are read.
func (d *DeadLetters) look() error {
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		return err
	}
	known := map[string]deadLetterFile{}
	for _, f := range d.files {
		known[f.name] = f
	}
	var files []deadLetterFile
	for _, entry := range entries {
		if entry.IsDir() || filepath.Ext(entry.Name()) != deadLetterSuffix {
			continue
		}
		f := known[entry.Name()]
		if info, err := entry.Info(); f.name == "" || err != nil || info.Size() != f.bytes {
			f = deadLetterFile{name: entry.Name()}
			f.bytes, f.count, err = countLines(filepath.Join(d.dir, f.name))
			if errors.Is(err, fs.ErrNotExist) {
				continue // removed meanwhile
			}
			if err != nil {
				return err
			}
		}
		files = append(files, f)
	}
	// The number in front of the names decides, then the name.
	slices.SortStableFunc(files, func(a, b deadLetterFile) int { return number(a.name) - number(b.name) })
	d.files = files
	if d.indexOfCurrent() < 0 {
		d.current = ""
	}
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

// Dir is the directory.
func (d *DeadLetters) Dir() string { return d.dir }

// Append keeps one refused event of a feed. It is on the disk when Append
// returns nil; otherwise nothing of it is. At the limit, the error is
// [errDeadLettersFull].
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
	if d.bytes()+int64(len(lines)) > d.totalBytes {
		if err := d.look(); err != nil {
			return err
		}
		if bytes := d.bytes(); bytes+int64(len(lines)) > d.totalBytes {
			return fmt.Errorf("%w of %d bytes (%d are there): replay them, or move files out of the directory",
				errDeadLettersFull, d.totalBytes, bytes)
		}
	}
	for {
		f, err := d.currentFile()
		if err != nil {
			return err
		}
		hidden, err := d.write(f, lines, count)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
		if !hidden {
			return nil
		}
		d.current = ""
	}
}

// currentFile opens the file to append to, or makes a new one. Dead letters
// are rare: a file is opened for each, and not held open.
func (d *DeadLetters) currentFile() (*os.File, error) {
	if d.current != "" && d.files[d.indexOfCurrent()].bytes < d.fileBytes {
		f, err := os.OpenFile(filepath.Join(d.dir, d.current), os.O_WRONLY|os.O_APPEND, 0)
		if !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
	}
	if err := d.look(); err != nil {
		return nil, err
	}
	last := 0
	if len(d.files) > 0 {
		last = number(d.files[len(d.files)-1].name)
	}
	for {
		last++
		name := fmt.Sprintf("%06d-%s%s", last, d.now().UTC().Format("20060102T150405Z"), deadLetterSuffix)
		f, err := os.OpenFile(filepath.Join(d.dir, name), os.O_WRONLY|os.O_APPEND|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, fs.ErrExist) {
			continue // another process was faster
		}
		if err != nil {
			return nil, err
		}
		if err := syncDir(d.dir); err != nil {
			return nil, errors.Join(err, f.Close(), os.Remove(f.Name()))
		}
		d.current = name
		d.files = append(d.files, deadLetterFile{name: name})
		return f, nil
	}
}

// write appends lines durably, or leaves the file as it was. It reports whether somebody
// has hidden the file meanwhile: nobody knows then what he has seen of it.
func (d *DeadLetters) write(f *os.File, lines []byte, count int64) (hidden bool, err error) {
	before, err := f.Stat()
	if err != nil {
		return false, err
	}
	if _, err = f.Write(lines); err == nil {
		err = f.Sync()
	}
	if err != nil {
		if cut := f.Truncate(before.Size()); cut != nil {
			d.current = "" // whatever is left of the lines, nothing follows it
			err = errors.Join(err, cut)
		}
		return false, err
	}
	now, err := os.Stat(f.Name())
	if errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(before, now) {
		return true, nil
	}
	current := &d.files[d.indexOfCurrent()]
	current.bytes = before.Size() + int64(len(lines))
	current.count += count
	return false, err
}

// indexOfCurrent is where the current file stands among the files.
func (d *DeadLetters) indexOfCurrent() int {
	return slices.IndexFunc(d.files, func(f deadLetterFile) bool { return f.name == d.current })
}

func (d *DeadLetters) bytes() (total int64) {
	for _, f := range d.files {
		total += f.bytes
	}
	return total
}

// Count is the number of dead letters in the directory.
func (d *DeadLetters) Count() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.look() // what cannot be looked at counts as before
	total := int64(0)
	for _, f := range d.files {
		total += f.count
	}
	return total
}

// Bytes is the size of all dead letters in the directory.
func (d *DeadLetters) Bytes() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.look() // what cannot be looked at counts as before
	return d.bytes()
}

// Files are the paths of the files, oldest first. A file that is to be
// replayed is renamed first, to a name that does not end in ".ndjson": then
// nothing is added to it any more.
func (d *DeadLetters) Files() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.look() // what cannot be looked at is as before
	var paths []string
	for _, f := range d.files {
		paths = append(paths, filepath.Join(d.dir, f.name))
	}
	return paths
}
