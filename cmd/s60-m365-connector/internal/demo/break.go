package demo

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/doctor"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/wording"
	"github.com/secure60/s60-m365-connector/engine/simulator"
)

// breakage is something that is wrong with a tenant or a destination from the start.
type breakage struct {
	name  string
	what  string // what was done to them
	build func(*simulator.Options)
	fault []simulator.Fault
}

var breakages = []breakage{
	{name: "expired-secret", what: "the client secret of the app expired yesterday",
		build: func(o *simulator.Options) {
			o.SecretExpires = time.Now().Add(-24 * time.Hour).UTC().Truncate(time.Second)
		},
		fault: []simulator.Fault{{Target: "login", Kind: simulator.SecretExpired}}},
	{name: "no-p2", what: "the tenant has Entra ID P1, and no P2",
		build: func(o *simulator.Options) { o.Licence = simulator.P1 }},
	{name: "no-consent", what: "no administrator ever consented to the app's permissions of Graph",
		build: func(o *simulator.Options) { o.Roles = []string{"ActivityFeed.Read", "ActivityFeed.ReadDlp"} }},
	{name: "sink-down", what: "the Secure60 endpoint answers 503 to everything",
		fault: []simulator.Fault{{Target: "ingest", Kind: simulator.Status, Status: 503}}},
	{name: "throttled", what: "Microsoft's services answer 429 to everything, as when other programs use the app up",
		fault: []simulator.Fault{{Target: "graph", Kind: simulator.Throttle, RetryAfter: "600"}, {Target: "manage", Kind: simulator.Throttle, RetryAfter: "600"}}},
	{name: "audit-off", what: "the tenant's audit log is switched off",
		fault: []simulator.Fault{{Target: "tenant", Kind: simulator.AuditLogOff}}},
}

func breaks() []string {
	names := make([]string, len(breakages))
	for i, b := range breakages {
		names[i] = b.name
	}
	return names
}

func breakageOf(name string) (*breakage, error) {
	if name == "" {
		return nil, nil
	}
	i := slices.Index(breaks(), name)
	if i < 0 {
		return nil, fmt.Errorf("--break %s: write one of %s", name, strings.Join(breaks(), ", "))
	}
	return &breakages[i], nil
}

// brokenFor is how long something broken is shown where no time is given.
const brokenFor = 15 * time.Second

const checkFor = 40 * time.Second

// ailment is one cause that the doctor found, with all that it affects.
type ailment struct {
	doctor.Finding
	names, remedies []string
}

// ailments are what the doctor finds wrong, each cause once, the gravest first; of equals, what
// somebody can mend comes first, then what affects most.
func ailments(ctx context.Context, s *settings.Settings) []ailment {
	ctx, cancel := context.WithTimeout(ctx, checkFor)
	defer cancel()
	var list []ailment
	d := &doctor.Doctor{Settings: s, Report: func(f doctor.Finding) {
		if f.Status != doctor.Failed && f.Status != doctor.Warned {
			return
		}
		cause, _, _ := strings.Cut(f.Cause, "; ") // what it stops comes behind
		i := slices.IndexFunc(list, func(a ailment) bool {
			return a.Status == f.Status && (a.Remedy == f.Remedy || strings.HasPrefix(a.Cause, cause))
		})
		if i < 0 {
			i, list = len(list), append(list, ailment{Finding: f})
		}
		list[i].names = append(list[i].names, f.Name)
		if !slices.Contains(list[i].remedies, f.Remedy) {
			list[i].remedies = append(list[i].remedies, f.Remedy)
		}
	}}
	d.All(ctx)
	slices.SortStableFunc(list, func(a, b ailment) int {
		grave := func(a ailment) int { return map[doctor.Verdict]int{doctor.Failed: 0, doctor.Warned: 1}[a.Status] }
		todo := func(a ailment) int { return map[bool]int{true: 0, false: 1}[a.Remedy != ""] }
		return cmp.Or(grave(a)-grave(b), todo(a)-todo(b), len(b.Feeds)-len(a.Feeds))
	})
	return list
}

// diagnosis says what was broken, and what the doctor makes of it without having been told.
func (d Demo) diagnosis(ctx context.Context, b *breakage, s *settings.Settings) {
	fmt.Fprintf(d.Out, "\nWhat was broken: %s. What \"check\" says of it:\n", b.what)
	list := ailments(ctx, s)
	for _, a := range list {
		fmt.Fprintf(d.Out, "  %-4s  %s: %s\n", a.Status, strings.Join(a.names, ", "), a.Cause)
	}
	if len(list) == 0 {
		fmt.Fprintln(d.Out, "  nothing")
		return
	}
	cause, _, _ := strings.Cut(list[0].Cause, "; ")
	remedy := cmp.Or(strings.Join(list[0].remedies, "; "), "nothing: it passes by itself")
	fmt.Fprintf(d.Out, "The one cause: %s.\nWhat to do: %s.\n", wording.Sentence(cause), wording.Sentence(remedy))
}
