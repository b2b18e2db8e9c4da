package checkpoint_test

import (
	"context"
	"crypto/rand"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/checkpoint/natstest"
	"github.com/secure60/s60-m365-connector/engine/checkpoint/storetest"
)

// claiming claims each partition before it commits to it.
type claiming struct{ *checkpoint.Shared }

func (c claiming) Commit(commit *checkpoint.Commit) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := c.Claim(ctx, commit.Feed, commit.Partition, c.Owner(commit.Feed, commit.Partition), "conformance"); err != nil {
		return err
	}
	return c.Shared.Commit(commit)
}

func TestSharedConforms(t *testing.T) {
	url := natstest.URL(natstest.Start(t, nil))
	storetest.Run(t, func(t *testing.T) storetest.Open {
		dir, name := t.TempDir(), rand.Text()
		return func() (checkpoint.Store, error) {
			s, err := checkpoint.OpenShared(t.Context(), checkpoint.SharedOptions{URL: url, Name: name, Dir: dir})
			if err != nil {
				return nil, err
			}
			return claiming{s}, nil
		}
	})
}
