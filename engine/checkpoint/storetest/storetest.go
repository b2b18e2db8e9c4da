// Package storetest is the conformance suite of checkpoint.Store: what every
// implementation must do, whatever it keeps the state in. A store that passes it forgets nothing that was committed,
// and shows nothing that was not.
//
// How it works: [Run] gives each test an empty state of its own, which most close and open again to see what is
// kept: positions and keys (storetest.go), the ledger and its daily totals (ledger.go), objects (objects.go). Who
// breaks a writer off uses [Numbered] commits, of which [VerifyNumbered] says whether each is there whole or not at all (numbered.go).
package storetest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
)

// Open opens the state of one test. A second call, after the store of the first was closed,
// opens the same state again.
type Open func() (checkpoint.Store, error)

// Run runs the suite. place makes room for one test's state, empty, and says how to open it.
func Run(t *testing.T, place func(t *testing.T) Open) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, open Open)
	}{
		{"an empty store knows nothing", empty},
		{"positions survive a reopening", positions},
		{"names that run together stay apart", names},
		{"keys are remembered until their time at least", keys},
		{"a key committed again takes the new expiry", refresh},
		{"a commit may hold anything or nothing", shapes},
		{"a commit tried again changes nothing", again},
		{"many keys in one commit", manyKeys},
		{"the ledger lists windows in order and replaces them", ledger},
		{"a sweep forgets expired keys and nothing else", sweepKeys},
		{"a sweep folds old windows into days and loses no count", sweepLedger},
		{"sweeping again changes nothing", sweepTwice},
		{"commits, look-ups and sweeps run side by side", concurrent},
		{"a refresh during a sweep is not lost", refreshDuringSweep},
		{"a closed store says so", closed},
		{"a sweep forgets totals of days after a good year", forgetDays},
		{"objects are set, listed and taken away with what they stand for", objects},
		{"many objects in one commit", manyObjects},
		{"a job, a delta link and what an archive has read are committed with what they stand for", stands},
		{"closing ends a sweep", closeDuringSweep},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, place(t)) })
	}
}

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func opened(t *testing.T, open Open) checkpoint.Store {
	t.Helper()
	s, err := open()
	must(t, err)
	t.Cleanup(func() {
		if err := s.Close(); err != nil && !errors.Is(err, checkpoint.ErrClosed) {
			t.Error(err)
		}
	})
	return s
}

func key(n int) checkpoint.Key {
	return checkpoint.KeyOf("feed", binary.BigEndian.AppendUint64(nil, uint64(n)))
}

func wantSeen(t *testing.T, s checkpoint.Store, k checkpoint.Key, want bool) time.Time {
	t.Helper()
	expires, ok, err := s.Seen(k)
	must(t, err)
	if ok != want {
		t.Fatalf("Seen(%x) = %v, want %v", k, ok, want)
	}
	return expires
}

func empty(t *testing.T, open Open) {
	s := opened(t, open)
	wantSeen(t, s, key(1), false)
	if p, ok, err := s.Position("feed", "a"); ok || err != nil {
		t.Errorf("Position = %v %v %v, want none", p, ok, err)
	}
	if all, err := s.Positions(""); len(all) != 0 || err != nil {
		t.Errorf("Positions = %v %v, want none", all, err)
	}
	if l, err := Chronological(s.Ledger("")); len(l) != 0 || err != nil {
		t.Errorf("Ledger = %v %v, want none", l, err)
	}
	must(t, s.Sweep(noon))
}

