package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"gopkg.in/yaml.v3"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/testkit"
	"github.com/secure60/s60-m365-connector/engine"
	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/extract"
	"github.com/secure60/s60-m365-connector/engine/load"
)

// everything is a status in which each metric has a value.
func everything() engine.Status {
	now := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	counts := func(n int64) checkpoint.Counts {
		return checkpoint.Counts{Items: n, ItemsFetched: n, ItemsSkipped: n, Listed: 6 * n, Fetched: 6 * n, Delivered: 3 * n, Duplicate: 2 * n, Skipped: n}
	}
	return engine.Status{
		Name: program.Name, Version: "1.2.3", Started: now.Add(-time.Hour), Now: now,
		Destination: "ingest", Delivery: load.State{OK: true, InFlight: 3, Concurrency: 16, Requests: 40, Retries: 2, Events: 38, Refused: 1},
		DeadLetters: 1, CredentialExpires: now.Add(72 * time.Hour),
		Feeds: []engine.FeedStatus{
			{
				Feed: "audits", Partition: "A", State: engine.OK, Cursor: now.Add(-90 * time.Second), LastSuccess: now.Add(-time.Minute),
				DeadLettered: 1, Difference: 4, Late: 5, Gaps: 2, Total: counts(10), Window: checkpoint.Entry{Counts: counts(1)},
				Requests:    extract.Stats{Requests: 9, Retries: 2, Throttled: 1, Waited: 1500 * time.Millisecond},
				FieldErrors: map[string]int64{"user_name": 7},
				Filters:     engine.Filters{"noise": {Records: 6, Bytes: 9000}},
				Lateness:    engine.Delays{Counts: [14]int64{3: 4, 5: 3, 13: 1}, Sum: 100900},
				Latency:     engine.Delays{Counts: [14]int64{0: 2, 4: 1}, Sum: 94},
			},
			{Feed: "audits", Partition: "B", State: engine.Starting},
			{Feed: "risks", State: engine.Gated, Cursor: now, GateUntil: now.Add(time.Hour)},
			{Feed: "off", State: engine.Disabled},
		},
		Replica: "a", Replicas: []engine.ReplicaStatus{{Name: "a", Here: true, Held: []string{"audits A", "audits B"}}, {Name: "b", Held: []string{"risks"}}},
		HandOver: engine.HandOver{Feed: "risks", To: "b", At: now.Add(-time.Minute)},
	}
}

func gather(t *testing.T) map[string]*dto.MetricFamily {
	t.Helper()
	return gatherOf(t, false)
}

