package checkpoint

import (
	"bytes"
	"testing"
	"time"
)

func TestKeyOfTellsPartsApart(t *testing.T) {
	seen := map[Key][]string{}
	for _, parts := range [][]string{
		{"feed", "ab", "c"}, {"feed", "a", "bc"}, {"feed", "abc"}, {"feed", "abc", ""}, {"feed", "", "abc"},
		{"feeda", "bc"}, {"", "feed", "abc"}, {"feed", "a\x01b"}, {"feed", "a", "b"}, {"feed", "", ""}, {"feed", ""},
		{"feed", string(make([]byte, 128))}, {"feed", string(make([]byte, 127))}, {"feed", string(make([]byte, 1000))},
	} {
		k := KeyOf(parts[0], parts[1:]...)
		if other, ok := seen[k]; ok {
			t.Errorf("%q and %q have one key", parts, other)
		}
		seen[k] = parts
	}
	// The keys of a state must be those of the next release too; this one was computed
	// with another program.
	want := Key{0x8f, 0x71, 0xf, 0xcf, 0x26, 0xf2, 0x7f, 0xa1, 0x77, 0x22, 0x62, 0x6d, 0x10, 0xe5, 0x4e, 0x9a}
	if got := KeyOf("entra-signins", "66ea54eb", "2026-11-23"); got != want {
		t.Errorf("KeyOf = %#v, want %#v", got, want)
	}
	if KeyOf("f", []byte("x")) != KeyOf("f", "x") {
		t.Error("bytes and text of one content have different keys")
	}
}

func TestDifference(t *testing.T) {
	for _, c := range []struct {
		name           string
		counts         Counts
		items, records int64
	}{
		{"nothing", Counts{}, 0, 0},
		{"all accounted for", Counts{Listed: 6, Fetched: 6, Delivered: 3, Duplicate: 1, Skipped: 1, DeadLettered: 1}, 0, 0},
		{"documents", Counts{Items: 4, ItemsFetched: 2, ItemsDuplicate: 1, ItemsSkipped: 1, Listed: 4, Fetched: 90, Delivered: 90}, 0, 0},
		{"a record lost", Counts{Listed: 6, Fetched: 6, Delivered: 5}, 0, 1},
		{"a record counted twice", Counts{Listed: 6, Fetched: 6, Delivered: 6, Duplicate: 1}, 0, -1},
		{"listed and not fetched", Counts{Listed: 6, Fetched: 5, Delivered: 5}, 0, 1},
		{"a document forgotten", Counts{Items: 4, ItemsFetched: 3, Listed: 4, Fetched: 9, Delivered: 9}, 1, 0},
	} {
		if items, records := c.counts.Difference(); items != c.items || records != c.records {
			t.Errorf("%s: difference %d, %d, want %d, %d", c.name, items, records, c.items, c.records)
		}
	}
}

func TestHoursUp(t *testing.T) {
	for _, c := range []struct {
		at, want time.Time
	}{
		{noon, noon},
		{noon.Add(1), noon.Add(time.Hour)},
		{noon.Add(-1), noon},
		{noon.Add(time.Second), noon.Add(time.Hour)},
		{noon.In(time.FixedZone("", 5*3600+1800)), noon},
		{time.Time{}, time.Unix(0, 0)},
		{time.Date(1960, 1, 1, 0, 0, 0, 0, time.UTC), time.Unix(0, 0)},
		{time.Unix(1<<50, 0), hourTime(1<<32 - 1)},
	} {
		if got := hourTime(hoursUp(c.at)); !got.Equal(c.want) {
			t.Errorf("%v is remembered until %v, want %v", c.at, got, c.want)
		}
	}
}

func TestTimesSortAsTheyFollow(t *testing.T) {
	times := []time.Time{{}, time.Unix(-1, 999), time.Unix(0, 0), noon, noon.Add(1), noon.Add(time.Second), noon.AddDate(300, 0, 0)}
	for i := 1; i < len(times); i++ {
		if bytes.Compare(appendTime(nil, times[i-1]), appendTime(nil, times[i])) >= 0 {
			t.Errorf("%v does not sort before %v", times[i-1], times[i])
		}
	}
}

func FuzzWatermark(f *testing.F) {
	f.Add([]byte{})
	f.Add(watermark{}.encode())
	f.Add(watermark{seq: 1 << 40, manifest: 7, size: 4096, sum: 99}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		w := decodeWatermark(b)
		if w == (watermark{}) {
			return
		}
		if !bytes.Equal(w.encode(), b) {
			t.Errorf("%x decodes to %+v, which is %x", b, w, w.encode())
		}
	})
}

func FuzzNames(f *testing.F) {
	f.Add("feed", "partition")
	f.Add("", "\x00\xff")
	f.Fuzz(func(t *testing.T, feed, partition string) {
		got, rest, ok := cutText(partitionName(positionSpace, feed, partition)[1:])
		got2, rest2, ok2 := cutText(rest)
		if !ok || !ok2 || got != feed || got2 != partition || len(rest2) != 0 {
			t.Errorf("%q, %q came back as %q, %q", feed, partition, got, got2)
		}
		cutText([]byte(feed)) // any bytes: no panic
	})
}
