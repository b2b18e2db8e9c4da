package load

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestFileIsPrivateAndAppended(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.ndjson")
	for i := range 2 {
		d, err := Open(Config{Kind: KindFile, Path: path})
		if err != nil {
			t.Fatal(err)
		}
		deliver(t, d, testEvents(i*2, 2))
		for range 2 { // one closed twice is closed
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	wantEvents(t, fileLines(t, path), testEvents(0, 4), true)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// What is written to a file that was moved away or removed goes to a new one.
func TestFileIsMovedAway(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.ndjson")
	d := mustOpen(t, Config{Kind: KindFile, Path: path})
	deliver(t, d, testEvents(0, 2))
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	deliver(t, d, testEvents(2, 2))
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	deliver(t, d, testEvents(4, 2))
	wantEvents(t, fileLines(t, path+".1", path), slices.Concat(testEvents(0, 2), testEvents(4, 2)), true)
}

func TestFileEndsInABrokenLine(t *testing.T) {
	tests := []struct {
		name, before, want string
	}{
		{"empty", "", ""},
		{"whole", "{\"a\":1}\n", "{\"a\":1}\n"},
		{"no line feed", "{\"a\":1}\n{\"a\":2}", "{\"a\":1}\n{\"a\":2}\n"},
		{"broken", "{\"a\":1}\n{\"a\":\"x", "{\"a\":1}\n"},
		{"only broken", "{\"a", ""},
		{"something else", "my notes", "my notes\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "out.ndjson")
			if err := os.WriteFile(path, []byte(test.before), 0o600); err != nil {
				t.Fatal(err)
			}
			logs, logger := newLogs(t)
			deliver(t, mustOpen(t, Config{Kind: KindFile, Path: path, Logger: logger}), [][]byte{[]byte(`{"b":1}`)})
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if want := test.want + "{\"b\":1}\n"; string(data) != want {
				t.Errorf("got %q, want %q", data, want)
			}
			if got := logs.count("level=WARN", "cut off"); got != strings.Count(test.name, "broken") {
				t.Errorf("%d warnings:\n%s", got, logs)
			}
		})
	}
}

// A line of a size no event has is not ours to cut.
func TestFileWithAHugeLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.ndjson")
	huge := "{" + strings.Repeat("{", mendBytes)
	if err := os.WriteFile(path, []byte(huge), 0o600); err != nil {
		t.Fatal(err)
	}
	deliver(t, mustOpen(t, Config{Kind: KindFile, Path: path}), [][]byte{[]byte(`{}`)})
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(data) != huge+"\n{}\n" {
		t.Errorf("%d bytes, ending in %q", len(data), data[len(data)-10:])
	}
}

// limitFileSize runs f while no file may grow beyond size: it stands in for a
// disk without room, as a write stops half-way with an error. The limit holds for
// the whole process.
func limitFileSize(t *testing.T, size uint64, f func()) {
	t.Helper()
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	limited := old
	limited.Cur = size
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limited); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
			t.Error(err)
		}
	}()
	f()
}

// A batch that does not fit leaves nothing behind, and is written whole when
// there is room.
func TestFileOnAFullDisk(t *testing.T) {
	if !inOwnProcess(t) {
		return
	}
	path := filepath.Join(t.TempDir(), "out.ndjson")
	d := mustOpen(t, Config{Kind: KindFile, Path: path, Retry: quick})
	first, second := testEvents(0, 10), testEvents(10, 200)
	deliver(t, d, first)
	done := make(chan error)
	limitFileSize(t, 2000, func() {
		go func() {
			_, err := d.Deliver(t.Context(), Batch{Events: second})
			done <- err
		}()
		eventually(t, "failed writes", func() bool { return d.State().Retries > 3 })
	})
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	wantEvents(t, fileLines(t, path), slices.Concat(first, second), true)
}

// A pipe that nobody reads any more can never work.
func TestClosedPipe(t *testing.T) {
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	d := mustOpen(t, Config{Kind: KindStdout, Output: writer})
	reader.Close()
	if _, err := d.Deliver(t.Context(), Batch{Events: testEvents(0, 1)}); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("got %v, want EPIPE", err)
	}
	writer.Close()
	if _, err := d.Deliver(t.Context(), Batch{Events: testEvents(0, 1)}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("got %v, want that the file is closed", err)
	}
}

// A pipe that is full does not keep the program from ending, and what was cut
// short does not run into what follows.
func TestFullPipe(t *testing.T) {
	reader, writer := io.Pipe()
	d := mustOpen(t, Config{Kind: KindStdout, Output: writer})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	start := time.Now()
	if _, err := d.Deliver(ctx, Batch{Events: testEvents(0, 1)}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(start); took > writeGrace+10*time.Second {
		t.Errorf("took %s to give up", took)
	}
	go func() {
		deliver(t, d, testEvents(1, 1))
		writer.Close()
	}()
	data, err := io.ReadAll(reader)
	if err != nil {
		t.Fatal(err)
	}
	wantEvents(t, strings.Fields(string(data)), testEvents(0, 2), true)
}

// A batch given up in the middle of a line is followed by a new line.
func TestTornLine(t *testing.T) {
	out := &flaky{}
	d := mustOpen(t, Config{Kind: KindStdout, Output: out, Retry: Retry{Initial: time.Hour, Max: time.Hour}})
	out.broken.Store(true)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := d.Deliver(ctx, Batch{Events: testEvents(0, 1)}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	out.broken.Store(false)
	deliver(t, d, testEvents(1, 1))
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 || lines[1] != string(testEvents(1, 1)[0]) || !strings.HasPrefix(string(testEvents(0, 1)[0]), lines[0]) {
		t.Errorf("got %q", lines)
	}
}
