package main

import (
	"net/http"
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/common/expfmt"

	"github.com/secure60/s60-m365-connector/engine"
)

// This file answers /metrics. Every number is read from the engine's status
// when it is asked for: there is no second set of books. The names are listed
// in docs/operations.md, which a test compares with what is served.

// metrics is one answer's worth of numbers.
type metrics struct {
	version string
	tenants func() []tenantNumbers
	// Of several tenants: each of their numbers has the label tenant. nil: there is one.
	workers func() engine.WorkersStatus
}

// tenantNumbers is a tenant whose numbers are served.
type tenantNumbers struct {
	tenant          string // "" the only one
	valid           bool   // its file
	healthy         bool
	status          *engine.Status // nil: it does not run
	deadLetterBytes int64
	mappings        map[string]string // of feeds, by name
}

// feedStates are the values of the label state.
var feedStates = []engine.State{engine.Starting, engine.OK, engine.Failing, engine.Gated, engine.Standby, engine.Disabled}

// desc is a metric of one tenant: as it is, and with the label tenant before the others.
type desc struct{ one, many *prometheus.Desc }

func describe(name, help string, labels ...string) desc {
	return desc{ofProcess(name, help, labels...), ofProcess(name, help, append([]string{"tenant"}, labels...)...)}
}

// ofProcess describes a metric of the process.
func ofProcess(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("s60_m365_"+name, help, labels, nil)
}

// feedMetric is a number of one partition of a feed.
type feedMetric struct {
	desc  desc
	kind  prometheus.ValueType
	value func(engine.FeedStatus) float64
}

func perFeed(name, help string, kind prometheus.ValueType, value func(engine.FeedStatus) float64) feedMetric {
	return feedMetric{describe(name, help, "feed", "partition"), kind, value}
}

const counter, gauge = prometheus.CounterValue, prometheus.GaugeValue

var feedMetrics = []feedMetric{
	perFeed("feed_records_listed_total", "Records that the service offered.", counter,
		func(f engine.FeedStatus) float64 { return float64(f.Listed()) }),
	perFeed("feed_events_delivered_total", "Events that the destination accepted.", counter,
		func(f engine.FeedStatus) float64 { return float64(f.Delivered()) }),
	perFeed("feed_records_duplicate_total", "Records that the service offered again, and that were not sent again.", counter,
		func(f engine.FeedStatus) float64 { return float64(f.Duplicate()) }),
	perFeed("feed_skipped_total", "Records and content items given up for good because the service has lost them.", counter,
		func(f engine.FeedStatus) float64 {
			return float64(f.Total.Skipped + f.Window.Skipped + f.Total.ItemsSkipped + f.Window.ItemsSkipped)
		}),
	perFeed("feed_events_dead_lettered_total", "Events that the destination refused for good.", counter,
		func(f engine.FeedStatus) float64 { return float64(f.DeadLettered) }),
	perFeed("feed_ledger_difference_total", "Records that the ledger cannot account for; above 0 is an alarm.", counter,
		func(f engine.FeedStatus) float64 { return float64(f.Difference) }),
	perFeed("feed_records_late_total", "Records that appeared so late that only a second look found them; they are delivered.", counter,
		func(f engine.FeedStatus) float64 { return float64(f.Late) }),
	perFeed("feed_gaps_total", "Spans of time whose records cannot be had any more; above 0 is an alarm.", counter,
		func(f engine.FeedStatus) float64 { return float64(f.Gaps) }),
	perFeed("feed_requests_total", "Requests made to the service.", counter,
		func(f engine.FeedStatus) float64 { return float64(f.Requests.Requests) }),
	perFeed("feed_request_retries_total", "Requests that were made again.", counter,
		func(f engine.FeedStatus) float64 { return float64(f.Requests.Retries) }),
	perFeed("feed_requests_throttled_total", "Requests that the service throttled.", counter,
		func(f engine.FeedStatus) float64 { return float64(f.Requests.Throttled) }),
	perFeed("feed_throttle_wait_seconds_total", "Time spent waiting because the service throttles.", counter,
		func(f engine.FeedStatus) float64 { return f.Requests.Waited.Seconds() }),
	perFeed("feed_last_success_timestamp_seconds", "When a round of the feed last ended well, 0 before the first.", gauge,
		func(f engine.FeedStatus) float64 {
			if f.LastSuccess.IsZero() {
				return 0
			}
			return float64(f.LastSuccess.UnixMilli()) / 1000
		}),
}

