package engine

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/extract"
	"github.com/secure60/s60-m365-connector/engine/load"
)

// State is how a partition does.
type State string

// The states of a partition.
const (
	Starting State = "starting" // its first round has not ended yet
	OK       State = "ok"       // its last round ended well
	Failing  State = "failing"  // its last round failed; it is tried again
	Gated    State = "gated"    // the tenant lacks what the feed needs; it is tried again later
	// NotConsented: a permission that it needs was never granted; it is tried at each poll.
	NotConsented State = "not consented"
	Standby      State = "standby"  // another process runs it
	Disabled     State = "disabled" // switched off by the settings
)

// FeedStatus is one partition of a feed, as an operator sees it.
type FeedStatus struct {
	Feed         string    `json:"feed"`
	Partition    string    `json:"partition,omitempty"`
	State        State     `json:"state"`
	Since        time.Time `json:"since,omitzero"`         // of the state
	WaitingSince time.Time `json:"waiting_since,omitzero"` // for one of the Workers; zero: it does not
	Holder       string    `json:"holder,omitempty"`       // of a partition in standby: who runs it, where that is known
	Requires     string    `json:"requires,omitempty"`
	GateReason   string    `json:"gate_reason,omitempty"`
	GateUntil    time.Time `json:"gate_until,omitzero"`
	// FallbackUntil is until when the feed's fallback is used, as the service did not answer the feed's own
	// request; zero: it is not.
	FallbackUntil time.Time         `json:"fallback_until,omitzero"`
	Cursor        time.Time         `json:"cursor,omitzero"`
	Ahead         time.Duration     `json:"ahead,omitzero"` // the service's clock, by which the cursor is, of this host's
	Forwarded     int64             `json:"forwarded"`      // ever, by backfills too
	Ever          checkpoint.Counts `json:"ever"`           // of Total and Window, over restarts and whoever runs it
	EverFilters   Filters           `json:"ever_filters,omitempty"`
	DeadLettered  int64             `json:"dead_lettered"`
	LastSuccess   time.Time         `json:"last_success,omitzero"`
	LastError     string            `json:"last_error,omitempty"` // empty when the last round went well
	LastErrorAt   time.Time         `json:"last_error_at,omitzero"`
	Difference    int64             `json:"ledger_difference"` // records the ledger cannot account for
	Total         checkpoint.Counts `json:"total"`             // since the start, of ended windows
	Window        checkpoint.Entry  `json:"window"`            // the window being read
	Filters       Filters           `json:"filters,omitempty"` // what rules of the mapping held back since the start, in ended windows
	Requests      extract.Stats     `json:"requests"`
	FieldErrors   map[string]int64  `json:"field_errors,omitempty"` // by field, since the start
	Late          int64             `json:"late"`                   // records found by a second look, since the start
	Lateness      Delays            `json:"lateness"`               // of new records while polling, since the start: how long after their own time they were first seen
	Latency       Delays            `json:"latency"`                // of events while polling, since the start: from when the service listed the item (else the record's own time) to the destination's yes
	Gaps          int64             `json:"gaps"`                   // spans lost since the start
	LastGap       Gap               `json:"last_gap,omitzero"`

	writingSince time.Time // a commit has not returned since; zero: none is under way
}

// Filters are what rules of mappings held back, by their names.
type Filters map[string]checkpoint.Filtered

// String is each rule with what it held back: "system-cmdlets 120 of 310 kB".
func (f Filters) String() string {
	var list []string
	for _, as := range slices.Sorted(maps.Keys(f)) {
		list = append(list, fmt.Sprintf("%s %d of %d kB", as, f[as].Records, (f[as].Bytes+500)/1000))
	}
	return strings.Join(list, ", ")
}

// addFilters gives a sum; neither of the two is changed.
func addFilters(a Filters, b map[string]checkpoint.Filtered) Filters {
	if len(b) == 0 {
		return a
	}
	sum := make(Filters, len(a)+len(b))
	maps.Copy(sum, a)
	for as, f := range b {
		sum[as] = checkpoint.Filtered{Records: sum[as].Records + f.Records, Bytes: sum[as].Bytes + f.Bytes}
	}
	return sum
}

// FilteredBy is what rules of the mapping held back since the start.
func (s FeedStatus) FilteredBy() Filters { return addFilters(s.Filters, s.Window.Filters) }

// joining is how long a process may take to join the others before that is a fault.
const joining = 30 * time.Second

// Gap is a span of time whose records cannot be had any more.
type Gap struct {
	From   time.Time `json:"from"`
	To     time.Time `json:"to"`
	Reason string    `json:"reason"`
}

// Lag is how far the cursor is behind now, by this host's clock.
func (s FeedStatus) Lag(now time.Time) time.Duration {
	if s.Cursor.IsZero() {
		return 0
	}
	return max(now.Add(s.Ahead).Sub(s.Cursor), 0)
}

