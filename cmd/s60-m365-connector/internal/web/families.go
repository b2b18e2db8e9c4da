package web

import (
	"maps"
	"slices"

	"github.com/secure60/s60-m365-connector/engine"
	"github.com/secure60/s60-m365-connector/engine/checkpoint"
)

// This file lists what /metrics tells, in the order of the names.

type family struct {
	name, kind, help string
	labels           []string // by the alphabet
	// tenant puts the numbers of a tenant that runs.
	tenant func(t tenantNumbers, put put)
}

// put writes one number with the values of its labels.
type put func(value float64, labels ...string)

// perFeed is a number of each partition of each feed that is on.
func perFeed(name, kind, help string, value func(engine.FeedStatus) float64) family {
	return family{name, kind, help, ofFeed, func(t tenantNumbers, put put) {
		t.each(func(f engine.FeedStatus) { put(value(f), f.Feed, f.Partition) })
	}}
}

// perRule is a number of each rule that holds events of a feed back.
func perRule(name, help string, value func(checkpoint.Filtered) float64) family {
	return family{name, counter, help, []string{"feed", "partition", "rule"}, func(t tenantNumbers, put put) {
		t.each(func(f engine.FeedStatus) {
			by := f.FilteredBy()
			for _, as := range slices.Sorted(maps.Keys(by)) {
				put(value(by[as]), f.Feed, f.Partition, as)
			}
		})
	}}
}

// perDestination is a number of the destination.
func perDestination(name, kind, help string, value func(engine.Status) float64) family {
	return family{name, kind, help, []string{"destination"}, func(t tenantNumbers, put put) { put(value(*t.status), t.status.Destination) }}
}

var ofFeed = []string{"feed", "partition"}

// each goes through the partitions of the feeds that are on.
func (t tenantNumbers) each(f func(engine.FeedStatus)) {
	for _, status := range t.status.Feeds {
		if status.State != engine.Disabled {
			f(status)
		}
	}
}

