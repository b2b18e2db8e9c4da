package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/author"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/definitions"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/doctor"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/fleet"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/engine/extract"
)

type newCommand struct {
	Feed newFeedCommand `cmd:"" help:"Write a feed, its mapping and golden cases from one answer of an endpoint."`
}

type newFeedCommand struct {
	configFlag
	Name string `arg:"" help:"What the feed is called: lower-case letters, digits and hyphens."`
	From string `placeholder:"ANSWER.json" help:"An answer of the endpoint, as a file."`
	URL  string `name:"url" help:"The endpoint, which is asked with the credentials of the settings; with --from, where that answer came from."`
}

var feedName = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

// exampleCases is how many records become golden cases.
const exampleCases = 3

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
	body, err := n.answer(ctx, s)
	if err != nil {
		return err
	}
	answer, err := author.Read(body, n.URL)
	if err != nil {
		return program.Exit(program.Failed, err)
	}
	dir := s.ConfigDir
	files := []struct{ path, text string }{
		{filepath.Join(dir, "feeds", n.Name+".yaml"), answer.Feed(n.Name)},
		{filepath.Join(dir, "mappings", n.Name+".yaml"), answer.Mapping(n.Name)},
	}
	for _, f := range files {
		if _, err := os.Stat(f.path); err == nil {
			return program.Exit(program.Usage, fmt.Errorf("%s is there already: remove it, or choose another name", f.path))
		}
	}
	for i, record := range answer.Records[:min(len(answer.Records), exampleCases)] {
		var text bytes.Buffer
		if err := json.Indent(&text, record, "", "  "); err != nil {
			return err
		}
		text.WriteByte('\n')
		files = append(files, struct{ path, text string }{filepath.Join(dir, "golden", n.Name, fmt.Sprintf("example-%d.json", i+1)), text.String()})
	}
	for _, f := range files {
		if err := os.MkdirAll(filepath.Dir(f.path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(f.path, []byte(f.text), 0o644); err != nil {
			return err
		}
		fmt.Fprintln(std.out, "written:", f.path)
	}
	defs, err := definitions.LoadValid(s, dir, std.err)
	if err != nil {
		return err
	}
	cases, err := author.GoldenCases(filepath.Join(dir, "golden"))
	if err != nil {
		return err
	}
	mapping, err := author.CompileStill(defs, s, n.Name)
	if err != nil {
		return err
	}
	for _, c := range cases {
		if c.Mapping != n.Name {
			continue
		}
		event, err := c.Event(mapping)
		if err != nil {
			return err
		}
		if err := os.WriteFile(c.Golden, event, 0o644); err != nil {
			return err
		}
		fmt.Fprintln(std.out, "written:", c.Golden)
	}
	fmt.Fprintf(std.out, "Look at what is marked with a question mark, then: %s try %s, and %s test\n", program.Name, n.Name, program.Name)
	return nil
}

// answer is that of the file, or of the endpoint.
func (n newFeedCommand) answer(ctx context.Context, s *settings.Settings) ([]byte, error) {
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
	scope := author.Scope(n.URL)
	for _, base := range []string{s.GraphBase, s.ManageBase} {
		if base != "" && strings.HasPrefix(n.URL, base+"/") {
			scope = base + "/.default"
		}
	}
	client := extract.NewClient(fleet.ClientOptions(s, credential, slog.New(slog.DiscardHandler)))
	body, err := client.Get(ctx, scope, n.URL)
	if err != nil {
		if auth, ok := errors.AsType[*extract.AuthError](err); ok && !auth.Temporary {
			return nil, program.Exit(program.Credentials, errors.New(doctor.InWords(err)))
		}
		return nil, err
	}
	return body, nil
}
