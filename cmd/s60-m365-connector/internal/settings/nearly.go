package settings

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/secure60/s60-m365-connector/engine/expression"
)

// This file warns of variables that are nearly a setting: a misspelt one would be ignored in
// silence.

// others are variables of other programs that are nearly a setting.
var others = []string{"HTTP_PROXY", "ALL_PROXY", "SSL_CERT_DIR"}

func (s *Settings) warnings(env map[string]string) {
	tenant, process := Names()
	known := append(append(tenant, process...), others...)
	for _, other := range PassedOn {
		known = append(known, other.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if name != strings.ToUpper(name) || len(name) < 5 || slices.Contains(known, name) {
			continue
		}
		near := expression.Nearest(name, known)
		if near == "" || near[0] != name[0] || abs(len(near)-len(name)) > 1 {
			continue
		}
		s.Warnings = append(s.Warnings, fmt.Sprintf("%s is set, which is no setting: did you mean %s?", name, near))
	}
}

func abs(n int) int { return max(n, -n) }
