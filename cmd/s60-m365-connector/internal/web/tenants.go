package web

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/fleet"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/wording"
	"github.com/secure60/s60-m365-connector/engine"
)

// This file is the page of all tenants, the worst first.

// tenantsShown bounds the page; who looks for another tenant names it.
const tenantsShown = 200

type tenantsView struct {
	frame
	Level    level
	Headline string
	Now      time.Time
	Facts    []fact
	Trouble  string // with the folder
	Find     string
	State    string
	Sorts    []choice
	States   []choice
	Columns  []column
	Tenants  []tenantView
	More     int // that are not shown
}

// tenantView is a tenant with its plot.
type tenantView struct {
	fleet.TenantStatus
	Level      level
	Word       string // of the state
	Feeds      string
	Rate       string
	Throughput plot
}

// choice is a state that the table can be narrowed to, or an order.
type choice struct {
	Value, Name string
	Chosen      bool
}

// shownStates are those of tenants, the worst first.
var shownStates = []engine.State{fleet.Stopped, engine.Failing, engine.Disabled, engine.Gated, engine.Starting, engine.OK, engine.Standby}

// showTenants is the page of all tenants, as statuses gives them. folder is what is wrong with TENANTS_DIR, if
// anything is.
func (p *pages) showTenants(statuses func() []fleet.TenantStatus, folder func() error, history samplesOf) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v := viewTenants(statuses(), tenantsQuery{r.FormValue("find"), r.FormValue("state"), r.FormValue("sort")}, history)
		v.frame, v.Now = p.frame("tenants"), time.Now().UTC()
		if err := folder(); err != nil {
			v.Trouble = err.Error()
		}
		render(w, http.StatusOK, "tenants.html", v)
	}
}

// samplesOf gives the samples of a tenant that are so old at most; none of one that does not run.
type samplesOf func(tenant string, span time.Duration) []fleet.Sample

func (f server) samples(tenant string, span time.Duration) []fleet.Sample {
	c := f.ConnectorOf(tenant)
	if c == nil {
		return nil
	}
	return c.History.Last(span, fleet.SampleOf(c.Engine.Status()))
}

// viewTenants is the page's account of tenants: of all in its summary, and in its
// table of those that are asked for.
func viewTenants(list []fleet.TenantStatus, asked tenantsQuery, history samplesOf) tenantsView {
	v := tenantsView{Find: asked.find, State: asked.state, Sorts: asked.sorts(), Columns: asked.columns()}
	states := map[engine.State]int{}
	var forwarded, dead, lag int64
	files := 0
	furthest := "no tenant"
	var found []fleet.TenantStatus
	for _, t := range list {
		states[t.State]++
		forwarded, dead = forwarded+t.Forwarded, dead+t.DeadLetters
		if t.LagSeconds > lag {
			lag, furthest = t.LagSeconds, t.Tenant
		}
		if len(t.Problems) > 0 {
			files++
		}
		if asked.holds(t) {
			found = append(found, t)
		}
	}
	asked.order(found, history)
	for _, t := range found[:min(len(found), tenantsShown)] {
		v.Tenants = append(v.Tenants, viewTenant(t, history(t.Tenant, fleet.SampleSpan)))
	}
	for _, state := range shownStates {
		if n := states[state]; n > 0 || string(state) == asked.state {
			v.States = append(v.States, choice{string(state), fmt.Sprintf("%s (%s)", stateWord[state], number(int64(n))), string(state) == asked.state})
		}
	}
	v.More = len(found) - len(v.Tenants)
	v.Level, v.Headline = tenantsHeadline(len(list), states)
	v.Facts = []fact{
		{"Tenants", number(int64(len(list))), "in TENANTS_DIR", quiet},
		{"Files with problems", number(int64(files)), "none", quiet},
		{"Forwarded", number(forwarded), "events, ever", quiet},
		{"Furthest behind", wording.Span(time.Duration(lag) * time.Second), furthest, quiet},
		{"Dead letters", number(dead), "none waits", quiet},
	}
	if files > 0 {
		v.Facts[1].Note, v.Facts[1].Level = "see below", bad
	}
	if dead > 0 {
		v.Facts[4].Note, v.Facts[4].Level = "refused, to be replayed", careful
	}
	return v
}

// tenantsHeadline is the answer to "do they all collect?".
func tenantsHeadline(all int, states map[engine.State]int) (level, string) {
	var parts []string
	for _, state := range shownStates {
		if n := states[state]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, stateWord[state]))
		}
	}
	text := fmt.Sprintf("%d %s: %s", all, wording.Plural(all, "tenant"), strings.Join(parts, ", "))
	switch {
	case all == 0:
		return careful, "TENANTS_DIR holds no tenant yet"
	case states[fleet.Stopped]+states[engine.Failing] > 0:
		return bad, text
	case states[engine.Starting] > 0:
		return quiet, text
	case states[engine.OK]+states[engine.Standby] == 0:
		return careful, text
	}
	return good, text
}

// sparkSteps are the steps of the plot of a tenant: there may be many plots on the page.
const sparkSteps = 24

func viewTenant(t fleet.TenantStatus, samples []fleet.Sample) tenantView {
	v := tenantView{TenantStatus: t, Level: stateLevel[t.State], Word: stateWord[t.State]}
	if len(samples) > 0 {
		v.Rate, v.Throughput = rate(perMinute(samples, -1)), throughputPlot(samples, -1, sparkSteps)
	}
	var feeds []string
	for _, part := range []struct {
		n     int
		state engine.State
	}{{t.Failing, engine.Failing}, {t.Gated, engine.Gated}, {t.Starting, engine.Starting}, {t.OK, engine.OK}, {t.Standby, engine.Standby}} {
		if part.n > 0 {
			feeds = append(feeds, fmt.Sprintf("%d %s", part.n, stateWord[part.state]))
		}
	}
	v.Feeds = strings.Join(feeds, ", ")
	return v
}
