// Command s60-m365-connector collects the audit and identity records of a
// Microsoft 365 tenant and delivers them to Secure60.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
)

// streams are where a subcommand reads and writes. Events and tables go to
// out; logs, problems and progress go to err.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// commands are the subcommands; each has a file of its own.
type commands struct {
	Run      runCommand      `cmd:"" default:"withargs" help:"Collect and deliver until stopped (the default)."`
	Demo     demoCommand     `cmd:"" help:"Run against a simulated tenant and destination on this machine: no account, no network."`
	Check    checkCommand    `cmd:"" help:"The doctor: whether each requirement is met; if not, why, and what to do."`
	Validate validateCommand `cmd:"" help:"Check every feed, mapping and tenant file, and show every problem at its place."`
	Show     showCommand     `cmd:"" help:"Print a shipped feed, mapping or schema, or what is in force with your own files."`
	Map      mapCommand      `cmd:"" help:"Turn records into events, offline."`
	New      newCommand      `cmd:"" help:"Write a first version of a feed and its mapping."`
	Test     testCommand     `cmd:"" help:"Run golden cases: record in, event out, compared."`
	Feeds    feedsCommand    `cmd:"" help:"Show the feeds: state, cursor, lag, what was forwarded, last error."`
	Top      topCommand      `cmd:"" help:"Show the running connector live: feeds, rates, lag, last errors."`
	Try      tryCommand      `cmd:"" help:"Read a little of one feed with the real credentials, and show it with its events; nothing is delivered."`
	Backfill backfillCommand `cmd:"" help:"Read a period again, without moving the cursor."`
	Replay   replayCommand   `cmd:"" help:"Send the events again that the destination refused."`
	State    stateCommand    `cmd:"" help:"Carry the state over between one connector and replicas."`
	Health   healthCommand   `cmd:"" help:"Ask the connector running on this host: 0 healthy, 1 not."`
	Simulate simulateCommand `cmd:"" passthrough:"" help:"Run the simulated tenant and destination alone, for tests of any collector."`
	Version  versionCommand  `cmd:"" help:"Print the version."`
	Help     helpCommand     `cmd:"" help:"Show this text, or that of a command."`
}

const description = `Collects Microsoft 365 and Entra ID audit and identity records and delivers them to Secure60.

Settings are environment variables, or lines of a .env file beside the program: TENANT_ID, CLIENT_ID,
CLIENT_SECRET, and PROJECT_ID with TOKEN, or S60_COLLECTOR_BASE. Try "s60-m365-connector demo" first: it needs none.

Exit codes: 0 done, 1 the work failed, 2 wrong usage or settings, 3 a feed or mapping file is invalid,
4 credentials refused.`

// version is set by the linker for releases.
var version = "dev"

// lastGrace is how long the work in hand may take to end once the program is told to
// stop: ten seconds are all that container runtimes give.
const lastGrace = 9500 * time.Millisecond

func main() {
	program.Version = version
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, func() {
		stop() // a second signal ends the program at once
		time.Sleep(lastGrace)
		fmt.Fprintln(os.Stderr, program.Name+": stopped without finishing the work in hand")
		os.Exit(program.Done)
	})
	prepareProcess()
	os.Exit(Main(ctx, os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr}))
}

// Main runs one command line until it is done or ctx ends, and returns the exit code.
// What it started has ended by then.
func Main(ctx context.Context, args []string, std streams) int {
	var cli commands
	parser, err := kong.New(&cli, kong.Name(program.Name), kong.Description(description),
		kong.Writers(std.out, std.err), kong.Exit(func(int) {}), kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}), kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(std))
	if err != nil {
		fmt.Fprintln(std.err, err)
		return program.Failed
	}
	for _, arg := range args {
		if arg == "--" || arg == "simulate" { // what follows is not for this parser
			break
		}
		if arg == "--help" || arg == "-h" {
			parser.Parse(args) //nolint:errcheck // prints the help; what else is wrong does not matter
			return program.Done
		}
	}
	if len(args) == 1 && args[0] == "--version" {
		args = []string{"version"}
	}
	command, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintf(std.err, "%s: %v\nTry \"%s help\".\n", program.Name, err, program.Name)
		return program.Usage
	}
	return exitCode(command.Run(parser), std)
}

// exitCode prints what ended the program, and gives its code.
func exitCode(err error, std streams) int {
	if err == nil {
		return program.Done
	}
	code := program.Failed
	if e, ok := errors.AsType[*program.Error](err); ok {
		if code = e.Code; e.Err == nil {
			return code
		}
		err = e.Err
	}
	if list, ok := errors.AsType[settings.Problems](err); ok {
		fmt.Fprintln(std.err, "settings:")
		for _, problem := range list {
			fmt.Fprintln(std.err, "  "+problem)
		}
		return program.Usage
	}
	fmt.Fprintf(std.err, "%s: %v\n", program.Name, err)
	return code
}

type versionCommand struct{}

func (versionCommand) Run(std streams) error {
	_, err := fmt.Fprintln(std.out, program.Name, program.Version)
	return err
}

type helpCommand struct {
	Command []string `arg:"" optional:"" help:"The command to explain."`
}

func (h helpCommand) Run(ctx context.Context, std streams, parser *kong.Kong) error {
	if len(h.Command) > 0 && h.Command[0] == "simulate" { // which reads its own options
		return simulateCommand{Args: []string{"--help"}}.Run(ctx, std)
	}
	parser.Parse(append(h.Command, "--help")) //nolint:errcheck // it prints the help, and then misses a command
	return nil
}