var (
	buildInfo = ofProcess("build_info", "1, with the version as a label.", "version", "goversion")
	feedState = describe("feed_state", "1 for the state that the feed is in, 0 for the others.", "feed", "partition", "state")
	feedLag   = describe("feed_lag_seconds", "How far the cursor is behind now.", "feed", "partition")
	feedLate  = describe("feed_record_lateness_seconds", "How long after their own time new records were first offered by the service.", "feed", "partition")
	feedGate  = describe("feed_gate_recheck_timestamp_seconds", "When the closed gate of the feed is tried again; not served while it is open.", "feed", "partition")
	fieldErrs = describe("mapping_field_errors_total", "Records on which the expression of a mapping's field failed; the events were sent without that field.", "feed", "partition", "mapping", "field")

	destinationUp       = describe("destination_up", "1 while the destination takes events, 0 while it does not.", "destination")
	destinationRequests = describe("destination_requests_total", "Requests made to the destination.", "destination")
	destinationRetries  = describe("destination_request_retries_total", "Requests to the destination that failed and are made again.", "destination")
	destinationInFlight = describe("destination_requests_in_flight", "Requests to the destination under way.", "destination")
	destinationEvents   = describe("destination_events_accepted_total", "Events that the destination accepted, heartbeats included.", "destination")
	destinationRefused  = describe("destination_events_refused_total", "Events that the destination refused for good.", "destination")

	deadLetters      = describe("dead_letters", "Refused events that wait in STATE_DIR/deadletter.")
	deadLetterBytes  = describe("dead_letters_bytes", "Size of the dead letters on disk.")
	credentialExpiry = describe("credential_expiry_timestamp_seconds", "When the connector's credential ends; not served where that is not known.")

	// Of several tenants only.
	tenantHealthy  = ofProcess("tenant_healthy", "1 while no feed of the tenant fails and its destination takes events, 0 else, and while it does not run.", "tenant")
	tenantValid    = ofProcess("tenant_settings_valid", "0 while the tenant's file has problems: it runs on as it was, if it ran.", "tenant")
	workerSlots    = ofProcess("workers", "How many windows of all tenants may be read at once.")
	workersBusy    = ofProcess("workers_busy", "Windows that are being read.")
	windowsWaiting = ofProcess("windows_waiting", "Windows that wait for a worker.")
	windowsWaited  = ofProcess("windows_waited_seconds_total", "How long windows have waited for a worker, all together.")
)

// Describe implements [prometheus.Collector].
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	list := []desc{feedState, feedLag, feedLate, feedGate, fieldErrs,
		destinationUp, destinationRequests, destinationRetries, destinationInFlight, destinationEvents, destinationRefused,
		deadLetters, deadLetterBytes, credentialExpiry}
	for _, f := range feedMetrics {
		list = append(list, f.desc)
	}
	for _, d := range list {
		if m.workers == nil {
			ch <- d.one
		} else {
			ch <- d.many
		}
	}
	ch <- buildInfo
	if m.workers != nil {
		for _, d := range []*prometheus.Desc{tenantHealthy, tenantValid, workerSlots, workersBusy, windowsWaiting, windowsWaited} {
			ch <- d
		}
	}
}

// Collect implements [prometheus.Collector].
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	send := func(desc *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, kind, value, labels...)
	}
	send(buildInfo, gauge, 1, m.version, runtime.Version())
	for _, t := range m.tenants() {
		if m.workers != nil {
			send(tenantHealthy, gauge, boolean(t.healthy), t.tenant)
			send(tenantValid, gauge, boolean(t.valid), t.tenant)
		}
		if t.status != nil {
			t.collect(ch, m.workers != nil)
		}
	}
	if m.workers != nil {
		w := m.workers()
		send(workerSlots, gauge, float64(w.Slots))
		send(workersBusy, gauge, float64(w.Busy))
		send(windowsWaiting, gauge, float64(w.Waiting))
		send(windowsWaited, counter, w.Waited.Seconds())
	}
}

