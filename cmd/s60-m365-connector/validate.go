package main

import (
	"fmt"
	"os"
)

type validateCommand struct {
	Dir string `arg:"" optional:"" help:"Folder with feeds/ and mappings/ that go over the shipped ones; CONFIG_DIR if not given."`
}

// Run checks every definition file.
func (v validateCommand) Run(std streams) error {
	s, _, err := loadSettings(true)
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
	return nil
}
