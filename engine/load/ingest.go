package load

import "net/url"

// openIngest makes the ingest service's destination:
// POST {base}/ingest/1.0/http/project/{project} with a bearer token.
func openIngest(config Config) (Destination, error) {
	base, err := parseURL(config.URL)
	if err != nil {
		return nil, err
	}
	if base.Path == "" {
		base.Path = "/"
	}
	w := newWeb(config, base.JoinPath("ingest/1.0/http/project", url.PathEscape(config.ProjectID)))
	w.deniedAdvice = "Check that TOKEN (or TOKEN_FILE) is a valid ingest token of the project in PROJECT_ID"
	w.addressAdvice = "Check PROJECT_ID and S60_INGEST_BASE"
	w.movedAdvice = "Set S60_INGEST_BASE to the address that answers without a redirect"
	return w, nil
}
