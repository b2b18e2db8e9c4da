package checkpoint

import (
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A commit that has waited for space as long as it does goes on where there is some by then: always, and not as the
// scheduler likes.
func TestSpaceInTheLastMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, err := Open("state", Options{FS: vfs.NewMem()})
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		full := func(err error) {
			store.disk.mu.Lock()
			defer store.disk.mu.Unlock()
			store.disk.full = err
		}
		for range 20 {
			full(syscall.ENOSPC)
			time.AfterFunc(fullPatience-retryFull/2, func() { full(nil) })
			if err := store.Commit(&Commit{Feed: "f", Position: &Position{}}); err != nil {
				t.Fatal(err)
			}
		}
	})
}
