package main

import (
	"fmt"
	"os"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/definitions"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/fleet"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/wording"
)

type validateCommand struct {
	Dir string `arg:"" optional:"" help:"Folder with feeds/ and mappings/ that go over the shipped ones; CONFIG_DIR if not given."`
}

// Run checks every definition file, and those of tenants.
func (v validateCommand) Run(std streams) error {
	s, env, err := settings.Load(true)
	if err != nil {
		return err
	}
	dir := s.ConfigDir
	if v.Dir != "" {
		dir = v.Dir
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			return program.Exit(program.Usage, fmt.Errorf("%s is no folder", dir))
		}
	}
	defs, err := definitions.LoadValid(s, dir, std.err)
	if err != nil {
		return err
	}
	if err := definitions.PrintUnknownNames(s, defs, dir, std.err); err != nil {
		return err
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
