package load

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func openDeadLetters(t *testing.T, dir string) *DeadLetters {
	t.Helper()
	d, err := OpenDeadLetters(dir)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func readAll(t *testing.T, d *DeadLetters) (letters []DeadLetter) {
	t.Helper()
	for _, path := range d.Files() {
		letters = append(letters, lettersIn(t, path)...)
	}
	return letters
}

// lettersIn reads a file of dead letters. A last line without an end was never confirmed.
func lettersIn(t *testing.T, path string) (letters []DeadLetter) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(data) {
		var letter DeadLetter
		if !bytes.HasSuffix(line, []byte("\n")) {
			break
		}
		if err := json.Unmarshal(line, &letter); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		letters = append(letters, letter)
	}
	return letters
}

func TestDeadLetters(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state", "deadletter")
	d := openDeadLetters(t, dir)
	d.now = func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 6, time.FixedZone("", 3600)) }
	if d.Count() != 0 || d.Bytes() != 0 || d.Files() != nil {
		t.Errorf("an empty directory holds %d in %d bytes: %v", d.Count(), d.Bytes(), d.Files())
	}

	if err := d.Append("sign-ins", []byte(`{"n":1.50,"s":"<&>"}`), Refused{Index: 9, Status: 422, Reason: `no "n"`}); err != nil {
		t.Fatal(err)
	}
	events := [][]byte{[]byte(`{"n":2}`), []byte("{\n \"n\": 3}"), []byte("not\njson")}
	if err := d.AppendAll("audits", events, []Refused{{Index: 1, Status: 413}, {Index: 2, Status: 400}}); err != nil {
		t.Fatal(err)
	}
	if err := d.AppendAll("audits", events, nil); err != nil {
		t.Fatal(err)
	}

	files := d.Files()
	if len(files) != 1 || filepath.Base(files[0]) != "000001-20260102T020405Z.ndjson" {
		t.Fatalf("files: %v", files)
	}
	data, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	want := `{"time":"2026-01-02T02:04:05.000000006Z","feed":"sign-ins","status":422,"reason":"no \"n\"","event":{"n":1.50,"s":"<&>"}}
{"time":"2026-01-02T02:04:05.000000006Z","feed":"audits","status":413,"reason":"","event":{"n":3}}
{"time":"2026-01-02T02:04:05.000000006Z","feed":"audits","status":400,"reason":"","event":"not\njson"}
`
	if string(data) != want {
		t.Errorf("got:\n%s\nwant:\n%s", data, want)
	}
	for path, mode := range map[string]os.FileMode{dir: 0o700 | os.ModeDir, files[0]: 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v; want %v", path, info.Mode(), err, mode)
		}
	}
	if d.Count() != 3 || d.Bytes() != int64(len(want)) {
		t.Errorf("%d letters in %d bytes, want 3 in %d", d.Count(), d.Bytes(), len(want))
	}

	// A new process finds the same, and writes to a file of its own.
	d = openDeadLetters(t, dir)
	if d.Count() != 3 || d.Bytes() != int64(len(want)) {
		t.Errorf("opened again: %d letters in %d bytes", d.Count(), d.Bytes())
	}
	if err := d.Append("audits", events[0], Refused{}); err != nil {
		t.Fatal(err)
	}
	letters := readAll(t, d)
	if len(d.Files()) != 2 || len(letters) != 4 || letters[0].Feed != "sign-ins" || letters[0].Reason != `no "n"` || string(letters[3].Event) != `{"n":2}` {
		t.Errorf("letters: %+v", letters)
	}
}