// collect sends the numbers of a tenant.
func (t tenantNumbers) collect(ch chan<- prometheus.Metric, many bool) {
	of := func(d desc, labels []string) (*prometheus.Desc, []string) {
		if many {
			return d.many, append([]string{t.tenant}, labels...)
		}
		return d.one, labels
	}
	send := func(d desc, kind prometheus.ValueType, value float64, labels ...string) {
		desc, labels := of(d, labels)
		ch <- prometheus.MustNewConstMetric(desc, kind, value, labels...)
	}
	status := t.status
	for _, f := range status.Feeds {
		for _, state := range feedStates {
			send(feedState, gauge, boolean(f.State == state), f.Feed, f.Partition, string(state))
		}
		if f.State == engine.Disabled {
			continue
		}
		for _, metric := range feedMetrics {
			send(metric.desc, metric.kind, metric.value(f), f.Feed, f.Partition)
		}
		if !f.Cursor.IsZero() {
			send(feedLag, gauge, f.Lag(status.Now).Seconds(), f.Feed, f.Partition)
		}
		late, labels := of(feedLate, []string{f.Feed, f.Partition})
		ch <- histogram(late, f.Lateness, labels...)
		if f.State == engine.Gated {
			send(feedGate, gauge, float64(f.GateUntil.Unix()), f.Feed, f.Partition)
		}
		for field, n := range f.FieldErrors {
			send(fieldErrs, counter, float64(n), f.Feed, f.Partition, t.mappings[f.Feed], field)
		}
	}
	d, name := status.Delivery, status.Destination
	send(destinationUp, gauge, boolean(d.OK), name)
	send(destinationRequests, counter, float64(d.Requests), name)
	send(destinationRetries, counter, float64(d.Retries), name)
	send(destinationInFlight, gauge, float64(d.InFlight), name)
	send(destinationEvents, counter, float64(d.Events), name)
	send(destinationRefused, counter, float64(d.Refused), name)
	send(deadLetters, gauge, float64(status.DeadLetters))
	send(deadLetterBytes, gauge, float64(t.deadLetterBytes))
	if !status.CredentialExpires.IsZero() {
		send(credentialExpiry, gauge, float64(status.CredentialExpires.Unix()))
	}
}

// histogram sums the classes up, as Prometheus wants them.
func histogram(desc *prometheus.Desc, l engine.Lateness, labels ...string) prometheus.Metric {
	bounds := l.Bounds()
	buckets := make(map[float64]uint64, len(bounds))
	var count uint64
	for i, n := range l.Counts {
		count += uint64(n)
		if i < len(bounds) {
			buckets[bounds[i]] = count
		}
	}
	return prometheus.MustNewConstHistogram(desc, count, l.Sum, buckets, labels...)
}

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// registry holds the connector's numbers, and those of the process.
func (m *metrics) registry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(m, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// numbers are the tenants and their numbers.
func (f *fleet) numbers(mappings map[string]string) []tenantNumbers {
	var list []tenantNumbers
	for _, m := range f.list() {
		t := tenantNumbers{tenant: m.name, valid: len(m.problems) == 0, mappings: mappings}
		if m.connector != nil {
			status := m.connector.engine.Status()
			t.healthy, t.status, t.deadLetterBytes = status.Healthy(), &status, m.connector.dead.Bytes()
		}
		list = append(list, t)
	}
	return list
}

// metricsHandler answers scrapes.
func (f *fleet) metricsHandler() http.Handler {
	mappings := map[string]string{}
	for _, feed := range f.defs.set.Feeds {
		mappings[feed.Name] = feed.Mapping
	}
	m := &metrics{version: version, tenants: func() []tenantNumbers { return f.numbers(mappings) }}
	if f.sole == nil {
		m.workers = f.workers.Status
	}
	return promhttp.HandlerFor(m.registry(), promhttp.HandlerOpts{
		MaxRequestsInFlight: 4,
		AcceptedFormats:     []expfmt.Format{expfmt.NewFormat(expfmt.TypeTextPlain)}, // what a scraper gets is what a person sees
	})
}
