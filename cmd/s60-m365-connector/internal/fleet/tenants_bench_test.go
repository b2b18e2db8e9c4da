package fleet

import (
	"fmt"
	"testing"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/testkit"
)

// BenchmarkLook is one look at a folder of a thousand tenants, whose files are as they were.
func BenchmarkLook(b *testing.B) {
	files := map[string]string{}
	for i := range 1000 {
		files[fmt.Sprintf("tenant-%03d.yaml", i)] = fmt.Sprintf("PROJECT_ID: %d\nENVIRONMENT: Tenant %d\nfeeds: {entra-risky-users: false}\n", i+1, i)
	}
	d := &tenantsDir{path: testkit.Folder(b, files), env: testkit.Complete, set: shippedDefinitions().Set}
	look := func() {
		if list, err := d.look(); err != nil || len(list) != len(files) {
			b.Fatalf("%d tenants: %v", len(list), err)
		}
	}
	look()
	for b.Loop() {
		look()
	}
}
