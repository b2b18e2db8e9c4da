package shared_test

import (
	"context"
	"crypto/rand"
	"errors"
	"testing"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/checkpoint/natstest"
	"github.com/secure60/s60-m365-connector/engine/checkpoint/shared"
	"github.com/secure60/s60-m365-connector/engine/checkpoint/storetest"
)

// claiming claims each partition before it commits to it.
type claiming struct{ *shared.Store }

func (c claiming) Commit(commit *checkpoint.Commit) error {
	ctx, cancel := context.WithTimeout(context.Background(), natstest.Forever)
	defer cancel()
	if err := c.Claim(ctx, commit.Feed, commit.Partition, c.Owner(commit.Feed, commit.Partition), "conformance"); err != nil {
		return err
	}
	for {
		// As the engine does: a server on a busy machine does not always answer in time.
		if err := c.Store.Commit(commit); !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
			return err
		}
	}
}

func TestSharedConforms(t *testing.T) {
	url := natstest.URL(natstest.Start(t, nil))
	storetest.Run(t, func(t *testing.T) storetest.Open {
		dir, name := t.TempDir(), rand.Text()
		return func() (checkpoint.Store, error) {
			s, err := shared.Open(t.Context(), shared.Options{URL: url, Name: name, Dir: dir})
			if err != nil {
				return nil, err
			}
			return claiming{s}, nil
		}
	})
}
