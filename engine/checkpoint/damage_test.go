package checkpoint

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func numberedKey(partition string, n int) Key {
	return KeyOf("feed", partition, fmt.Sprint(n))
}

// numberedCommit is the commit of batch n of a partition: ten keys, the position and a
// ledger entry, all derived from n.
func numberedCommit(partition string, n int) *Commit {
	from := noon.Add(time.Duration(n/10) * time.Hour)
	c := &Commit{Feed: "feed", Partition: partition, Expires: noon,
		Position: &Position{Cursor: noon.Add(time.Duration(n) * time.Second), Forwarded: int64(n)},
		Entry:    &Entry{Feed: "feed", Partition: partition, From: from, To: from.Add(time.Hour), Counts: Counts{Listed: int64(n%10 + 1)}}}
	for i := range 10 {
		c.Keys = append(c.Keys, numberedKey(partition, n*10+i))
	}
	return c
}

// verifyNumbered checks that batches 0 to n-1 of a partition are in the store, whole, and
// that batch n is there whole or not at all. It returns how many there are.
func verifyNumbered(s *Embedded, partition string, n int) (int, error) {
	p, ok, err := s.Position("feed", partition)
	if err != nil {
		return 0, err
	}
	have := 0
	if ok {
		have = int(p.Forwarded) + 1
	}
	if have != n && have != n+1 {
		return 0, fmt.Errorf("partition %s: the position knows %d batches, %d were acknowledged", partition, have, n)
	}
	for i := range (have + 1) * 10 {
		_, ok, err := s.Seen(numberedKey(partition, i))
		if err != nil {
			return 0, err
		}
		if want := i < have*10; ok != want {
			return 0, fmt.Errorf("partition %s: key %d of batch %d: seen %v, want %v (%d batches, %d acknowledged)", partition, i%10, i/10, ok, want, have, n)
		}
	}
	var listed []int64
	for e, err := range s.Ledger("feed") {
		if err != nil {
			return 0, err
		}
		if e.Partition == partition {
			listed = append(listed, e.Listed)
		}
	}
	if want := (have + 9) / 10; len(listed) != want {
		return 0, fmt.Errorf("partition %s: %d ledger entries, want %d", partition, len(listed), want)
	}
	for i, n := range listed {
		if want := min(10, have-i*10); n != int64(want) {
			return 0, fmt.Errorf("partition %s: ledger entry %d counts %d, want %d", partition, i, n, want)
		}
	}
	return have, nil
}

func wantNumbered(t *testing.T, s *Embedded, n int) {
	t.Helper()
	if _, err := verifyNumbered(s, "a", n); err != nil {
		t.Fatal(err)
	}
}

func openTest(t *testing.T, dir string, o Options) *Embedded {
	t.Helper()
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil && !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
	return s
}

func commitNumbered(t *testing.T, s *Embedded, from, to int) {
	t.Helper()
	for n := from; n < to; n++ {
		if err := s.Commit(numberedCommit("a", n)); err != nil {
			t.Fatal(err)
		}
	}
}

