// Package checkpoint remembers what was delivered: the position of each
// partition, the keys of its records, and the ledger. Everything that one
// delivery changes is written in one atomic, durable commit.
package checkpoint

import "time"

// Key names a record, or a listed item, within a feed: a 128-bit hash of
// the feed's name and of the record's own key.
type Key [16]byte

// Position is where a partition stands and what must outlive the process.
type Position struct {
	Cursor time.Time `json:"cursor"`  // everything before it was delivered
	ReadAt time.Time `json:"read_at"` // when the window that ended at Cursor was read
	Start  time.Time `json:"start"`   // where the partition first began

	SubscribedAt time.Time `json:"subscribed_at,omitzero"` // the last attempt to start the subscription
	GateUntil    time.Time `json:"gate_until,omitzero"`    // the licence gate is closed until then
	GateReason   string    `json:"gate_reason,omitempty"`

	Forwarded   int64     `json:"forwarded"` // events delivered, ever
	LastSuccess time.Time `json:"last_success,omitzero"`
	LastError   string    `json:"last_error,omitempty"`
	LastErrorAt time.Time `json:"last_error_at,omitzero"`
}

// Counts is an account of what became of records. For a feed whose listing names
// documents to fetch: Items = ItemsFetched + ItemsDuplicate + ItemsSkipped.
// For every feed, in records: Fetched = Delivered + Duplicate + Skipped + DeadLettered.
// Without documents to fetch, Listed = Fetched.
type Counts struct {
	Items          int64 `json:"items,omitempty"`
	ItemsFetched   int64 `json:"items_fetched,omitempty"`
	ItemsDuplicate int64 `json:"items_duplicate,omitempty"`
	ItemsSkipped   int64 `json:"items_skipped,omitempty"`

	Listed       int64 `json:"listed"`
	Fetched      int64 `json:"fetched"`
	Delivered    int64 `json:"delivered"`
	Duplicate    int64 `json:"duplicate"`
	Skipped      int64 `json:"skipped"`
	DeadLettered int64 `json:"dead_lettered"`
}

// Entry is the ledger's account of one window of one partition.
type Entry struct {
	Feed      string    `json:"feed"`
	Partition string    `json:"partition"`
	From      time.Time `json:"from"`
	To        time.Time `json:"to"`
	Complete  bool      `json:"complete"` // the window was read to its end
	Counts
	Reasons map[string]int64 `json:"reasons,omitempty"` // of what was skipped
}

// Commit is everything that one delivery changes.
type Commit struct {
	Feed, Partition string
	Position        *Position // nil: unchanged
	Keys            []Key     // to remember, of records and items
	Expires         time.Time // until when at least
	Entry           *Entry    // nil: none; replaces the entry of the same window
}

// Store keeps the state of a connector. Its methods may be called from several
// goroutines.
type Store interface {
	// Position of a partition; ok is false where there is none yet.
	Position(feed, partition string) (p Position, ok bool, err error)
	// Positions of every partition ever committed, by feed and partition.
	Positions() (map[[2]string]Position, error)
	// Seen reports whether the key is remembered.
	Seen(key Key) (bool, error)
	// Commit writes all of c or nothing. When it returns nil, c survives a kill
	// and a power cut.
	Commit(c *Commit) error
	// Ledger is every entry kept of a feed ("" for all), oldest first.
	Ledger(feed string) ([]Entry, error)
	// Sweep forgets the keys that expired before now, and folds ledger entries
	// older than their keys into daily totals. It may take long; it does not block commits.
	Sweep(now time.Time) error
	Close() error
}
