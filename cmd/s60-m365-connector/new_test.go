package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/testkit"
)

// mainOf runs a command, and gives what it printed.
func mainOf(t *testing.T, args ...string) (code int, output string) {
	t.Helper()
	var out bytes.Buffer
	code = Main(t.Context(), args, streams{in: strings.NewReader(""), out: &out, err: &out})
	return code, out.String()
}

// new feed --url asks the endpoint with a token for its host, and what it writes is valid and passes.
func TestNewFeedOfURL(t *testing.T) {
	var scope string
	mux := http.NewServeMux()
	mux.HandleFunc("POST /{tenant}/oauth2/v2.0/token", func(w http.ResponseWriter, r *http.Request) {
		scope = r.FormValue("scope")
		fmt.Fprint(w, `{"token_type": "Bearer", "expires_in": 3600, "access_token": "for-this-host"}`)
	})
	mux.HandleFunc("GET /v2/doors", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer for-this-host" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, `{"doors": [{"id": 7, "opened_at": "2026-03-01T10:00:00Z", "user": {"email": "Ann@tenant.example"}, "action": "Door Opened"}], "next": ""}`)
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	for name, value := range testkit.Settings(map[string]string{"MS_LOGIN_BASE": server.URL, "CONFIG_DIR": t.TempDir()}) {
		t.Setenv(name, value)
	}
	dir := filepath.Join(t.TempDir(), "config")
	if code, output := mainOf(t, "new", "feed", "doors", "--url", server.URL+"/v2/doors?site=1", "--config", dir); code != program.Done {
		t.Fatalf("%d\n%s", code, output)
	}
	if want := server.URL + "/.default"; scope != want {
		t.Errorf("the token was asked for %s, want %s", scope, want)
	}
	feed, err := os.ReadFile(filepath.Join(dir, "feeds", "doors.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{`auth: {scope: "` + server.URL + `/.default"}`, "url: '" + server.URL + "/v2/doors'", "site: '1'", "cursor: {field: opened_at}", "key: id"} {
		if !strings.Contains(string(feed), line) {
			t.Errorf("no %s in\n%s", line, feed)
		}
	}
	if code, output := mainOf(t, "validate", "--config", dir); code != program.Done || strings.Contains(output, "warning") {
		t.Errorf("validate: %d\n%s", code, output)
	}
	if code, output := mainOf(t, "test", dir); code != program.Done || !strings.Contains(output, "1 passed, 0 failed") {
		t.Errorf("test: %d\n%s", code, output)
	}
	if code, output := mainOf(t, "new", "feed", "doors", "--url", server.URL+"/v2/doors", "--config", dir); code != program.Usage || !strings.Contains(output, "is there already") {
		t.Errorf("it was written over: %d\n%s", code, output)
	}
	if code, output := mainOf(t, "new", "feed", "others", "--url", server.URL+"/v2/nothing", "--config", dir); code != program.Failed || !strings.Contains(output, "404") {
		t.Errorf("an endpoint that is not there: %d\n%s", code, output)
	}
}
