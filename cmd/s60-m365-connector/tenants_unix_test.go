//go:build unix

package main

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestTenantPipe: nobody waits for what a pipe has to say.
func TestTenantPipe(t *testing.T) {
	dir := folder(t, map[string]string{"a.yaml": "PROJECT_ID: 1"})
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe.yaml"), 0o600); err != nil {
		t.Fatal(err)
	}
	found := lookAt(t, newTenantsDir(t, dir, complete))
	if got := strings.Join(found["pipe"].problems, ""); !strings.Contains(got, "cannot be read: it is no regular file") || found["a"].settings == nil {
		t.Errorf("problems of the pipe: %q", got)
	}
}
