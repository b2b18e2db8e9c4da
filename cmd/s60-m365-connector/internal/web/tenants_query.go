package web

import (
	"cmp"
	"net/url"
	"slices"
	"strings"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/fleet"
)

// This file narrows and sorts the table of tenants, by links and a form: it works without JavaScript.

// tenantsQuery is what the page is asked for: texts that a tenant's name or trouble holds, a state, and a column to
// sort by, with a minus before it for the greatest first.
type tenantsQuery struct{ find, state, sort string }

// column is a heading of the table.
type column struct {
	Name, Class string
	Link        string // that sorts by it; "" where that makes no sense
	Sorted      string // ascending or descending, "" if it is not
}

// tenantColumn is a column that the table can be sorted by; the first time the greatest come first where down.
type tenantColumn struct {
	key, name, class string
	down             bool
	compare          func(a, b fleet.TenantStatus) int
}

var tenantColumns = []tenantColumn{
	{"tenant", "Tenant", "", false, func(a, b fleet.TenantStatus) int {
		return cmp.Compare(strings.ToLower(a.Tenant), strings.ToLower(b.Tenant))
	}},
	{"state", "State", "", false, nil}, // the order in which they come: the worst first
	{"feeds", "Feeds", "", true, func(a, b fleet.TenantStatus) int {
		return cmp.Or(cmp.Compare(a.Failing, b.Failing), cmp.Compare(a.Gated, b.Gated), cmp.Compare(a.Starting, b.Starting), cmp.Compare(a.OK, b.OK))
	}},
	{"lag", "Lag", "number", true, func(a, b fleet.TenantStatus) int { return cmp.Compare(a.LagSeconds, b.LagSeconds) }},
	{"rate", "Events a minute", "chart-column", true, nil}, // by the samples
	{"forwarded", "Forwarded", "number", true, func(a, b fleet.TenantStatus) int { return cmp.Compare(a.Forwarded, b.Forwarded) }},
	{"dead", "Dead letters", "number", true, func(a, b fleet.TenantStatus) int { return cmp.Compare(a.DeadLetters, b.DeadLetters) }},
	{"", "Last error", "", false, nil},
}

// columns are the headings, each with the link that sorts by it, or the other way round.
func (q tenantsQuery) columns() (list []column) {
	for _, c := range tenantColumns {
		v := column{Name: c.name, Class: c.class}
		if c.key != "" {
			key := c.key
			if c.down {
				key = "-" + key
			}
			switch q.sort {
			case "-" + c.key:
				v.Sorted, key = "descending", c.key
			case c.key:
				v.Sorted, key = "ascending", "-"+c.key
			}
			link := url.Values{"sort": {key}}
			for name, value := range map[string]string{"find": q.find, "state": q.state} {
				if value != "" {
					link.Set(name, value)
				}
			}
			v.Link = "/?" + link.Encode()
		}
		list = append(list, v)
	}
	return list
}

// sorts are the orders to choose from where there is no room for headings, with the one that is in force.
func (q tenantsQuery) sorts() []choice {
	list, known := []choice{{"", "the worst first", q.sort == ""}}, q.sort == ""
	for _, c := range tenantColumns {
		if c.key == "" || c.key == "state" {
			continue
		}
		key := c.key
		if c.down {
			key = "-" + key
		}
		known = known || key == q.sort
		list = append(list, choice{key, strings.ToLower(c.name), key == q.sort})
	}
	if !known {
		list = append(list, choice{q.sort, "as it is", true})
	}
	return list
}

func (q tenantsQuery) holds(t fleet.TenantStatus) bool {
	return (q.state == "" || q.state == string(t.State)) &&
		holdsAll(t.Tenant+" "+t.LastError+" "+strings.Join(t.Problems, " "), q.find)
}

// order sorts tenants, which come the worst first and stay so where they are alike.
func (q tenantsQuery) order(list []fleet.TenantStatus, history samplesOf) {
	key, down := strings.CutPrefix(q.sort, "-")
	at := slices.IndexFunc(tenantColumns, func(c tenantColumn) bool { return c.key == key })
	if key == "" || at < 0 {
		return
	}
	compare := tenantColumns[at].compare
	switch key {
	case "state":
		if down {
			slices.Reverse(list)
		}
		return
	case "rate":
		rates := map[string]float64{}
		for _, t := range list {
			if samples := history(t.Tenant, rateSpan); len(samples) > 0 {
				rates[t.Tenant] = perMinute(samples, -1)
			}
		}
		compare = func(a, b fleet.TenantStatus) int { return cmp.Compare(rates[a.Tenant], rates[b.Tenant]) }
	}
	slices.SortStableFunc(list, func(a, b fleet.TenantStatus) int {
		if down {
			a, b = b, a
		}
		return compare(a, b)
	})
}
