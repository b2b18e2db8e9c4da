package web

import (
	"bufio"
	"compress/gzip"
	"io"
	"maps"
	"math"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
	"github.com/secure60/s60-m365-connector/engine"
	"github.com/secure60/s60-m365-connector/engine/checkpoint"
)

// This file answers /metrics. Every number is read from the engine's status
// when it is asked for: there is no second set of books. The names are listed
// in docs/metrics.md, which a test compares with what is served.
//
// A thousand tenants have half a million numbers. Each is written as it is read: held as
// the values of a library first, they would take more memory than collecting does.

// metrics is one answer's worth of numbers.
type metrics struct {
	tenants func() []tenantNumbers
	// workers are those of several tenants, each of whose numbers has the label
	// tenant. nil: there is one tenant.
	workers func() engine.WorkersStatus
}

// tenantNumbers is a tenant whose numbers are served.
type tenantNumbers struct {
	tenant          string         // "" the only one
	valid           bool           // its file
	healthy         bool           // as [engine.Status.Healthy] has it
	status          *engine.Status // nil: it does not run
	deadLetterBytes int64
	mappings        map[string]string // of feeds, by name
}

// feedStates are the values of the label state.
var feedStates = []engine.State{engine.Starting, engine.OK, engine.Failing, engine.Gated, engine.NotConsented, engine.Standby, engine.Disabled}

const counter, gauge = "counter", "gauge"

// family is one metric of a tenant.
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
		func(f engine.FeedStatus) float64 {
			return float64(f.Total.Skipped + f.Window.Skipped + f.Total.ItemsSkipped + f.Window.ItemsSkipped)
		}),
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

// exposition writes numbers in the text format:
// https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
// The first error is kept by its writer.
type exposition struct {
	w    *bufio.Writer
	line []byte
}

// metricPrefix begins the names of the connector's own numbers.
const metricPrefix = "s60_m365_"

func (x *exposition) head(name, kind, help string) {
	x.w.WriteString("# HELP " + name + " " + help + "\n# TYPE " + name + " " + kind + "\n")
}

var labelEscapes = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)

// number writes one line. values may be fewer than labels; the rest has none. A name
// of a file may hold bytes that are not UTF-8, for which Prometheus would take nothing.
func (x *exposition) number(name string, value float64, labels, values []string) {
	line := append(x.line[:0], name...)
	for i, v := range values {
		if i == 0 {
			line = append(line, '{')
		} else {
			line = append(line, ',')
		}
		line = append(append(append(line, labels[i]...), `="`...), labelEscapes.Replace(strings.ToValidUTF8(v, "\ufffd"))...)
		line = append(line, '"')
	}
	if len(values) > 0 {
		line = append(line, '}')
	}
	line = strconv.AppendFloat(append(line, ' '), value, 'g', -1, 64)
	x.line = append(line, '\n')
	x.w.Write(x.line)
}

// write writes everything, family by family.
func (m *metrics) write(w io.Writer) error {
	x := &exposition{w: bufio.NewWriterSize(w, 64<<10)}
	one := func(name, kind, help string, value float64) {
		x.head(metricPrefix+name, kind, help)
		x.number(metricPrefix+name, value, nil, nil)
	}
	x.head(metricPrefix+"build_info", gauge, "1, with the version as a label.")
	x.number(metricPrefix+"build_info", 1, []string{"goversion", "version"}, []string{runtime.Version(), program.Version})
	tenants := m.tenants()
	if m.workers != nil {
		x.head(metricPrefix+"tenant_healthy", gauge, "1 while no feed of the tenant fails and its destination takes events, 0 else, and while it does not run.")
		for _, t := range tenants {
			x.number(metricPrefix+"tenant_healthy", boolean(t.healthy), ofTenant, []string{t.tenant})
		}
		x.head(metricPrefix+"tenant_settings_valid", gauge, "0 while the tenant's file has problems: it runs on as it was, if it ran.")
		for _, t := range tenants {
			x.number(metricPrefix+"tenant_settings_valid", boolean(t.valid), ofTenant, []string{t.tenant})
		}
		s := m.workers()
		one("workers", gauge, "How many windows of all tenants may be read at once.", float64(s.Slots))
		one("workers_busy", gauge, "Windows that are being read.", float64(s.Busy))
		one("windows_still", gauge, "Windows that stand still with something in hand, and have lent their worker to others.", float64(s.Still))
		one("windows_waiting", gauge, "Windows that wait for a worker.", float64(s.Waiting))
		one("windows_waited_seconds_total", counter, "How long windows have waited for a worker, all together.", s.Waited.Seconds())
	}
	for _, f := range families {
		m.family(x, f, tenants)
	}
	m.histograms(x, tenants)
	x.process()
	return x.w.Flush()
}

