package checkpoint_test

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/checkpoint/storetest"
)

func TestEmbeddedConforms(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Open {
		disk := vfs.NewMem() // what real disks do to it is for the other tests
		return func() (checkpoint.Store, error) {
			return checkpoint.Open("state", checkpoint.Options{FS: disk})
		}
	})
}