var families = []family{
	{"credential_expiry_timestamp_seconds", gauge, "When the connector's credential ends; not served where that is not known.", nil,
		func(t tenantNumbers, put put) {
			if ends := t.status.CredentialExpires; !ends.IsZero() {
				put(float64(ends.Unix()))
			}
		}},
	{"dead_letters", gauge, "Refused events that wait in STATE_DIR/deadletter.", nil,
		func(t tenantNumbers, put put) { put(float64(t.status.DeadLetters)) }},
	{"dead_letters_bytes", gauge, "Size of the dead letters on disk.", nil,
		func(t tenantNumbers, put put) { put(float64(t.deadLetterBytes)) }},
	perDestination("destination_events_accepted_total", counter, "Events that the destination accepted, heartbeats included.",
		func(s engine.Status) float64 { return float64(s.Delivery.Events) }),
	perDestination("destination_events_refused_total", counter, "Events that the destination refused for good.",
		func(s engine.Status) float64 { return float64(s.Delivery.Refused) }),
	perDestination("destination_request_retries_total", counter, "Requests to the destination that failed and are made again.",
		func(s engine.Status) float64 { return float64(s.Delivery.Retries) }),
	perDestination("destination_requests_allowed", gauge, "Requests to the destination that may be under way at once; with DELIVERY_CONCURRENCY=auto, as many as were found to be good.",
		func(s engine.Status) float64 { return float64(s.Delivery.Concurrency) }),
	perDestination("destination_requests_in_flight", gauge, "Requests to the destination under way.",
		func(s engine.Status) float64 { return float64(s.Delivery.InFlight) }),
	perDestination("destination_requests_total", counter, "Requests made to the destination.",
		func(s engine.Status) float64 { return float64(s.Delivery.Requests) }),
	perDestination("destination_up", gauge, "1 while the destination takes events, 0 while it does not.",
		func(s engine.Status) float64 { return boolean(s.Delivery.OK) }),
	perFeed("feed_events_dead_lettered_total", counter, "Events that the destination refused for good.",
		func(f engine.FeedStatus) float64 { return float64(f.DeadLettered) }),
	perFeed("feed_events_delivered_total", counter, "Events that the destination accepted.",
		func(f engine.FeedStatus) float64 { return float64(f.Delivered()) }),
	perFeed("feed_gaps_total", counter, "Spans of time whose records cannot be had any more; above 0 is an alarm.",
		func(f engine.FeedStatus) float64 { return float64(f.Gaps) }),
	{"feed_gate_recheck_timestamp_seconds", gauge, "When the closed gate of the feed is tried again; not served while it is open.", ofFeed,
		func(t tenantNumbers, put put) {
			t.each(func(f engine.FeedStatus) {
				if f.State == engine.Gated {
					put(float64(f.GateUntil.Unix()), f.Feed, f.Partition)
				}
			})
		}},
	{"feed_lag_seconds", gauge, "How far the cursor is behind now.", ofFeed,
		func(t tenantNumbers, put put) {
			t.each(func(f engine.FeedStatus) {
				if !f.Cursor.IsZero() {
					put(f.Lag(t.status.Now).Seconds(), f.Feed, f.Partition)
				}
			})
		}},
	perFeed("feed_last_success_timestamp_seconds", gauge, "When a round of the feed last ended well, 0 before the first.",
		func(f engine.FeedStatus) float64 {
			if f.LastSuccess.IsZero() {
				return 0
			}
			return float64(f.LastSuccess.UnixMilli()) / 1000
		}),
	perFeed("feed_ledger_difference_total", counter, "Records that the ledger cannot account for; above 0 is an alarm.",
		func(f engine.FeedStatus) float64 { return float64(f.Difference) }),
	perFeed("feed_records_duplicate_total", counter, "Records that the service offered again, and that were not sent again.",
		func(f engine.FeedStatus) float64 { return float64(f.Duplicate()) }),
	perRule("feed_records_filtered_bytes_total", "Bytes of events that a rule of the mapping held back.",
		func(f checkpoint.Filtered) float64 { return float64(f.Bytes) }),
	perRule("feed_records_filtered_total", "Records that a rule of the mapping held back: dropped, or not in the sample.",
		func(f checkpoint.Filtered) float64 { return float64(f.Records) }),
	perFeed("feed_records_late_total", counter, "Records that appeared so late that only a second look found them; they are delivered.",
		func(f engine.FeedStatus) float64 { return float64(f.Late) }),
	perFeed("feed_records_listed_total", counter, "Records that the service offered.",
		func(f engine.FeedStatus) float64 { return float64(f.Listed()) }),
	perFeed("feed_request_retries_total", counter, "Requests that were made again.",
		func(f engine.FeedStatus) float64 { return float64(f.Requests.Retries) }),
	perFeed("feed_requests_throttled_total", counter, "Requests that the service throttled.",
		func(f engine.FeedStatus) float64 { return float64(f.Requests.Throttled) }),
	perFeed("feed_requests_total", counter, "Requests made to the service.",
		func(f engine.FeedStatus) float64 { return float64(f.Requests.Requests) }),
	perFeed("feed_skipped_total", counter, "Records and content items given up for good because the service has lost them.",
		func(f engine.FeedStatus) float64 { return float64(f.Skipped()) }),
	{"feed_state", gauge, "1 for the state that the feed is in, 0 for the others.", []string{"feed", "partition", "state"},
		func(t tenantNumbers, put put) {
			for _, f := range t.status.Feeds {
				for _, state := range feedStates {
					put(boolean(f.State == state), f.Feed, f.Partition, string(state))
				}
			}
		}},
	perFeed("feed_throttle_wait_seconds_total", counter, "Time spent waiting because the service throttles.",
		func(f engine.FeedStatus) float64 { return f.Requests.Waited.Seconds() }),
	{"hand_over_timestamp_seconds", gauge, "When a partition last went from one replica to another, or to the first; not served without replicas.", nil,
		func(t tenantNumbers, put put) {
			if at := t.status.HandOver.At; !at.IsZero() {
				put(float64(at.UnixMilli()) / 1000)
			}
		}},
	{"mapping_field_errors_total", counter, "Records on which the expression of a mapping's field failed; the events were sent without that field.",
		[]string{"feed", "field", "mapping", "partition"},
		func(t tenantNumbers, put put) {
			t.each(func(f engine.FeedStatus) {
				for field, n := range f.FieldErrors {
					put(float64(n), f.Feed, field, t.mappings[f.Feed], f.Partition)
				}
			})
		}},
	{"replica_partitions", gauge, "How many partitions of feeds each replica holds, as this one knows; not served without replicas.", []string{"replica"},
		func(t tenantNumbers, put put) {
			for _, r := range t.status.Replicas {
				put(float64(len(r.Held)), r.Name)
			}
		}},
}

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

var feedStates = []engine.State{engine.Starting, engine.OK, engine.Failing, engine.Gated, engine.NotConsented, engine.Standby, engine.Disabled}

const counter, gauge = "counter", "gauge"
