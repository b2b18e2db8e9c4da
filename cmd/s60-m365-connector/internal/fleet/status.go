package fleet

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/wording"
	"github.com/secure60/s60-m365-connector/engine"
)

// WithHolder is a state in words, with the replica that runs the partition if that is another one, and
// with a remark if the feed uses its fallback.
func WithHolder(state string, f engine.FeedStatus) string {
	if f.FallbackUntil.After(time.Now()) {
		state += ", fallback"
	}
	if f.Holder == "" {
		return state
	}
	return state + " (" + wording.OrDash(f.Holder) + ")"
}

// This file sums up tenants: each in a line, and all together.

// Stopped is the state of a tenant that does not run.
const Stopped engine.State = "stopped"

// TenantStatus is one tenant, in a line.
type TenantStatus struct {
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

// Trouble is what somebody should know first: a problem of its file, else the last error.
func (t TenantStatus) Trouble() string {
	if len(t.Problems) > 0 {
		return t.Problems[0]
	}
	return t.LastError
}

// Status sums a tenant up.
func (m Member) Status() TenantStatus {
	t := TenantStatus{Tenant: m.Name, State: Stopped, Problems: m.Problems}
	if m.Connector == nil {
		switch {
		case m.failure != nil:
			t.LastError = m.failure.Error()
		case len(m.Problems) > 0:
			t.LastError = m.Problems[0]
		default:
			t.State = engine.Starting
		}
		return t
	}
	t.SumUp(m.Connector.Engine.Status())
	return t
}

// SumUp takes what the connector of the tenant says of itself.
func (t *TenantStatus) SumUp(s engine.Status) {
	t.Destination, t.DeadLetters = s.Destination, s.DeadLetters
	for _, f := range s.ByFeed() {
		switch f.State {
		case engine.OK:
			t.OK++
		case engine.Starting:
			t.Starting++
		case engine.Failing:
			t.Failing++
		case engine.Gated, engine.NotConsented:
			t.Gated++
		case engine.Standby:
			t.Standby++
		}
		if f.State != engine.Gated && f.State != engine.NotConsented {
			t.LagSeconds = max(t.LagSeconds, int64(f.Lag(s.Now).Seconds()))
		}
		t.Forwarded += f.Forwarded
		if t.LastError == "" && f.LastError != "" {
			t.LastError = f.Feed + ": " + f.LastError
		}
	}
	if s.Stalled != "" {
		t.LastError = s.Stalled
	}
	if !s.Delivery.OK && s.Delivery.LastError != "" {
		t.LastError = s.Destination + ": " + s.Delivery.LastError
	}
	switch {
	case t.Failing > 0 || !s.Delivery.OK || s.Stalled != "":
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
var urgency = map[engine.State]int{Stopped: 0, engine.Failing: 1, engine.Disabled: 3, engine.Gated: 4, engine.NotConsented: 4, engine.Starting: 5, engine.OK: 6, engine.Standby: 7}

// rank is the place of a tenant among the others. One whose file has problems comes early,
// however well it runs.
func (t TenantStatus) rank() int {
	r := urgency[t.State]
	if len(t.Problems) > 0 {
		r = min(r, 2)
	}
	return r
}

// InStates says how many tenants there are in each state, the worst first.
func InStates(list []TenantStatus) string {
	counts := map[engine.State]int{}
	for _, t := range list {
		counts[t.State]++
	}
	var parts []string
	for _, state := range slices.SortedFunc(maps.Keys(counts), func(a, b engine.State) int { return urgency[a] - urgency[b] }) {
		parts = append(parts, fmt.Sprintf("%d %s", counts[state], state))
	}
	return strings.TrimSuffix(fmt.Sprintf("%d %s: %s", len(list), wording.Plural(len(list), "tenant"), strings.Join(parts, ", ")), ": ")
}

// Healthy reports whether a tenant collects, as [engine.Status.Healthy] does.
func (t TenantStatus) Healthy() bool { return t.State != Stopped && t.State != engine.Failing }

// Statuses are all tenants, the worst first.
func (f *Fleet) Statuses() []TenantStatus {
	members := f.List()
	list := make([]TenantStatus, len(members))
	for i, m := range members {
		list[i] = m.Status()
	}
	WorstFirst(list)
	return list
}

func WorstFirst(list []TenantStatus) {
	slices.SortStableFunc(list, func(a, b TenantStatus) int {
		return cmp.Or(a.rank()-b.rank(), cmp.Compare(a.Tenant, b.Tenant))
	})
}

func (f *Fleet) FolderError() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.unread
}

// ConnectorOf is the connector of a tenant, nil while it does not run.
func (f *Fleet) ConnectorOf(name string) *Connector {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m := f.members[name]; m != nil && !m.leaving {
		return m.Connector
	}
	return nil
}

// Undelivered is why nothing reaches the destination, and what to do; empty while events arrive.
func Undelivered(s engine.Status) string {
	switch {
	case s.Delivery.OK || s.Delivery.LastError == "":
		return s.Stalled
	case s.Delivery.Advice == "":
		return s.Destination + ": " + s.Delivery.LastError
	}
	return s.Destination + ": " + s.Delivery.LastError + ". " + wording.Sentence(s.Delivery.Advice)
}

// Gate is why a feed rests, "-" of one that does not.
func Gate(f engine.FeedStatus) string {
	if f.State == engine.Gated && f.Requires != "" {
		return "needs " + f.Requires + ": " + f.GateReason
	}
	return wording.OrDash(f.GateReason)
}
