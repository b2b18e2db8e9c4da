package main

import (
	"fmt"
	"strings"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/definitions"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/engine/expression"
)

type showCommand struct {
	configFlag
	Kind   string `arg:"" enum:"feed,mapping,schema" help:"feed, mapping or schema."`
	Name   string `arg:"" optional:"" help:"Which one; without it, all names."`
	Merged bool   `help:"What is in force with your own files, instead of what is shipped; beside each key of another file stands which."`
}

// Run prints a definition or a schema.
func (c showCommand) Run(std streams) error {
	s, _, err := settings.Load(true, c.Config)
	if err != nil {
		return err
	}
	if c.Merged && c.Kind == "schema" {
		return program.Exit(program.Usage, fmt.Errorf("--merged is for feeds and mappings: schemas cannot be extended"))
	}
	names := definitions.Names(c.Kind)
	if c.Merged {
		names = definitions.InForce(s, s.ConfigDir, c.Kind)
	}
	if c.Name == "" {
		for _, name := range names {
			fmt.Fprintln(std.out, name)
		}
		return nil
	}
	text := definitions.Shipped(c.Kind, c.Name)
	if c.Merged {
		text = definitions.Merged(s, s.ConfigDir, c.Kind, c.Name)
	}
	if text == nil {
		for i, name := range names {
			names[i], _, _ = strings.Cut(name, " ")
		}
		return program.Exit(program.Usage, fmt.Errorf("there is no %s %q%s", c.Kind, c.Name, instead(c.Name, names)))
	}
	_, err = std.out.Write(text)
	return err
}

// instead is what a name may have been meant for.
func instead(name string, known []string) string {
	if near := expression.Nearest(name, known); near != "" {
		return fmt.Sprintf(": did you mean %q?", near)
	}
	return "; there are: " + strings.Join(known, ", ")
}