var ofTenant = []string{"tenant"}

// family writes a metric of all tenants.
func (m *metrics) family(x *exposition, f family, tenants []tenantNumbers) {
	labels := f.labels
	if m.workers != nil {
		labels = append(labels[:len(labels):len(labels)], ofTenant...)
	}
	headed := false // one without any number is not served
	var values []string
	for _, t := range tenants {
		if t.status == nil {
			continue
		}
		f.tenant(t, func(value float64, of ...string) {
			if !headed {
				x.head(metricPrefix+f.name, f.kind, f.help)
				headed = true
			}
			values = append(values[:0], of...)
			if m.workers != nil {
				values = append(values, t.tenant)
			}
			x.number(metricPrefix+f.name, value, labels, values)
		})
	}
}

// delays are the histograms, their classes summed up as Prometheus wants them.
var delays = []struct {
	name, help string
	of         func(*engine.FeedStatus) *engine.Delays
}{
	{"feed_event_latency_seconds", "How long after the service listed them (where it lists no items: after their own time) new events were accepted by the destination.",
		func(f *engine.FeedStatus) *engine.Delays { return &f.Latency }},
	{"feed_record_lateness_seconds", "How long after their own time new records were first offered by the service.",
		func(f *engine.FeedStatus) *engine.Delays { return &f.Lateness }},
}

// histograms writes the delays of all tenants.
func (m *metrics) histograms(x *exposition, tenants []tenantNumbers) {
	labels := []string{"feed", "partition", "le"}
	plain := ofFeed
	if m.workers != nil {
		labels, plain = []string{"feed", "partition", "tenant", "le"}, []string{"feed", "partition", "tenant"}
	}
	for _, histogram := range delays {
		name := metricPrefix + histogram.name
		x.head(name, "histogram", histogram.help)
		for _, t := range tenants {
			if t.status == nil {
				continue
			}
			t.each(func(f engine.FeedStatus) {
				values := []string{f.Feed, f.Partition}
				if m.workers != nil {
					values = append(values, t.tenant)
				}
				d := histogram.of(&f)
				bounds := d.Bounds()
				count := int64(0)
				for i, n := range d.Counts {
					count += n
					bound := math.Inf(1)
					if i < len(bounds) {
						bound = bounds[i]
					}
					x.number(name+"_bucket", float64(count), labels, append(values, strconv.FormatFloat(bound, 'g', -1, 64)))
				}
				x.number(name+"_sum", d.Sum, plain, values)
				x.number(name+"_count", float64(count), plain, values)
			})
		}
	}
}

// scrapesAtOnce is how many answers are written at a time; others are told to come later.
const scrapesAtOnce = 4

// handler answers scrapes: the connector's numbers, and those of the process.
func (m *metrics) handler() http.Handler {
	busy := make(chan struct{}, scrapesAtOnce)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		leave, ok := enter(busy, w, "too many scrapes at once")
		if !ok {
			return
		}
		defer leave()
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		out := io.Writer(w)
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			w.Header().Set("Content-Encoding", "gzip")
			packed, _ := gzip.NewWriterLevel(w, gzip.BestSpeed) // the level is one
			defer packed.Close()
			out = packed
		}
		_ = m.write(out) // it fails when the client has gone
	})
}

// numbers are the tenants and their numbers.
func (f server) numbers(mappings map[string]string) []tenantNumbers {
	var list []tenantNumbers
	for _, m := range f.List() {
		t := tenantNumbers{tenant: m.Name, valid: len(m.Problems) == 0, mappings: mappings}
		if m.Connector != nil {
			status := m.Connector.Engine.Status()
			t.healthy, t.status, t.deadLetterBytes = status.Healthy(), &status, m.Connector.Dead.Bytes()
		}
		list = append(list, t)
	}
	return list
}

// metricsHandler answers scrapes.
func (f server) metricsHandler() http.Handler {
	mappings := map[string]string{}
	for _, feed := range f.Defs.Set.Feeds {
		mappings[feed.Name] = feed.Mapping
	}
	m := &metrics{tenants: func() []tenantNumbers { return f.numbers(mappings) }}
	if f.Many() {
		m.workers = f.Workers.Status
	}
	return m.handler()
}
