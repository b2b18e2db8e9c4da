package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/author"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/cases"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/definitions"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/wording"
	"github.com/secure60/s60-m365-connector/engine/transform"
)

type testCommand struct {
	configFlag
	Dir    string `arg:"" optional:"" help:"Folder with golden/<mapping>/<case>.json and golden/feeds/<feed>/<case>.yaml, or that golden folder itself; CONFIG_DIR if not given."`
	Update bool   `help:"Write the events as they are now, instead of comparing."`
}

// Run compares the events of golden cases with those on file. Mappings under
// the folder go over the shipped ones.
func (t testCommand) Run(std streams) error {
	s, _, err := settings.Load(true, t.Config)
	if err != nil {
		return err
	}
	dir := s.ConfigDir
	if t.Dir != "" {
		dir = t.Dir
	}
	root, overlay := filepath.Join(dir, "golden"), dir
	if info, err := os.Stat(root); err != nil || !info.IsDir() {
		root, overlay = dir, s.ConfigDir
	}
	ofFeeds, err := cases.Find(root)
	if err != nil {
		return program.Exit(program.Usage, err)
	}
	ofMappings, err := author.GoldenCases(root)
	if err == nil && len(ofMappings)+len(ofFeeds) == 0 {
		err = fmt.Errorf("%s holds no cases: write a record into %s, or exchanges into %s",
			root, filepath.Join(root, "<mapping>", "<case>.json"), filepath.Join(root, "feeds", "<feed>", "<case>.yaml"))
	}
	if err != nil {
		return program.Exit(program.Usage, err)
	}
	defs, err := definitions.LoadValid(s, overlay, std.err)
	if err != nil {
		return err
	}
	if err := definitions.PrintUnknownNames(defs, overlay, std.err); err != nil {
		return err
	}
	passed, wrong, written := 0, 0, []string{}
	judge := func(file string, err error, write, compare func() error) {
		switch {
		case err != nil:
		case t.Update:
			err = write()
			written = append(written, file)
		default:
			err = compare()
		}
		if err != nil {
			wrong++
			fmt.Fprintf(std.out, "FAIL %s\n%s\n", file, "  "+strings.ReplaceAll(wording.Visible(err.Error()), "\n", "\n  "))
			return
		}
		passed++
	}
	var mapping *transform.Mapping
	compiled := "" // the name of that mapping: its cases follow each other
	for _, c := range ofMappings {
		var event []byte
		var err error
		if compiled != c.Mapping {
			if mapping, err = author.CompileStill(defs, s, c.Mapping); err == nil {
				compiled = c.Mapping
			}
		}
		if err == nil {
			event, err = c.Event(mapping)
		}
		judge(c.Golden, err, func() error { return os.WriteFile(c.Golden, event, 0o644) }, func() error {
			fields, err := author.EventFields(event)
			if _, held := fields["not_delivered"]; err == nil && !held {
				err = cases.HoldToSchema(fields)
			}
			return errors.Join(c.Compare(event), err)
		})
	}
	for _, c := range ofFeeds {
		got, err := c.Run(defs, s.Names)
		judge(c.File, err, func() error { return c.Write(got) }, func() error { return errors.Join(c.Compare(got), cases.HoldToSchema(got.Events...)) })
	}
	switch {
	case wrong > 0:
		fmt.Fprintf(std.out, "%d passed, %d failed\n", passed, wrong)
		return program.Exit(program.Failed, nil)
	case t.Update:
		fmt.Fprintf(std.out, "%s\n%d golden files written\n", strings.Join(written, "\n"), len(written))
	default:
		fmt.Fprintf(std.out, "%d passed, 0 failed\n", passed)
	}
	return nil
}
