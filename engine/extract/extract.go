// Package extract reads one window of one feed and hands each record on as it arrives: whole,
// in order within its page or item, and at least once. What cannot be read is an
// error that says what the service said; nothing is left out in silence. It knows HTTP, OAuth,
// JSON and time; what is particular to a service stands in the feed.
//
// # How it works
//
// [Reader.Read] prepares the feed's request for the window (request.go), starts its job if it has
// one (job.go), and walks the pages (walk.go). Each request is sent until its answer is taken or its
// attempts are used up (send.go), one attempt being a budget, a token and a round trip
// (roundtrip.go, throttle.go, token.go). A body is split as a stream (records.go, splitter.go): memory is
// bounded by the largest single record, whatever the size of a page or of an item. A record that is
// no JSON is cut out (damage.go). Listed items are fetched meanwhile (expand.go).
//
// # What an answer means
//
// The error rules of the feed are asked first, of successes too, then its licence.missing, then
// what holds for all services: 429, and 503 with Retry-After, throttle; 401
// renews the token once; 408, other 5xx, faults of the network and broken bodies
// are tried again, and so is a success that holds an error beside its records or no records at all; any other
// status but 2xx ends the read. Throttling pauses all feeds that
// share the budget and is no failed attempt. Attempts and waits are bounded,
// see [ClientOptions]; what is left then is an error of the read, and the
// caller reads the window again when it likes. An answer that breaks off twice at the same place
// is not asked for again.
package extract

import (
	"context"
	"time"
)

// Window is the half-open span of time [From, To) that one read covers, in UTC
// and whole seconds. Both are zero for a feed without one.
type Window struct {
	From, To time.Time
	// Delta is the position of a feed with delta links that the last read told, see
	// [Sink.Delta]; "": from the beginning.
	Delta string
	// Job is the id of a job that an earlier read of the same window started, at JobAt, see
	// [Sink.Job]; "": a new one is started.
	Job   string
	JobAt time.Time
}

// Sink takes what a read finds. Its methods are called from several goroutines.
type Sink interface {
	// Known reports whether the listed item with this key was delivered whole
	// before, or is being fetched, so that it need not be. It is called whenever the item
	// is listed, with its cursor time and "" for one that has no key.
	Known(key string, at time.Time) (bool, error)
	// Gone reports that the service says that a listed item is gone, and why. It is given up if
	// the answer is true; else the read ends with an *Incomplete, so that it is tried again.
	Gone(key, reason string) (giveUp bool, err error)
	// Skipped reports that a listed item (its key), or a page (an empty key),
	// was given up for good, and why.
	Skipped(key, reason string)
	// Open begins a source of records: a fetched item (its key, and its cursor time), or a
	// page (an empty key, and no time). When a body breaks off, the source is abandoned
	// and opened anew: its records then come again from the first.
	Open(key string, at time.Time) Source
	// Job says that a job was started, which a read goes on with that has its id; it is to be
	// remembered when it returns.
	Job(id string) error
	// Delta gives the feed's position at the end of a read, to be remembered together with the
	// records before it.
	Delta(position string)
}

// Source takes the records of one page or item, in order, from one goroutine.
type Source interface {
	// Record takes one record. raw is valid JSON (UTF-8) and valid only during
	// the call, which may block for as long as the destination does. An error ends the
	// read with that error, unchanged.
	Record(ctx context.Context, raw []byte) error
	// Damaged takes the bytes of one record that is no JSON, cut out of a body that is well
	// apart from it. They are valid only during the call; reason says what is wrong, and nothing of them.
	Damaged(ctx context.Context, raw []byte, reason string) error
	// End says that the source was read to its end; it is called once. A
	// source that is abandoned gets no End.
	End() error
}

// Stats are the requests of a feed's partition since the start, for metrics
// and the status of a feed.
type Stats struct {
	Requests  int64         `json:"requests"`
	Retries   int64         `json:"retries"`
	Throttled int64         `json:"throttled"`
	Waited    time.Duration `json:"waited_nanoseconds"` // for throttling, in total
}
