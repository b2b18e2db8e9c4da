package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/simulator"
	"github.com/secure60/s60-m365-connector/feeds"
	"github.com/secure60/s60-m365-connector/mappings"
)

// shapes are feeds of the shapes of the language that no shipped one has.
var shapes = filepath.Join("internal", "cases", "testdata")

// TestShippedFeedsDeliver runs every shipped feed, and those of shapes, against the simulator, three times over some hours, as
// present states tell nothing at first: each delivers events, and its ledger adds up.
func TestShippedFeedsDeliver(t *testing.T) {
	startsTheProgram(t)
	var later atomic.Int64
	var mu sync.Mutex
	events := map[string]int{} // by feed
	sim, err := simulator.Start(simulator.Options{
		Seed: 11, Records: 1500, History: 5 * time.Hour, Subscribed: simulator.ContentTypes, Now: func() time.Time { return time.Now().Add(time.Duration(later.Load())) },
		OnEvent: func(event []byte) {
			var e struct {
				Feed string `json:"source_name"`
			}
			if err := json.Unmarshal(event, &e); err == nil {
				mu.Lock()
				events[e.Feed]++
				mu.Unlock()
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer sim.Close()
	dir := t.TempDir()
	if err := writeQuickFeeds(filepath.Join(dir, "config")); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"feeds", "mappings"} {
		if err := os.CopyFS(filepath.Join(dir, "config", kind), os.DirFS(filepath.Join(shapes, kind))); err != nil {
			t.Fatal(err)
		}
	}
	read, err := settings.Read(sim.EnvMap(), false)
	if err != nil {
		t.Fatal(err)
	}
	set, problems := definition.Load(definition.Options{Feeds: feeds.FS, Mappings: mappings.FS, Overlay: os.DirFS(shapes), Settings: read.Names})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	var names []string
	for _, feed := range set.Feeds {
		if set.ArchiveOf(feed.Name) == nil { // an archive runs for backfill only: the session "archive"
			names = append(names, feed.Name)
		}
	}
	run := func() string {
		cmd := exec.Command(program.Name, "run", "--once")
		cmd.Env = append(sim.Env(), "PATH="+os.Getenv("PATH"), "STATE_DIR="+dir+"/state", "CONFIG_DIR="+dir+"/config", "LISTEN_ADDR=", "INITIAL_LOOKBACK_MINUTES=300",
			"FEEDS="+strings.Join(names, ","))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("run: %v\n%s", err, out)
		}
		return string(out)
	}
	out := run()
	for _, hours := range []float64{3.5, 6.5} {
		later.Store(int64(hours * float64(time.Hour)))
		out += run()
	}
	mu.Lock()
	defer mu.Unlock()
	for _, name := range names {
		t.Logf("%-42s %d", name, events[name])
		if events[name] == 0 {
			t.Errorf("%s delivers nothing", name)
		}
	}
	if strings.Contains(out, "level=ERROR") || len(sim.Report().Violations) > 0 {
		t.Errorf("something went wrong; violations %q", sim.Report().Violations)
	}
	if t.Failed() {
		t.Logf("%s", out)
	}
}
