package doctor

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/testkit"
	"github.com/secure60/s60-m365-connector/engine/extract"
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

// The platform has one code for a certificate that it does not know and for one that has ended: its words tell them apart.
func TestCertificateThatHasEnded(t *testing.T) {
	for reason, want := range map[string]string{
		"The key was not found.":   "the certificate does not match the app registration (AADSTS700027). Upload ",
		"The key used is expired.": "the certificate has expired (AADSTS700027). Create a new one, ",
	} {
		refused := &extract.AuthError{Status: 401, Code: 700027, Description: "AADSTS700027: Client assertion contains an invalid signature. [Reason - " + reason + ", Thumbprint of key used by client: '00']"}
		if got := InWords(refused); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s", reason, got)
		}
		if f, _ := describeRefusal(refused); !strings.HasPrefix(want, strings.TrimPrefix(f.Cause, "AADSTS700027: ")) {
			t.Errorf("%s: check says %s", reason, f.Cause)
		}
	}
}