func positions(t *testing.T, open Open) {
	s := opened(t, open)
	full := checkpoint.Position{
		Cursor: noon.Add(123456789), ReadAt: noon.Add(time.Minute), Start: noon.Add(-24 * time.Hour),
		SubscribedAt: noon.Add(-time.Hour), GateUntil: noon.Add(6 * time.Hour), GateReason: "licence \"P1\" missing\n",
		Link: "https://list.example/delta?token=a b", Job: "42", JobAt: noon.Add(-time.Minute),
		Forwarded: 1 << 60, LastSuccess: noon, LastError: "é\x00", LastErrorAt: noon.Add(-time.Second),
	}
	must(t, s.Commit(&checkpoint.Commit{Feed: "feed", Partition: "a", Position: &full}))
	must(t, s.Commit(&checkpoint.Commit{Feed: "feed", Partition: "b", Position: &checkpoint.Position{Cursor: noon}}))
	must(t, s.Commit(&checkpoint.Commit{Feed: "feed", Partition: "b", Position: &checkpoint.Position{Cursor: noon.Add(time.Hour)}}))
	must(t, s.Commit(&checkpoint.Commit{Feed: "feed", Partition: "b", Keys: []checkpoint.Key{key(1)}, Expires: noon}))
	want := map[[2]string]checkpoint.Position{
		{"feed", "a"}: full,
		{"feed", "b"}: {Cursor: noon.Add(time.Hour)},
	}
	check := func(s checkpoint.Store) {
		t.Helper()
		all, err := s.Positions("")
		must(t, err)
		if !reflect.DeepEqual(all, want) {
			t.Errorf("Positions = %+v\nwant %+v", all, want)
		}
		for name, w := range want {
			p, ok, err := s.Position(name[0], name[1])
			must(t, err)
			if !ok || !reflect.DeepEqual(p, w) {
				t.Errorf("Position(%q) = %+v %v\nwant %+v", name, p, ok, w)
			}
		}
	}
	check(s)
	must(t, s.Close())
	check(opened(t, open))
}

func names(t *testing.T, open Open) {
	s := opened(t, open)
	pairs := [][2]string{{"", ""}, {"a", ""}, {"", "a"}, {"ab", "c"}, {"a", "bc"}, {"a\x00", "b"}, {"a", "\x00b"}, {"é", "ü/1"}}
	for i, p := range pairs {
		must(t, s.Commit(&checkpoint.Commit{Feed: p[0], Partition: p[1],
			Position: &checkpoint.Position{Forwarded: int64(i + 1)},
			Entry:    &checkpoint.Entry{Feed: p[0], Partition: p[1], From: noon, To: noon, Counts: checkpoint.Counts{Listed: int64(i + 1)}}}))
	}
	all, err := s.Positions("")
	must(t, err)
	if len(all) != len(pairs) {
		t.Errorf("%d positions, want %d", len(all), len(pairs))
	}
	for i, p := range pairs {
		if all[p].Forwarded != int64(i+1) {
			t.Errorf("position of %q is %d, want %d", p, all[p].Forwarded, i+1)
		}
	}
	l, err := Chronological(s.Ledger("a"))
	must(t, err)
	if len(l) != 5 {
		t.Errorf("the ledger of the feeds that begin with a has %d entries, want 5: %v", len(l), l)
	}
	some, err := s.Positions("a")
	must(t, err)
	if len(some) != 5 || some[[2]string{"a", "bc"}].Forwarded != 5 {
		t.Errorf("the positions of the feeds that begin with a: %v", some)
	}
}

func keys(t *testing.T, open Open) {
	s := opened(t, open)
	for _, expires := range []time.Time{noon, noon.Add(time.Nanosecond), noon.Add(59 * time.Minute), noon.Add(7 * 24 * time.Hour)} {
		k := checkpoint.KeyOf("feed", expires.String())
		wantSeen(t, s, k, false)
		must(t, s.Commit(&checkpoint.Commit{Feed: "feed", Keys: []checkpoint.Key{k}, Expires: expires}))
		if got := wantSeen(t, s, k, true); got.Before(expires) || got.After(expires.Add(time.Hour)) {
			t.Errorf("expires %v, want at %v or up to an hour later", got, expires)
		}
	}
	must(t, s.Close())
	s = opened(t, open)
	wantSeen(t, s, checkpoint.KeyOf("feed", noon.String()), true)
	wantSeen(t, s, checkpoint.KeyOf("other", noon.String()), false)
}

func refresh(t *testing.T, open Open) {
	s := opened(t, open)
	k := key(1)
	for _, expires := range []time.Time{noon, noon.Add(48 * time.Hour)} {
		must(t, s.Commit(&checkpoint.Commit{Feed: "feed", Keys: []checkpoint.Key{k}, Expires: expires}))
		if got := wantSeen(t, s, k, true); !got.Equal(expires) {
			t.Errorf("expires %v, want %v", got, expires)
		}
	}
	must(t, s.Sweep(noon.Add(24*time.Hour)))
	wantSeen(t, s, k, true)
}

