// Package checkpoint remembers what was delivered: the position of each partition, the
// keys of its records, the ledger, and what a snapshot last showed. It promises that everything
// that one delivery changes is written in one atomic commit, which survives a kill and a power
// cut once it is acknowledged, and that state which cannot be used is never taken for empty or
// for current: it is set aside, and said.
//
// How it works, in STATE_DIR:
//
//	state/                            what is current: an LSM tree (Pebble)
//	state.lock                        who has it; a kill releases it
//	state-damaged-20261123T083000Z/   what could not be used, kept for whoever wants to look
//	state-newer-20261123T083000Z/     what a newer release wrote
//
// A commit is one batch, appended to the tree's log and synced: it costs what it brings, not
// what is stored. Most new keys are told from known ones by filters in memory. Each file is
// under a checksum, and a watermark tells a log that was cut short from one that a power cut
// left unfinished. Once a day a sweep forgets what has expired. [OfTenant] is a tenant's part of
// a store; the package shared has the store of several replicas, whose views are built by
// [Embedded.Apply].
//
// An error of a store says by [errors.Is] what its user can do. [ErrDiskFull]: nothing; it passes.
// [ErrDamaged] and [ErrStopped]: Close, and open again, which sets aside what is
// damaged. [ErrLocked]: end. [ErrFenced]: leave the partition to its owner.
package checkpoint

import (
	"errors"
	"iter"
	"time"
)

// What a caller decides by; the errors that carry them say what happened, where,
// and what to do.
var (
	// ErrLocked: another process has the state directory open.
	ErrLocked = errors.New("the state directory is in use")
	// ErrDamaged: what was stored cannot be read back. Close the store and open
	// it again: Open sets the damaged state aside and begins a new one.
	ErrDamaged = errors.New("the state is damaged")
	// ErrDiskFull: there is no space to write to. The store stays usable, and
	// commits succeed again once there is space.
	ErrDiskFull = errors.New("the disk is full")
	// ErrStopped: writing failed in a way that leaves the store unusable.
	// Nothing acknowledged is lost; close it and open it again.
	ErrStopped = errors.New("the state store has stopped")
	// ErrFenced: this replica does not hold the partition, or no longer. Nothing it
	// commits gets in until it claims the partition anew. Position then tells what was
	// written of a commit whose answer was lost before.
	ErrFenced = errors.New("the partition is not held by this replica")
	// ErrOlderReplica: a replica of an older release lives that could not read what is written. It gets in
	// once that one has ended.
	ErrOlderReplica = errors.New("a replica of an older release lives")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("the state store is closed")
)

// Key names a record, or a listed item, within a feed: a 128-bit hash of
// the feed's name and of the record's own key. It is an alias so that the keys of
// a batch go to a destination as they are.
type Key = [16]byte

// Position is where a partition stands and what must outlive the process.
type Position struct {
	Cursor time.Time `json:"cursor"`  // everything before it was delivered
	ReadAt time.Time `json:"read_at"` // when the window that ended at Cursor was read
	Start  time.Time `json:"start"`   // where the partition first began

	WholeAt      time.Time `json:"whole_at,omitzero"`      // when a round began that looked back over the whole overlap
	ReconciledAt time.Time `json:"reconciled_at,omitzero"` // when the last second look began
	SubscribedAt time.Time `json:"subscribed_at,omitzero"` // the last attempt to start the subscription
	GateUntil    time.Time `json:"gate_until,omitzero"`    // the licence gate is closed until then
	GateReason   string    `json:"gate_reason,omitempty"`

	FallbackUntil time.Time `json:"fallback_until,omitzero"` // the feed's fallback is used until then

	Link   string    `json:"link,omitempty"`   // where a delta query goes on
	Job    string    `json:"job,omitempty"`    // the query that the service works on for this partition
	JobAt  time.Time `json:"job_at,omitzero"`  // when it was begun
	JobFor Span      `json:"job_for,omitzero"` // what it was asked for; zero for a feed without windows

	Unreadable []Span `json:"unreadable,omitempty"` // told as gaps, and not asked for again
	Gaps       []Span `json:"gaps,omitempty"`       // what was lost, or never collected, since Start
	Off        Span   `json:"off,omitzero"`         // the subscription was, without an end while that is not known; told as a gap once there is one again
	Read       []Span `json:"read,omitempty"`       // of an archive: what was read to its end

	Forwarded int64               `json:"forwarded"`         // events delivered, ever
	Counts    Counts              `json:"counts,omitzero"`   // of all that was ever read: of a window that was read again, both
	Filters   map[string]Filtered `json:"filters,omitempty"` // what was filtered of that, by the name of the rule

	LastSuccess time.Time `json:"last_success,omitzero"`
	LastError   string    `json:"last_error,omitempty"`
	LastErrorAt time.Time `json:"last_error_at,omitzero"`
}

// Span is the half-open span of time [From, To).
type Span struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// Counts is an account of what became of records. For a feed whose listing names
// documents to fetch: Items = ItemsFetched + ItemsDuplicate + ItemsSkipped.
// For every feed, in records: Fetched = Delivered + Duplicate + Filtered + Skipped + DeadLettered.
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
	Filtered     int64 `json:"filtered,omitempty"`
	Skipped      int64 `json:"skipped"`
	DeadLettered int64 `json:"dead_lettered"`
}

