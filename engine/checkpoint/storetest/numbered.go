package storetest

import (
	"fmt"
	"time"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
)

// NumberedKey is a key of [Numbered].
func NumberedKey(partition string, n int) checkpoint.Key {
	return checkpoint.KeyOf("feed", partition, fmt.Sprint(n))
}

// Numbered is the commit of batch n of a partition: ten keys, the position and a
// ledger entry, all derived from n.
func Numbered(partition string, n int) *checkpoint.Commit {
	from := noon.Add(time.Duration(n/10) * time.Hour)
	c := &checkpoint.Commit{Feed: "feed", Partition: partition, Expires: noon,
		Position: &checkpoint.Position{Cursor: noon.Add(time.Duration(n) * time.Second), Forwarded: int64(n)},
		Entry:    &checkpoint.Entry{Feed: "feed", Partition: partition, From: from, To: from.Add(time.Hour), Counts: checkpoint.Counts{Listed: int64(n%10 + 1)}}}
	for i := range 10 {
		c.Keys = append(c.Keys, NumberedKey(partition, n*10+i))
	}
	return c
}

// VerifyNumbered checks that batches 0 to n-1 of a partition are in the store, whole, and
// that batch n is there whole or not at all. It returns how many there are.
func VerifyNumbered(s checkpoint.Store, partition string, n int) (int, error) {
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
		_, ok, err := s.Seen(NumberedKey(partition, i))
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