// lived makes a state directory as a killed process leaves it: tables of earlier runs, a
// log of this one. It holds batches 0 to n-1.
func lived(t *testing.T) (dir string, n int) {
	t.Helper()
	o := Options{FS: vfs.NewMem()} // quick: it syncs nothing
	for range 3 {
		s := openTest(t, damagedDir, o)
		commitNumbered(t, s, n, n+40)
		n += 40
		if err := s.db.Flush(); err != nil {
			t.Fatal(err)
		}
		commitNumbered(t, s, n, n+40)
		n += 40
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	s := openTest(t, damagedDir, o)
	commitNumbered(t, s, n, n+60)
	n += 60
	dir = t.TempDir()
	if ok, err := vfs.Clone(o.FS, vfs.Default, damagedDir, dir); !ok || err != nil {
		t.Fatal(ok, err)
	}
	return dir, n
}

// TestDamageIsNeverSilent damages each file of a state in each way, and demands that
// all is still there, or that the state is set aside and said so: at once, or
// after a read has met the damage.
func TestDamageIsNeverSilent(t *testing.T) {
	sound, n := lived(t)
	if s := openTest(t, sound, Options{}); s.SetAside() != nil {
		t.Fatalf("the undamaged state was set aside: %s", s.SetAside())
	} else {
		wantNumbered(t, s, n)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	sound, n = lived(t) // as it was before it was opened
	files, err := os.ReadDir(filepath.Join(sound, stateDir))
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]func(b []byte) []byte{
		"emptied":     func([]byte) []byte { return nil },
		"halved":      func(b []byte) []byte { return b[:len(b)/2] },
		"short by 1":  func(b []byte) []byte { return b[:max(0, len(b)-1)] },
		"first bit":   func(b []byte) []byte { return flip(b, 0) },
		"middle bit":  func(b []byte) []byte { return flip(b, len(b)/2) },
		"third bit":   func(b []byte) []byte { return flip(b, len(b)/3) },
		"last bit":    func(b []byte) []byte { return flip(b, len(b)-1) },
		"overwritten": func(b []byte) []byte { return []byte(strings.Repeat("garbage ", len(b)/8+1)) },
		"removed":     nil,
	}
	outcomes := map[string]int{}
	for _, f := range files {
		for kind, change := range kinds {
			name := f.Name()
			t.Run(name+" "+kind, func(t *testing.T) {
				outcome := surviveDamage(t, inMemory(t, sound, name, change), n)
				outcomes[outcome]++
				t.Log(name, kind, outcome)
			})
		}
	}
	t.Log(outcomes)
	for _, want := range []string{"sound", "set aside"} {
		if outcomes[want] == 0 {
			t.Errorf("no damage had the outcome %q: %v", want, outcomes)
		}
	}
}

func flip(b []byte, i int) []byte {
	b = slices.Clone(b)
	if i >= 0 && i < len(b) {
		b[i] ^= 0x10
	}
	return b
}

// inMemory is a state on a disk in memory, with one of its files changed, or removed if change is nil.
func inMemory(t *testing.T, state, name string, change func([]byte) []byte) vfs.FS {
	t.Helper()
	disk := vfs.NewMem()
	if ok, err := vfs.Clone(vfs.Default, disk, state, damagedDir); !ok || err != nil {
		t.Fatal(ok, err)
	}
	path := disk.PathJoin(damagedDir, stateDir, name)
	if change == nil {
		if err := disk.Remove(path); err != nil {
			t.Fatal(err)
		}
		return disk
	}
	f, err := disk.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(f)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	if f, err = disk.Create(path, vfs.WriteCategoryUnspecified); err != nil {
		t.Fatal(err)
	}
	_, err = f.Write(change(b))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
	return disk
}

const damagedDir = "/dir"

func surviveDamage(t *testing.T, disk vfs.FS, n int) string {
	t.Helper()
	o := Options{FS: disk}
	outcome := "set aside"
	s := openTest(t, damagedDir, o)
	if s.SetAside() == nil {
		_, err := verifyNumbered(s, "a", n)
		if err == nil {
			return "sound"
		}
		if !errors.Is(err, ErrDamaged) {
			t.Fatalf("damage without a word: %v", err)
		}
		for _, err := range []error{s.Commit(numberedCommit("a", n)), s.Sweep(noon)} {
			if !errors.Is(err, ErrDamaged) {
				t.Errorf("after damage was found: %v, want ErrDamaged", err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		outcome = "found on reading"
		s = openTest(t, damagedDir, o)
	}
	report := s.SetAside()
	if report == nil {
		t.Fatal("the damaged state was opened again as if sound")
	}
	if _, err := disk.Stat(report.Path); err != nil || !strings.HasPrefix(report.Path, filepath.Join(damagedDir, "state-damaged-")) {
		t.Errorf("set aside as %q: %v", report.Path, err)
	}
	if !strings.Contains(report.Reason, "damaged") {
		t.Errorf("reason %q", report.Reason)
	}
	t.Log(report)
	wantNumbered(t, s, 0)
	commitNumbered(t, s, 0, 3)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, damagedDir, o)
	if s.SetAside() != nil {
		t.Errorf("the new state was set aside too: %s", s.SetAside())
	}
	wantNumbered(t, s, 3)
	return outcome
}
