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
	if process.TenantsDir != "" && t.Tenant == "" {
		return t.many(ctx, process, std)
	}
	s, err := t.settings(process, env, nil)
	if err != nil {
		return err
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
	before, at := map[string]int64{}, time.Time{}
	return t.draw(ctx, std, func(w io.Writer) error {
		var list []fleet.TenantStatus
		if err := fleet.AskJSON(ctx, process, "/status.json", &list); err != nil {
			return err
		}
		now := time.Now()
		topTenants(w, list, before, now, now.Sub(at))
		for _, one := range list {
			before[one.Tenant] = one.Forwarded
		}
		at = now
		return nil
	})
}

// topTenants writes a table of the tenants, the worst first. Rates are those since before, a span ago.
func topTenants(w io.Writer, list []fleet.TenantStatus, before map[string]int64, now time.Time, span time.Duration) {
	fmt.Fprintf(w, "%s  %s\n\n", now.UTC().Format(topTime), fleet.InStates(list))
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "TENANT\tSTATE\tLAG\t%s\t%s\t%s\tLAST ERROR\n", right("EVENTS/S"), right("FORWARDED"), right("DEAD"))
	for _, t := range list {
		was, known := before[t.Tenant]
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", t.Tenant, t.State, wording.Span(time.Duration(t.LagSeconds)*time.Second),
			right(perSecond(t.Forwarded-was, span, known)), right(fmt.Sprint(t.Forwarded)), right(fmt.Sprint(t.DeadLetters)), wording.OrDash(wording.Visible(t.Trouble())))
	}
	table.Flush() //nolint:errcheck // it writes to memory
}

// topTime is how the time of a look is written.
const topTime = "2006-01-02 15:04:05 UTC"

// right puts a number, or its heading, to the right of its column.
func right(number string) string { return fmt.Sprintf("%9s", number) }

// perSecond is a rate, "-" where it is not known what was before.
func perSecond(n int64, span time.Duration, known bool) string {
	if !known || span <= 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f", float64(n)/span.Seconds())
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
	if room := max(height-1, 1); len(lines) > room {
		lines = append(lines[:room-1], fmt.Sprintf("and %d more, for which there is no room", len(lines)-room+1))
	}
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
	delivery := now.Destination + " takes events"
	if !now.Delivery.OK {
		delivery = now.Destination + " does not take events"
	}
	fmt.Fprintf(w, "%s  up %s  %s  dead letters %d\n", now.Now.UTC().Format(topTime), wording.Span(now.Now.Sub(now.Started)), delivery, now.DeadLetters)
	cause := now.Cause()
	switch undelivered := fleet.Undelivered(now); {
	case undelivered != "":
		fmt.Fprintln(w, "NOT DELIVERING: "+undelivered)
	case cause != "":
		fmt.Fprintln(w, "NOT COLLECTING: "+wording.Visible(cause))
	}
	fmt.Fprintln(w)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "FEED\tSTATE\tLAG\t%s\t%s\t%s\t%s\tLAST ERROR\n", right("EVENTS/S"), right("DELIVERED"), right("REQUESTS"), right("RETRIES"))
	for _, f := range now.Feeds {
		if f.State == engine.Disabled {
			continue
		}
		lag, text := "-", wording.OrDash(wording.Visible(f.LastError))
		if !f.Cursor.IsZero() {
			lag = wording.Span(f.Lag(now.Now))
		}
		switch {
		case cause != "" && f.State == engine.Failing:
			text = "see above"
		case f.LastError == "":
			text = wording.Visible(fleet.Gate(f))
		}
		then, known := was[[2]string{f.Feed, f.Partition}]
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", wording.FeedLabel(f.Feed, f.Partition), fleet.WithHolder(string(f.State), f), lag,
			right(perSecond(f.Delivered()-then, span, known)), right(fmt.Sprint(f.Delivered())), right(fmt.Sprint(f.Requests.Requests)), right(fmt.Sprint(f.Requests.Retries)), text)
	}
	table.Flush() //nolint:errcheck // it writes to memory
}