func TestDeadLettersRotateAndAreBounded(t *testing.T) {
	dir := t.TempDir()
	open := func() *DeadLetters {
		d := openDeadLetters(t, dir)
		d.fileBytes, d.totalBytes = 300, 2000
		return d
	}
	d := open()
	kept := 0
	var full error
	for full == nil {
		if kept > 100 {
			t.Fatal("there is no limit")
		}
		if full = d.Append("f", fmt.Appendf(nil, `{"n":%d}`, kept), Refused{Status: 400}); full == nil {
			kept++
		}
	}
	if !errors.Is(full, errDeadLettersFull) || !strings.Contains(full.Error(), dir) {
		t.Errorf("at the limit: %v", full)
	}
	if d.Bytes() > d.totalBytes || d.Bytes() < d.totalBytes-200 || d.Count() != int64(kept) {
		t.Errorf("%d letters in %d bytes at the limit of %d", d.Count(), d.Bytes(), d.totalBytes)
	}
	// Nothing was trimmed, and the order of the files is that of the letters.
	for i, letter := range readAll(t, d) {
		if string(letter.Event) != fmt.Sprintf(`{"n":%d}`, i) {
			t.Errorf("letter %d is %s", i, letter.Event)
		}
	}
	files := d.Files()
	if len(files) < 5 || !slices.IsSorted(files) {
		t.Errorf("files: %v", files)
	}

	// A limit holds for the next process too; room that is made is seen.
	d = open()
	if err := d.Append("f", []byte(`{}`), Refused{}); !errors.Is(err, errDeadLettersFull) {
		t.Errorf("opened again: %v", err)
	}
	if err := os.Remove(files[0]); err != nil {
		t.Fatal(err)
	}
	if err := d.Append("f", []byte(`{"n":"last"}`), Refused{}); err != nil {
		t.Errorf("with room made: %v", err)
	}
	if letters := readAll(t, d); string(letters[len(letters)-1].Event) != `{"n":"last"}` || int64(len(letters)) != d.Count() {
		t.Errorf("%d letters, counted %d", len(letters), d.Count())
	}
}

