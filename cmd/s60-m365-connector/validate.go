package main

import (
	"fmt"
	"os"
)

type validateCommand struct {
	Dir string `arg:"" optional:"" help:"Folder with feeds/ and mappings/ that go over the shipped ones; CONFIG_DIR if not given."`
}

// Run checks every definition file, and those of tenants.
func (v validateCommand) Run(std streams) error {
	s, env, err := loadSettings(true)
	if err != nil {
		return err
	}
	dir := s.configDir
	if v.Dir != "" {
		dir = v.Dir
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			return exit(exitUsage, fmt.Errorf("%s is no folder", dir))
		}
	}
	defs, err := definitionsOr(s, dir, std.err)
	if err != nil {
		return err
	}
	if err := printUnknownNames(s, defs, dir, std.err); err != nil {
		return err
	}
	fmt.Fprintf(std.out, "%d feeds and %d mappings are valid\n", len(defs.set.Feeds), len(defs.mappings))
	if s.tenantsDir == "" {
		return nil
	}
	return v.tenants(s, env, defs, std)
}

// tenants checks the files of TENANTS_DIR.
func (validateCommand) tenants(s *settings, env map[string]string, defs *definitions, std streams) error {
	tenants, err := lookOnce(s, env, defs.set)
	if err != nil {
		return err
	}
	problems := 0
	for _, t := range tenants {
		for _, problem := range t.problems {
			problems++
			fmt.Fprintln(std.err, problem)
		}
	}
	if problems > 0 {
		return exit(exitUsage, fmt.Errorf("%d %s in the tenants' files", problems, plural(problems, "problem")))
	}
	fmt.Fprintf(std.out, "%d %s valid\n", len(tenants), map[bool]string{true: "tenant is", false: "tenants are"}[len(tenants) == 1])
	return nil
}
