package load

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// openIngest makes the ingest service's destination:
// POST {base}/ingest/1.0/http/project/{project} with a bearer token.
func openIngest(config Config) (Destination, error) {
	base, err := parseURL(config.URL)
	if err != nil {
		return nil, err
	}
	if base.RawQuery != "" || base.Fragment != "" {
		return nil, fmt.Errorf("the base URL %s must not have a query or a fragment", base.Redacted())
	}
	project := config.ProjectID
	if strings.Trim(project, ".") == "" || strings.ContainsFunc(project, func(r rune) bool { return r <= ' ' || r == '/' || r == 0x7f }) {
		return nil, fmt.Errorf("%q is not a project id", project)
	}
	if config.Token == nil {
		return nil, errors.New("no token")
	}
	if base.Path == "" {
		base.Path = "/"
	}
	w := newWeb(config, base.JoinPath("ingest/1.0/http/project", url.PathEscape(project)))
	w.deniedAdvice = "Check that TOKEN (or TOKEN_FILE) is a valid ingest token of the project in PROJECT_ID"
	w.addressAdvice = "Check PROJECT_ID and S60_INGEST_BASE"
	w.movedAdvice = "Set S60_INGEST_BASE to the address that answers without a redirect"
	return w, nil
}
