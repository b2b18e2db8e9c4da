package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"golang.org/x/term"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/definitions"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/doctor"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/wording"
	"github.com/secure60/s60-m365-connector/engine/definition"
)

type checkCommand struct {
	configFlag
	tenantFlag
	JSON bool `name:"json" help:"Print an array of {name, status, cause, remedy, feeds}; of several tenants, each with its tenant."`
}

// Run asks for each requirement of a run, in the order in which they depend on
// each other, whether it is met. It changes nothing: no cursor moves, no record
// counts as seen, no subscription is started. The destination receives one
// event, connector-check. Of several tenants, each is told in a line, unless one is named.
func (c checkCommand) Run(ctx context.Context, std streams) error {
	d := &doctor.Doctor{Report: printFindings(std.out)}
	list := []doctor.TenantFinding{}
	if c.JSON {
		d.Report = func(f doctor.Finding) { list = append(list, doctor.TenantFinding{Tenant: c.Tenant, Finding: f}) }
	}
	s, env, err := settings.Load(false, c.Config)
	d.Settings = s
	if err == nil && d.Settings.TenantsDir != "" && c.Tenant == "" {
		found := d.CheckTenants(ctx, env)
		if list = append(list, found...); !c.JSON {
			doctor.PrintTenantFindings(d, found)
		}
	} else {
		if err == nil {
			var set *definition.Set // what is wrong with it is told later
			if c.Tenant != "" {
				if defs, _ := definitions.Load(d.Settings, d.Settings.ConfigDir); defs != nil {
					set = defs.Set
				}
			}
			d.Settings, err = c.settings(d.Settings, env, set)
		}
		if d.CheckSettings(err) {
			d.All(ctx)
		}
	}
	if c.JSON {
		if err := printJSON(std.out, list); err != nil {
			return err
		}
	} else {
		fmt.Fprintln(std.out, d.Summary())
	}
	if d.Code != program.Done {
		return program.Exit(d.Code, nil)
	}
	return ctx.Err()
}

// printFindings prints a line for each finding as it comes, with colour on a
// terminal that is not told to go without: https://no-color.org
func printFindings(w io.Writer) func(doctor.Finding) {
	colour := map[doctor.Verdict]string{}
	if file, ok := w.(*os.File); ok && term.IsTerminal(int(file.Fd())) && os.Getenv("NO_COLOR") == "" {
		colour = map[doctor.Verdict]string{doctor.Passed: "32", doctor.Warned: "33", doctor.Failed: "31;1", doctor.Skipped: "2"}
	}
	return func(f doctor.Finding) {
		status := fmt.Sprintf("%-7s", f.Status)
		if code := colour[f.Status]; code != "" {
			status = "\x1b[" + code + "m" + status + "\x1b[0m"
		}
		text := f.Cause
		if f.Remedy != "" {
			text += ". " + wording.Sentence(f.Remedy)
		}
		if affects := f.Affects(); affects != "" {
			text += ". " + affects
		}
		fmt.Fprintf(w, "%s  %-44s  %s\n", status, f.Name, text)
	}
}
