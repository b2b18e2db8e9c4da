package web

import (
	"bufio"
	"compress/gzip"
	"io"
	"math"
	"net/http"
	"runtime"
	"strconv"
	"strings"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
	"github.com/secure60/s60-m365-connector/engine"
)

// This file answers /metrics, straight from the engine's status. docs/metrics.md lists the names; a test
// compares the two.
//
// A thousand tenants have half a million numbers, so each is written as it is read: collected in a
// library's values first, they would take more memory than collecting does.

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