// Listed is how many records the service has offered since the start.
func (s FeedStatus) Listed() int64 { return s.Total.Fetched + s.Window.Fetched }

// Delivered is how many events were delivered since the start.
func (s FeedStatus) Delivered() int64 { return s.Total.Delivered + s.Window.Delivered }

// Filtered is how many records the rules of the mapping kept from delivery since the start.
func (s FeedStatus) Filtered() int64 { return s.Total.Filtered + s.Window.Filtered }

// Duplicate is how many records came again since the start.
func (s FeedStatus) Duplicate() int64 { return s.Total.Duplicate + s.Window.Duplicate }

// Skipped is how many records and items the service has lost and were given up since the start.
func (s FeedStatus) Skipped() int64 {
	return s.Total.Skipped + s.Window.Skipped + s.Total.ItemsSkipped + s.Window.ItemsSkipped
}

// take takes over what a position says of all that was ever read.
func (s *FeedStatus) take(p *checkpoint.Position) {
	s.Forwarded, s.Ever, s.EverFilters = p.Forwarded, p.Counts, p.Filters
}

// AddBackfills adds what the state keeps apart of the backfills of a feed's partition: of those beside who
// collects, and, with the first partition, of those from the feed's archive.
func (s *FeedStatus) AddBackfills(feed *definition.Feed, first bool, stored func(feed, partition string) (checkpoint.Position, bool)) {
	if feed.Window == nil { // nothing is read again
		return
	}
	accounts := [][2]string{{feed.Name, besides(s.Partition)}}
	if first && feed.Archive != "" {
		accounts = append(accounts, [2]string{feed.Archive, feed.Name})
	}
	for _, a := range accounts {
		if p, ok := stored(a[0], a[1]); ok {
			s.Forwarded += p.Forwarded
			s.Ever.Add(&p.Counts)
			s.EverFilters = addFilters(s.EverFilters, p.Filters)
		}
	}
}

// Status is the engine, as an operator sees it.
type Status struct {
	Name              string       `json:"name"`
	Version           string       `json:"version"`
	Started           time.Time    `json:"started"`
	Now               time.Time    `json:"now"`
	Destination       string       `json:"destination"`
	Delivery          load.State   `json:"delivery"`
	DeadLetters       int64        `json:"dead_letters"` // waiting on disk
	CredentialExpires time.Time    `json:"credential_expires,omitzero"`
	Stalled           string       `json:"stalled,omitempty"` // why nothing can be committed or delivered for a while; empty: it can
	Apart             bool         `json:"apart,omitempty"`   // it shares the work with others, and they are out of reach: nothing is collected here
	Feeds             []FeedStatus `json:"feeds"`             // one for each partition, in feed order
	Operations        []Weight     `json:"operations"`        // delivered in the last day, the heaviest first

	// Of processes that share the work.
	Replica  string          `json:"replica,omitempty"` // this one
	Replicas []ReplicaStatus `json:"replicas,omitempty"`
	HandOver HandOver        `json:"hand_over,omitzero"` // the last
}

// Status is a snapshot. It may be taken at any time, by any goroutine.
func (e *Engine) Status() Status {
	s := Status{
		Name: e.Name, Version: e.Version, Started: e.started, Now: e.Now(),
		Destination: e.Destination.Name(), Delivery: e.Destination.State(),
		DeadLetters: int64(e.DeadLetters.Count()), Operations: e.weights.lastDay(e.Now()),
	}
	s.Stalled = e.stalled()
	if e.CredentialExpires != nil {
		s.CredentialExpires = e.CredentialExpires()
	}
	// A state that cannot be read is reported by those who work with it.
	stored := func(feed, partition string) (checkpoint.Position, bool) {
		position, ok, err := e.Store.Position(feed, partition)
		return position, ok && err == nil
	}
	for i, p := range e.partitions {
		p.mu.Lock()
		status := p.status
		status.FieldErrors = maps.Clone(p.status.FieldErrors)
		p.mu.Unlock()
		switch status.State {
		case Standby:
			p.elsewhere(&status)
		case Starting, OK, Gated, NotConsented:
			p.unanswered(&status)
		}
		if !e.Beside { // which is one of those
			status.AddBackfills(p.feed, i == 0 || e.partitions[i-1].feed != p.feed, stored)
		}
		status.Requests, status.FallbackUntil, status.Ahead = p.reader.Stats(), p.reader.Fallback(), time.Duration(p.ahead.Load())
		s.Feeds = append(s.Feeds, status)
	}
	e.replicas(&s)
	if e.Leases != nil && s.Now.Sub(e.started) > joining {
		if err := e.Leases.Joined(); err != nil {
			s.Apart = true
			for i := range s.Feeds {
				s.Feeds[i].fails(cmp.Or(s.Feeds[i].LastSuccess, s.Started), err.Error(), s.Now)
			}
		}
	}
	for _, feed := range e.disabled {
		s.Feeds = append(s.Feeds, FeedStatus{Feed: feed.Name, State: Disabled})
	}
	return s
}

