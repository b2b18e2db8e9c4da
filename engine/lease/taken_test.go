package lease_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/engine/checkpoint/natstest"
	"github.com/secure60/s60-m365-connector/engine/checkpoint/shared"
)

// TestTaken: who holds a partition that somebody else claims, as the import of a former view does, ends its work though it
// commits nothing, and has it again once that is over.
func TestTaken(t *testing.T) {
	r := &replicas{t: t, server: natstest.Start(t, nil), works: map[string]work{}}
	a := r.join("a", false)
	r.until("a holds all", time.Minute, func() bool { return a.holds() == parts })
	store, err := shared.Open(t.Context(), shared.Options{URL: natstest.URL(r.server), Name: "test", Dir: t.TempDir(), Replica: "import", SessionTTL: ttl})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() }) //nolint:errcheck // the test has ended
	works := func() context.Context {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.works["0"].held
	}
	former := works()
	for err = shared.ErrHeld; errors.Is(err, shared.ErrHeld); {
		err = store.Claim(t.Context(), "feed", "0", store.Owner("feed", "0"), "import")
	}
	if err != nil {
		t.Fatal(err)
	}
	r.until("a works no longer on what was taken", time.Minute, func() bool { return former.Err() != nil })
	if err := store.Release(t.Context(), "feed", "0", -1); err != nil {
		t.Fatal(err)
	}
	r.until("a has it again", time.Minute, func() bool { return works() != former && works().Err() == nil && a.holds() == parts })
}
