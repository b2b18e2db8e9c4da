package fleet

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/testkit"
)

// swapped makes name a link to another place, at once.
func swapped(to, name string) error {
	return errors.Join(os.Symlink(to, name+".new"), os.Rename(name+".new", name))
}

// TestTenantsAreWatched: whatever changes in the folder is told, and is in force two looks later, also where a folder takes the place of
// the one that was watched.
func TestTenantsAreWatched(t *testing.T) {
	for name, test := range map[string]struct {
		change func(dir string) error
		of     string
		want   string // the tenant's project; "": there is no such tenant
	}{
		"written": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "a.yaml"), []byte("PROJECT_ID: 3"), 0o600)
		}, "a", "3"},
		"removed": {func(dir string) error { return os.Remove(filepath.Join(dir, "a.yaml")) }, "a", ""},
		"renamed": {func(dir string) error { return os.Rename(filepath.Join(dir, "a.yaml"), filepath.Join(dir, "b.yaml")) }, "b", "1"},
		"replaced": {func(dir string) error {
			return os.Rename(filepath.Join(dir, "..2", "c.yaml"), filepath.Join(dir, "a.yaml"))
		}, "a", "4"},
		// A mount of Kubernetes is a hidden folder behind links, which is swapped whole.
		"swapped": {func(dir string) error { return swapped("..2", filepath.Join(dir, "..data")) }, "c", "4"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := testkit.Folder(t, map[string]string{"a.yaml": "PROJECT_ID: 1", "..1/c.yaml": "PROJECT_ID: 2", "..2/c.yaml": "PROJECT_ID: 4"})
			link := filepath.Join(t.TempDir(), "tenants")
			if err := errors.Join(swapped("..1", filepath.Join(dir, "..data")), swapped("..data/c.yaml", filepath.Join(dir, "c.yaml")), swapped(t.TempDir(), link)); err != nil {
				t.Fatal(err)
			}
			d := newTenantsDir(t, link, testkit.Complete)
			d.watch = newFolderWatch(slog.New(slog.DiscardHandler))
			defer d.watch.close() //nolint:errcheck // the test is over
			lookAt(t, d)
			if err := swapped(dir, link); err != nil { // of which nobody tells, as it is beside the folder
				t.Fatal(err)
			}
			lookAt(t, d)
			if before := lookAt(t, d); lookAt(t, d)["a"].Settings != before["a"].Settings || d.within != lookAnyway || len(before) != 2 {
				t.Fatalf("before the change: %d tenants, the next look in %v", len(before), d.within)
			}
			if err := test.change(dir); err != nil {
				t.Fatal(err)
			}
			select {
			case <-d.watch.told:
			case <-time.After(time.Minute):
				t.Fatal("nothing was told")
			}
			if lookAt(t, d); d.within != lookAgain {
				t.Errorf("the second look is in %v", d.within)
			}
			got := ""
			if found := lookAt(t, d)[test.of]; found.Settings != nil {
				got = found.Settings.ProjectID
			}
			if got != test.want {
				t.Errorf("the project is %q, want %q", got, test.want)
			}
		})
	}
}

// TestWhenTenantsAreLookedAt: soon where something is not as it should be, or was told, else in a minute.
func TestWhenTenantsAreLookedAt(t *testing.T) {
	for name, test := range map[string]struct {
		within time.Duration // of a change of which nobody tells
		told   bool
		want   time.Duration
	}{
		"nothing is told": {within: lookAnyway, want: lookAnyway},
		"told":            {within: lookAnyway, told: true, want: lookAgain},
		"not settled":     {within: lookAgain, want: lookAgain},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &tenantsDir{within: test.within, watch: newFolderWatch(nil)}
				if test.told {
					d.watch.told <- struct{}{}
				}
				ctx, cancel := context.WithCancel(t.Context())
				began := time.Now()
				if lives := d.wait(ctx); !lives || time.Since(began) != test.want {
					t.Errorf("waited %v (%v), want %v", time.Since(began), lives, test.want)
				}
				cancel()
				if began = time.Now(); d.wait(ctx) || time.Since(began) > 0 {
					t.Error("it waits though all ends")
				}
			})
		})
	}
}

// TestTenantsUnwatched: that nothing is told is said once, and not where the folder cannot even be read.
func TestTenantsUnwatched(t *testing.T) {
	var log bytes.Buffer
	dir := t.TempDir()
	d := newTenantsDir(t, filepath.Join(dir, "tenants"), testkit.Complete)
	d.watch = newFolderWatch(slog.New(slog.NewTextHandler(&log, nil)))
	if _, err := d.look(); err == nil || d.within != lookAgain || log.Len() > 0 {
		t.Errorf("a folder that is gone: %v, another look in %v, log: %s", err, d.within, &log)
	}
	if err := os.Mkdir(d.path, 0o700); err != nil {
		t.Fatal(err)
	}
	lookAt(t, d)
	if err := d.watch.close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		lookAt(t, d)
	}
	if n := strings.Count(log.String(), "TENANTS_DIR cannot be watched"); n != 1 {
		t.Errorf("said %d times: %s", n, &log)
	}
}
