// Package load delivers events to their destination: the ingest service, a
// collector, NATS JetStream, Kafka, a file or standard output. It promises that an event is
// delivered, or refused for good and said so, or that its batch fails; a destination that is down costs
// time, never an event.
//
// # How it works
//
// Each kind is one file and one entry in the table of kinds (open.go). Those over HTTP share web.go: a
// batch is cut into bodies, as many are sent at a time as the destination takes (limiter.go), an
// answer is put into a class (answer.go), and the class says whether the body is tried again and when
// (retry.go), cut in two, or given up. The others take one batch at a time (stream.go): platforms of
// streams, and what takes lines (lines.go). What was refused for good goes to files (deadletter.go).
package load

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Destination takes batches of events. Implementations may be called from
// several goroutines; the number of requests in flight is bounded for all of
// them together.
type Destination interface {
	// Deliver returns nil once the destination has accepted every event but the
	// refused ones, which it will never take. Until then it retries: a
	// destination that is down, slow, throttling or refusing the credentials
	// costs time, never an event. An event that was accepted is not sent again
	// by the same call. The error is that of ctx, or of a destination that can
	// never work (a closed pipe); the caller must then take the whole batch for
	// undelivered.
	//
	// Nothing of batch is read once Deliver has returned.
	Deliver(ctx context.Context, batch Batch) (refused []Refused, err error)
	// Name is what the destination is called in logs: "ingest", "collector",
	// "nats", "kafka", "file", "stdout".
	Name() string
	// BatchEvents and BatchBytes are how much one call to Deliver should hold, with a
	// byte more for each event.
	BatchEvents() int
	BatchBytes() int
	// Batches is how many calls at a time keep it busy; it may change. 1 where the order of
	// calls is kept.
	Batches() int
	// State is how the destination does, for health, heartbeat and status.
	State() State
	Close() error
}

// Batch is what one call to Deliver brings.
type Batch struct {
	Events [][]byte
	// IDs name the events, one for each, for destinations that find out repeats by
	// themselves: the same record has the same id whenever it is sent. Nil where
	// events have none, or are meant to be stored once more.
	IDs [][16]byte
	// Key names what the events are a part of, for destinations that keep the
	// order of what has the same key: a feed, and its partition. Empty: nothing.
	Key string
}

// from says in a log line whose events they are.
func (b Batch) from() []any {
	if b.Key == "" {
		return nil
	}
	return []any{"feed", b.Key}
}

// Refused is an event that the destination will never accept.
type Refused struct {
	Index  int // in Events
	Status int // HTTP status, 0 if none
	// Reason is what the destination said, printable and bounded. Destinations
	// may quote the event in it: it is for the dead letter, not for logs.
	Reason string
}

// Brief is the reason as far as it may be logged: without the destination's own words.
func (r Refused) Brief() string {
	if r.Status == 0 {
		return "it does not take such an event"
	}
	return strings.TrimSpace(fmt.Sprintf("HTTP %d %s", r.Status, http.StatusText(r.Status)))
}

// State is how a destination does. The counts are since the start.
type State struct {
	// OK: the last attempt was answered as a working destination does, or none was made yet; and not
	// more than half of the last hundred events were refused.
	OK        bool   `json:"ok"`
	LastError string `json:"last_error,omitempty"` // of the last failed attempt, empty when OK; holds no token and nothing of an event
	Advice    string `json:"advice,omitempty"`     // what a person is to do about it, empty when time will do
	InFlight  int    `json:"in_flight"`            // requests now under way
	Requests  int64  `json:"requests"`             // attempts, the failed ones too
	Retries   int64  `json:"retries"`              // attempts that failed and were, or will be, made again
	Events    int64  `json:"events"`               // accepted
	Refused   int64  `json:"refused"`
	// Concurrency is how many requests may be in flight now, where it is bounded.
	Concurrency int           `json:"concurrency,omitempty"`
	Answer      time.Duration `json:"answer,omitempty"` // that the destination takes for an answer, where it gives one
}
