package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/author"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/definitions"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/doctor"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/fleet"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/engine/extract"
)

type newCommand struct {
	Feed newFeedCommand `cmd:"" help:"Write a feed, its mapping and a golden case from one answer of an endpoint."`
}

type newFeedCommand struct {
	configFlag
	Name string `arg:"" help:"What the feed is called: lower-case letters, digits and hyphens."`
	From string `placeholder:"ANSWER.json" help:"An answer of the endpoint, as a file."`
	URL  string `name:"url" help:"The endpoint, which is asked with the credentials of the settings; with --from, where that answer came from."`
}

var feedName = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

// Run writes into the folder of definitions. It overwrites nothing.
func (n newFeedCommand) Run(ctx context.Context, std streams) error {
	switch {
	case !feedName.MatchString(n.Name):
		return program.Exit(program.Usage, fmt.Errorf("%q is no name for a feed: write lower-case letters, digits and hyphens, such as door-log", n.Name))
	case n.From == "" && n.URL == "":
		return program.Exit(program.Usage, errors.New("write --from ANSWER.json, a file with an answer of the endpoint, or --url URL, to ask it"))
	}
	if n.Config != "" {
		if err := os.MkdirAll(n.Config, 0o755); err != nil {
			return err
		}
	}
	s, _, err := settings.Load(n.From != "", n.Config)
	if err != nil {
		return err
	}
	bases := author.Bases{"MS_GRAPH_BASE": s.GraphBase, "MS_MANAGE_BASE": s.ManageBase}
	body, err := n.answer(ctx, s, bases)
	if err != nil {
		return err
	}
	answer, err := author.Read(body, n.URL, bases)
	if err != nil {
		return program.Exit(program.Failed, err)
	}
	written, err := answer.Write(s.ConfigDir, n.Name, bases)
	for _, file := range written {
		fmt.Fprintln(std.out, "written:", file)
	}
	if err != nil {
		return program.Exit(program.Usage, err)
	}
	defs, err := definitions.LoadValid(s, s.ConfigDir, std.err)
	if err != nil {
		return err
	}
	example, err := answer.Case(n.Name, filepath.Join(s.ConfigDir, "golden", "feeds", n.Name, "example.yaml"))
	if err == nil {
		err = example.Create("# Written by new feed. \"test\" runs it; \"test --update\" writes what is expected anew.\n", defs, s.Names)
	}
	if err != nil {
		return err
	}
	fmt.Fprintln(std.out, "written:", example.File)
	fmt.Fprintf(std.out, "Look at what is marked with a question mark, then: %s try %s, and %s test\n", program.Name, n.Name, program.Name)
	return nil
}

// answer is that of the file, or of the endpoint.
func (n newFeedCommand) answer(ctx context.Context, s *settings.Settings, bases author.Bases) ([]byte, error) {
	if n.From != "" {
		body, err := os.ReadFile(n.From)
		if err != nil {
			return nil, program.Exit(program.Usage, err)
		}
		return body, nil
	}
	credential, err := fleet.NewCredential(s)
	if err != nil {
		return nil, program.Exit(program.Usage, err)
	}
	client := extract.NewClient(fleet.ClientOptions(s, credential, slog.New(slog.DiscardHandler)))
	body, err := client.Get(ctx, author.Scope(n.URL, bases), n.URL)
	if err != nil {
		return nil, unanswered(err)
	}
	return body, nil
}

// unanswered is why a service did not answer as it should, in words and with the exit code for it.
func unanswered(err error) error {
	code := program.Failed
	if auth, ok := errors.AsType[*extract.AuthError](err); ok && !auth.Temporary {
		code = program.Credentials
	}
	return program.Exit(code, errors.New(doctor.InWords(err)))
}
