package fleet

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/testkit"
)

// BenchmarkLook is one look at a folder of a thousand tenants, whose files have not changed for an hour, or
// have all just been written, so that all are read again.
func BenchmarkLook(b *testing.B) {
	for name, age := range map[string]time.Duration{"unchanged": time.Hour, "read": 0} {
		b.Run(name, func(b *testing.B) {
			files := map[string]string{}
			for i := range 1000 {
				files[fmt.Sprintf("tenant-%03d.yaml", i)] = fmt.Sprintf("PROJECT_ID: %d\nENVIRONMENT: Tenant %d\nfeeds: {entra-risky-users: false}\n", i+1, i)
			}
			dir, written := testkit.Folder(b, files), time.Now().Add(-age)
			for name := range files {
				if err := os.Chtimes(filepath.Join(dir, name), written, written); err != nil {
					b.Fatal(err)
				}
			}
			d := &tenantsDir{path: dir, env: testkit.Complete, set: shippedDefinitions().Set}
			look := func() {
				if list, err := d.look(); err != nil || len(list) != len(files) {
					b.Fatalf("%d tenants: %v", len(list), err)
				}
			}
			look()
			for b.Loop() {
				look()
			}
		})
	}
}
