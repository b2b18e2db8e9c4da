package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/testkit"
	"github.com/secure60/s60-m365-connector/engine/simulator"
)

// answered is what a recipe's reader has: one answer of an endpoint, and a record.
const (
	answerOfRecipes = `{"@odata.context": "https://graph.microsoft.com/v1.0/$metadata#auditLogs/directoryAudits", "value": [
  {"id": "Directory_1", "category": "RoleManagement", "activityDisplayName": "Add member to role", "result": "success", "activityDateTime": "2026-03-01T10:00:00Z",
   "initiatedBy": {"user": {"id": "a", "userPrincipalName": "admin@tenant.example", "ipAddress": "203.0.113.7"}}}]}`
	recordOfRecipes = `{"id": "1", "createdDateTime": "2026-03-01T10:00:00Z", "userPrincipalName": "breakglass-1@tenant.example", "status": {"errorCode": 0}}`
)

// TestRecipes runs the sections of the pages for authors that show commands, each in an empty folder with the files that
// the section shows, an answer and a record, against a simulated tenant.
func TestRecipes(t *testing.T) {
	sim, err := simulator.Start(simulator.Options{Seed: 7, Records: 200, History: 3 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	defer sim.Close()
	ran := 0
	for _, page := range []string{"docs/feeds.md", "docs/mappings.md"} {
		for _, section := range strings.Split(testkit.Read(t, page), "\n## ")[1:] {
			title, _, _ := strings.Cut(section, "\n")
			var lines []string
			for _, block := range testkit.Fences(section, "console") {
				for line := range strings.Lines(block) {
					if command, ok := strings.CutPrefix(strings.TrimSpace(line), "$ "); ok {
						lines = append(lines, command)
					}
				}
			}
			if len(lines) == 0 {
				continue
			}
			ran++
			t.Run(page+"/"+title, func(t *testing.T) {
				t.Chdir(t.TempDir())
				files := map[string]string{"answer.json": answerOfRecipes, "record.json": recordOfRecipes}
				for _, block := range testkit.Fences(section, "yaml") {
					name := regexp.MustCompile(`(?m)^name: (\S+)`).FindStringSubmatch(block)
					if name == nil {
						continue
					}
					kind := "mappings"
					if strings.Contains(block, "/feed.schema.json") {
						kind = "feeds"
					}
					files["config/"+kind+"/"+name[1]+".yaml"] = block
				}
				for name, text := range files {
					if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				for name, value := range sim.EnvMap() {
					t.Setenv(name, value)
				}
				for name, value := range map[string]string{"CONFIG_DIR": "config", "STATE_DIR": "state", "OUTPUT": "events.ndjson", "LISTEN_ADDR": "", "ENABLE_MGMT_ACTIVITY": "false"} {
					t.Setenv(name, value)
				}
				for _, line := range lines {
					if args, ok := strings.CutPrefix(line, program.Name+" "); ok {
						if code, output := mainOf(t, strings.Fields(args)...); code != program.Done {
							t.Fatalf("%s: %d\n%s", line, code, output)
						}
					} else if output, err := exec.Command("sh", "-c", line).CombinedOutput(); err != nil {
						t.Fatalf("%s: %v\n%s", line, err, output)
					}
				}
			})
		}
	}
	if ran < 4 {
		t.Errorf("only %d recipes were found", ran)
	}
}
