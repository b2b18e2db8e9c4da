package simulator

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
)

// Main runs a simulator as a process of its own, for performance and chaos
// runs, until ctx ends. It prints the connector's settings as NAME=value lines
// (of many tenants, those that are the same for all), then an empty line; at the end it prints the report as one line of JSON. The
// control endpoints of the login host take faults meanwhile. It returns the
// exit code: 0, 1 when it cannot run, or 2 for wrong usage.
func Main(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var o Options
	flags := flag.NewFlagSet("simulator", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Uint64Var(&o.Seed, "seed", 1, "seed of everything made up")
	flags.IntVar(&o.Records, "records", 0, "records of the history, over all feeds (default 5000; -1: none)")
	flags.DurationVar(&o.History, "history", 0, "how far back the history reaches (default 23h)")
	flags.DurationVar(&o.Quiet, "quiet", 0, "how long before now the history ends")
	flags.Float64Var(&o.PerMinute, "per-minute", 0, "live records a minute, over all feeds")
	flags.StringVar(&o.Licence, "licence", "", "Free, P1 or P2 (default P2)")
	flags.IntVar(&o.BlobMin, "blob-min", 0, "records in a blob, at least (default 1)")
	flags.IntVar(&o.BlobMax, "blob-max", 0, "records in a blob, at most (default 40)")
	flags.DurationVar(&o.BlobEvery, "blob-every", 0, "how long a live blob stays open (default 20s)")
	flags.IntVar(&o.ListPage, "list-page", 0, "blobs a page of the content listing (default 100)")
	flags.IntVar(&o.PageSize, "page-size", 0, "rows a page of Graph, at most")
	flags.IntVar(&o.MaxWalk, "max-walk", 0, "rows that one walk of Graph pages gets before it fails (default: any number)")
	flags.DurationVar(&o.TokenLifetime, "token-lifetime", 0, "default 1h")
	flags.DurationVar(&o.PartialFor, "partial-for", 0, "how long a new blob holds only half of its records")
	flags.Float64Var(&o.Late, "late", 0, "share of blobs and rows that become visible late")
	flags.DurationVar(&o.LateBy, "late-by", 0, "how late at most (default 90m)")
	flags.Float64Var(&o.Repeated, "repeated", 0, "share of records that are repeated")
	flags.Float64Var(&o.Revised, "revised", 0, "share of sign-ins published again with other content")
	flags.DurationVar(&o.RevisedBy, "revised-by", 0, "how much later at most (default 2h)")
	flags.Float64Var(&o.Odd, "odd", 0, "share of records with the oddities that real ones show")
	flags.BoolVar(&o.Throttle, "throttle", false, "enforce the documented rate limits")
	flags.BoolVar(&o.NoGzip, "no-gzip", false, "never compress")
	flags.Int64Var(&o.MaxBody, "max-body", 0, "bytes of a delivery, above it 413 (default 10 MiB)")
	flags.IntVar(&o.Tenants, "tenants", 0, "tenants, each with so many records; their settings go to -tenants-dir (default 1)")
	flags.StringVar(&o.Listen, "listen", "", "address:port of the first service; the others take the ports behind it (default 127.0.0.1:0, any ports)")
	flags.StringVar(&o.Host, "host", "", "what answers call the host of the services (default: its address)")
	certificate := flags.String("certificate", "", "PEM file with certificate and key, to serve https")
	dir := flags.String("tenants-dir", "", "folder for a file of settings of each tenant, which is then printed as TENANTS_DIR")
	collector := flags.Bool("collector", false, "print the settings for collector mode")
	volumes := flags.String("volumes", "", `feeds that differ, as "feed=history:per-hour,…"`)
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), "Usage: simulate [options], until it is told to stop. The options:") //nolint:errcheck // nowhere else to say it
		flags.PrintDefaults()
		fmt.Fprint(flags.Output(), controlHelp) //nolint:errcheck // nowhere else to say it
	}
	if slices.ContainsFunc(args, func(a string) bool { return a == "-h" || a == "-help" || a == "--help" }) {
		flags.SetOutput(stdout) // it was asked for
	}
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	var err error
	if o.Volumes, err = parseVolumes(*volumes); err == nil && flags.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if err == nil && o.Tenants > 1 && *dir == "" {
		err = errors.New("-tenants needs -tenants-dir, for the settings of each")
	}
	if err == nil && *dir != "" && *collector {
		err = errors.New("-tenants-dir writes the settings of ingest mode: leave out -collector")
	}
	if err == nil && *certificate != "" {
		var pair tls.Certificate
		pair, err = tls.LoadX509KeyPair(*certificate, *certificate)
		o.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	}
	if err != nil {
		fmt.Fprintf(stderr, "simulator: %v\n", err) //nolint:errcheck // nowhere else to say it
		return 2
	}
	o.Logger = slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	s, err := Start(o)
	if err != nil {
		fmt.Fprintln(stderr, err) //nolint:errcheck // nowhere else to say it
		return 1
	}
	defer s.Close() //nolint:errcheck // the process ends
	env := s.Env()
	switch {
	case *dir != "":
		if err := s.WriteTenants(*dir); err != nil {
			fmt.Fprintln(stderr, err) //nolint:errcheck // nowhere else to say it
			return 1
		}
		env = append(s.SharedEnv(), "TENANTS_DIR="+*dir)
	case *collector:
		env = s.CollectorEnv()
	}
	if _, err := fmt.Fprintf(stdout, "%s\n\n", strings.Join(env, "\n")); err != nil {
		return 1
	}
	<-ctx.Done()
	if err := json.NewEncoder(stdout).Encode(s.Report()); err != nil {
		fmt.Fprintf(stderr, "simulator: print the report: %v\n", err) //nolint:errcheck // nowhere else to say it
		return 1
	}
	return 0
}

func parseVolumes(text string) (map[string]Volume, error) {
	if text == "" {
		return nil, nil
	}
	volumes := map[string]Volume{}
	for part := range strings.SplitSeq(text, ",") {
		name, numbers, ok := strings.Cut(part, "=")
		history, perHour, _ := strings.Cut(numbers, ":")
		var v Volume
		_, err := fmt.Sscan(history, &v.History)
		if err == nil && perHour != "" {
			_, err = fmt.Sscan(perHour, &v.PerHour)
		}
		if !ok || err != nil || !slices.Contains(feedNames, name) {
			return nil, fmt.Errorf("volume %q: want feed=history:per-hour; feeds are %s", part, strings.Join(feedNames, ", "))
		}
		volumes[name] = v
	}
	return volumes, nil
}
