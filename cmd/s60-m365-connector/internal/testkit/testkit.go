// Package testkit is what tests of several packages need: settings, folders, and the pages of
// docs, which are held to the program.
package testkit

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Root is the folder of the repository.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("the test does not run within the repository")
		}
		dir = filepath.Dir(dir)
	}
}

// Read is a file of the repository as text.
func Read(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(Root(t), filepath.FromSlash(path)))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Fences are the code blocks of a page in one language, in order.
func Fences(page, language string) []string {
	var list []string
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```").FindAllStringSubmatch(page, -1) {
		list = append(list, m[1])
	}
	return list
}

// Hold compares a part of a page of docs, between two comments, with
// what it should be, or writes it when UPDATE_DOCS is set.
func Hold(t testing.TB, page, begin, end, want string) {
	t.Helper()
	begin, end = "<!-- "+begin+" -->\n", "<!-- "+end+" -->"
	path := filepath.Join(Root(t), "docs", page)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(data), begin)
	got, after, ended := strings.Cut(rest, end)
	if !found || !ended {
		t.Fatalf("%s has no place for what stands between %q and %q", path, begin, end)
	}
	if got == want {
		return
	}
	if os.Getenv("UPDATE_DOCS") == "" {
		t.Fatalf("%s is stale; UPDATE_DOCS=1 go test ./cmd/... writes it. Want:\n%s", path, want)
	}
	if err := os.WriteFile(path, []byte(before+begin+want+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Complete is an environment with nothing missing.
var Complete = map[string]string{
	"TENANT_ID": "11111111-2222-4333-8444-555555555555", "CLIENT_ID": "22222222-2222-4333-8444-555555555555",
	"CLIENT_SECRET": "the-secret-value", "PROJECT_ID": "301", "TOKEN": "the-token-value",
}

// Settings is [Complete] with changes; a value of - takes a setting away.
func Settings(change map[string]string) map[string]string {
	env := maps.Clone(Complete)
	for k, v := range change {
		if v == "-" {
			delete(env, k)
			continue
		}
		env[k] = v
	}
	return env
}

// Folder makes a folder of files.
func Folder(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
