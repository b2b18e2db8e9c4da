package simulator

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// This file is about many tenants behind the same services: each a
// Simulator without listeners of its own, made when it is first asked for. A tenant's world
// differs by its seed, which its ids, credentials and records follow from; what
// costs memory, the people, is the first tenant's.

// tenants are all tenants of one simulator.
type tenants struct {
	first  *Simulator
	number map[string]int // by tenant id, in lower case, and by project

	mu      sync.Mutex
	made    []*Simulator // by number; nil: nobody asked for it yet
	stopped bool
}

func newTenants(first *Simulator) (*tenants, error) {
	project, err := strconv.Atoi(first.opts.ProjectID)
	if err != nil {
		return nil, fmt.Errorf("simulator: project %q of the first of several tenants is no number", first.opts.ProjectID)
	}
	ts := &tenants{first: first, number: map[string]int{}, made: make([]*Simulator, first.opts.Tenants)}
	ts.made[0] = first
	for i := range ts.made {
		ts.number[strings.ToLower(ts.options(i).TenantID)] = i
		ts.number[strconv.Itoa(project+i)] = i
	}
	return ts, nil
}

// options are those of a tenant by its number.
func (ts *tenants) options(i int) Options {
	o := ts.first.opts
	if i == 0 {
		return o
	}
	project, _ := strconv.Atoi(o.ProjectID) // a number, as newTenants found
	o.Seed = mix(o.Seed ^ uint64(i)<<24)
	o.TenantID, o.ClientID, o.ClientSecret, o.Token = "", "", "", ""
	o.ProjectID = strconv.Itoa(project + i)
	return o.withDefaults()
}

// tenant is the tenant of a number, made if need be.
func (ts *tenants) tenant(i int) *Simulator {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if ts.made[i] == nil {
		s := newTenant(ts.options(i), ts.first.start)
		s.listeners, s.closing = ts.first.listeners, ts.first.closing
		world := *ts.first.world
		world.seed, world.tenant = s.opts.Seed, s.opts.TenantID
		s.populate(&world)
		if ts.stopped {
			s.StopLive()
		}
		ts.made[i] = s
	}
	return ts.made[i]
}

// all are the tenants made so far, by their numbers.
func (ts *tenants) all() map[int]*Simulator {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	all := map[int]*Simulator{}
	for i, s := range ts.made {
		if s != nil {
			all[i] = s
		}
	}
	return all
}

// tenantOf is the tenant that a request to a service is about. What names none
// is the first one's, which refuses it.
func (s *Simulator) tenantOf(service string, r *http.Request) *Simulator {
	if s.tenants == nil {
		return s
	}
	name := ""
	switch service {
	case "login":
		name, _, _ = strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	case "manage":
		before, _, _ := strings.Cut(r.URL.Path, "/activity/feed/")
		name = before[strings.LastIndexByte(before, '/')+1:]
	case "graph", "defender":
		name = tokenTenant(r)
	case "ingest", "collector":
		name = r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	}
	return s.tenants.tenant(s.tenants.number[strings.ToLower(name)])
}

// tokenTenant is the tenant that a token says it is of. That tenant checks it.
func tokenTenant(r *http.Request) string {
	parts := strings.Split(r.Header.Get("Authorization"), ".")
	if len(parts) != 3 {
		return ""
	}
	payload, _ := base64.RawURLEncoding.DecodeString(parts[1])
	var c claims
	json.Unmarshal(payload, &c) //nolint:errcheck // then it names no tenant
	return c.TenantID
}

// Tenant is one of several tenants, by its number. The first, 0, is s itself, whose reports
// and StopLive are about all; the others are about themselves, and are closed with s.
func (s *Simulator) Tenant(i int) *Simulator {
	if s.tenants == nil || i == 0 {
		return s
	}
	return s.tenants.tenant(i)
}