func shapes(t *testing.T, open Open) {
	s := opened(t, open)
	must(t, s.Commit(&checkpoint.Commit{Feed: "feed"}))
	must(t, s.Commit(&checkpoint.Commit{Feed: "feed", Keys: []checkpoint.Key{}}))
	must(t, s.Commit(&checkpoint.Commit{Feed: "feed", Keys: []checkpoint.Key{key(1), key(1)}, Expires: noon}))
	must(t, s.Commit(&checkpoint.Commit{Feed: "feed", Keys: []checkpoint.Key{key(2)}})) // no expiry: past
	must(t, s.Commit(&checkpoint.Commit{Feed: "feed", Entry: &checkpoint.Entry{Feed: "feed"}}))
	wantSeen(t, s, key(1), true)
	wantSeen(t, s, key(2), true)
	all, err := s.Positions("")
	must(t, err)
	if len(all) != 0 {
		t.Errorf("positions %v, want none", all)
	}
}

func again(t *testing.T, open Open) {
	s := opened(t, open)
	e := window("feed", "a", noon, 5)
	c := &checkpoint.Commit{Feed: "feed", Partition: "a", Position: &checkpoint.Position{Cursor: noon, Forwarded: 5},
		Keys: []checkpoint.Key{key(1), key(2)}, Expires: noon, Entry: e}
	check := func(s checkpoint.Store) {
		t.Helper()
		if p, ok, err := s.Position("feed", "a"); !ok || err != nil || !reflect.DeepEqual(p, *c.Position) {
			t.Errorf("Position = %v %v %v, want %v", p, ok, err, *c.Position)
		}
		if l, err := Chronological(s.Ledger("")); err != nil || !reflect.DeepEqual(l, []checkpoint.Entry{*e}) {
			t.Errorf("Ledger = %v %v, want %v", l, err, *e)
		}
		if got := wantSeen(t, s, key(2), true); !got.Equal(noon) {
			t.Errorf("expires %v, want %v", got, noon)
		}
	}
	for range 3 {
		must(t, s.Commit(c))
		check(s)
	}
	must(t, s.Close())
	s = opened(t, open)
	must(t, s.Commit(c))
	check(s)
}

func manyKeys(t *testing.T, open Open) {
	s := opened(t, open)
	const n = 100_000 // a document of the largest kind, and more than fits a buffer
	all := make([]checkpoint.Key, n)
	for i := range all {
		all[i] = key(i)
	}
	must(t, s.Commit(&checkpoint.Commit{Feed: "feed", Partition: "a", Position: &checkpoint.Position{Cursor: noon}, Keys: all, Expires: noon}))
	must(t, s.Close())
	s = opened(t, open)
	for i := 0; i < n; i += 97 {
		wantSeen(t, s, key(i), true)
		wantSeen(t, s, key(n+i), false)
	}
	if p, ok, err := s.Position("feed", "a"); !ok || err != nil || !p.Cursor.Equal(noon) {
		t.Errorf("Position = %v %v %v", p, ok, err)
	}
}

func sweepKeys(t *testing.T, open Open) {
	s := opened(t, open)
	const n = 30_000
	for day := range 3 {
		all := make([]checkpoint.Key, 0, n)
		for i := day; i < n; i += 3 {
			all = append(all, key(i))
		}
		must(t, s.Commit(&checkpoint.Commit{Feed: "feed", Partition: "a", Position: &checkpoint.Position{Cursor: noon},
			Keys: all, Expires: noon.Add(time.Duration(day) * 24 * time.Hour)}))
	}
	check := func(s checkpoint.Store, gone int) {
		t.Helper()
		for i := range n {
			wantSeen(t, s, key(i), i%3 >= gone)
		}
	}
	must(t, s.Sweep(noon)) // what expires now has not expired before now
	check(s, 0)
	must(t, s.Sweep(noon.Add(time.Second)))
	check(s, 1)
	must(t, s.Sweep(noon.Add(25*time.Hour)))
	must(t, s.Close())
	s = opened(t, open)
	check(s, 2)
	if _, ok, err := s.Position("feed", "a"); !ok || err != nil {
		t.Errorf("the position went with the keys: %v %v", ok, err)
	}
}

