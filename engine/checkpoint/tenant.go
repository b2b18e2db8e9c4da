package checkpoint

import (
	"crypto/sha256"
	"iter"
	"net/url"
	"strings"
	"time"
)

// OfTenant is the part of store that belongs to a tenant: a store of its own name
// space, which sees nothing of other tenants, nor they of it. Tenants may have
// feeds of one name, and records of one key.
//
// The store belongs to whoever opened it: to sweep it and to close it is for
// the process, once, and both do nothing here. Everything else is as the store does it.
func OfTenant(store Store, tenant string) Store {
	sum := sha256.Sum256([]byte("tenant " + tenant))
	return &tenantStore{store: store, prefix: TenantFeed(tenant, ""), mask: Key(sum[:len(Key{})])}
}

// TenantFeed is the name that a tenant's feed has in the store beneath its
// [OfTenant]: tenant/feed, the tenant percent-encoded where its name needs it.
func TenantFeed(tenant, feed string) string { return url.PathEscape(tenant) + "/" + feed }

type tenantStore struct {
	store  Store
	prefix string // of the names of feeds
	mask   Key    // over keys
}

func (s *tenantStore) key(k Key) Key {
	for i := range k {
		k[i] ^= s.mask[i]
	}
	return k
}

// Position implements [Store].
func (s *tenantStore) Position(feed, partition string) (p Position, ok bool, err error) {
	return s.store.Position(s.prefix+feed, partition)
}

// Positions implements [Store].
func (s *tenantStore) Positions(prefix string) (map[[2]string]Position, error) {
	all, err := s.store.Positions(s.prefix + prefix)
	if err != nil {
		return nil, err
	}
	own := make(map[[2]string]Position, len(all))
	for name, position := range all {
		own[[2]string{strings.TrimPrefix(name[0], s.prefix), name[1]}] = position
	}
	return own, nil
}

// Object implements [Store].
func (s *tenantStore) Object(feed, partition, id string) (state []byte, ok bool, err error) {
	return s.store.Object(s.prefix+feed, partition, id)
}

// Objects implements [Store].
func (s *tenantStore) Objects(feed, partition string) iter.Seq2[Object, error] {
	return s.store.Objects(s.prefix+feed, partition)
}

// Seen implements [Store].
func (s *tenantStore) Seen(key Key) (expires time.Time, ok bool, err error) {
	return s.store.Seen(s.key(key))
}

// Commit implements [Store].
func (s *tenantStore) Commit(c *Commit) error {
	own := *c
	own.Feed = s.prefix + c.Feed
	own.Keys = make([]Key, len(c.Keys))
	for i, k := range c.Keys {
		own.Keys[i] = s.key(k)
	}
	if c.Entry != nil {
		entry := *c.Entry
		entry.Feed = s.prefix + c.Entry.Feed
		own.Entry = &entry
	}
	return s.store.Commit(&own)
}

// Ledger implements [Store].
func (s *tenantStore) Ledger(prefix string) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for e, err := range s.store.Ledger(s.prefix + prefix) {
			e.Feed = strings.TrimPrefix(e.Feed, s.prefix)
			if !yield(e, err) {
				return
			}
		}
	}
}

// Sweep does nothing: one sweep of the store forgets for all tenants.
func (s *tenantStore) Sweep(time.Time) error { return nil }

// Close does nothing: the store stays open for the other tenants.
func (s *tenantStore) Close() error { return nil }

var _ Store = (*tenantStore)(nil)
