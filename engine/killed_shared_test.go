package engine

import (
	"context"
	"fmt"
	"iter"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/checkpoint/natstest"
	"github.com/secure60/s60-m365-connector/engine/checkpoint/shared"
)

// outside is a store whose connection lives outside of the bubble of virtual time: whoever is in there hands
// calls over. Each partition is claimed for it before it is written, as a lease would.
type outside struct {
	store *shared.Store
	calls chan func()
	done  chan struct{}
	mu    sync.Mutex
}

func newOutside(t *testing.T, url, name string) *outside {
	o := &outside{calls: make(chan func()), done: make(chan struct{})}
	store, err := shared.Open(t.Context(), shared.Options{URL: url, Name: name, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	o.store = store
	go func() {
		for call := range o.calls {
			call()
			o.done <- struct{}{}
		}
	}()
	t.Cleanup(func() {
		close(o.calls)
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return o
}

func (o *outside) do(call func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.calls <- call
	<-o.done
}

// claim takes a partition over, once this store shows all that its last owner wrote.
func (o *outside) claim(feed, partition string) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), natstest.Forever)
	defer cancel()
	for {
		if err = o.store.Claim(ctx, feed, partition, o.store.Owner(feed, partition), "killed"); err == nil || ctx.Err() != nil {
			return err
		}
		time.Sleep(time.Millisecond)
	}
}

func (o *outside) Commit(c *checkpoint.Commit) (err error) {
	o.do(func() {
		if err = o.claim(c.Feed, c.Partition); err == nil {
			err = o.store.Commit(c)
		}
	})
	return err
}

func (o *outside) Position(feed, partition string) (p checkpoint.Position, ok bool, err error) {
	o.do(func() { p, ok, err = o.store.Position(feed, partition) })
	return p, ok, err
}

func (o *outside) Positions(prefix string) (all map[[2]string]checkpoint.Position, err error) {
	o.do(func() { all, err = o.store.Positions(prefix) })
	return all, err
}

func (o *outside) Object(feed, partition, id string) (state []byte, ok bool, err error) {
	o.do(func() { state, ok, err = o.store.Object(feed, partition, id) })
	return state, ok, err
}

func (o *outside) Objects(feed, partition string) iter.Seq2[checkpoint.Object, error] {
	return gathered(o, o.store.Objects(feed, partition))
}

func (o *outside) Seen(key checkpoint.Key) (expires time.Time, ok bool, err error) {
	o.do(func() { expires, ok, err = o.store.Seen(key) })
	return expires, ok, err
}

func (o *outside) Ledger(prefix string) iter.Seq2[checkpoint.Entry, error] {
	return gathered(o, o.store.Ledger(prefix))
}

func (o *outside) Sweep(now time.Time) (err error) {
	o.do(func() { err = o.store.Sweep(now) })
	return err
}

func (o *outside) Close() error { return nil } // with the test

// gathered goes through what a sequence gives outside.
func gathered[T any](o *outside, from iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var all []T
		var failed error
		o.do(func() {
			for one, err := range from {
				if failed = err; err != nil {
					return
				}
				all = append(all, one)
			}
		})
		for _, one := range all {
			if !yield(one, nil) {
				return
			}
		}
		if failed != nil {
			var none T
			yield(none, failed)
		}
	}
}

// TestReplicaKilledAtEveryCommit is [TestKilledAtEveryCommit] of replicas: one is killed, and another one, which holds a view
// of its own, goes on from what the servers have.
func TestReplicaKilledAtEveryCommit(t *testing.T) {
	if testing.Short() {
		t.Skip("a commit of every shape on a server, some hundred times")
	}
	url := natstest.URL(natstest.Start(t, nil))
	for _, name := range []string{"snapshot", "delta", "job"} {
		t.Run(name, func(t *testing.T) {
			// The tenants of each life are others: nothing of one is another's.
			first, second, lives := newOutside(t, url, name), newOutside(t, url, name), 0
			shapes[name].killed(t, name == "delta", func(t *testing.T, live func(t *testing.T, first, second, other checkpoint.Store)) {
				lives++
				tenant := fmt.Sprint("a", lives)
				synctest.Test(t, func(t *testing.T) {
					time.Sleep(time.Until(began))
					live(t, checkpoint.OfTenant(first, tenant), takenOver{checkpoint.OfTenant(second, tenant), second, tenant}, checkpoint.OfTenant(first, fmt.Sprint("b", lives)))
				})
			})
		})
	}
}

// takenOver is the store of the replica that goes on: it takes the partition before it reads anything of it.
type takenOver struct {
	checkpoint.Store
	of     *outside
	tenant string
}

func (s takenOver) Position(feed, partition string) (p checkpoint.Position, ok bool, err error) {
	s.of.do(func() { err = s.of.claim(checkpoint.TenantFeed(s.tenant, feed), partition) })
	if err != nil {
		return p, false, err
	}
	return s.Store.Position(feed, partition)
}
