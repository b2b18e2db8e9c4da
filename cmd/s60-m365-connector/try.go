package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/author"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/definitions"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/fleet"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/wording"
	"github.com/secure60/s60-m365-connector/engine/extract"
	"github.com/secure60/s60-m365-connector/engine/transform"
)

type tryCommand struct {
	configFlag
	tenantFlag
	Feed      string `arg:"" help:"The feed to try; it may be switched off."`
	Records   int    `default:"3" help:"How many records to show, with their events."`
	Partition string `help:"Which value of the feed's for_each; the first, if not given."`
	Record    string `placeholder:"CASE" help:"Write what came into golden/feeds/FEED/CASE.yaml of the folder of definitions, as a golden case; whatever may identify somebody is replaced."`
}

// tryPatience is how long a try may take.
const tryPatience = 2 * time.Minute

// Run reads the beginning of a feed's newest window with the real credentials, and shows
// what was asked, what came and what becomes of it. It delivers and remembers nothing.
func (c tryCommand) Run(ctx context.Context, std streams) error {
	if c.Record != "" && !feedName.MatchString(c.Record) {
		return program.Exit(program.Usage, fmt.Errorf("--record %q is no name for a case: write lower-case letters, digits and hyphens", c.Record))
	}
	env, found := settings.Environment()
	env["OUTPUT"] = "-" // nothing is delivered, and no destination is needed
	if c.Config != "" {
		env["CONFIG_DIR"] = c.Config
	}
	s, err := settings.ReadAll(env, found, false)
	if err != nil {
		return err
	}
	defs, err := definitions.LoadValid(s, s.ConfigDir, std.err)
	if err != nil {
		return err
	}
	if s, err = c.settings(s, env, defs.Set); err != nil {
		return err
	}
	feed := defs.Set.Feed(c.Feed)
	if feed == nil {
		var known []string
		for _, f := range defs.Set.Feeds {
			known = append(known, f.Name)
		}
		return program.Exit(program.Usage, fmt.Errorf("there is no feed %q%s", c.Feed, instead(c.Feed, known)))
	}
	credential, err := fleet.NewCredential(s)
	if err != nil {
		return program.Exit(program.Usage, err)
	}
	seen := &author.Exchanges{Login: s.LoginBase, Next: extract.NewTransport(0, 2)}
	options := fleet.ClientOptions(s, credential, slog.New(slog.DiscardHandler))
	options.Transport, options.MaxAttempts, options.MaxElapsed, options.MaxThrottled = seen, 2, 20*time.Second, 30*time.Second
	value := c.Partition
	if values, err := feed.Partitions(s.Names); err != nil {
		return fmt.Errorf("feed %s: %w", feed.Name, err)
	} else if value == "" && len(values) > 0 {
		value = values[0]
	}
	reader, err := extract.NewReader(extract.NewClient(options), feed, value, s.Names)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, tryPatience)
	defer cancel()
	window := author.Newest(feed, time.Now())
	if c.Record != "" { // a case begins with what is subscribed; as if one was just started, so that none is
		if _, _, err := reader.Subscribe(ctx, time.Now(), false); err != nil {
			if _, off := errors.AsType[*extract.SubscribeWait](err); off {
				err = errors.New("the subscription is not active: let the connector run for a while, which starts it")
			}
			return unanswered(err)
		}
	}
	records, err := author.First(ctx, reader, &window, c.Records)
	seen.Print(std.out)
	if err != nil {
		return unanswered(err)
	}
	if len(records) == 0 {
		if !window.From.IsZero() {
			fmt.Fprintf(std.out, "\nNo record between %s and %s.\n", window.From.Format(time.RFC3339), window.To.Format(time.RFC3339))
		}
		seen.Explain(std.out, feed)
		return nil
	}
	mapper := defs.Mappings[feed.Mapping]().NewMapper(transform.Constant{Name: "source_name", Value: feed.Name})
	events := make([][]byte, len(records))
	for i, record := range records {
		events[i], _ = mapper.Append(nil, record)
		author.SideBySide(std.out, i+1, mapper.Redacted(record), events[i])
	}
	for _, doubt := range seen.Doubts(feed, records, events) {
		fmt.Fprintln(std.err, "warning: "+wording.Visible(doubt))
	}
	if c.Record == "" {
		return nil
	}
	recording := &author.Recording{Feed: feed, Partition: value, Settings: s, Window: window, Records: c.Records}
	file, err := recording.Write(seen, defs, filepath.Join(s.ConfigDir, "golden"), c.Record)
	if err != nil {
		return program.Exit(program.Failed, err)
	}
	fmt.Fprintf(std.out, "\nwritten: %s\nRead it before you send it to somebody: the names of fields, times and short numbers are as they were.\n", file)
	return nil
}
