package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/secure60/s60-m365-connector/engine"
	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/load"
)

type feedsCommand struct {
	tenantFlag
	Ledger bool `help:"Show the ledger: what was listed, delivered, repeated, skipped and set aside, for each window."`
	JSON   bool `name:"json" help:"Print JSON."`
}

// Run shows the feeds: as the running connector sees them, or as the state
// tells when none runs. Of several tenants it shows each in a line, unless one is named.
func (f feedsCommand) Run(ctx context.Context, std streams) error {
	process, env, err := loadSettings(true)
	if err != nil {
		return err
	}
	defs, err := definitionsOr(process, process.configDir, std.err)
	if err != nil {
		return err
	}
	s := process
	all := process.tenantsDir != "" && f.Tenant == ""
	switch {
	case all && f.Ledger:
		return exit(exitUsage, errors.New("--ledger is of one tenant: write --tenant NAME"))
	case !all:
		if s, err = f.settings(process, env, defs.set); err != nil {
			return err
		}
		defs = defs.with(s.switched)
	}
	var store checkpoint.Store // nil: there is no state yet
	opened, err := lookAtState(ctx, process)
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
	return f.print(std.out, stored(defs, s, positions), ledger)
}

// read is what the state, if there is one, holds of a tenant.
func (f feedsCommand) read(store checkpoint.Store, s *settings) (positions map[[2]string]checkpoint.Position, ledger []checkpoint.Entry, err error) {
	if store == nil {
		return nil, nil, nil
	}
	if s.tenant != "" {
		store = checkpoint.Scope(store, s.tenant)
	}
	if positions, err = store.Positions(); err != nil {
		return nil, nil, err
	}
	if f.Ledger {
		ledger, err = store.Ledger("")
	}
	return positions, ledger, err
}

// running asks the connector that holds the state.
func (f feedsCommand) running(ctx context.Context, s *settings, all bool, std streams) error {
	if all {
		var list []tenantStatus
		if err := askJSON(ctx, s, "/status.json", &list); err != nil {
			return err
		}
		return f.printTenants(std.out, list)
	}
	base := ""
	if s.tenant != "" {
		base = "/tenants/" + s.tenant
	}
	var status engine.Status
	if err := askJSON(ctx, s, base+"/status.json", &status); err != nil {
		return err
	}
	var ledger []checkpoint.Entry
	if f.Ledger {
		if err := askJSON(ctx, s, base+"/ledger.json", &ledger); err != nil {
			return err
		}
	}
	return f.print(std.out, status.Feeds, ledger)
}

// tenants shows each tenant as the state tells.
func (f feedsCommand) tenants(process *settings, env map[string]string, defs *definitions, store checkpoint.Store, std streams) error {
	tenants, err := lookOnce(process, env, defs.set)
	if err != nil {
		return err
	}
	var list []tenantStatus
	for _, t := range tenants {
		status := member{tenant: t}.status()
		if t.settings != nil {
			positions, _, err := f.read(store, t.settings)
			if err != nil {
				return err
			}
			status.sumUp(engine.Status{Now: time.Now(), Delivery: load.State{OK: true}, Feeds: stored(defs.with(t.settings.switched), t.settings, positions)})
		}
		list = append(list, status)
	}
	worstFirst(list)
	return f.printTenants(std.out, list)
}

func (f feedsCommand) printTenants(w io.Writer, list []tenantStatus) error {
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
			time.Duration(t.LagSeconds)*time.Second, t.Forwarded, orDash(text))
	}
	return table.Flush()
}

func askJSON(ctx context.Context, s *settings, path string, v any) error {
	code, body, err := ask(ctx, s, path)
	if err != nil {
		return fmt.Errorf("a connector is running on this state directory, but cannot be asked: %w", err)
	}
	if code != 200 {
		return fmt.Errorf("the connector on %s answered HTTP %d", s.listen, code)
	}
	return json.Unmarshal([]byte(body), v)
}

// stored is what the state alone tells of the feeds.
func stored(defs *definitions, s *settings, positions map[[2]string]checkpoint.Position) []engine.FeedStatus {
	var list []engine.FeedStatus
	for _, feed := range defs.set.Feeds {
		on, err := feed.Enabled.Bool(s.names)
		if err != nil || !on {
			list = append(list, engine.FeedStatus{Feed: feed.Name, State: engine.Disabled})
			continue
		}
		values := []string{""}
		if feed.ForEach != nil {
			v, _ := feed.ForEach.Values.Eval(s.names)
			values = values[:0]
			if named, ok := v.([]any); ok {
				for _, v := range named {
					values = append(values, fmt.Sprint(v))
				}
			}
		}
		for _, value := range values {
			p, ok := positions[[2]string{feed.Name, value}]
			status := engine.FeedStatus{Feed: feed.Name, Partition: value, State: engine.Starting}
			if ok {
				status.State = engine.OK
				status.Cursor, status.Forwarded = p.Cursor, p.Forwarded
				status.LastSuccess, status.LastError, status.LastErrorAt = p.LastSuccess, p.LastError, p.LastErrorAt
				status.GateReason, status.GateUntil = p.GateReason, p.GateUntil
				switch {
				case p.GateReason != "":
					status.State = engine.Gated
				case p.LastError != "":
					status.State = engine.Failing
				}
			}
			list = append(list, status)
		}
	}
	return list
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
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\n", feedLabel(f.Feed, f.Partition), enabled, withHolder(string(f.State), f), cursor, lag, f.Forwarded, orDash(f.GateReason), orDash(f.LastError))
	}
}

// withHolder is a state, and of what another replica runs its name.
func withHolder(state string, f engine.FeedStatus) string {
	if f.Holder == "" {
		return state
	}
	return state + " (" + orDash(f.Holder) + ")"
}

func printLedger(w io.Writer, ledger []checkpoint.Entry) {
	fmt.Fprintln(w, "FEED\tFROM\tTO\tLISTED\tFETCHED\tDELIVERED\tDUPLICATE\tSKIPPED\tDEAD-LETTERED\tSTATE")
	for _, e := range ledger {
		state := "complete"
		items, records := e.Difference()
		switch {
		case !e.Complete:
			state = "unfinished, read again later"
		case items != 0 || records != 0:
			state = fmt.Sprintf("DIFFERENCE %d items, %d records", items, records)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%s\n", feedLabel(e.Feed, e.Partition), stamp(e.From), stamp(e.To),
			e.Listed, e.Fetched, e.Delivered, e.Duplicate, e.Skipped+e.ItemsSkipped, e.DeadLettered, state)
	}
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

func feedLabel(feed, partition string) string {
	if partition == "" {
		return feed
	}
	return feed + " " + partition
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return strings.Join(strings.Fields(s), " ")
}