// Difference is how far the account is from balancing: of the items, and of
// the records. Both are 0 for a window that was read to its end, unless something
// was lost (above 0) or counted twice (below 0).
func (c *Counts) Difference() (items, records int64) {
	items = c.Items - c.ItemsFetched - c.ItemsDuplicate - c.ItemsSkipped
	records = c.Fetched - c.Delivered - c.Duplicate - c.Filtered - c.Skipped - c.DeadLettered
	if c.Items == 0 && c.Listed != c.Fetched {
		// Nothing but the listing offers records, so what was listed and
		// never taken up is missing from the account as well.
		records += c.Listed - c.Fetched
	}
	return items, records
}

// Settled is the account without the records that were taken up and have no end yet.
func (c Counts) Settled() Counts {
	_, open := c.Difference()
	c.Fetched -= open
	c.Listed -= open
	return c
}

// Add adds d to c, member by member.
func (c *Counts) Add(d *Counts) {
	c.Items += d.Items
	c.ItemsFetched += d.ItemsFetched
	c.ItemsDuplicate += d.ItemsDuplicate
	c.ItemsSkipped += d.ItemsSkipped
	c.Listed += d.Listed
	c.Fetched += d.Fetched
	c.Delivered += d.Delivered
	c.Duplicate += d.Duplicate
	c.Filtered += d.Filtered
	c.Skipped += d.Skipped
	c.DeadLettered += d.DeadLettered
}

// Entry is the ledger's account of one window of one partition, or of one day's
// windows, once they are old.
type Entry struct {
	Feed      string    `json:"feed"`
	Partition string    `json:"partition"`
	From      time.Time `json:"from,omitzero"` // zero: of no window yet
	To        time.Time `json:"to,omitzero"`
	Complete  bool      `json:"complete"`          // the window was read to its end
	Windows   int64     `json:"windows,omitempty"` // how many windows a daily total sums; 0 for a single window
	Looked    time.Time `json:"looked,omitzero"`   // when a second look read it; zero: it is no second look
	Counts
	Reasons map[string]int64    `json:"reasons,omitempty"` // of what was skipped
	Filters map[string]Filtered `json:"filters,omitempty"` // what was filtered, by the name of the rule
}

// Filtered is how much one rule kept from delivery.
type Filtered struct {
	Records int64 `json:"records"`
	Bytes   int64 `json:"bytes"` // of the events that were not sent
}

// Object is what a partition remembers by name: of an endpoint that shows a present
// state, one thing as it was last told of.
type Object struct {
	ID    string `json:"id"`
	State []byte `json:"state,omitempty"` // in a commit, an empty one takes the object away
}

// Commit is everything that one delivery changes.
type Commit struct {
	Feed, Partition string
	Position        *Position // nil: unchanged
	Keys            []Key     // to remember, of records and items
	Expires         time.Time // until when at least
	Entry           *Entry    // nil: none; replaces the entry of the same window
	Objects         []Object  // to set, and to take away

	// Fold is for stores that are built on another; nil otherwise.
	Fold *Fold
}

// Fold replaces old entries of a partition's ledger by totals of their days.
type Fold struct {
	Days   []Entry   `json:"days,omitempty"`  // each replaces the total of its day
	Before time.Time `json:"before"`          // the windows that ended before it leave
	Forget time.Time `json:"forget,omitzero"` // so do the days
	Same   []Entry   `json:"-"`               // the totals that stay as they are
}

// Store keeps the state of a connector. Its methods may be called from several
// goroutines.
type Store interface {
	// Position of a partition; ok is false where there is none yet.
	Position(feed, partition string) (p Position, ok bool, err error)
	// Positions of the partitions ever committed, by feed and partition: of the feeds
	// whose names begin with prefix.
	Positions(prefix string) (map[[2]string]Position, error)
	// Object of a partition, by its ID; ok is false where there is none.
	Object(feed, partition, id string) (state []byte, ok bool, err error)
	// Objects of a partition, in the order of their IDs. What is committed meanwhile may
	// show or not. An error ends them.
	Objects(feed, partition string) iter.Seq2[Object, error]
	// Seen reports whether the key is remembered, and until when at least. A key
	// past that time stays remembered until a sweep takes it.
	Seen(key Key) (expires time.Time, ok bool, err error)
	// Commit writes all of c or nothing. When it returns nil, c survives a kill
	// and a power cut. After an error c may have been written or not, never in
	// part, and committing it again is safe. A key that is remembered already
	// takes the new expiry.
	Commit(c *Commit) error
	// Ledger is every entry kept of the feeds whose names begin with prefix: the daily totals
	// of older windows, then the windows, both by feed, partition and time. What is
	// committed meanwhile may show or not. An error ends them.
	Ledger(prefix string) iter.Seq2[Entry, error]
	// Sweep forgets the keys that expired before now, folds old windows of the ledger into
	// daily totals, and forgets the totals after 400 days. It may take long; it does not
	// block commits, and Close ends it early with ErrClosed.
	Sweep(now time.Time) error
	// Close waits for the calls in progress. Calls after it return ErrClosed.
	Close() error
}
