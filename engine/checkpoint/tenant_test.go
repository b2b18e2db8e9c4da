package checkpoint_test

import (
	"encoding/binary"
	"reflect"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/checkpoint/storetest"
)

// tenancy is a tenant's part of a store, with what only the process may do: to
// sweep the store and to close it.
type tenancy struct {
	checkpoint.Store
	whole checkpoint.Store
}

func (t tenancy) Sweep(now time.Time) error { return t.whole.Sweep(now) }
func (t tenancy) Close() error              { return t.whole.Close() }

// TestTenantConforms runs the suite on the part of one tenant, while another
// has committed everything under the same names and keys.
func TestTenantConforms(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Open {
		disk := vfs.NewMem()
		return func() (checkpoint.Store, error) {
			whole, err := checkpoint.Open("state", checkpoint.Options{FS: disk})
			if err != nil {
				return nil, err
			}
			for _, other := range []string{"contos", "contosoo", ""} {
				if err := crowd(checkpoint.OfTenant(whole, other)); err != nil {
					return nil, err
				}
			}
			return tenancy{checkpoint.OfTenant(whole, "contoso"), whole}, nil
		}
	})
}

// crowd commits what the suite commits, under the same names.
func crowd(s checkpoint.Store) error {
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	var keys []checkpoint.Key
	for i := range 100 {
		keys = append(keys, checkpoint.KeyOf("feed", binary.BigEndian.AppendUint64(nil, uint64(i))))
	}
	for _, feed := range []string{"feed", "other", "", "a", "/feed"} {
		err := s.Commit(&checkpoint.Commit{
			Feed: feed, Partition: "a", Position: &checkpoint.Position{Forwarded: 99},
			Keys: keys, Expires: at.Add(365 * 24 * time.Hour),
			Entry:   &checkpoint.Entry{Feed: feed, Partition: "a", From: at, To: at.Add(time.Hour)},
			Objects: []checkpoint.Object{{ID: "1", State: []byte("another's")}},
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// TestTenantsAreApart commits the same names and keys for several tenants: each sees its own
// values, and the store holds them all.
func TestTenantsAreApart(t *testing.T) {
	embedded, err := checkpoint.Open(t.TempDir(), checkpoint.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer embedded.Close() //nolint:errcheck // the test is over
	// Names that run together, or into a feed's name.
	tenants := []string{"a", "ab", "a/b", "a%2Fb", "b", "", "a tenant with a long name, so that the lengths of names differ much"}
	feeds := []string{"b/c", "c", "", "a feed with a long name"}
	key := checkpoint.KeyOf("feed", "one record")
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for i, tenant := range tenants {
		s := checkpoint.OfTenant(embedded, tenant)
		if _, ok, err := s.Seen(key); ok || err != nil {
			t.Fatalf("%q knows a key before it committed it: %v %v", tenant, ok, err)
		}
		keys := []checkpoint.Key{key}
		for j, feed := range feeds {
			entry := &checkpoint.Entry{Feed: feed, From: at.Add(time.Duration(j) * time.Hour), To: at, Counts: checkpoint.Counts{Listed: int64(i)}}
			if err := s.Commit(&checkpoint.Commit{Feed: feed, Position: &checkpoint.Position{Forwarded: int64(i)}, Keys: keys,
				Expires: at.Add(time.Duration(i) * time.Hour), Entry: entry}); err != nil {
				t.Fatal(err)
			}
			if entry.Feed != feed || keys[0] != key {
				t.Fatal("a commit changed what it was given")
			}
		}
	}
	for i, tenant := range tenants {
		s := checkpoint.OfTenant(embedded, tenant)
		if expires, ok, err := s.Seen(key); !ok || err != nil || !expires.Equal(at.Add(time.Duration(i)*time.Hour)) {
			t.Errorf("%q: Seen = %v %v %v", tenant, expires, ok, err)
		}
		all, err := s.Positions("")
		want := map[[2]string]checkpoint.Position{}
		for _, feed := range feeds {
			want[[2]string{feed, ""}] = checkpoint.Position{Forwarded: int64(i)}
			if p, ok, err := s.Position(feed, ""); !ok || err != nil || p.Forwarded != int64(i) {
				t.Errorf("%q: Position(%q) = %v %v %v", tenant, feed, p, ok, err)
			}
		}
		if err != nil || !reflect.DeepEqual(all, want) {
			t.Errorf("%q: Positions = %v %v, want %v", tenant, all, err, want)
		}
		for _, feed := range append(feeds[:2:2], feeds[3], "") {
			entries, err := storetest.Chronological(s.Ledger(feed))
			wanted := 1
			if feed == "" {
				wanted = len(feeds)
			}
			if err != nil || len(entries) != wanted {
				t.Fatalf("%q: the ledger of %q has %d entries, want %d (%v)", tenant, feed, len(entries), wanted, err)
			}
			for j, e := range entries {
				if feed != "" && e.Feed != feed || feed == "" && e.Feed != feeds[j] || e.Listed != int64(i) {
					t.Errorf("%q: entry %+v", tenant, e)
				}
			}
		}
		if err := s.Sweep(at.Add(24 * time.Hour)); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	all, err := embedded.Positions("") // which is still open, and was not swept
	if err != nil || len(all) != len(tenants)*len(feeds) {
		t.Errorf("the store holds %d positions, want %d: %v", len(all), len(tenants)*len(feeds), err)
	}
	if p, ok := all[[2]string{checkpoint.TenantFeed("a/b", "c"), ""}]; !ok || p.Forwarded != 2 {
		t.Errorf("TenantFeed does not name the position of a/b: %v %v", p, ok)
	}
}
