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

// shippedBinary is the program, or what -session.binary names, alone in a folder under its name.
func shippedBinary(t *testing.T) (folder string) {
	t.Helper()
	folder = t.TempDir()
	binary := filepath.Join(folder, program.Name)
	if *sessionBinary != "" {
		of, err := filepath.Abs(*sessionBinary)
		if err == nil {
			err = os.Symlink(of, binary)
		}
		if err != nil {
			t.Fatal(err)
		}
		return folder
	}
	of, err := os.Executable() // called by the program's name, this test is the program: see TestMain
	if err == nil {
		err = os.Symlink(of, binary)
	}
	if err != nil {
		t.Fatal(err)
	}
	return folder
}

// TestRecipes runs the sections of the pages for authors that show commands, each in an empty folder with the files that
// the section shows, an answer and a record, against a simulated tenant, with the program alone: nothing of the
// repository and of the machine's settings is there. Those of the README are sessions: TestReadmeIsWhatSessionsRun.
func TestRecipes(t *testing.T) {
	startsTheProgram(t)
	folder := shippedBinary(t)
	sim, err := simulator.Start(simulator.Options{Seed: 7, Records: 200, History: 3 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sim.Close() })
	ran := 0
	for _, page := range []string{"docs/feeds.md", "docs/mappings.md"} {
		for _, section := range strings.Split(testkit.Read(t, page), "\n## ")[1:] {
			title, _, _ := strings.Cut(section, "\n")
			lines := recipesOf("\n## "+section, page)
			if len(lines) == 0 {
				continue
			}
			ran++
			t.Run(page+"/"+title, func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
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
					name = filepath.Join(dir, name)
					if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				env := []string{"PATH=" + folder + ":/usr/bin:/bin", "CONFIG_DIR=config", "STATE_DIR=state", "OUTPUT=events.ndjson", "LISTEN_ADDR=", "ENABLE_MGMT_ACTIVITY=false"}
				for name, value := range sim.EnvMap() {
					if name != "OUTPUT" && !strings.HasPrefix(name, "S60_") && name != "PROJECT_ID" && name != "TOKEN" {
						env = append(env, name+"="+value)
					}
				}
				for _, line := range lines {
					command := exec.Command("/bin/sh", "-c", line)
					command.Dir, command.Env = dir, env
					if output, err := command.CombinedOutput(); err != nil {
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

// recipesOf are the commands of the sections of a page that TestRecipes runs.
func recipesOf(text, page string) (lines []string) {
	if page != "docs/feeds.md" && page != "docs/mappings.md" {
		return nil
	}
	for _, section := range strings.Split(text, "\n## ")[1:] {
		for _, block := range testkit.Fences(section, "console") {
			lines = append(lines, commandsOf(block)...)
		}
	}
	return lines
}
