//go:build unix

package fleet

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/testkit"
)

// TestTenantPipe: nobody waits for what a pipe has to say.
func TestTenantPipe(t *testing.T) {
	dir := testkit.Folder(t, map[string]string{"a.yaml": "PROJECT_ID: 1"})
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe.yaml"), 0o600); err != nil {
		t.Fatal(err)
	}
	found := lookAt(t, newTenantsDir(t, dir, testkit.Complete))
	if got := strings.Join(found["pipe"].Problems, ""); !strings.Contains(got, "cannot be read: it is no regular file") || found["a"].Settings == nil {
		t.Errorf("problems of the pipe: %q", got)
	}
}
