package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/secure60/s60-m365-connector/engine"
)

// This file says how the tenants of TENANTS_DIR do: each in a line, and all together.

// stopped is the state of a tenant that does not run.
const stopped engine.State = "stopped"

// tenantStatus is one tenant, in a line.
type tenantStatus struct {
	Tenant string `json:"tenant"`
	// State is the worst of its feeds; failing, too, while its destination takes
	// no events, and stopped while it does not run.
	State       engine.State `json:"state"`
	OK          int          `json:"feeds_ok"`
	Starting    int          `json:"feeds_starting"`
	Failing     int          `json:"feeds_failing"`
	Gated       int          `json:"feeds_gated"`
	Standby     int          `json:"feeds_standby,omitempty"` // another replica runs them
	LagSeconds  int64        `json:"lag_seconds"`             // of the feed that is furthest behind, gated ones left out
	Forwarded   int64        `json:"forwarded"`               // events, ever
	DeadLetters int64        `json:"dead_letters"`
	Destination string       `json:"destination,omitempty"`
	LastError   string       `json:"last_error,omitempty"`
	Problems    []string     `json:"problems,omitempty"` // of its file; it runs on as it was, if it ran
}

// status sums a tenant up.
func (m member) status() tenantStatus {
	t := tenantStatus{Tenant: m.name, State: stopped, Problems: m.problems}
	if m.connector == nil {
		switch {
		case m.failure != nil:
			t.LastError = m.failure.Error()
		case len(m.problems) > 0:
			t.LastError = m.problems[0]
		default:
			t.State = engine.Starting
		}
		return t
	}
	t.sumUp(m.connector.engine.Status())
	return t
}

// sumUp takes what the connector of the tenant says of itself.
func (t *tenantStatus) sumUp(s engine.Status) {
	t.Destination, t.DeadLetters = s.Destination, s.DeadLetters
	for _, f := range s.ByFeed() {
		switch f.State {
		case engine.OK:
			t.OK++
		case engine.Starting:
			t.Starting++
		case engine.Failing:
			t.Failing++
		case engine.Gated:
			t.Gated++
		case engine.Standby:
			t.Standby++
		}
		if f.State != engine.Gated {
			t.LagSeconds = max(t.LagSeconds, int64(f.Lag(s.Now).Seconds()))
		}
		t.Forwarded += f.Forwarded
		if t.LastError == "" && f.LastError != "" {
			t.LastError = f.Feed + ": " + f.LastError
		}
	}
	if !s.Delivery.OK && s.Delivery.LastError != "" {
		t.LastError = s.Destination + ": " + s.Delivery.LastError
	}
	switch {
	case t.Failing > 0 || !s.Delivery.OK:
		t.State = engine.Failing
	case t.Starting > 0:
		t.State = engine.Starting
	case t.OK > 0:
		t.State = engine.OK
	case t.Gated > 0:
		t.State = engine.Gated
	case t.Standby > 0:
		t.State = engine.Standby
	default:
		t.State = engine.Disabled
	}
}

// urgency orders tenants: those that a person must see come first.
var urgency = map[engine.State]int{stopped: 0, engine.Failing: 1, engine.Disabled: 3, engine.Gated: 4, engine.Starting: 5, engine.OK: 6, engine.Standby: 7}

// rank is the place of a tenant among the others; the file of one with problems is
// looked at soon, however well it runs.
func (t tenantStatus) rank() int {
	r := urgency[t.State]
	if len(t.Problems) > 0 {
		r = min(r, 2)
	}
	return r
}

// healthy reports whether a tenant collects, as [engine.Status.Healthy] does.
func (t tenantStatus) healthy() bool { return t.State != stopped && t.State != engine.Failing }

// statuses are all tenants, the worst first.
func (f *fleet) statuses() []tenantStatus {
	members := f.list()
	list := make([]tenantStatus, len(members))
	for i, m := range members {
		list[i] = m.status()
	}
	worstFirst(list)
	return list
}

func worstFirst(list []tenantStatus) {
	slices.SortStableFunc(list, func(a, b tenantStatus) int {
		return cmp.Or(a.rank()-b.rank(), cmp.Compare(a.Tenant, b.Tenant))
	})
}

// healthLines is how many tenants an answer about health names.
const healthLines = 100

// health answers /healthz for several tenants. The process is healthy as long as
// any tenant is: a restart, which is what some make of this answer, would stop that
// one, and mend no other.
func (f *fleet) health(w http.ResponseWriter, _ *http.Request) {
	list := f.statuses()
	var lines []string
	healthy := 0
	for _, t := range list {
		if t.healthy() {
			healthy++
		}
		text := t.LastError
		if len(t.Problems) > 0 {
			text = t.Problems[0]
		}
		if !t.healthy() || len(t.Problems) > 0 {
			lines = append(lines, t.Tenant+": "+text)
		}
	}
	if err := f.folderError(); err != nil {
		lines = append([]string{"TENANTS_DIR: " + err.Error()}, lines...)
	}
	if more := len(lines) - healthLines; more > 0 {
		lines = append(lines[:healthLines], fmt.Sprintf("and %d more", more))
	}
	word := "ok"
	if healthy == 0 && len(list) > 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
		word = "failing"
	}
	fmt.Fprintf(w, "%s: %d of %d %s healthy\n", word, healthy, len(list), plural(len(list), "tenant"))
	for _, line := range lines {
		fmt.Fprintln(w, strings.Join(strings.Fields(line), " "))
	}
}

func (f *fleet) folderError() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.unread
}

// ready answers /readyz for several tenants: once one of them is known to work, the
// process does, and where there is none, there is nothing to wait for.
func (f *fleet) ready(w http.ResponseWriter, _ *http.Request) {
	members := f.list()
	waiting := ""
	for _, m := range members {
		waiting = "a tenant to start"
		if m.connector == nil {
			continue
		}
		if waiting = m.connector.engine.Status().Waiting(); waiting == "" {
			break
		}
	}
	if waiting != "" {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(w, "waiting for "+waiting+", of any tenant")
		return
	}
	fmt.Fprintln(w, "ok")
}

// connectorOf is the connector of a tenant, nil while it does not run.
func (f *fleet) connectorOf(name string) *connector {
	if f.sole != nil {
		return f.sole
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if m := f.members[name]; m != nil && !m.leaving {
		return m.connector
	}
	return nil
}

// answerJSON sends v.
func answerJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v) //nolint:errcheck // the client has gone
}
