// Package mappings holds the shipped mappings.
package mappings

import "embed"

// FS holds the shipped mappings, *.yaml at its root.
//
//go:embed *.yaml
var FS embed.FS
