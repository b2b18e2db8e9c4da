package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/definitions"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/testkit"
	"github.com/secure60/s60-m365-connector/engine/simulator"
	"github.com/secure60/s60-m365-connector/feeds"
	"github.com/secure60/s60-m365-connector/mappings"
)

const (
	// smallestFeed reads what the simulated tenant has most of.
	smallestFeed = "name: %s\nauth: {scope: \"${MS_GRAPH_BASE}/.default\"}\nrequest: {url: \"${MS_GRAPH_BASE}/v1.0/auditLogs/signIns\"}\n" +
		"paging: {style: odata}\nrecords: value\nkey: id\nmapping: %s\n"
	smallestMapping = "name: %s\nfields: {operation: '\"thing-do\"'}\n"
)

// TestReplacedRuns: with shipped definitions replaced by the smallest of their names, files are valid and the connector
// runs: each feed is polled and delivers, and none fails. Feeds are replaced all at once; mappings by halves, so
// that each meets shipped ones that include it. That nothing becomes invalid by one alone is
// TestReplacedByTheSmallest's matter.
func TestReplacedRuns(t *testing.T) {
	if testing.Short() {
		t.Skip("every definition, replaced: sessions run the shipped ones")
	}
	s, err := settings.Read(testkit.Complete, true)
	if err != nil {
		t.Fatal(err)
	}
	defs, problems := definitions.Load(s, "")
	if defs == nil {
		t.Fatal(problems)
	}
	names := func(of fs.FS) (list []string) {
		files, _ := fs.Glob(of, "*.yaml")
		for _, file := range files {
			list = append(list, strings.TrimSuffix(file, ".yaml"))
		}
		return list
	}
	type group struct {
		files map[string]string
		feeds []string // that must deliver
		does  []string // of them, those whose mapping was replaced
	}
	groups := map[string]*group{"feeds": {files: map[string]string{}, feeds: names(feeds.FS)}}
	for _, name := range names(feeds.FS) {
		groups["feeds"].files["feeds/"+name+".yaml"] = fmt.Sprintf(smallestFeed, name, "entra-signin")
	}
	for half := range 2 {
		g := &group{files: map[string]string{}}
		for name := range defs.Mappings { // each that a feed can name is one's
			feed := "probe-" + name
			g.files["feeds/"+feed+".yaml"] = fmt.Sprintf(smallestFeed, feed, name)
			g.feeds = append(g.feeds, feed)
		}
		for i, name := range names(mappings.FS) {
			if i%2 != half {
				continue
			}
			g.files["mappings/"+name+".yaml"] = fmt.Sprintf(smallestMapping, name)
			if defs.Mappings[name] != nil {
				g.does = append(g.does, "probe-"+name)
			}
		}
		groups[fmt.Sprintf("mappings %d of 2", half+1)] = g
	}
	sim, err := simulator.Start(simulator.Options{Seed: 7, Records: 120, History: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	defer sim.Close()
	for name, g := range groups {
		t.Run(name, func(t *testing.T) {
			dir := testkit.Folder(t, g.files)
			if g.does != nil { // the shipped feeds run, too
				if err := writeQuickFeeds(dir); err != nil {
					t.Fatal(err)
				}
			}
			output := filepath.Join(t.TempDir(), "events.ndjson")
			for name, value := range sim.EnvMap() {
				t.Setenv(name, value)
			}
			for name, value := range map[string]string{"S60_INGEST_BASE": "", "PROJECT_ID": "", "TOKEN": "", "OUTPUT": output, "CONFIG_DIR": dir, "STATE_DIR": t.TempDir(), "LISTEN_ADDR": ""} {
				t.Setenv(name, value)
			}
			if code, said := mainOf(t, "validate", dir); code != program.Done {
				t.Fatalf("validate: %d\n%s", code, said)
			}
			if code, said := mainOf(t, "run", "--once"); code != program.Done || strings.Contains(said, "level=ERROR") {
				t.Fatalf("run: %d\n%s", code, said)
			}
			data, err := os.ReadFile(output)
			if err != nil {
				t.Fatal(err)
			}
			count, done := map[string]int{}, map[string]int{}
			for line := range bytes.Lines(data) {
				var event struct {
					Source    string `json:"source_name"`
					Operation string
				}
				if err := json.Unmarshal(line, &event); err != nil {
					t.Fatal(err)
				}
				if strings.HasPrefix(event.Operation, "connector-") {
					continue // of the connector itself, such as that it does not know a field
				}
				count[event.Source]++
				if event.Operation == "thing-do" {
					done[event.Source]++
				}
			}
			for _, feed := range g.feeds {
				if count[feed] == 0 {
					t.Errorf("feed %s delivered nothing", feed)
				}
			}
			for _, feed := range g.does {
				if done[feed] != count[feed] {
					t.Errorf("feed %s: %d of %d events are the replaced mapping's", feed, done[feed], count[feed])
				}
			}
		})
	}
}