// severity orders states from the best to the one an operator must see.
var severity = map[State]int{Disabled: 0, Standby: 1, OK: 2, Starting: 3, NotConsented: 4, Gated: 5, Failing: 6}

// Add sums a partition up with another: counts add up, the worst state, the oldest cursor and the first
// error stand for both.
func (s *FeedStatus) Add(f *FeedStatus) {
	s.Filters, s.Window.Filters = addFilters(s.FilteredBy(), f.FilteredBy()), nil
	s.Total.Add(&f.Total)
	s.Window.Counts.Add(&f.Window.Counts)
	s.Forwarded += f.Forwarded
	s.Ever.Add(&f.Ever)
	s.EverFilters = addFilters(s.EverFilters, f.EverFilters)
	s.DeadLettered += f.DeadLettered
	s.Difference += f.Difference
	s.Late += f.Late
	s.Lateness.Merge(&f.Lateness)
	s.Latency.Merge(&f.Latency)
	if s.Gaps += f.Gaps; f.Gaps > 0 {
		s.LastGap = f.LastGap
	}
	s.Requests.Requests += f.Requests.Requests
	s.Requests.Retries += f.Requests.Retries
	s.Requests.Throttled += f.Requests.Throttled
	s.Requests.Waited += f.Requests.Waited
	if severity[f.State] > severity[s.State] {
		s.State, s.Since = f.State, f.Since
	}
	if w := f.WaitingSince; !w.IsZero() && (s.WaitingSince.IsZero() || w.Before(s.WaitingSince)) {
		s.WaitingSince = w
	}
	if !f.Cursor.IsZero() && (s.Cursor.IsZero() || f.Cursor.Before(s.Cursor)) { // one that never moved tells no lag
		s.Cursor, s.Ahead = f.Cursor, f.Ahead
	}
	if s.LastError == "" {
		s.LastError, s.LastErrorAt = f.LastError, f.LastErrorAt
	}
	s.FallbackUntil = later(s.FallbackUntil, f.FallbackUntil)
	if s.GateReason == "" {
		s.GateReason, s.GateUntil = f.GateReason, f.GateUntil
	}
}

// ByFeed are the enabled feeds, of each the sum of its partitions.
func (s Status) ByFeed() []FeedStatus {
	var list []FeedStatus
	for _, f := range s.Feeds {
		if f.State == Disabled {
			continue
		}
		if len(list) == 0 || list[len(list)-1].Feed != f.Feed {
			f.Partition = ""
			f.Filters, f.Window.Filters = f.FilteredBy(), nil
			list = append(list, f)
			continue
		}
		list[len(list)-1].Add(&f)
	}
	return list
}

// Healthy reports whether collection works: no feed is failing, the destination
// takes events, and the state is written.
func (s Status) Healthy() bool {
	for _, f := range s.Feeds {
		if f.State == Failing {
			return false
		}
	}
	return s.Delivery.OK && s.Stalled == ""
}

// ClockOff is how far the services' clocks are ahead of this host's, where somebody should set it; else 0.
func (s Status) ClockOff() time.Duration {
	for _, f := range s.Feeds {
		if f.Ahead.Abs() > wrongClock {
			return f.Ahead
		}
	}
	return 0
}

// Waiting is what a connector that has just started still waits for before it
// is known to work, empty once it is: a round of some feed that ended well or
// at its gate, and an event that the destination took.
func (s Status) Waiting() string {
	on, ended := false, false
	for _, f := range s.Feeds {
		on = on || f.State != Disabled
		ended = ended || !f.LastSuccess.Before(s.Started) || f.State == Gated || f.State == NotConsented || f.State == Standby
	}
	switch {
	case s.Apart:
		return "the shared state"
	case on && !ended:
		return "the first round of a feed"
	case s.Delivery.Events == 0:
		return "the first delivery to " + s.Destination
	}
	return ""
}

// stalledAfter is how long a commit, or all deliveries, may stand still before that is a fault.
const stalledAfter = 20 * time.Second

// stalled says why nothing has been committed, or delivered, for a while.
func (e *Engine) stalled() string {
	now := time.Now()
	for _, p := range e.partitions {
		p.mu.Lock()
		since := p.status.writingSince
		p.mu.Unlock()
		if !since.IsZero() && now.Sub(since) > stalledAfter {
			return "the state cannot be written since " + since.UTC().Format(time.RFC3339) + ": " + cmp.Or(e.unwritten.cause(), "make room on its disk") + "; nothing is lost"
		}
	}
	delivery := e.Destination.State()
	if since := e.outbox.standsStill(delivery.Events, now); now.Sub(since) > stalledAfter {
		text := "the destination has accepted nothing since " + since.UTC().Format(time.RFC3339)
		if delivery.LastError != "" {
			text += ": " + delivery.LastError
		}
		return text + "; nothing is lost"
	}
	return ""
}
