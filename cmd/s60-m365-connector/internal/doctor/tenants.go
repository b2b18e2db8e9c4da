package doctor

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/fleet"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/wording"
)

// This file is the doctor of several tenants: what they share is asked once, the rest of
// each, and each is told in a line, the worst first.

// TenantFinding is a finding of a tenant, "" of what all share and of the only one.
type TenantFinding struct {
	Tenant string `json:"tenant,omitempty"`
	Finding
}

const checkedAtOnce = 8

// CheckTenants asks for what the tenants share, and reports it, and then for the
// requirements of each. It gives the findings of the tenants, in their order by name.
func (d *Doctor) CheckTenants(ctx context.Context, env map[string]string) []TenantFinding {
	const name = "settings"
	if !d.checkDefinitions() {
		return nil
	}
	tenants, err := fleet.Tenants(d.Settings, env, d.defs.Set)
	switch {
	case err != nil:
		d.note(Finding{Name: name, Status: Failed, Cause: err.Error(), Remedy: "let the connector read the folder"}, program.Usage)
		return nil
	case len(tenants) == 0:
		d.warn(name, "put a YAML file for each tenant there", "%s holds no tenant", d.Settings.TenantsDir)
	default:
		d.ok(name, "%d %s in %s", len(tenants), wording.Plural(len(tenants), "tenant"), d.Settings.TenantsDir)
	}
	d.warnOfSettings()
	d.checkState(ctx)

	each := make([]Doctor, len(tenants))
	found := make([][]TenantFinding, len(tenants))
	var running sync.WaitGroup
	free := make(chan struct{}, checkedAtOnce)
	for i, t := range tenants {
		running.Go(func() {
			free <- struct{}{}
			defer func() { <-free }()
			one := &each[i]
			*one = Doctor{Settings: t.Settings, told: d.Settings.Warnings, lastOf: d.lastOf, Report: func(f Finding) { found[i] = append(found[i], TenantFinding{t.Name, f}) }}
			var err error
			if t.Problems != nil {
				err = t.Problems
			}
			if one.CheckSettings(err) {
				one.defs = d.defs.With(t.Settings.Switched)
				one.checkCloud()
				one.checkTenantServices(ctx)
			}
		})
	}
	running.Wait()
	for i := range each {
		d.Code = worse(d.Code, each[i].Code)
	}
	return slices.Concat(found...)
}

// worse is the exit code of two checks: a failure with a code of its own says more
// than one without, unless two differ.
func worse(a, b int) int {
	switch {
	case a == program.Done, a == b:
		return b
	case b == program.Done:
		return a
	}
	return program.Failed
}

// PrintTenantFindings reports each tenant as one finding: its worst one, and how many
// of each kind there are.
func PrintTenantFindings(d *Doctor, found []TenantFinding) {
	gravity := map[Verdict]int{Failed: 0, Warned: 1, Skipped: 2, Passed: 3}
	var lines []Finding
	for len(found) > 0 {
		n := slices.IndexFunc(found, func(f TenantFinding) bool { return f.Tenant != found[0].Tenant })
		if n < 0 {
			n = len(found)
		}
		own := found[:n]
		found = found[n:]
		count := map[Verdict]int{}
		for _, f := range own {
			count[f.Status]++
		}
		worst := slices.MinFunc(own, func(a, b TenantFinding) int { return cmp.Compare(gravity[a.Status], gravity[b.Status]) })
		line := Finding{Name: "tenant " + worst.Tenant, Status: worst.Status, Cause: counted(count)}
		if worst.Status != Passed {
			line.Cause += "; " + worst.Name + ": " + worst.Cause
			line.Remedy = worst.Remedy
		}
		lines = append(lines, line)
	}
	slices.SortStableFunc(lines, func(a, b Finding) int { return cmp.Compare(gravity[a.Status], gravity[b.Status]) })
	code := d.Code
	for _, line := range lines {
		d.note(line, program.Failed)
	}
	d.Code = code
}
