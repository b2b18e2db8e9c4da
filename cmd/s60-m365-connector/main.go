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
)

// Exit codes. They are part of the contract with scripts that call the program.
const (
	exitDone        = 0
	exitFailed      = 1 // the work failed
	exitUsage       = 2 // wrong usage or settings
	exitDefinitions = 3 // a feed or mapping file is invalid
	exitCredentials = 4 // the credentials were refused
)

// version is set by the linker for releases.
var version = "dev"

const programName = "s60-m365-connector"

// exitError ends the program with a code, after its text was printed.
type exitError struct {
	code int
	err  error // nil: everything was said already
}

func (e *exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// exit makes err end the program with a code.
func exit(code int, err error) error { return &exitError{code: code, err: err} }

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
	Map      mapCommand      `cmd:"" help:"Turn records into events, offline."`
	Test     testCommand     `cmd:"" help:"Run golden cases: record in, event out, compared."`
	Feeds    feedsCommand    `cmd:"" help:"Show the feeds: state, cursor, lag, what was forwarded, last error."`
	Backfill backfillCommand `cmd:"" help:"Read a period again, without moving the cursor."`
	Replay   replayCommand   `cmd:"" help:"Send the events again that the destination refused."`
	Health   healthCommand   `cmd:"" help:"Ask the connector running on this host: 0 healthy, 1 not."`
	Simulate simulateCommand `cmd:"" passthrough:"" help:"Run the simulated tenant and destination alone, for tests of any collector."`
	Version  versionCommand  `cmd:"" help:"Print the version."`
	Help     helpCommand     `cmd:"" help:"Show this text."`
}

const description = `Collects Microsoft 365 and Entra ID audit and identity records and delivers them to Secure60.

Settings are environment variables, or lines of a .env file beside the program: TENANT_ID, CLIENT_ID,
CLIENT_SECRET, and PROJECT_ID with TOKEN, or S60_COLLECTOR_BASE. Try "s60-m365-connector demo" first: it needs none.

Exit codes: 0 done, 1 the work failed, 2 wrong usage or settings, 3 a feed or mapping file is invalid,
4 credentials refused.`

func main() {
	os.Exit(Main(os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr}))
}

// Main runs one command line and returns the exit code.
func Main(args []string, std streams) int {
	prepareProcess()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	go func() {
		<-ctx.Done()
		// A second signal ends the program at once, and so does what will not
		// end by itself: ten seconds are all that container runtimes give.
		stop()
		time.Sleep(9500 * time.Millisecond)
		fmt.Fprintln(std.err, programName+": stopped without finishing the work in hand")
		os.Exit(exitDone)
	}()
	var cli commands
	parser, err := kong.New(&cli, kong.Name(programName), kong.Description(description),
		kong.Writers(std.out, std.err), kong.Exit(func(int) {}), kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}), kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(std))
	if err != nil {
		fmt.Fprintln(std.err, err)
		return exitFailed
	}
	for _, arg := range args {
		if arg == "--" || arg == "simulate" { // what follows is not for this parser
			break
		}
		if arg == "--help" || arg == "-h" {
			parser.Parse(args) //nolint:errcheck // prints the help; what else is wrong does not matter
			return exitDone
		}
	}
	command, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintf(std.err, "%s: %v\nTry \"%s help\".\n", programName, err, programName)
		return exitUsage
	}
	return exitCode(command.Run(parser), std)
}

// exitCode prints what ended the program, and gives its code.
func exitCode(err error, std streams) int {
	if err == nil {
		return exitDone
	}
	code := exitFailed
	if e, ok := errors.AsType[*exitError](err); ok {
		if code = e.code; e.err == nil {
			return code
		}
		err = e.err
	}
	if list, ok := errors.AsType[settingsError](err); ok {
		fmt.Fprintln(std.err, "settings:")
		for _, problem := range list {
			fmt.Fprintln(std.err, "  "+problem)
		}
		return exitUsage
	}
	fmt.Fprintf(std.err, "%s: %v\n", programName, err)
	return code
}

type versionCommand struct{}

func (versionCommand) Run(std streams) error {
	_, err := fmt.Fprintln(std.out, programName, version)
	return err
}

type helpCommand struct{}

func (helpCommand) Run(parser *kong.Kong) error {
	parser.Parse([]string{"--help"}) //nolint:errcheck // it prints the help, and then misses a command
	return nil
}
