package main

import (
	"fmt"
	"os"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/definitions"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/fleet"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/wording"
	"github.com/secure60/s60-m365-connector/engine/definition"
)

type validateCommand struct {
	configFlag
	Place string `arg:"" optional:"" name:"dir-or-file" help:"Folder with feeds/ and mappings/ that go over the shipped ones, or one such file; CONFIG_DIR if not given."`
}

// Run checks every definition file, and those of tenants.
func (v validateCommand) Run(std streams) error {
	s, env, err := settings.Load(true, v.Config)
	if err != nil {
		return err
	}
	dir := s.ConfigDir
	for _, warning := range s.Warnings {
		fmt.Fprintln(std.err, "warning: "+warning)
	}
	if v.Place != "" {
		dir = v.Place
		if _, err := os.Stat(dir); err != nil {
			return program.Exit(program.Usage, fmt.Errorf("%s: %w", dir, wording.Underlying(err)))
		}
	}
	defs, err := definitions.LoadValid(s, dir, std.err)
	if err != nil {
		return err
	}
	for _, mapping := range defs.Mappings {
		mapping() // the shipped ones, too
	}
	if err := definitions.PrintUnknownNames(defs, dir, std.err); err != nil {
		return err
	}
	if err := definition.Print(std.err, definitions.Blinding(defs)); err != nil {
		return err
	}
	for _, f := range defs.Set.Own {
		fmt.Fprintln(std.out, definitions.DescribeOwn(f))
	}
	fmt.Fprintf(std.out, "%d feeds and %d mappings are valid\n", len(defs.Set.Feeds), len(defs.Mappings))
	if s.TenantsDir == "" {
		return nil
	}
	return v.tenants(s, env, defs, std)
}

// tenants checks the files of TENANTS_DIR.
func (validateCommand) tenants(s *settings.Settings, env map[string]string, defs *definitions.Compiled, std streams) error {
	tenants, err := fleet.Tenants(s, env, defs.Set)
	if err != nil {
		return err
	}
	problems := 0
	for _, t := range tenants {
		for _, problem := range t.Problems {
			problems++
			fmt.Fprintln(std.err, problem)
		}
	}
	if problems > 0 {
		return program.Exit(program.Usage, fmt.Errorf("%d %s in the tenants' files", problems, wording.Plural(problems, "problem")))
	}
	fmt.Fprintf(std.out, "%d %s valid\n", len(tenants), map[bool]string{true: "tenant is", false: "tenants are"}[len(tenants) == 1])
	return nil
}
