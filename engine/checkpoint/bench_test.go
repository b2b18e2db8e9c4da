//go:build unix

package checkpoint

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"
)

var (
	benchKeys = flag.Int("bench-keys", 100_000, "how many keys the benchmarks' store holds")
	benchDir  = flag.String("bench-dir", "", "a directory to fill once and to use again; empty: a temporary one")
)

func benchKey(n int) Key { return KeyOf("bench", binary.BigEndian.AppendUint64(nil, uint64(n))) }

// cpu reports the processor time of the process for each operation since it was
// called, which a busy machine does not distort.
func cpu(b *testing.B) (report func()) {
	used := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	start := used()
	return func() { b.ReportMetric(float64(used()-start)/float64(b.N), "cpu-ns/op") }
}

// filled is a store of at least benchKeys keys.
func filled(b *testing.B) *Embedded {
	b.Helper()
	dir := *benchDir
	if dir == "" {
		dir = b.TempDir()
	}
	s, err := Open(dir, Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if os.Getenv("CHECKPOINT_METRICS") != "" {
			b.Log(s.db.Metrics())
		}
		if err := s.Close(); err != nil && !errors.Is(err, ErrClosed) {
			b.Error(err)
		}
	})
	p, _, err := s.Position("bench", "")
	if err != nil {
		b.Fatal(err)
	}
	const batch = 5000
	keys := make([]Key, batch)
	for n := int(p.Forwarded); n < *benchKeys; n += batch {
		for i := range keys {
			keys[i] = benchKey(n + i)
		}
		if err := s.Commit(&Commit{Feed: "bench", Position: &Position{Forwarded: int64(n + batch)}, Keys: keys,
			Expires: noon.Add(time.Duration(n) * 30 * time.Millisecond)}); err != nil {
			b.Fatal(err)
		}
	}
	return s
}

func BenchmarkCommit(b *testing.B) {
	s := filled(b)
	next := 1 << 40
	for _, size := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("keys=%d", size), func(b *testing.B) {
			keys := make([]Key, size)
			defer cpu(b)()
			for b.Loop() {
				for i := range keys {
					keys[i] = benchKey(next)
					next++
				}
				e := Entry{Feed: "bench", From: noon, To: noon.Add(time.Hour), Counts: Counts{Listed: int64(size), Fetched: int64(size), Delivered: int64(size)}}
				if err := s.Commit(&Commit{Feed: "bench", Partition: "writer", Position: &Position{Cursor: noon, Forwarded: int64(next)},
					Keys: keys, Expires: noon, Entry: &e}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(size)*float64(b.N)/b.Elapsed().Seconds(), "keys/s")
		})
	}
}

func BenchmarkSeen(b *testing.B) {
	s := filled(b)
	b.Run("new", func(b *testing.B) {
		n := 1 << 50
		defer cpu(b)()
		for b.Loop() {
			n++
			if _, ok, err := s.Seen(benchKey(n)); ok || err != nil {
				b.Fatal(ok, err)
			}
		}
	})
	b.Run("known", func(b *testing.B) {
		n := 0
		defer cpu(b)()
		for b.Loop() {
			n = (n + 7919) % *benchKeys
			if _, ok, err := s.Seen(benchKey(n)); !ok || err != nil {
				b.Fatal(ok, err)
			}
		}
	})
}

func BenchmarkOpen(b *testing.B) {
	s := filled(b)
	dir := s.dir
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	defer cpu(b)()
	for b.Loop() {
		s, err := Open(dir, Options{})
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkMemTable is a feed's work on a large state, with memory tables of several
// sizes: what a record's key costs (a look-up, and its part of a commit of 500), and how long
// opening takes after a kill.
//
//	go test ./engine/checkpoint -run xxx -bench MemTable -benchtime 1x -bench-keys 10000000
func BenchmarkMemTable(b *testing.B) {
	for _, size := range []uint64{1, 2, 4, 8, 16} {
		b.Run(fmt.Sprintf("MiB=%d", size), func(b *testing.B) {
			dir := b.TempDir()
			s, err := Open(dir, Options{memTable: size << 20})
			if err != nil {
				b.Fatal(err)
			}
			keys := make([]Key, 500)
			report := cpu(b)
			for b.Loop() {
				for n := 0; n < *benchKeys; n += len(keys) {
					for i := range keys {
						keys[i] = benchKey(n + i)
						if _, ok, err := s.Seen(keys[i]); ok || err != nil {
							b.Fatal(ok, err)
						}
					}
					if err := s.Commit(&Commit{Feed: "bench", Position: &Position{Forwarded: int64(n)}, Keys: keys, Expires: noon}); err != nil {
						b.Fatal(err)
					}
				}
			}
			report()
			b.ReportMetric(b.Elapsed().Seconds()/float64(b.N)*1e9/float64(*benchKeys), "ns/key")
			// Closing leaves the log to be read back, as a kill does.
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
			began := time.Now()
			s, err = Open(dir, Options{memTable: size << 20})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(time.Since(began).Milliseconds()), "ms-to-open")
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}
