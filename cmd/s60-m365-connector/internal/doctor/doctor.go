// Package doctor tests each requirement of a run, and says what is wrong and what to do. It also
// explains the errors that feeds meet. It changes nothing; all that it sends is one event, which
// says that it belongs to a check.
//
// How it works: requirements are tested in the order in which they depend on each other
// (requirements.go, state.go, feeds.go, destination.go); what depends on a failed one is skipped. Each result is
// a [Finding]. If several feeds fail for one cause, there is one finding (causes.go). describe.go and
// refusals.go explain the services' errors. tenants.go tests many tenants.
package doctor

import (
	"context"
	"fmt"
	"strings"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/definitions"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/wording"
	"github.com/secure60/s60-m365-connector/engine/extract"
)

// Finding is what came of one requirement.
type Finding struct {
	Name   string  `json:"name"`
	Status Verdict `json:"status"`
	Cause  string  `json:"cause"`            // what was found
	Remedy string  `json:"remedy,omitempty"` // what to do; empty when nothing is to be done
	// Feeds are those that it is about, each with its partition if it has one.
	Feeds []string `json:"feeds,omitempty"`
}

// Verdict is how a requirement is met.
type Verdict string

const (
	Passed  Verdict = "ok"
	Warned  Verdict = "warn"    // collection works, and somebody should know
	Failed  Verdict = "FAIL"    // something is not collected, or will not be
	Skipped Verdict = "skipped" // it depends on one that failed
)

// note takes a finding. code is the exit code that a failure calls for.
func (d *Doctor) note(f Finding, code int) {
	line := func(s string) string { return strings.Join(strings.Fields(wording.Visible(s)), " ") }
	f.Name, f.Cause, f.Remedy = line(f.Name), line(f.Cause), line(f.Remedy)
	f.Cause, f.Remedy = strings.TrimRight(f.Cause, "."), strings.TrimRight(f.Remedy, ".")
	if d.count == nil {
		d.count = map[Verdict]int{}
	}
	d.count[f.Status]++
	// What others depend on comes first and says more than what fails behind
	// it; a failure with a code of its own says more than one without.
	if f.Status == Failed && (d.Code == program.Done || d.Code == program.Failed) {
		d.Code = code
	}
	d.Report(f)
}

func (d *Doctor) ok(name, format string, args ...any) {
	d.note(Finding{Name: name, Status: Passed, Cause: fmt.Sprintf(format, args...)}, program.Done)
}

func (d *Doctor) warn(name, remedy, format string, args ...any) {
	d.note(Finding{Name: name, Status: Warned, Cause: fmt.Sprintf(format, args...), Remedy: remedy}, program.Done)
}

func (d *Doctor) fail(name, remedy, format string, args ...any) {
	d.note(Finding{Name: name, Status: Failed, Cause: fmt.Sprintf(format, args...), Remedy: remedy}, program.Failed)
}

func (d *Doctor) skip(name, reason string) {
	d.note(Finding{Name: name, Status: Skipped, Cause: reason}, program.Done)
}

func (d *Doctor) Summary() string { return "\n" + counted(d.count) }

func counted(count map[Verdict]int) string {
	text := fmt.Sprintf("%d ok, %d %s, %d %s", count[Passed],
		count[Warned], wording.Plural(count[Warned], "warning"), count[Failed], wording.Plural(count[Failed], "failure"))
	if n := count[Skipped]; n > 0 {
		text += fmt.Sprintf(", %d skipped", n)
	}
	return text
}

// met is what a partition met when a connector ran last.
type met struct {
	err       string // of the last round, empty if it went well
	collected bool   // a round went well, once
}

// Doctor goes through the requirements.
type Doctor struct {
	Report   func(Finding) // is called for each finding as it comes
	Code     int           // exit code
	Settings *settings.Settings

	count  map[Verdict]int
	told   []string // warnings of the settings that the tenants share
	defs   *definitions.Compiled
	client *extract.Client

	credential extract.Credential
	targets    []target
	tokens     map[string]tokenState // by scope
	causes     []*cause              // gathered, not told yet
	last       map[[2]string]met     // what each partition met last
	// lastOf gives last of a tenant, from the state or the running connector.
	lastOf func(ctx context.Context, tenant string) map[[2]string]met
}
