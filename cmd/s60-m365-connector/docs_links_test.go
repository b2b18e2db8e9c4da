package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/testkit"
)

// This file holds pages to what they point at: other pages, and sessions that run what is shown.

// TestShownCommandsRun: of every command that a page shows, some session runs the subcommand with
// those flags, all of them at a time.
func TestShownCommandsRun(t *testing.T) {
	flags := regexp.MustCompile(`--[a-z-]+`)
	files, err := filepath.Glob("testdata/session/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no sessions", err)
	}
	var run []string
	ran := regexp.MustCompile(program.Name + " .*")
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		run = append(run, ran.FindAllString(string(archive.Comment), -1)...)
	}
	for _, page := range pagesOfDocs(t) {
		for _, block := range testkit.Fences(testkit.Read(t, page), "console") {
			for line := range strings.Lines(block) {
				_, command, found := strings.Cut(line, program.Name+" ")
				if !found || !strings.HasPrefix(line, "$ ") || strings.HasPrefix(line, "$ docker run ") {
					continue
				}
				sub := strings.Fields(command)[0]
				shown := flags.FindAllString(command, -1)
				if !slices.ContainsFunc(run, func(by string) bool {
					with := flags.FindAllString(by, -1)
					return strings.Contains(by+" ", program.Name+" "+sub+" ") && !slices.ContainsFunc(shown, func(f string) bool { return !slices.Contains(with, f) })
				}) {
					t.Errorf("%s shows %q, which no session runs", page, strings.TrimSpace(line))
				}
			}
		}
	}
}

// TestLinks: what a page links to within the repository is there, and so is the heading.
func TestLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#\s]*)(?:#([^)\s]+))?\)`)
	heading := regexp.MustCompile(`(?m)^#+ (.*)$`)
	noAnchor := regexp.MustCompile("[^a-z0-9 _-]")
	for _, page := range pagesOfDocs(t) {
		for _, m := range link.FindAllStringSubmatch(testkit.Read(t, page), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			target := page
			if m[1] != "" {
				target = filepath.Join(filepath.Dir(page), m[1])
			}
			if _, err := os.Stat(filepath.Join(Root, target)); err != nil {
				t.Errorf("%s links to %s, which is not there", page, m[1])
				continue
			}
			if m[2] == "" {
				continue
			}
			if !slices.ContainsFunc(heading.FindAllStringSubmatch(testkit.Read(t, target), -1), func(h []string) bool {
				return strings.ReplaceAll(noAnchor.ReplaceAllString(strings.ToLower(h[1]), ""), " ", "-") == m[2]
			}) {
				t.Errorf("%s links to #%s of %s, which has no such heading", page, m[2], target)
			}
		}
	}
}
