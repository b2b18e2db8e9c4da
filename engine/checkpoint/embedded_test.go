package checkpoint_test

import (
	"testing"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/checkpoint/storetest"
)

func TestEmbeddedConforms(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Open {
		dir := t.TempDir()
		return func() (checkpoint.Store, error) { return checkpoint.Open(dir, checkpoint.Options{}) }
	})
}
