package checkpoint

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestCacheOfFewKeys: the cache of a store with few keys does not fill with what is read once.
func TestCacheOfFewKeys(t *testing.T) {
	t.Parallel()
	s := openTest(t, "/dir", Options{FS: vfs.NewMem(), memTable: smallTable})
	state := make([]byte, 32<<10)
	read := func() (bytes int) {
		for o, err := range s.Objects("feed", "") {
			if err != nil {
				t.Fatal(err)
			}
			bytes += len(o.State)
		}
		return bytes
	}
	for i := range 3 * cacheLeast / len(state) {
		if err := s.Commit(&Commit{Feed: "feed", Objects: []Object{{ID: fmt.Sprint(i), State: state}}}); err != nil {
			t.Fatal(err)
		}
	}
	if n := read(); n < 2*cacheLeast {
		t.Fatalf("%d bytes were read: the test says nothing", n)
	}
	const most = cacheLeast + 2*smallTable
	if size := s.cache.Size(); size > most || size < cacheLeast/2 {
		t.Errorf("the cache has %d bytes of a few keys, may have %d", size, most)
	}
}
