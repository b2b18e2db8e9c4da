package fleet

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/load"
)

// This file sends dead letters again. A file is first renamed, so that nothing more is added
// to it. After each batch, a file beside it notes how much was sent, so that a kill repeats at
// most one batch. In the end the file is removed; lines that cannot be read stay under its name.

const (
	replayBatch = 100
	replaying   = ".replaying" // added to the name of a file while it is replayed
	sentSuffix  = ".sent"      // added to that for the file that says how much of it was sent
)

// Replayed is what came of a replay.
type Replayed struct {
	Sent    int      `json:"sent"`
	Refused int      `json:"refused"` // again, and kept
	Unread  []string `json:"unread"`  // lines that cannot be read, and why: they stay
}

// Nothing reports whether there was something to send, and none of it was taken.
func (r Replayed) Nothing() bool { return r.Sent == 0 && r.Refused+len(r.Unread) > 0 }

// Replay sends the dead letters of a tenant again: those of file, or all of them, oldest
// first. What is refused again is kept as a new dead letter. hear may be nil.
func Replay(ctx context.Context, s *settings.Settings, dest load.Destination, dead *load.DeadLetters, file string, hear func(Progress)) (total Replayed, err error) {
	defer func() {
		_, link := errors.AsType[*os.LinkError](err)
		_, path := errors.AsType[*fs.PathError](err)
		if explained, ok := checkpoint.Explain(s.StateDir, err); ok && (link || path) { // of a file, not of a connection
			err = explained
		}
	}()
	files, err := claim(s, dead, file)
	if err != nil {
		return total, err
	}
	for i, file := range files {
		r := replay{dest: dest, dead: dead, file: file, total: &total, hear: func() {
			if hear != nil {
				hear(Progress{Done: float64(i) / float64(len(files)), Events: int64(total.Sent)})
			}
		}}
		if err := r.run(ctx); err != nil {
			return total, fmt.Errorf("replay %s: %w", file, err)
		}
	}
	return total, nil
}

// claim gives the files to replay, under their names of the replay. Those that an
// earlier replay did not finish come first.
func claim(s *settings.Settings, dead *load.DeadLetters, file string) ([]string, error) {
	var files []string
	fresh := []string{file}
	if file == "" {
		var err error
		if files, err = filepath.Glob(filepath.Join(s.DeadLetters(), "*"+replaying)); err != nil {
			return nil, err
		}
		fresh = dead.Files()
	}
	for _, file := range fresh {
		name := strings.TrimSuffix(file, replaying) + replaying
		if err := os.Rename(file, name); err != nil {
			return nil, err
		}
		files = append(files, name)
	}
	return files, nil
}

type replay struct {
	dest  load.Destination
	dead  *load.DeadLetters
	file  string
	total *Replayed
	hear  func()

	batch []load.DeadLetter
}

func (r *replay) run(ctx context.Context) error {
	f, err := os.Open(r.file)
	if err != nil {
		return err
	}
	defer f.Close()
	offset, err := r.sent()
	if err != nil {
		return err
	}
	if _, err := readReplayed(r.dead.Dir()); err != nil {
		return err // before anything is sent for which there is no account
	}
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return err
	}
	err = eachLine(f, func(line []byte) error {
		offset += int64(len(line))
		letter, err := readLetter(line)
		if err != nil {
			return nil // told at the end, of the whole file
		}
		if r.batch = append(r.batch, letter); len(r.batch) == replayBatch {
			return r.flush(ctx, offset)
		}
		return nil
	})
	if err == nil && len(r.batch) > 0 {
		err = r.flush(ctx, offset)
	}
	if err != nil {
		return err
	}
	return r.finish(f)
}

// sent is up to where the file was sent.
func (r *replay) sent() (int64, error) {
	text, err := os.ReadFile(r.file + sentSuffix)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	offset, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil || offset < 0 {
		return 0, fmt.Errorf("%s holds no number: write up to which byte the file was sent, or remove it to send all of it", r.file+sentSuffix)
	}
	return offset, nil
}

func (r *replay) flush(ctx context.Context, offset int64) error {
	events := make([][]byte, len(r.batch))
	for i, letter := range r.batch {
		events[i] = letter.Event
	}
	refused, err := r.dest.Deliver(ctx, load.Batch{Events: events})
	if err != nil {
		return err
	}
	for _, f := range refused {
		if err := r.dead.Append(r.batch[f.Index].Feed, events[f.Index], f); err != nil {
			return err
		}
	}
	sent := map[string]int64{}
	for _, letter := range r.batch {
		sent[letter.Feed]++
	}
	for _, f := range refused {
		if feed := r.batch[f.Index].Feed; sent[feed] > 1 {
			sent[feed]--
		} else {
			delete(sent, feed)
		}
	}
	r.total.Sent, r.total.Refused = r.total.Sent+len(r.batch)-len(refused), r.total.Refused+len(refused)
	r.batch = r.batch[:0]
	r.hear()
	if err := replaceFile(r.file+sentSuffix, []byte(strconv.FormatInt(offset, 10)+"\n")); err != nil {
		return err
	}
	return noteReplayed(r.dead.Dir(), time.Now(), sent)
}

// finish removes what was sent. Lines that cannot be read stay, under the file's first name.
func (r *replay) finish(f *os.File) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	var unread bytes.Buffer
	original, number := strings.TrimSuffix(r.file, replaying), 0
	err := eachLine(f, func(line []byte) error {
		number++
		if _, err := readLetter(line); err != nil {
			r.total.Unread = append(r.total.Unread, fmt.Sprintf("%s:%d: %v", original, number, err))
			unread.Write(bytes.TrimSuffix(line, []byte("\n")))
			unread.WriteByte('\n')
		}
		return nil
	})
	if err == nil && unread.Len() > 0 {
		err = replaceFile(original, unread.Bytes())
	}
	if err == nil {
		err = os.Remove(r.file)
	}
	if err == nil {
		if err = os.Remove(r.file + sentSuffix); errors.Is(err, os.ErrNotExist) {
			err = nil
		}
	}
	if err != nil {
		return fmt.Errorf("it was sent, and cannot be removed: %w", err)
	}
	return nil
}

// eachLine gives the lines of a file with their ends, the last one also without.
func eachLine(f io.Reader, use func(line []byte) error) error {
	reader := bufio.NewReaderSize(f, 64<<10)
	for {
		line, err := reader.ReadBytes('\n')
		if len(bytes.TrimSpace(line)) > 0 {
			if err := use(line); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// readLetter reads a line. What is kept of a record that could not become an event cannot
// be sent: it stays for a person to look at.
func readLetter(line []byte) (load.DeadLetter, error) {
	var letter load.DeadLetter
	if err := json.Unmarshal(line, &letter); err != nil {
		return letter, errors.New("no dead letter, which is a JSON object with an event")
	}
	if event := bytes.TrimSpace(letter.Event); len(event) == 0 || event[0] != '{' {
		return letter, errors.New("its event is no JSON object: there is nothing that could be sent")
	}
	return letter, nil
}

// replaceFile writes a file that is whole whenever it is there.
func replaceFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // it is gone, if all went well
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
