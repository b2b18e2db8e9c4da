package settings

import (
	"regexp"
	"strings"
)

// This file reads which tenant is collected, and by which credential.

// Identity is a managed identity, and where its tokens are asked for: see extract.ManagedIdentity.
type Identity struct{ ClientID, Endpoint, Header, Metadata string }

// credential is the one way in which the connector proves who it is.
type credential struct {
	Kind  string // the name of the setting that gave it
	Value string // the secret itself, or the path of the file
}

var tenantForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.-]*$`)

func (r *environment) tenant(s *Settings, offline bool) {
	if s.TenantID == "" && !offline {
		r.fail("TENANT_ID is missing: write the Directory (tenant) ID of the app registration")
	}
	for _, name := range []string{"TENANT_ID", "CLIENT_ID", "CLIENT_SECRET", "PROJECT_ID", "TOKEN"} {
		if v := r.text(name); !offline && v != "" && placeholder(v) {
			r.fail("%s still holds a placeholder: write the value of your own", name)
		}
	}
	if s.TenantID != "" && !tenantForm.MatchString(s.TenantID) {
		r.fail("TENANT_ID is %q: write the Directory (tenant) ID, such as 11111111-2222-3333-4444-555555555555", s.TenantID)
	}
	if s.ClientID == "" && !offline {
		r.fail("CLIENT_ID is missing: write the Application (client) ID of the app registration")
	}
}

var credentialKinds = []string{"CLIENT_SECRET", "CLIENT_SECRET_FILE", "CLIENT_CERTIFICATE_FILE", "FEDERATED_TOKEN_FILE", "MANAGED_IDENTITY"}

func (r *environment) credential(s *Settings) {
	var given []string
	for _, kind := range credentialKinds {
		if v := r.text(kind); v != "" && !(kind == "MANAGED_IDENTITY" && strings.EqualFold(v, "false")) {
			given = append(given, kind)
			s.Credential = credential{Kind: kind, Value: v}
		}
	}
	switch {
	case len(given) == 0:
		r.fail("CLIENT_SECRET is missing: write the client secret's value, or set one of %s instead", strings.Join(credentialKinds[1:], ", "))
	case len(given) > 1:
		r.fail("%s are set together: keep one of them", strings.Join(given, " and "))
	case strings.HasSuffix(s.Credential.Kind, "_FILE"):
		r.readable(s.Credential.Kind, s.Credential.Value)
	case s.Credential.Kind == "MANAGED_IDENTITY":
		r.managedIdentity(s)
	}
}

var identityForm = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// managedIdentity reads which identity of the host is meant, and what a container service says in the
// environment of where to ask for its tokens. (AZURE_POD_IDENTITY_AUTHORITY_HOST is where the platform's own
// libraries look for instance metadata instead of its link-local address.)
func (r *environment) managedIdentity(s *Settings) {
	if v := s.Credential.Value; !strings.EqualFold(v, "true") {
		if !identityForm.MatchString(v) {
			r.fail("MANAGED_IDENTITY is %q: write true for the host's own identity, or the client id of one that was assigned to it", v)
		}
		s.Identity.ClientID = v
	}
	s.Identity.Endpoint, s.Identity.Header = r.text("IDENTITY_ENDPOINT"), r.text("IDENTITY_HEADER")
	s.Identity.Metadata = r.text("AZURE_POD_IDENTITY_AUTHORITY_HOST")
	if (s.Identity.Endpoint == "") != (s.Identity.Header == "") {
		r.fail("IDENTITY_ENDPOINT and IDENTITY_HEADER belong together: the platform sets both, or neither")
	}
}

// placeholders are what examples have in the place of a value.
var placeholders = regexp.MustCompile(`(?i)^(0{8}-0{4}-0{4}-0{4}-0{12}|x{3,}|x{8}(-x{4}){3}-x{12}|<.*>|\[.*\]|\{.*\}|\$\{?[a-z_]+\}?|your[-_ ].*|.*[-_]your[-_].*|changeme|change[-_ ]me|replace[-_ ]?me|todo|\.{3}|…|secret|token|contoso(\..*)?|example)$`)

func placeholder(v string) bool { return placeholders.MatchString(v) }