// named is the tenant of an id, of several; "" is s itself.
func (s *Simulator) named(id string) (*Simulator, error) {
	if id == "" {
		return s, nil
	}
	if s.tenants != nil {
		if i, ok := s.tenants.number[strings.ToLower(id)]; ok {
			return s.tenants.tenant(i), nil
		}
	}
	return nil, fmt.Errorf("there is no tenant %q", id)
}

// WriteTenants writes the settings of each tenant into a file of its own, in dir,
// as TENANTS_DIR expects it. What all have in common is not among them, see [Simulator.SharedEnv].
func (s *Simulator) WriteTenants(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("simulator: %w", err)
	}
	for i := range max(s.opts.Tenants, 1) {
		o := s.opts
		if s.tenants != nil {
			o = s.tenants.options(i)
		}
		text := fmt.Sprintf("TENANT_ID: %q\nCLIENT_ID: %q\nCLIENT_SECRET: %q\nPROJECT_ID: %q\nTOKEN: %q\n",
			o.TenantID, o.ClientID, o.ClientSecret, o.ProjectID, o.Token)
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("tenant-%04d.yaml", i)), []byte(text), 0o600); err != nil {
			return fmt.Errorf("simulator: %w", err)
		}
	}
	return nil
}

// SharedEnv is the part of Env that is the same for all tenants.
func (s *Simulator) SharedEnv() []string {
	return slices.DeleteFunc(s.Env(), func(line string) bool {
		name, _, _ := strings.Cut(line, "=")
		return !strings.HasSuffix(name, "_BASE")
	})
}

// TenantsReport is the part of a report about many tenants.
type TenantsReport struct {
	Of    int            `json:"of"`
	Asked int            `json:"asked"` // tenants that a request named
	Wrong []TenantReport `json:"wrong"` // those that lost or repeated anything, the first few
}

// TenantReport is about one tenant of which something is wrong.
type TenantReport struct {
	Tenant     string   `json:"tenant"` // its id
	Number     int      `json:"number"`
	Offered    int64    `json:"offered"`
	Received   int64    `json:"received"`
	Lost       int64    `json:"lost"`
	Duplicated int64    `json:"duplicated"`
	Unexpected int64    `json:"unexpected"`
	Violations []string `json:"violations,omitempty"`
}

// report sums the reports of all tenants.
func (ts *tenants) report(from, to time.Time) Report {
	all := ts.all()
	var sum Report
	about := &TenantsReport{Of: len(ts.made), Asked: len(all), Wrong: []TenantReport{}}
	for _, i := range slices.Sorted(maps.Keys(all)) {
		r := all[i].reportOwn(from, to)
		if r.Lost+r.Duplicated+r.Unexpected > 0 || len(r.Violations) > 0 {
			if len(about.Wrong) < maxListed {
				about.Wrong = append(about.Wrong, TenantReport{all[i].opts.TenantID, i, r.Offered, r.Received, r.Lost, r.Duplicated, r.Unexpected, r.Violations})
			}
		}
		if sum.Feeds == nil {
			sum = r
			continue
		}
		sum.add(&r)
	}
	sum.Tenants = about
	return sum
}

// add adds what another tenant's report counts.
func (r *Report) add(o *Report) {
	r.counted.add(o.counted)
	r.Unexpected += o.Unexpected
	for i := range r.Feeds {
		f, g := &r.Feeds[i], &o.Feeds[i]
		f.Asked = f.Asked || g.Asked
		f.counted.add(g.counted)
		f.Overwritten += g.Overwritten
		f.LostIDs = append(f.LostIDs, g.LostIDs[:min(len(g.LostIDs), maxListed-len(f.LostIDs))]...)
		f.TwiceIDs = append(f.TwiceIDs, g.TwiceIDs[:min(len(g.TwiceIDs), maxListed-len(f.TwiceIDs))]...)
	}
	for k, n := range o.Other {
		r.Other[k] += n
	}
	for k, n := range o.Counts {
		r.Counts[k] += n
	}
	for k, n := range o.Faults {
		r.Faults[k] += n
	}
	r.Violations = append(r.Violations, o.Violations[:min(len(o.Violations), max(10*maxListed-len(r.Violations), 0))]...)
}
