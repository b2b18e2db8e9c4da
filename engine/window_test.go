package engine

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/extract"
	"github.com/secure60/s60-m365-connector/engine/load"
)

// A window whose records were all delivered days ago hands no event over. Their keys,
// which are remembered anew, are committed on the way all the same.
func TestKeysWithoutEventsAreBounded(t *testing.T) {
	const (
		records   = 3*alsoKeys + 100
		retention = 7 * 24 * time.Hour
	)
	dir := t.TempDir()
	embedded, err := checkpoint.Open(dir, checkpoint.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer embedded.Close()
	destination, err := load.Open(load.Config{Kind: load.KindFile, Path: filepath.Join(dir, "events.ndjson")})
	if err != nil {
		t.Fatal(err)
	}
	defer destination.Close()
	store := &sizes{Store: embedded}
	e := &Engine{Config: Config{Store: store, Destination: destination, Now: time.Now}, outbox: newOutbox(nil, destination, false)}
	p := &partition{
		engine: e, feed: &definition.Feed{Name: "f", Key: []string{"id"}, Window: &definition.Window{Retention: retention}},
		claims: newClaims(), log: slog.New(slog.DiscardHandler),
	}
	record := func(i int) []byte { return fmt.Appendf(nil, `{"id":"%d"}`, i) }
	keys := make([]checkpoint.Key, records)
	for i := range keys {
		keys[i] = p.recordKey(record(i), &occurrences{})
	}
	soon := time.Now().Add(retention / 4)
	if err := embedded.Commit(&checkpoint.Commit{Feed: "f", Keys: keys, Expires: soon}); err != nil {
		t.Fatal(err)
	}

	p.reader = readerFunc(func(ctx context.Context, _ extract.Window, sink extract.Sink) error {
		s := sink.Open("", time.Time{})
		for i := range records {
			if err := s.Record(ctx, record(i)); err != nil {
				return err
			}
		}
		return s.End()
	})
	if err := p.window(t.Context(), extract.Window{From: time.Now().Add(-time.Hour), To: time.Now()}, time.Now(), pass{}); err != nil {
		t.Fatal(err)
	}
	if len(store.keys) != 4 {
		t.Errorf("%d commits, of %d keys: want 3 on the way and one at the end", len(store.keys), store.keys)
	}
	for _, n := range store.keys {
		if n > alsoKeys {
			t.Errorf("a commit holds %d keys, more than %d", n, alsoKeys)
		}
	}
	for _, key := range keys {
		if expires, ok, err := embedded.Seen(key); err != nil || !ok || !expires.After(soon.Add(time.Hour)) {
			t.Fatalf("key %x is remembered until %v (%v, %v), want it anew", binary.BigEndian.Uint64(key[:]), expires, ok, err)
		}
	}
	if p.status.Total.Duplicate != records || p.position.Forwarded != 0 {
		t.Errorf("counted %+v, forwarded %d", p.status.Total, p.position.Forwarded)
	}
}

// sizes is a store that tells how many keys each commit held.
type sizes struct {
	checkpoint.Store
	keys []int
}

func (s *sizes) Commit(c *checkpoint.Commit) error {
	s.keys = append(s.keys, len(c.Keys))
	return s.Store.Commit(c)
}

// readerFunc is a reader that only reads.
type readerFunc func(ctx context.Context, w extract.Window, sink extract.Sink) error

func (f readerFunc) Read(ctx context.Context, w extract.Window, sink extract.Sink) error {
	return f(ctx, w, sink)
}

func (readerFunc) Subscribe(_ context.Context, last time.Time, _ bool) (time.Time, bool, error) {
	return last, false, nil
}

func (readerFunc) Probe(context.Context, extract.Window) (int, error) { return 0, nil }

func (readerFunc) Stats() extract.Stats                     { return extract.Stats{} }
func (readerFunc) Pace(func(context.Context) error, func()) {}

func (readerFunc) Fallback() time.Time                         { return time.Time{} }
func (readerFunc) Clock(context.Context) (time.Duration, bool) { return 0, false }