// gatherOf gathers the numbers of one tenant, or of the same as one of several.
func gatherOf(t *testing.T, many bool) map[string]*dto.MetricFamily {
	t.Helper()
	status := everything()
	one := tenantNumbers{valid: true, healthy: true, status: &status, deadLetterBytes: 123, mappings: map[string]string{"audits": "audit"}}
	m := &metrics{tenants: func() []tenantNumbers { return []tenantNumbers{one} }}
	if many {
		one.tenant = "contoso"
		m.workers = func() engine.WorkersStatus {
			return engine.WorkersStatus{Slots: 64, Busy: 3, Still: 1, Waiting: 2, Waited: 90 * time.Second}
		}
		m.tenants = func() []tenantNumbers { return []tenantNumbers{one, {tenant: "broken"}} }
	}
	response, text := fetch(m.handler(), httptest.NewRequest("GET", "/metrics", nil))
	if got := response.Header.Get("Content-Type"); !strings.HasPrefix(got, "text/plain; version=0.0.4") {
		t.Errorf("Content-Type is %q", got)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	return families
}

// samples are name{labels} of every number of our own, with its value.
func samples(families map[string]*dto.MetricFamily) map[string]float64 {
	got := map[string]float64{}
	for name, family := range families {
		if !strings.HasPrefix(name, "s60_m365_") {
			continue
		}
		for _, m := range family.Metric {
			var labels []string
			for _, l := range m.Label {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			got[name+"{"+strings.Join(labels, ",")+"}"] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return got
}

func TestMetricValues(t *testing.T) {
	families := gather(t)
	got := samples(families)
	a := "{feed=audits,partition=A}"
	for sample, want := range map[string]float64{
		"s60_m365_feed_records_listed_total" + a:                                   66,
		"s60_m365_feed_events_delivered_total" + a:                                 33,
		"s60_m365_feed_records_filtered_total{feed=audits,partition=A,rule=noise}": 6, "s60_m365_feed_records_filtered_bytes_total{feed=audits,partition=A,rule=noise}": 9000,
		"s60_m365_feed_records_duplicate_total" + a:                                                  22,
		"s60_m365_feed_skipped_total" + a:                                                            22,
		"s60_m365_feed_events_dead_lettered_total" + a:                                               1,
		"s60_m365_feed_ledger_difference_total" + a:                                                  4,
		"s60_m365_feed_records_late_total" + a:                                                       5,
		"s60_m365_feed_gaps_total" + a:                                                               2,
		"s60_m365_feed_requests_total" + a:                                                           9,
		"s60_m365_feed_request_retries_total" + a:                                                    2,
		"s60_m365_feed_requests_throttled_total" + a:                                                 1,
		"s60_m365_feed_throttle_wait_seconds_total" + a:                                              1.5,
		"s60_m365_feed_lag_seconds" + a:                                                              90,
		"s60_m365_feed_last_success_timestamp_seconds" + a:                                           1772359140,
		"s60_m365_feed_last_success_timestamp_seconds{feed=audits,partition=B}":                      0,
		"s60_m365_feed_state{feed=audits,partition=A,state=ok}":                                      1,
		"s60_m365_feed_state{feed=audits,partition=A,state=failing}":                                 0,
		"s60_m365_feed_state{feed=off,partition=,state=disabled}":                                    1,
		"s60_m365_feed_gate_recheck_timestamp_seconds{feed=risks,partition=}":                        1772362800,
		"s60_m365_mapping_field_errors_total{feed=audits,field=user_name,mapping=audit,partition=A}": 7,
		"s60_m365_destination_up{destination=ingest}":                                                1,
		"s60_m365_destination_requests_allowed{destination=ingest}":                                  16,
		"s60_m365_destination_requests_in_flight{destination=ingest}":                                3,
		"s60_m365_destination_events_accepted_total{destination=ingest}":                             38,
		"s60_m365_dead_letters{}":                                                                    1,
		"s60_m365_dead_letters_bytes{}":                                                              123,
		"s60_m365_credential_expiry_timestamp_seconds{}":                                             1772618400,
	} {
		value, ok := got[sample]
		if !ok || value != want {
			t.Errorf("%s is %v (served: %v), want %v", sample, value, ok, want)
		}
	}
	lateness := families["s60_m365_feed_record_lateness_seconds"].GetMetric()[0].GetHistogram()
	if got := lateness.GetSampleCount(); got != 8 {
		t.Errorf("lateness counts %d records, want 8", got)
	}
	for _, b := range lateness.GetBucket() {
		want := uint64(7)
		switch {
		case b.GetUpperBound() < 60:
			want = 0
		case b.GetUpperBound() < 300:
			want = 4
		case math.IsInf(b.GetUpperBound(), 1):
			want = 8
		}
		if b.GetCumulativeCount() != want {
			t.Errorf("lateness up to %v s: %d records, want %d", b.GetUpperBound(), b.GetCumulativeCount(), want)
		}
	}
	latency := families["s60_m365_feed_event_latency_seconds"].GetMetric()[0].GetHistogram()
	if latency.GetSampleCount() != 3 || latency.GetSampleSum() != 94 || latency.GetBucket()[0].GetCumulativeCount() != 2 {
		t.Errorf("latency is %v", latency)
	}
	for _, none := range []string{"s60_m365_feed_lag_seconds{feed=audits,partition=B}", "s60_m365_feed_requests_total{feed=off,partition=}"} {
		if _, ok := got[none]; ok {
			t.Errorf("%s is served, and has no value", none)
		}
	}
}

// TestMetricsOfTenants: those of one of several are the same, with its name; one that
// does not run shows just that.
func TestMetricsOfTenants(t *testing.T) {
	one, many := gather(t), gatherOf(t, true)
	got := samples(many)
	for name, value := range samples(one) {
		if strings.HasPrefix(name, "s60_m365_build_info") {
			continue
		}
		labelled := strings.Replace(strings.TrimSuffix(name, "}")+",tenant=contoso}", "{,", "{", 1)
		if found, ok := got[labelled]; !ok || found != value {
			t.Errorf("%s is %v (served: %v), want %v", labelled, found, ok, value)
		}
	}
	for sample, want := range map[string]float64{
		"s60_m365_tenant_healthy{tenant=contoso}": 1, "s60_m365_tenant_healthy{tenant=broken}": 0,
		"s60_m365_tenant_settings_valid{tenant=contoso}": 1, "s60_m365_tenant_settings_valid{tenant=broken}": 0,
		"s60_m365_workers{}": 64, "s60_m365_workers_busy{}": 3, "s60_m365_windows_still{}": 1, "s60_m365_windows_waiting{}": 2, "s60_m365_windows_waited_seconds_total{}": 90,
	} {
		if value, ok := got[sample]; !ok || value != want {
			t.Errorf("%s is %v (served: %v), want %v", sample, value, ok, want)
		}
	}
	for sample := range got {
		if strings.Contains(sample, "tenant=broken") && !strings.HasPrefix(sample, "s60_m365_tenant_") {
			t.Errorf("%s is served of a tenant that does not run", sample)
		}
	}
	if n := len(many["go_goroutines"].GetMetric()); n != 1 {
		t.Errorf("the process has %d numbers of goroutines", n)
	}
}

// TestMetricsOfTheProcess are what they say: each is held to what the process knows by other means.
func TestMetricsOfTheProcess(t *testing.T) {
	families := gather(t)
	value := func(name string) float64 {
		f := families[name]
		if f == nil {
			t.Fatalf("%s is not served", name)
		}
		return f.Metric[0].GetGauge().GetValue() + f.Metric[0].GetCounter().GetValue()
	}
	for _, c := range []struct {
		name     string
		from, to float64
	}{
		{"go_goroutines", 1, 10000},
		{"go_memstats_alloc_bytes", 1 << 18, 1 << 32},
		{"go_memstats_sys_bytes", value("go_memstats_heap_inuse_bytes"), 1 << 34},
		{"go_memstats_mallocs_total", value("go_memstats_frees_total"), 1e12},
		{"process_cpu_seconds_total", 0, time.Since(started).Seconds()*float64(runtime.NumCPU()) + 60},
		{"process_resident_memory_bytes", value("go_memstats_heap_inuse_bytes") / 2, 1 << 36},
		{"process_start_time_seconds", float64(time.Now().Add(-time.Hour).Unix()), float64(time.Now().Unix() + 1)},
		{"process_open_fds", 3, value("process_max_fds")},
	} {
		if got := value(c.name); got < c.from || got > c.to {
			t.Errorf("%s is %v, not between %v and %v", c.name, got, c.from, c.to)
		}
	}
	if n := families["go_gc_duration_seconds"].Metric[0].GetSummary(); n.GetSampleCount() == 0 && n.GetSampleSum() > 0 {
		t.Errorf("collections are %v", n)
	}
}

var started = time.Now()

// TestMetricsAreText: a name of a file with other bytes must not cost Prometheus all numbers.
func TestMetricsAreText(t *testing.T) {
	m := &metrics{tenants: func() []tenantNumbers { return []tenantNumbers{{tenant: "con\xfftoso\n\""}} }, workers: func() (s engine.WorkersStatus) { return s }}
	var out bytes.Buffer
	if err := m.write(&out); err != nil || !utf8.Valid(out.Bytes()) || !strings.Contains(out.String(), `tenant="con`+"\ufffd"+`toso\n\""`) {
		t.Errorf("%v: %q", err, out.String())
	}
}

// TestMetricsOfAThousandTenants are written as they are read: what an answer holds
// in memory does not grow with their number.
func TestMetricsOfAThousandTenants(t *testing.T) {
	status := everything()
	for len(status.Feeds) < 22 {
		status.Feeds = append(status.Feeds, status.Feeds[0])
	}
	tenants := make([]tenantNumbers, 1000)
	for i := range tenants {
		tenants[i] = tenantNumbers{tenant: fmt.Sprintf("tenant-%04d", i), status: &status}
	}
	m := &metrics{tenants: func() []tenantNumbers { return tenants }, workers: func() engine.WorkersStatus { return engine.WorkersStatus{} }}
	var written countingWriter
	began := time.Now()
	// Some allocations a number, none of which outlives its line.
	allocated := testing.AllocsPerRun(1, func() {
		if err := m.write(&written); err != nil {
			t.Error(err)
		}
	})
	if numbers := float64(written.lines) / 2; allocated > 3*numbers { // it runs twice
		t.Errorf("%.0f allocations for %.0f lines", allocated, numbers)
	}
	t.Logf("%d lines, %d MB, %v each", written.lines/2, written.bytes/2e6, time.Since(began)/2)
}

type countingWriter struct{ bytes, lines int }

// Write counts.
func (c *countingWriter) Write(p []byte) (int, error) {
	c.bytes += len(p)
	c.lines += strings.Count(string(p), "\n")
	return len(p), nil
}

// ours are the names of the connector's own metrics, sorted.
func ours(families map[string]*dto.MetricFamily) []string {
	var names []string
	for name := range families {
		if strings.HasPrefix(name, "s60_m365_") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// TestMetricsAreDocumented holds the tables of docs/metrics.md and docs/tenants.md
// to what is served.
func TestMetricsAreDocumented(t *testing.T) {
	families := gather(t)
	testkit.Hold(t, "metrics", "metrics", metricsTable(families, ours(families)))
	many := gatherOf(t, true)
	added := slices.DeleteFunc(ours(many), func(name string) bool { return families[name] != nil })
	testkit.Hold(t, "tenants", "metrics", metricsTable(many, added))
}

func metricsTable(families map[string]*dto.MetricFamily, names []string) string {
	var table strings.Builder
	table.WriteString("| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n")
	for _, name := range names {
		family := families[name]
		var labels []string
		for _, l := range family.Metric[0].Label {
			labels = append(labels, "`"+l.GetName()+"`")
		}
		fmt.Fprintf(&table, "| `%s` | %s | %s | %s |\n", name, strings.ToLower(family.GetType().String()), strings.Join(labels, ", "), family.GetHelp())
	}
	return table.String()
}

var metricName = regexp.MustCompile(`\b(?:s60_m365|process|go)_[a-z0-9_]+\b`)

// used fails for each name in a PromQL expression that no metric has, and for
// an expression that names none.
func used(t *testing.T, families map[string]*dto.MetricFamily, where, expression string) {
	t.Helper()
	names := metricName.FindAllString(expression, -1)
	if len(names) == 0 {
		t.Errorf("%s: %q names no metric", where, expression)
	}
	for _, name := range names {
		if f := families[strings.TrimSuffix(name, "_bucket")]; f != nil && f.GetType() == dto.MetricType_HISTOGRAM {
			continue
		}
		if families[name] == nil {
			t.Errorf("%s: there is no metric %s", where, name)
		}
	}
}

// TestDashboard holds the dashboard to the metrics that exist.
func TestDashboard(t *testing.T) {
	families := gatherOf(t, true)
	data, err := os.ReadFile(filepath.FromSlash("../../../../deploy/grafana/s60-m365-connector.json"))
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		UID, Title string
		Templating struct {
			List []struct{ Name, Definition string }
		}
		Panels []struct {
			ID          int
			Title, Type string
			Description string
			GridPos     struct{ X, Y, W, H int }
			Targets     []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(data, &board); err != nil {
		t.Fatal(err)
	}
	if board.UID == "" || board.Title == "" || len(board.Panels) < 8 {
		t.Fatalf("the dashboard has no uid or title, or only %d panels", len(board.Panels))
	}
	seen := map[int]bool{}
	for _, p := range board.Panels {
		if seen[p.ID] || p.ID == 0 {
			t.Errorf("panel %q has no id of its own", p.Title)
		}
		seen[p.ID] = true
		if p.Type == "row" {
			continue
		}
		if p.Title == "" || p.Description == "" || len(p.Targets) == 0 || p.GridPos.W == 0 || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("panel %q lacks a title, a description, a query or a place", p.Title)
		}
		for _, target := range p.Targets {
			used(t, families, "panel "+p.Title, target.Expr)
		}
	}
	for _, v := range board.Templating.List {
		if v.Definition != "" {
			used(t, families, "variable "+v.Name, v.Definition)
		}
	}
}

// TestAlerts holds the alert rules to the metrics that exist, and to saying
// what happened and what to do.
func TestAlerts(t *testing.T) {
	families := gatherOf(t, true)
	data, err := os.ReadFile(filepath.FromSlash("../../../../deploy/prometheus/s60-m365-connector.rules.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var rules struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr         string
				For                 string
				Labels, Annotations map[string]string
			}
		}
	}
	decoder := yaml.NewDecoder(strings.NewReader(string(data)))
	decoder.KnownFields(true)
	if err := decoder.Decode(&rules); err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile(filepath.FromSlash("../../../../docs/metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	alerts := 0
	for _, group := range rules.Groups {
		for _, rule := range group.Rules {
			alerts++
			used(t, families, "alert "+rule.Alert, rule.Expr)
			if !slices.Contains([]string{"warning", "critical"}, rule.Labels["severity"]) || rule.Annotations["summary"] == "" || rule.Annotations["description"] == "" {
				t.Errorf("alert %s lacks a severity, a summary or a description", rule.Alert)
			}
			if rule.For != "" {
				if _, err := time.ParseDuration(rule.For); err != nil {
					t.Errorf("alert %s: for: %v", rule.Alert, err)
				}
			}
			if !strings.Contains(string(doc), "`"+rule.Alert+"`") {
				t.Errorf("docs/metrics.md does not say what to do about alert %s", rule.Alert)
			}
		}
	}
	if alerts < 6 {
		t.Errorf("only %d alerts", alerts)
	}
}