// Files are numbered on past a million, and past what was removed.
func TestDeadLetterNames(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"999999-x.ndjson", "1000000-x.ndjson", "notes.txt", "mine.ndjson"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("{}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d := openDeadLetters(t, dir)
	d.fileBytes = 1
	if err := d.Append("f", []byte(`{}`), Refused{}); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, path := range d.Files() {
		names = append(names, filepath.Base(path))
	}
	if len(names) != 4 || names[0] != "mine.ndjson" || names[1] != "999999-x.ndjson" || !strings.HasPrefix(names[3], "1000001-") {
		t.Errorf("files: %v", names)
	}
}

// A kill in the middle of a write leaves part of a line, which was never
// confirmed.
func TestDeadLettersAfterAKill(t *testing.T) {
	d := openDeadLetters(t, t.TempDir())
	for i := range 2 {
		if err := d.Append("f", fmt.Appendf(nil, `{"n":%d}`, i), Refused{}); err != nil {
			t.Fatal(err)
		}
	}
	path := d.Files()[0]
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := bytes.IndexByte(data, '\n') + 1; cut < len(data); cut++ {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(path)), data[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		d := openDeadLetters(t, dir)
		if got := len(readAll(t, d)); got != 1 || d.Count() != 1 {
			t.Fatalf("cut at %d: %d letters, counted %d", cut, got, d.Count())
		}
		if err := d.Append("f", []byte(`{"n":9}`), Refused{}); err != nil {
			t.Fatal(err)
		}
		letters := readAll(t, d)
		if len(letters) != 2 || string(letters[1].Event) != `{"n":9}` || d.Count() != 2 {
			t.Fatalf("cut at %d: %+v, counted %d", cut, letters, d.Count())
		}
	}
}

// A replay takes files away, by renaming and reading them, while the connector
// goes on: nothing is lost, and two processes share the directory.
func TestDeadLettersAreTakenMeanwhile(t *testing.T) {
	dir := t.TempDir()
	const writers, each = 2, 100
	var group sync.WaitGroup
	for i := range writers {
		d := openDeadLetters(t, dir)
		d.fileBytes = 1000
		group.Go(func() {
			for n := range each {
				if err := d.Append(fmt.Sprint(i), fmt.Appendf(nil, `{"n":%d}`, n), Refused{}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	written := make(chan struct{})
	go func() {
		group.Wait()
		close(written)
	}()
	reader := openDeadLetters(t, dir)
	seen := map[string]int{}
	take := func() {
		for _, path := range reader.Files() {
			taken := path + ".replaying"
			if err := os.Rename(path, taken); err != nil {
				t.Fatal(err)
			}
			for _, letter := range lettersIn(t, taken) {
				seen[letter.Feed+string(letter.Event)]++
			}
			if err := os.Remove(taken); err != nil {
				t.Fatal(err)
			}
		}
	}
	for done := false; !done; take() {
		select {
		case <-written:
			done = true
		default:
		}
	}
	if len(seen) != writers*each {
		t.Errorf("%d dead letters were seen, want %d", len(seen), writers*each)
	}
	if reader.Count() != 0 {
		t.Errorf("%d are left", reader.Count())
	}
}

// When the disk is full, nothing of a dead letter stays, and no heap of empty
// files either.
func TestDeadLettersOnAFullDisk(t *testing.T) {
	if !inOwnProcess(t) {
		return
	}
	d := openDeadLetters(t, t.TempDir())
	event := fmt.Appendf(nil, `{"n":"%s"}`, strings.Repeat("x", 600))
	limitFileSize(t, 1000, func() {
		for i := range 5 {
			if err := d.Append("f", event, Refused{}); (err == nil) != (i == 0) {
				t.Errorf("append %d: %v", i, err)
			}
		}
	})
	if err := d.Append("f", event, Refused{}); err != nil {
		t.Error(err)
	}
	if letters := readAll(t, d); len(letters) != 2 || len(d.Files()) != 1 || d.Count() != 2 {
		t.Errorf("%d letters in %d files, counted %d", len(letters), len(d.Files()), d.Count())
	}
}

func TestDeadLettersThatCannotBeWritten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deadletter")
	d := openDeadLetters(t, dir)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := d.Append("f", []byte(`{}`), Refused{}); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("got %v", err)
	}
	if d.Count() != 0 {
		t.Errorf("counted %d", d.Count())
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenDeadLetters(dir); err == nil {
		t.Error("a file was taken for a directory")
	}
}

func TestDeadLettersAreClosedToOthers(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	openDeadLetters(t, dir)
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestDeadLettersFromManyFeeds(t *testing.T) {
	d := openDeadLetters(t, t.TempDir())
	d.fileBytes = 2000
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for range 10 {
				if err := d.Append(fmt.Sprint(i), []byte(`{}`), Refused{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if got := len(readAll(t, d)); got != 80 || d.Count() != 80 {
		t.Errorf("%d letters, counted %d", got, d.Count())
	}
}

// Whatever is refused comes back as it was.
func FuzzDeadLetter(f *testing.F) {
	f.Add("feed", "reason", []byte(`{"a":1e400,"b":"\ud800"}`))
	f.Add("\xff\n", "\x00\u2028", []byte("{\"a\":\n1}"))
	f.Add("", "", []byte("\xff}\n{"))
	f.Fuzz(func(t *testing.T, feed, reason string, event []byte) {
		var line bytes.Buffer
		if err := appendDeadLetter(&line, time.Unix(1e9, 0).UTC(), feed, event, Refused{Reason: reason}); err != nil {
			t.Fatal(err)
		}
		if bytes.Count(line.Bytes(), []byte{'\n'}) != 1 || !bytes.HasSuffix(line.Bytes(), []byte{'\n'}) {
			t.Fatalf("not one line: %q", line.Bytes())
		}
		var letter DeadLetter
		if err := json.Unmarshal(line.Bytes(), &letter); err != nil {
			t.Fatalf("%q: %v", line.Bytes(), err)
		}
		var compact bytes.Buffer
		if json.Compact(&compact, event) == nil && !bytes.Equal(letter.Event, compact.Bytes()) {
			t.Errorf("event %q came back as %q", event, letter.Event)
		}
	})
}
