// Package testkit is what tests of several packages need: settings, folders, and the pages of
// docs, which are held to the program.
package testkit

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/sebdah/goldie/v2"
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

// Hold compares a part of a page of docs, between two comments that name it, with
// what it should be; -update writes it.
func Hold(t *testing.T, page, part, want string) {
	t.Helper()
	text := Read(t, "docs/"+page+".md")
	at := regexp.MustCompile(`(?s)<!-- ` + part + `: [^>]*-->\n(.*?)<!-- end of ` + part + ` -->`).FindStringSubmatchIndex(text)
	if at == nil {
		t.Fatalf("docs/%s.md has no place for %s", page, part)
	}
	goldie.New(t, goldie.WithFixtureDir(filepath.Join(Root(t), "docs")), goldie.WithNameSuffix(".md"), goldie.WithDiffEngine(goldie.ClassicDiff)).
		Assert(t, page, []byte(text[:at[2]]+want+text[at[3]:]))
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
