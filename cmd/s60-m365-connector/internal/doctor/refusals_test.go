package doctor

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/testkit"
)

// TestRefusalsAreDocumented holds docs/messages.md to the codes that the
// program knows. -update writes them.
func TestRefusalsAreDocumented(t *testing.T) {
	var want strings.Builder
	want.WriteString("| in the error | cause | what to do |\n| --- | --- | --- |\n")
	for _, code := range slices.Sorted(maps.Keys(refusals)) {
		fmt.Fprintf(&want, "| `AADSTS%d` | %s | %s |\n", code, refusals[code].cause, refusals[code].remedy)
	}
	testkit.Hold(t, "messages", "refusals", want.String())
}
