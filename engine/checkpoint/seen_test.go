package checkpoint

import (
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Whatever memory tables come and go meanwhile, a key is known from its commit until it is swept, with the time of its last
// commit; and most that are new are told without the memory table.
func TestSeenWhileTablesEnd(t *testing.T) {
	const writers, batches, batch = 4, 100, 100
	disk := vfs.NewMem()
	open := func() *Embedded {
		s, err := Open("state", Options{FS: disk, memTable: smallTable})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	want := func(k Key, expires time.Time) {
		t.Helper()
		if got, ok, err := s.Seen(k); err != nil || ok != !expires.IsZero() || !got.Equal(expires) {
			t.Errorf("seen %v until %v, %v; want %v", ok, got, err, expires)
		}
	}
	commit := func(expires time.Time, keys ...Key) {
		if err := s.Commit(&Commit{Feed: "feed", Keys: keys, Expires: expires}); err != nil {
			t.Error(err)
		}
	}
	later := noon.Add(24 * time.Hour)
	known := [writers]map[Key]time.Time{}
	var group sync.WaitGroup
	for w := range writers {
		known[w] = map[Key]time.Time{}
		group.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(w)))
			var keys []Key
			for range batches {
				for range batch {
					k := KeyOf("feed", binary.BigEndian.AppendUint64([]byte{byte(w)}, uint64(len(keys))))
					want(k, time.Time{})
					keys, known[w][k] = append(keys, k), noon
				}
				commit(noon, keys[len(keys)-batch:]...)
				again := keys[random.IntN(len(keys))]
				commit(later, again)
				known[w][again] = later
				for range 10 {
					k := keys[random.IntN(len(keys))]
					want(k, known[w][k])
				}
			}
		})
	}
	group.Wait()
	if s.readers.written.age == 0 {
		t.Error("no table has ended")
	}
	told := 0
	for n := range 1000 {
		if s.readers.may(KeyOf("another", binary.BigEndian.AppendUint64(nil, uint64(n)))) {
			told++
		}
	}
	if told > 500 { // where the disk is slow, more keys wait for it than the filter is made for
		t.Errorf("%d of 1000 new keys are looked up in the memory table", told)
	}
	verify := func() {
		for w := range known {
			for k, expires := range known[w] {
				want(k, expires)
			}
		}
	}
	verify()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open()
	verify()
	if err := s.SweepKeys(noon.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	for w := range known {
		for k, expires := range known[w] {
			if expires == noon {
				known[w][k] = time.Time{}
			}
		}
	}
	verify()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
