package shared

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/engine/checkpoint/natstest"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/checkpoint/storetest"
)

// told is all that a store tells.
type told struct {
	positions map[[2]string]checkpoint.Position
	ledger    []checkpoint.Entry
	seen      map[int]time.Time
	objects   map[string]string
}

func tell(t *testing.T, s checkpoint.Store, keys int) told {
	t.Helper()
	all := told{seen: map[int]time.Time{}, objects: map[string]string{}}
	var err, err2 error
	all.positions, err = s.Positions("")
	all.ledger, err2 = storetest.Chronological(s.Ledger(""))
	if err = errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	for name := range all.positions {
		for o, err := range s.Objects(name[0], name[1]) {
			if err != nil {
				t.Fatal(err)
			}
			all.objects[name[1]+" "+o.ID] = string(o.State)
		}
	}
	for i := range keys {
		expires, ok, err := s.Seen(storetest.NumberedKey("", i))
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			all.seen[i] = expires
		}
	}
	return all
}

func wantTold(t *testing.T, who string, got, want told) {
	t.Helper()
	if !reflect.DeepEqual(got.positions, want.positions) {
		t.Errorf("%s: positions %v\nwant %v", who, got.positions, want.positions)
	}
	if len(got.ledger) != len(want.ledger) {
		t.Errorf("%s: %d entries in the ledger, want %d", who, len(got.ledger), len(want.ledger))
	}
	for i := range min(len(got.ledger), len(want.ledger)) {
		if !reflect.DeepEqual(got.ledger[i], want.ledger[i]) {
			t.Fatalf("%s: entry %d of the ledger is %+v\nwant %+v", who, i, got.ledger[i], want.ledger[i])
		}
	}
	if !maps.Equal(got.objects, want.objects) {
		t.Errorf("%s: %d objects, want %d", who, len(got.objects), len(want.objects))
	}
	if !maps.Equal(got.seen, want.seen) {
		t.Errorf("%s: %d keys seen, want %d", who, len(got.seen), len(want.seen))
	}
}

// TestSharedPurgeLosesNothing lets weeks go by in which two replicas commit, hand partitions
// over and sweep. Both tell what an embedded store tells that was given the
// same, and so does a third that builds its view from what is left in the log.
func TestSharedPurgeLosesNothing(t *testing.T) {
	payloads := []int32{16 << 10, 1 << 20} // folds go in parts; in one
	if testing.Short() {
		payloads = payloads[:1]
	}
	for _, payload := range payloads {
		t.Run(fmt.Sprint(payload), func(t *testing.T) {
			seed := uint64(time.Now().UnixNano())
			t.Logf("seed %d", seed)
			purgeLosesNothing(t, rand.New(rand.NewPCG(seed, 0)), natstest.URL(natstest.Start(t, natstest.MaxPayload(payload))))
		})
	}
}

func purgeLosesNothing(t *testing.T, random *rand.Rand, url string) {
	const parts, days = 3, 25
	model := openEmbedded(t, checkpoint.Options{FS: vfs.NewMem()}, "state")
	replicas := []*Store{openShared(t, Options{URL: url}), openShared(t, Options{URL: url})}
	owner := make([]int, parts)
	keys := 0
	commit := func(p int, c *checkpoint.Commit) {
		s := replicas[owner[p]]
		must(t, func() error {
			err := s.Commit(c)
			if errors.Is(err, checkpoint.ErrFenced) {
				claim(t, s, c.Partition, fmt.Sprint(owner[p]))
				err = s.Commit(c)
			}
			return err
		})
		if err := model.Commit(c); err != nil {
			t.Fatal(err)
		}
	}
	now := noon
	for day := range days {
		for window := range 8 {
			now = now.Add(3 * time.Hour)
			for p := range parts {
				if p == 2 && day > days/2 {
					continue // a feed that was turned off
				}
				if random.IntN(15) == 0 {
					owner[p] = 1 - owner[p]
					atEnd(t, replicas[owner[p]])
				}
				partition := fmt.Sprintf("part %d/ü", p)
				from := now.Add(-3 * time.Hour)
				retention := 10 * 24 // hours: the keys outlive the ledger's detail
				if p == 0 {
					retention = 24 // the windows outlive the keys
				}
				if random.IntN(20) == 0 {
					from = from.Add(-time.Duration(random.IntN(20*24)) * time.Hour) // a backfill
				}
				e := &checkpoint.Entry{Feed: "feed", Partition: partition, From: from, To: from.Add(3 * time.Hour), Complete: random.IntN(5) > 0}
				for range 1 + random.IntN(2) {
					c := &checkpoint.Commit{Feed: "feed", Partition: partition, Entry: e, Expires: now.Add(time.Duration(random.IntN(retention)) * time.Hour)}
					for range random.IntN(4) {
						c.Keys = append(c.Keys, storetest.NumberedKey("", keys))
						keys++
					}
					if random.IntN(30) == 0 && keys > 0 {
						c.Keys = append(c.Keys, storetest.NumberedKey("", random.IntN(keys)))
					}
					e.Listed += int64(len(c.Keys))
					if random.IntN(4) == 0 {
						e.Reasons = map[string]int64{"gone": int64(window)}
					}
					for range random.IntN(3) {
						o := checkpoint.Object{ID: fmt.Sprint(random.IntN(20))}
						if random.IntN(4) > 0 {
							o.State = bytes.Repeat([]byte{byte(keys)}, 1+random.IntN(3000))
						}
						c.Objects = append(c.Objects, o)
					}
					c.Position = &checkpoint.Position{Cursor: e.To, Forwarded: int64(keys)}
					commit(p, c)
				}
				if p == 0 { // what fails says so
					for range 8 {
						commit(p, &checkpoint.Commit{Feed: "feed", Partition: "failing", Position: &checkpoint.Position{Forwarded: int64(random.IntN(1000))}})
					}
				}
			}
		}
		for _, s := range replicas {
			atEnd(t, s)
			must(t, func() error { return s.Sweep(now) })
		}
		if err := model.Sweep(now); err != nil {
			t.Fatal(err)
		}
	}
	// Whatever each holds has been swept at this time by now.
	for _, s := range replicas {
		atEnd(t, s)
	}
	want := tell(t, model, keys)
	for i, s := range replicas {
		wantTold(t, fmt.Sprintf("replica %d", i), tell(t, s, keys), want)
	}
	info, err := replicas[0].stream.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d of %d messages are left, %d KiB", info.State.Msgs, info.State.LastSeq, info.State.Bytes>>10)
	if info.State.Msgs*2 > info.State.LastSeq {
		t.Error("hardly anything was purged")
	}
	third := openShared(t, Options{URL: url})
	must(t, func() error { return third.Sweep(now) })
	wantTold(t, "a view built anew", tell(t, third, keys), want)
	for p := range parts {
		partition := fmt.Sprintf("part %d/ü", p)
		if got, want := third.Owner("feed", partition), replicas[0].Owner("feed", partition); got != want || got == "" {
			t.Errorf("the owner of %s is %q, want %q", partition, got, want)
		}
		if got, want := third.Weight("feed", partition), replicas[0].Weight("feed", partition); got != want {
			t.Errorf("%s weighs %d, want %d", partition, got, want)
		}
	}
}
