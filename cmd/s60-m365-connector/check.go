package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/secure60/s60-m365-connector/engine/definition"
)

type checkCommand struct {
	tenantFlag
	JSON bool `name:"json" help:"Print an array of {name, status, cause, remedy}; of several tenants, each with its tenant."`
}

// finding is what came of one requirement.
type finding struct {
	Name   string  `json:"name"`
	Status verdict `json:"status"`
	Cause  string  `json:"cause"`            // what was found
	Remedy string  `json:"remedy,omitempty"` // what to do; empty when nothing is to be done
}

// verdict is how a requirement is met.
type verdict string

const (
	passed  verdict = "ok"
	warned  verdict = "warn"    // collection works, and somebody should know
	failed  verdict = "FAIL"    // something is not collected, or will not be
	skipped verdict = "skipped" // it depends on one that failed
)

// Run asks for each requirement of a run, in the order in which they depend on
// each other, whether it is met. It changes nothing: no cursor moves, no record
// counts as seen, no subscription is started. The destination receives one
// event, connector-check. Of several tenants, each is told in a line, unless one is named.
func (c checkCommand) Run(ctx context.Context, std streams) error {
	d := &doctor{report: printFindings(std.out)}
	list := []tenantFinding{}
	if c.JSON {
		d.report = func(f finding) { list = append(list, tenantFinding{c.Tenant, f}) }
	}
	env, err := environment()
	if err == nil {
		d.settings, err = readSettings(env, false)
	}
	if err == nil && d.settings.tenantsDir != "" && c.Tenant == "" {
		found := d.checkTenants(ctx, env)
		if list = append(list, found...); !c.JSON {
			printTenantFindings(d, found)
		}
	} else {
		if err == nil {
			var set *definition.Set // what is wrong with it is told later
			if c.Tenant != "" {
				if defs, _ := loadDefinitions(d.settings, d.settings.configDir); defs != nil {
					set = defs.set
				}
			}
			d.settings, err = c.settings(d.settings, env, set)
		}
		if d.checkSettings(err) {
			d.all(ctx)
		}
	}
	if c.JSON {
		enc := json.NewEncoder(std.out)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		if err := enc.Encode(list); err != nil {
			return err
		}
	} else {
		fmt.Fprintln(std.out, d.summary())
	}
	if d.code != exitDone {
		return exit(d.code, nil)
	}
	return ctx.Err()
}

// printFindings prints a line for each finding as it comes, with colour on a
// terminal that is not told to go without: https://no-color.org
func printFindings(w io.Writer) func(finding) {
	colour := map[verdict]string{}
	if file, ok := w.(*os.File); ok && term.IsTerminal(int(file.Fd())) && os.Getenv("NO_COLOR") == "" {
		colour = map[verdict]string{passed: "32", warned: "33", failed: "31;1", skipped: "2"}
	}
	return func(f finding) {
		status := fmt.Sprintf("%-7s", f.Status)
		if code := colour[f.Status]; code != "" {
			status = "\x1b[" + code + "m" + status + "\x1b[0m"
		}
		text := f.Cause
		if f.Remedy != "" {
			text += ". " + sentence(f.Remedy)
		}
		fmt.Fprintf(w, "%s  %-44s  %s\n", status, f.Name, text)
	}
}

// note takes a finding. code is the exit code that a failure calls for.
func (d *doctor) note(f finding, code int) {
	line := func(s string) string { return strings.Join(strings.Fields(visible(s)), " ") }
	f.Name, f.Cause, f.Remedy = line(f.Name), line(f.Cause), line(f.Remedy)
	f.Cause, f.Remedy = strings.TrimRight(f.Cause, "."), strings.TrimRight(f.Remedy, ".")
	if d.count == nil {
		d.count = map[verdict]int{}
	}
	d.count[f.Status]++
	// What others depend on comes first and says more than what fails behind
	// it; a failure with a code of its own says more than one without.
	if f.Status == failed && (d.code == exitDone || d.code == exitFailed) {
		d.code = code
	}
	d.report(f)
}

func (d *doctor) ok(name, format string, args ...any) {
	d.note(finding{name, passed, fmt.Sprintf(format, args...), ""}, exitDone)
}

func (d *doctor) warn(name, remedy, format string, args ...any) {
	d.note(finding{name, warned, fmt.Sprintf(format, args...), remedy}, exitDone)
}

func (d *doctor) fail(name, remedy, format string, args ...any) {
	d.note(finding{name, failed, fmt.Sprintf(format, args...), remedy}, exitFailed)
}

func (d *doctor) skip(name, reason string) {
	d.note(finding{name, skipped, reason, ""}, exitDone)
}

func (d *doctor) summary() string { return "\n" + counted(d.count) }

// counted says how many findings there are of each kind.
func counted(count map[verdict]int) string {
	text := fmt.Sprintf("%d ok, %d %s, %d %s", count[passed],
		count[warned], plural(count[warned], "warning"), count[failed], plural(count[failed], "failure"))
	if n := count[skipped]; n > 0 {
		text += fmt.Sprintf(", %d skipped", n)
	}
	return text
}