func concurrent(t *testing.T, open Open) {
	s := opened(t, open)
	const writers, rounds, batch = 8, 12, 50
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			part := fmt.Sprint(w)
			for r := range rounds {
				ks := make([]checkpoint.Key, batch)
				for i := range ks {
					ks[i] = key((w*rounds+r)*batch + i)
				}
				e := window("feed", part, noon.Add(time.Duration(r)*time.Hour), 1)
				if err := s.Commit(&checkpoint.Commit{Feed: "feed", Partition: part, Keys: ks, Expires: noon.Add(time.Hour),
					Position: &checkpoint.Position{Forwarded: int64(r + 1)}, Entry: e}); err != nil {
					t.Error(err)
					return
				}
				for _, k := range ks {
					if _, ok, err := s.Seen(k); !ok || err != nil {
						t.Errorf("a committed key: %v %v", ok, err)
						return
					}
				}
				if p, _, err := s.Position("feed", part); err != nil || p.Forwarded != int64(r+1) {
					t.Errorf("position %v %v", p, err)
				}
			}
		})
	}
	for range 2 {
		wg.Go(func() {
			for range 3 {
				if err := s.Sweep(noon); err != nil {
					t.Error(err)
				}
				if _, err := Chronological(s.Ledger("feed")); err != nil {
					t.Error(err)
				}
				if _, err := s.Positions(""); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for i := range writers * rounds * batch {
		wantSeen(t, s, key(i), true)
	}
}

// refreshDuringSweep renews keys, all of them expired, while sweeps run: one that
// was renewed must stay.
func refreshDuringSweep(t *testing.T, open Open) {
	s := opened(t, open)
	const n = 3000
	all := make([]checkpoint.Key, n)
	for i := range all {
		all[i] = key(i)
	}
	for range 3 {
		must(t, s.Commit(&checkpoint.Commit{Feed: "feed", Keys: all, Expires: noon.Add(-24 * time.Hour)}))
		rand.Shuffle(n, func(i, j int) { all[i], all[j] = all[j], all[i] })
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := s.Sweep(noon); err != nil {
				t.Error(err)
			}
		})
		for i := 0; i < n; i += 100 {
			must(t, s.Commit(&checkpoint.Commit{Feed: "feed", Keys: all[i : i+100], Expires: noon.Add(24 * time.Hour)}))
		}
		wg.Wait()
		for _, k := range all {
			wantSeen(t, s, k, true)
		}
	}
}

func closed(t *testing.T, open Open) {
	s := opened(t, open)
	must(t, s.Close())
	_, _, errPosition := s.Position("feed", "a")
	_, errPositions := s.Positions("")
	_, _, errSeen := s.Seen(key(1))
	_, _, errObject := s.Object("feed", "a", "1")
	var errObjects error
	for _, errObjects = range s.Objects("feed", "a") {
	}
	_, errLedger := Chronological(s.Ledger(""))
	for name, err := range map[string]error{
		"Object": errObject, "Objects": errObjects,
		"Position": errPosition, "Positions": errPositions, "Seen": errSeen, "Ledger": errLedger,
		"Commit": s.Commit(&checkpoint.Commit{Feed: "feed"}), "Sweep": s.Sweep(noon), "Close": s.Close(),
	} {
		if !errors.Is(err, checkpoint.ErrClosed) {
			t.Errorf("%s: %v, want ErrClosed", name, err)
		}
	}
}

func closeDuringSweep(t *testing.T, open Open) {
	s := opened(t, open)
	all := make([]checkpoint.Key, 60_000)
	for i := range all {
		all[i] = key(i)
	}
	must(t, s.Commit(&checkpoint.Commit{Feed: "feed", Keys: all, Expires: noon.Add(-time.Hour)}))
	swept := make(chan error)
	go func() {
		for {
			if err := s.Sweep(noon); err != nil {
				swept <- err
				return
			}
		}
	}()
	time.Sleep(20 * time.Millisecond)
	must(t, s.Close())
	select {
	case err := <-swept:
		if !errors.Is(err, checkpoint.ErrClosed) {
			t.Errorf("the sweep ended with %v, want ErrClosed", err)
		}
	case <-time.After(time.Minute):
		t.Error("the sweep goes on after the store was closed")
	}
	s = opened(t, open)
	must(t, s.Sweep(noon))
	wantSeen(t, s, key(0), false)
	wantSeen(t, s, key(len(all)-1), false)
}
