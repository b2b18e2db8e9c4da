package main

import (
	"cmp"
	"context"
	"slices"
	"sync"
)

// This file is the doctor of several tenants: what they share is asked once, the rest of
// each, and each is told in a line, the worst first.

// tenantFinding is a finding of a tenant, "" of what all share and of the only one.
type tenantFinding struct {
	Tenant string `json:"tenant,omitempty"`
	finding
}

// checkedAtOnce is how many tenants are asked for at a time.
const checkedAtOnce = 8

// checkTenants asks for what the tenants share, and reports it, and then for the
// requirements of each. It gives the findings of the tenants, in their order by name.
func (d *doctor) checkTenants(ctx context.Context, env map[string]string) []tenantFinding {
	const name = "settings"
	if !d.checkDefinitions() {
		return nil
	}
	tenants, err := lookOnce(d.settings, env, d.defs.set)
	switch {
	case err != nil:
		d.note(finding{name, failed, err.Error(), "let the connector read the folder"}, exitUsage)
		return nil
	case len(tenants) == 0:
		d.warn(name, "put a YAML file for each tenant there", "%s holds no tenant", d.settings.tenantsDir)
	default:
		d.ok(name, "%d %s in %s", len(tenants), plural(len(tenants), "tenant"), d.settings.tenantsDir)
	}
	d.checkState(ctx)

	each := make([]doctor, len(tenants))
	found := make([][]tenantFinding, len(tenants))
	var running sync.WaitGroup
	free := make(chan struct{}, checkedAtOnce)
	for i, t := range tenants {
		running.Go(func() {
			free <- struct{}{}
			defer func() { <-free }()
			one := &each[i]
			*one = doctor{settings: t.settings, lastOf: d.lastOf, report: func(f finding) { found[i] = append(found[i], tenantFinding{t.name, f}) }}
			var err error
			if t.problems != nil {
				err = t.problems
			}
			if one.checkSettings(err) {
				one.defs = d.defs.with(t.settings.switched)
				one.checkCloud()
				one.checkTenantServices(ctx)
			}
		})
	}
	running.Wait()
	for i := range each {
		d.code = worse(d.code, each[i].code)
	}
	return slices.Concat(found...)
}

// worse is the exit code of two checks: a failure with a code of its own says more
// than one without, unless two differ.
func worse(a, b int) int {
	switch {
	case a == exitDone, a == b:
		return b
	case b == exitDone:
		return a
	}
	return exitFailed
}

// printTenantFindings reports each tenant as one finding: its worst one, and how many
// of each kind there are.
func printTenantFindings(d *doctor, found []tenantFinding) {
	gravity := map[verdict]int{failed: 0, warned: 1, skipped: 2, passed: 3}
	var lines []finding
	for len(found) > 0 {
		n := slices.IndexFunc(found, func(f tenantFinding) bool { return f.Tenant != found[0].Tenant })
		if n < 0 {
			n = len(found)
		}
		own := found[:n]
		found = found[n:]
		count := map[verdict]int{}
		for _, f := range own {
			count[f.Status]++
		}
		worst := slices.MinFunc(own, func(a, b tenantFinding) int { return cmp.Compare(gravity[a.Status], gravity[b.Status]) })
		line := finding{Name: "tenant " + worst.Tenant, Status: worst.Status, Cause: counted(count)}
		if worst.Status != passed {
			line.Cause += "; " + worst.Name + ": " + worst.Cause
			line.Remedy = worst.Remedy
		}
		lines = append(lines, line)
	}
	slices.SortStableFunc(lines, func(a, b finding) int { return cmp.Compare(gravity[a.Status], gravity[b.Status]) })
	code := d.code
	for _, line := range lines {
		d.note(line, exitFailed)
	}
	d.code = code
}
