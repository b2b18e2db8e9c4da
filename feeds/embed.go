// Package feeds holds the shipped feeds.
package feeds

import "embed"

// FS holds the shipped feeds, *.yaml at its root.
//
//go:embed *.yaml
var FS embed.FS
