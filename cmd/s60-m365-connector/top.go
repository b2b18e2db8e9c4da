package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/term"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/fleet"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/wording"
	"github.com/secure60/s60-m365-connector/engine"
)

type topCommand struct {
	tenantFlag
	Every time.Duration `default:"2s" help:"Between two looks."`
}

// Run shows the feeds of the running connector until ctx ends, where standard output is
// a terminal; elsewhere once, after one interval that rates are taken over.
func (t topCommand) Run(ctx context.Context, std streams) error {
	process, env, err := settings.Load(true, "")
	if err != nil {
		return err
	}
	s := process
	if process.TenantsDir == "" || t.Tenant != "" {
		if s, err = t.settings(process, env, nil); err != nil {
			return err
		}
	} else {
		return t.many(ctx, process, std)
	}
	var before engine.Status
	return t.draw(ctx, std, func(w io.Writer) error {
		var now engine.Status
		if err := fleet.AskJSON(ctx, process, tenantPath(s)+"/status.json", &now); err != nil {
			return err
		}
		topFeeds(w, now, before)
		before = now
		return nil
	})
}

// many shows the tenants of the running connector.
func (t topCommand) many(ctx context.Context, process *settings.Settings, std streams) error {
	return t.draw(ctx, std, func(w io.Writer) error {
		var list []fleet.TenantStatus
		if err := fleet.AskJSON(ctx, process, "/status.json", &list); err != nil {
			return err
		}
		return feedsCommand{}.printTenants(w, list)
	})
}

// draw shows what look writes: over and over on a terminal.
func (t topCommand) draw(ctx context.Context, std streams, look func(io.Writer) error) error {
	file, ok := std.out.(*os.File)
	live := ok && term.IsTerminal(int(file.Fd()))
	for first := true; ; first = false {
		var text bytes.Buffer
		if err := look(&text); err != nil {
			return err
		}
		if live {
			// From the upper left corner, each line to its end, and then the rest of the screen.
			fmt.Fprint(std.out, "\x1b[H"+strings.ReplaceAll(clip(text.String(), file), "\n", "\x1b[K\n")+"\x1b[J")
		} else if !first {
			_, err := std.out.Write(text.Bytes())
			return err
		}
		if !engine.Sleep(ctx, max(t.Every, 100*time.Millisecond)) {
			return nil
		}
	}
}

// clip keeps what fits on the terminal.
func clip(text string, file *os.File) string {
	width, height, err := term.GetSize(int(file.Fd()))
	if err != nil || width <= 0 || height <= 0 {
		return text
	}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	lines = lines[:min(len(lines), height-1)]
	for i, line := range lines {
		if r := []rune(line); len(r) > width {
			lines[i] = string(r[:width])
		}
	}
	return strings.Join(lines, "\n") + "\n"
}

// topFeeds writes a table of the feeds that are on. Rates are those since before, whose
// time is zero at the first look.
func topFeeds(w io.Writer, now, before engine.Status) {
	was := map[[2]string]int64{}
	for _, f := range before.Feeds {
		was[[2]string{f.Feed, f.Partition}] = f.Delivered()
	}
	span := now.Now.Sub(before.Now)
	if before.Now.IsZero() {
		span = 0
	}
	delivery := "takes events"
	if !now.Delivery.OK {
		delivery = "does not take events: " + wording.OrDash(now.Delivery.LastError)
	}
	fmt.Fprintf(w, "%s  up %s  %s %s  dead letters %d\n\n", now.Now.UTC().Format("2006-01-02 15:04:05 UTC"), wording.Span(now.Now.Sub(now.Started)), now.Destination, delivery, now.DeadLetters)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "FEED\tSTATE\tLAG\tEVENTS/S\tDELIVERED\tREQUESTS\tRETRIES\tLAST ERROR")
	for _, f := range now.Feeds {
		if f.State == engine.Disabled {
			continue
		}
		rate, lag := "-", "-"
		if then, known := was[[2]string{f.Feed, f.Partition}]; known && span > 0 {
			rate = fmt.Sprintf("%.1f", float64(f.Delivered()-then)/span.Seconds())
		}
		if !f.Cursor.IsZero() {
			lag = wording.Span(f.Lag(now.Now))
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d\t%d\t%d\t%s\n", wording.FeedLabel(f.Feed, f.Partition), fleet.WithHolder(string(f.State), f), lag, rate,
			f.Delivered(), f.Requests.Requests, f.Requests.Retries, wording.OrDash(wording.Visible(f.LastError)))
	}
	table.Flush() //nolint:errcheck // it writes to memory
}
