package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"text/tabwriter"
	"time"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/definitions"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/fleet"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/wording"
	"github.com/secure60/s60-m365-connector/engine"
	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/load"
)

type feedsCommand struct {
	configFlag
	tenantFlag
	Ledger bool `help:"Show the ledger: what was listed, delivered, repeated, filtered, skipped and set aside, for each window."`
	JSON   bool `name:"json" help:"Print JSON."`
}

// Run shows the feeds: as the running connector sees them, or as the state
// tells when none runs. Of several tenants it shows each in a line, unless one is named.
func (f feedsCommand) Run(ctx context.Context, std streams) error {
	process, env, err := settings.Load(true, f.Config)
	if err != nil {
		return err
	}
	defs, err := definitions.LoadValid(process, process.ConfigDir, std.err)
	if err != nil {
		return err
	}
	s := process
	all := process.TenantsDir != "" && f.Tenant == ""
	switch {
	case all && f.Ledger:
		return program.Exit(program.Usage, errors.New("--ledger is of one tenant: write --tenant NAME"))
	case !all:
		if s, err = f.settings(process, env, defs.Set); err != nil {
			return err
		}
		defs = defs.With(s.Switched)
	}
	var store checkpoint.Store // nil: there is no state yet
	opened, err := fleet.LookAtState(ctx, process)
	switch {
	case errors.Is(err, checkpoint.ErrLocked):
		return f.running(ctx, s, all, std)
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	default:
		store = opened
		defer store.Close()
	}
	if all {
		return f.tenants(process, env, defs, store, std)
	}
	positions, ledger, err := f.read(store, s)
	if err != nil {
		return err
	}
	return f.print(std.out, fleet.Stored(defs, s, positions), ledger)
}

// read is what the state, if there is one, holds of a tenant.
func (f feedsCommand) read(store checkpoint.Store, s *settings.Settings) (positions map[[2]string]checkpoint.Position, ledger []checkpoint.Entry, err error) {
	if store == nil {
		return nil, nil, nil
	}
	if s.Tenant != "" {
		store = checkpoint.Scope(store, s.Tenant)
	}
	if positions, err = store.Positions(""); err != nil {
		return nil, nil, err
	}
	if f.Ledger {
		ledger, err = checkpoint.Chronological(store.Ledger(""))
	}
	return positions, ledger, err
}

// running asks the connector that holds the state.
func (f feedsCommand) running(ctx context.Context, s *settings.Settings, all bool, std streams) error {
	if all {
		var list []fleet.TenantStatus
		if err := fleet.AskJSON(ctx, s, "/status.json", &list); err != nil {
			return err
		}
		return f.printTenants(std.out, list)
	}
	base := ""
	if s.Tenant != "" {
		base = "/tenants/" + s.Tenant
	}
	var status engine.Status
	if err := fleet.AskJSON(ctx, s, base+"/status.json", &status); err != nil {
		return err
	}
	var ledger []checkpoint.Entry
	if f.Ledger {
		if err := fleet.AskJSON(ctx, s, base+"/ledger.json", &ledger); err != nil {
			return err
		}
	}
	return f.print(std.out, status.Feeds, ledger)
}

// tenants shows each tenant as the state tells.
func (f feedsCommand) tenants(process *settings.Settings, env map[string]string, defs *definitions.Compiled, store checkpoint.Store, std streams) error {
	tenants, err := fleet.Tenants(process, env, defs.Set)
	if err != nil {
		return err
	}
	var list []fleet.TenantStatus
	for _, t := range tenants {
		status := fleet.Member{Tenant: t}.Status()
		if t.Settings != nil {
			positions, _, err := f.read(store, t.Settings)
			if err != nil {
				return err
			}
			status.SumUp(engine.Status{Now: time.Now(), Delivery: load.State{OK: true}, Feeds: fleet.Stored(defs.With(t.Settings.Switched), t.Settings, positions)})
		}
		list = append(list, status)
	}
	fleet.WorstFirst(list)
	return f.printTenants(std.out, list)
}

func (f feedsCommand) printTenants(w io.Writer, list []fleet.TenantStatus) error {
	if f.JSON {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(list)
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "TENANT\tSTATE\tOK\tSTARTING\tFAILING\tGATED\tLAG\tFORWARDED\tLAST ERROR")
	for _, t := range list {
		text := t.LastError
		if len(t.Problems) > 0 {
			text = t.Problems[0]
		}
		fmt.Fprintf(table, "%s\t%s\t%d\t%d\t%d\t%d\t%s\t%d\t%s\n", t.Tenant, t.State, t.OK, t.Starting, t.Failing, t.Gated,
			time.Duration(t.LagSeconds)*time.Second, t.Forwarded, wording.OrDash(text))
	}
	return table.Flush()
}

func (f feedsCommand) print(w io.Writer, feeds []engine.FeedStatus, ledger []checkpoint.Entry) error {
	if f.JSON {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		if f.Ledger {
			return enc.Encode(ledger)
		}
		return enc.Encode(feeds)
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if f.Ledger {
		printLedger(table, ledger)
	} else {
		printFeeds(table, feeds, time.Now())
	}
	return table.Flush()
}

func printFeeds(w io.Writer, feeds []engine.FeedStatus, now time.Time) {
	fmt.Fprintln(w, "FEED\tENABLED\tSTATE\tCURSOR\tLAG\tFORWARDED\tGATE\tLAST ERROR")
	for _, f := range feeds {
		enabled := "yes"
		if f.State == engine.Disabled {
			enabled = "no"
		}
		cursor, lag := "-", "-"
		if !f.Cursor.IsZero() {
			cursor = f.Cursor.UTC().Format(time.RFC3339)
			lag = f.Lag(now).Truncate(time.Second).String()
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\n", wording.FeedLabel(f.Feed, f.Partition), enabled, fleet.WithHolder(string(f.State), f), cursor, lag, f.Forwarded, wording.OrDash(f.GateReason), wording.OrDash(f.LastError))
	}
}

func printLedger(w io.Writer, ledger []checkpoint.Entry) {
	fmt.Fprintln(w, "FEED\tFROM\tTO\tLISTED\tFETCHED\tDELIVERED\tDUPLICATE\tFILTERED\tSKIPPED\tDEAD-LETTERED\tSTATE")
	for _, e := range ledger {
		state := "complete"
		items, records := e.Difference()
		switch {
		case !e.Complete:
			state = "unfinished, read again later"
		case items != 0 || records != 0:
			state = fmt.Sprintf("DIFFERENCE %d items, %d records", items, records)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%d\t%d\t%s\t%d\t%d\t%s\n", wording.FeedLabel(e.Feed, e.Partition), stamp(e.From), stamp(e.To),
			e.Listed, e.Fetched, e.Delivered, e.Duplicate, filtered(e), e.Skipped+e.ItemsSkipped, e.DeadLettered, state)
	}
}

// filtered is what the mapping's rules held back, and which.
func filtered(e checkpoint.Entry) string {
	if len(e.Filters) == 0 {
		return fmt.Sprint(e.Filtered)
	}
	return fmt.Sprintf("%d (%s)", e.Filtered, engine.Filters(e.Filters))
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}
