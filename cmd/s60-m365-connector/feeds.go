package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
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
	if fleet.Running(ctx, process) {
		return f.running(ctx, s, all, std)
	}
	store, err := fleet.LookAtState(ctx, process)
	if errors.Is(err, checkpoint.ErrLocked) {
		return f.running(ctx, s, all, std)
	}
	if err != nil {
		return err
	}
	if store != nil {
		defer store.Close()
	}
	if process.Shared.URL == "" {
		fmt.Fprintln(std.err, "no connector runs on this state: what it held last is shown")
	}
	if all {
		return f.tenants(process, env, defs, store, std)
	}
	if f.Ledger {
		return f.ledger(std.out, fleet.StoredLedger(store, s))
	}
	feeds, err := fleet.StoredFeeds(store, defs, s)
	if err != nil {
		return err
	}
	return f.print(std.out, feeds)
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
	base := tenantPath(s)
	if f.Ledger {
		return f.ledger(std.out, fleet.AskEach[checkpoint.Entry](ctx, s, base+"/ledger.json"))
	}
	var status engine.Status
	if err := fleet.AskJSON(ctx, s, base+"/status.json", &status); err != nil {
		return err
	}
	if text := fleet.Undelivered(status); text != "" {
		fmt.Fprintln(std.err, "nothing is delivered: "+wording.Visible(text))
	}
	return f.print(std.out, status.Feeds)
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
			feeds, err := fleet.StoredFeeds(store, defs.With(t.Settings.Switched), t.Settings)
			if err != nil {
				return err
			}
			status.SumUp(engine.Status{Now: time.Now(), Delivery: load.State{OK: true}, Feeds: feeds})
		}
		list = append(list, status)
	}
	fleet.WorstFirst(list)
	return f.printTenants(std.out, list)
}

func (f feedsCommand) printTenants(w io.Writer, list []fleet.TenantStatus) error {
	if f.JSON {
		return printJSON(w, list)
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "TENANT\tSTATE\tOK\tSTARTING\tFAILING\tGATED\tLAG\tFORWARDED\tLAST ERROR")
	for _, t := range list {
		fmt.Fprintf(table, "%s\t%s\t%d\t%d\t%d\t%d\t%s\t%d\t%s\n", t.Tenant, t.State, t.OK, t.Starting, t.Failing, t.Gated,
			time.Duration(t.LagSeconds)*time.Second, t.Forwarded, wording.OrDash(t.Trouble()))
	}
	return table.Flush()
}

// printJSON prints what a person reads, too.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

func (f feedsCommand) print(w io.Writer, feeds []engine.FeedStatus) error {
	if f.JSON {
		return printJSON(w, feeds)
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	printFeeds(table, feeds, time.Now())
	return table.Flush()
}

// ledgerRows is how many rows have their columns aligned with each other: there can be more
// than memory should hold.
const ledgerRows = 1000

// ledger writes the entries as they come.
func (f feedsCommand) ledger(w io.Writer, entries iter.Seq2[checkpoint.Entry, error]) error {
	if f.JSON {
		out, before := bufio.NewWriter(w), "[\n  "
		for e, err := range entries {
			text, unwritten := json.Marshal(e)
			if err = errors.Join(err, unwritten); err != nil {
				return errors.Join(err, out.Flush())
			}
			out.WriteString(before) //nolint:errcheck // Flush tells
			out.Write(text)         //nolint:errcheck
			before = ",\n  "
		}
		if before[0] == '[' {
			out.WriteByte('[') //nolint:errcheck
		}
		out.WriteString("\n]\n") //nolint:errcheck
		return out.Flush()
	}
	table, n := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0), 0
	fmt.Fprintln(table, "FEED\tFROM\tTO\tLISTED\tFETCHED\tDELIVERED\tDUPLICATE\tFILTERED\tSKIPPED\tDEAD-LETTERED\tSTATE")
	for e, err := range entries {
		if err != nil {
			return errors.Join(err, table.Flush())
		}
		printEntry(table, e)
		if n++; n%ledgerRows == 0 {
			if err := table.Flush(); err != nil {
				return err
			}
		}
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
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\n", wording.FeedLabel(f.Feed, f.Partition), enabled, fleet.WithHolder(string(f.State), f), cursor, lag, f.Forwarded, fleet.Gate(f), wording.OrDash(f.LastError))
	}
}

func printEntry(w io.Writer, e checkpoint.Entry) {
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
