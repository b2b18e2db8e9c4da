// Package extract reads one window of one feed: it obtains tokens, walks pages,
// fetches listed items, and hands each record on as it arrives. It knows HTTP,
// OAuth, JSON and time; what is particular to a service stands in the feed.
//
// A body is decoded as a stream: memory is bounded by the largest single
// record, whatever the size of a page or of an item.
//
// # What an answer means
//
// The error rules of the feed are asked first, then its licence.missing, then
// what holds for all services: 429, and 503 with Retry-After, throttle; 401
// renews the token once; 408, other 5xx, faults of the network and broken bodies
// are tried again; any other status but 2xx ends the read. Throttling pauses all feeds that
// share the budget and is no failed attempt. Attempts and waits are bounded,
// see [ClientOptions]; what is left then is an error of the read, and the
// caller reads the window again when it likes.
package extract

import (
	"context"
	"time"
)

// Window is the half-open span of time [From, To) that one read covers, in UTC
// and whole seconds. The zero Window is that of a feed without one.
type Window struct {
	From, To time.Time
}

// Sink takes what a read finds. Its methods are called from several goroutines.
type Sink interface {
	// Known reports whether the listed item with this key was delivered whole
	// before, or is being fetched, so that it need not be fetched. It is called whenever
	// the item is listed.
	Known(key string) (bool, error)
	// Skipped reports that a listed item (its key), or a page (an empty key),
	// was given up for good by a rule of the feed, and why.
	Skipped(key, reason string)
	// Open begins a source of records: a fetched item (its key), or a page (an
	// empty key). When a body breaks off, the source is abandoned and opened
	// anew: its records then come again from the first.
	Open(key string) Source
}

// Source takes the records of one page or item, in order, from one goroutine.
type Source interface {
	// Record takes one record. raw is valid JSON (UTF-8) and valid only during
	// the call, which may block for as long as the destination does. An error ends the
	// read with that error, unchanged.
	Record(ctx context.Context, raw []byte) error
	// End says that the source was read to its end; it is called once. A
	// source that is abandoned gets no End.
	End() error
}

// Stats are the requests of a feed's partition since the start, for metrics
// and the status of a feed.
type Stats struct {
	Requests  int64
	Retries   int64
	Throttled int64
	Waited    time.Duration // for throttling, in total
}
