package storetest

import (
	"cmp"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
)

// This file asks for the ledger, and what sweeps leave of it.

// Chronological gathers entries of a ledger, oldest first.
func Chronological(entries iter.Seq2[checkpoint.Entry, error]) (all []checkpoint.Entry, err error) {
	for e, err := range entries {
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b checkpoint.Entry) int {
		return cmp.Or(a.From.Compare(b.From), a.To.Compare(b.To), cmp.Compare(a.Feed, b.Feed),
			cmp.Compare(a.Partition, b.Partition), cmp.Compare(b.Windows, a.Windows))
	})
	return all, nil
}

func window(feed, partition string, from time.Time, n int64) *checkpoint.Entry {
	return &checkpoint.Entry{Feed: feed, Partition: partition, From: from, To: from.Add(time.Hour), Complete: true,
		Counts:  checkpoint.Counts{Items: 2, ItemsFetched: 1, ItemsSkipped: 1, Listed: 2, Fetched: n + 5, Delivered: n, Duplicate: 1, Filtered: 2, Skipped: 1, DeadLettered: 1},
		Reasons: map[string]int64{"gone": 1}, Filters: map[string]checkpoint.Filtered{"noise": {Records: 2, Bytes: 900}}}
}

func commitEntry(t *testing.T, s checkpoint.Store, e *checkpoint.Entry) {
	t.Helper()
	must(t, s.Commit(&checkpoint.Commit{Feed: e.Feed, Partition: e.Partition, Entry: e}))
}

func ledger(t *testing.T, open Open) {
	s := opened(t, open)
	var want []checkpoint.Entry
	for i := range 5 {
		e := window("feed", "a", noon.Add(time.Duration(i)*time.Hour), int64(i))
		want = append(want, *e)
	}
	for _, i := range []int{3, 0, 4, 2, 1} {
		part := want[i]
		part.Complete, part.Delivered = false, 0 // the window's first batch
		commitEntry(t, s, &part)
		commitEntry(t, s, &want[i])
	}
	commitEntry(t, s, window("other", "", noon.Add(-time.Hour), 7))
	check := func(s checkpoint.Store) {
		t.Helper()
		got, err := Chronological(s.Ledger("feed"))
		must(t, err)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("Ledger = %+v\nwant %+v", got, want)
		}
		for _, e := range got {
			if items, records := e.Difference(); items != 0 || records != 0 {
				t.Errorf("difference %d, %d", items, records)
			}
		}
		all, err := Chronological(s.Ledger(""))
		must(t, err)
		if len(all) != 6 || all[0].Feed != "other" {
			t.Errorf("the whole ledger: %+v", all)
		}
	}
	check(s)
	must(t, s.Close())
	check(opened(t, open))
}

func total(entries []checkpoint.Entry) (c checkpoint.Counts, windows, gone int64) {
	for i := range entries {
		c.Add(&entries[i].Counts)
		windows += max(entries[i].Windows, 1)
		gone += entries[i].Reasons["gone"] + entries[i].Filters["noise"].Records + entries[i].Filters["noise"].Bytes
	}
	return c, windows, gone
}

func sweepLedger(t *testing.T, open Open) {
	s := opened(t, open)
	start := noon.Add(-12 * time.Hour)
	const days, parts = 13, 3
	for h := range days * 24 {
		for p := range parts {
			e := window("feed", fmt.Sprint(p), start.Add(time.Duration(h)*time.Hour), int64(h*parts+p))
			e.Complete = h%24 != 5
			commitEntry(t, s, e)
		}
	}
	before, err := Chronological(s.Ledger(""))
	must(t, err)
	now := start.Add(days*24*time.Hour + time.Second)
	must(t, s.Sweep(now.Add(-3*24*time.Hour)))
	must(t, s.Sweep(now))
	after, err := Chronological(s.Ledger(""))
	must(t, err)
	c1, w1, g1 := total(before)
	c2, w2, g2 := total(after)
	if c1 != c2 || w1 != w2 || g1 != g2 {
		t.Errorf("totals %+v %d %d\nbefore %+v %d %d", c2, w2, g2, c1, w1, g1)
	}
	folded := 0
	for i, e := range after {
		if i > 0 && e.From.Before(after[i-1].From) {
			t.Fatalf("entry %d is older than the one before", i)
		}
		if e.Windows == 0 {
			continue
		}
		folded++
		if e.To.Sub(e.From) != 24*time.Hour || e.From != e.From.Truncate(24*time.Hour) {
			t.Errorf("a total of %v to %v, want a day", e.From, e.To)
		}
		if want := int64(23); e.Complete && e.Windows != want || !e.Complete && e.Windows != 1 {
			t.Errorf("a day's total of %d windows (complete: %v)", e.Windows, e.Complete)
		}
	}
	if want := (days - 7) * parts * 2; folded != want {
		t.Errorf("%d daily totals, want %d", folded, want)
	}
	must(t, s.Close())
	again, err := Chronological(opened(t, open).Ledger(""))
	must(t, err)
	if !reflect.DeepEqual(again, after) {
		t.Errorf("opened again: %+v\nwant %+v", again, after)
	}
}

func forgetDays(t *testing.T, open Open) {
	s := opened(t, open)
	const days = 410
	for n := range days {
		commitEntry(t, s, window("feed", "a", noon.AddDate(0, 0, n), 1))
	}
	now := noon.AddDate(0, 0, days)
	for range 2 {
		must(t, s.Sweep(now))
		entries, err := Chronological(s.Ledger(""))
		must(t, err)
		if first := entries[0]; !first.To.After(now.AddDate(0, 0, -400)) || first.To.After(now.AddDate(0, 0, -398)) {
			t.Errorf("the oldest entry of %d is of %v", len(entries), first.From)
		}
	}
}

func sweepTwice(t *testing.T, open Open) {
	s := opened(t, open)
	for h := range 48 {
		commitEntry(t, s, window("feed", "a", noon.Add(time.Duration(h)*time.Hour), 1))
	}
	must(t, s.Sweep(noon.Add(30*24*time.Hour)))
	first, err := Chronological(s.Ledger(""))
	must(t, err)
	must(t, s.Sweep(noon.Add(30*24*time.Hour)))
	second, err := Chronological(s.Ledger(""))
	must(t, err)
	if !reflect.DeepEqual(first, second) || len(first) != 3 {
		t.Errorf("first %+v\nthen %+v", first, second)
	}
	// A window that comes late to a folded day joins its total.
	commitEntry(t, s, window("feed", "a", noon, 10))
	must(t, s.Sweep(noon.Add(30*24*time.Hour)))
	third, err := Chronological(s.Ledger(""))
	must(t, err)
	if len(third) != 3 || third[0].Delivered != first[0].Delivered+10 || third[0].Windows != first[0].Windows+1 {
		t.Errorf("then %+v", third)
	}
}
