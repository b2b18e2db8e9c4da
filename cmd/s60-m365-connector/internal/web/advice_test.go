package web

import (
	"strings"
	"testing"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/wording"
	"github.com/secure60/s60-m365-connector/engine/definition"
)

// The advice is of the error that is told: a proxy's 403 is no missing permission, and what carries its own remedy gets no second one.
func TestAdvice(t *testing.T) {
	feed := &definition.Feed{Permissions: []string{"AuditLog.Read.All"}}
	const own, grant, wait, passes = "Do what the error says.", "Grant the app AuditLog.Read.All", "Nothing: it waits", "Nothing if it passes"
	for text, want := range map[string]string{
		"the proxy 192.0.2.1:3128 does not connect to login.example:443: HTTP 403 Forbidden. Let the proxy pass it": own,
		"login.example cannot be resolved: no such host. " + wording.Sentence(wording.LetResolve):                   own,
		"tls: failed to verify certificate: x509: unknown authority. " + wording.Sentence(wording.LetTrust):         own,
		"dial tcp 192.0.2.1:443: connection refused. " + wording.Sentence(wording.LetReach):                         own,
		"the tenant's audit log is switched off. " + wording.Sentence(wording.SwitchAuditOn) + " (GET x: HTTP 400)": own,
		"the client secret has expired (AADSTS7000222). Create a new one":                                           own,
		"no access token: AADSTS700082: something new (HTTP 400, invalid_grant)":                                    "https://login.microsoftonline.com/error explains the code.",
		"the shared state is out of reach: NATS at x does not answer. Check that a server of STATE_URL runs":        own,
		"page 1: GET https://graph.example/v1.0/a: HTTP 403 Forbidden: required scopes are missing":                 grant,
		"page 1: GET https://graph.example/v1.0/a: HTTP 401":                                                        grant,
		"page 1: GET https://graph.example/v1.0/a: HTTP 429":                                                        wait,
		"page 1: GET https://graph.example/v1.0/a: HTTP 503":                                                        passes,
		"page 403: GET https://graph.example/v1.0/a: the body has no value":                                         "The same span is read again",
	} {
		if got := advice(text, feed); !strings.HasPrefix(got, want) {
			t.Errorf("%s: the advice is %q, want %q", text, got, want)
		}
	}
}
