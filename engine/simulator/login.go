package simulator

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// This file is the login service: the client credentials grant, and the check
// of the tokens it issues.

// claims of an access token. To the client a token is opaque; the resource
// endpoints check all of this.
type claims struct {
	jwt.RegisteredClaims
	AppID      string   `json:"appid"`
	TenantID   string   `json:"tid"`
	Roles      []string `json:"roles,omitempty"`
	Identity   string   `json:"idtyp"`
	Version    string   `json:"ver"`
	IssuedNano int64    `json:"xms_ftd"` // revocation is finer than seconds
}

func (c *claims) has(role string) bool { return slices.Contains(c.Roles, role) }

func (s *Simulator) loginError(w http.ResponseWriter, status, number int, kind, format string, args ...any) {
	now := s.now().UTC()
	trace, correlation := guidText(uint64(now.UnixNano())), guidText(uint64(now.UnixNano())+1)
	stamp := now.Format("2006-01-02 15:04:05Z")
	writeJSON(w, status, map[string]any{
		"error": kind,
		"error_description": fmt.Sprintf("AADSTS%d: %s Trace ID: %s Correlation ID: %s Timestamp: %s",
			number, fmt.Sprintf(format, args...), trace, correlation, stamp),
		"error_codes":    []int{number},
		"timestamp":      stamp,
		"trace_id":       trace,
		"correlation_id": correlation,
		"error_uri":      fmt.Sprintf("https://login.microsoftonline.com/error?code=%d", number),
	})
}

func (s *Simulator) serveLogin(w http.ResponseWriter, r *http.Request) {
	tenant, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if path != tokenPath {
		http.NotFound(w, r)
		return
	}
	s.guard(w, r, "login", func(w http.ResponseWriter, r *http.Request, hit faultSet) { s.token(w, r, tenant, hit) })
}

const tokenPath = "oauth2/v2.0/token"

func (s *Simulator) token(w http.ResponseWriter, r *http.Request, tenant string, hit faultSet) {
	w.Header().Set("Cache-Control", "no-store, no-cache")
	fail := func(number int, kind, format string, args ...any) {
		s.loginError(w, http.StatusBadRequest, number, kind, format, args...)
	}
	if r.Method != http.MethodPost {
		fail(900561, "invalid_request", "The endpoint only accepts POST requests. Received a %s request.", r.Method)
		return
	}
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != "application/x-www-form-urlencoded" {
		fail(900144, "invalid_request", "The request body must contain the following parameter: 'grant_type'.")
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
	if err := r.ParseForm(); err != nil {
		fail(90014, "invalid_request", "The request body could not be read.")
		return
	}
	form := r.PostForm
	for name, values := range form {
		if len(values) > 1 {
			fail(90100, "invalid_request", "The '%s' parameter is duplicated.", name)
			return
		}
	}
	switch {
	case hit.has(Busy):
		fail(90033, "temporarily_unavailable", "A transient error has occurred. Please try again.")
		return
	case tenant == "common" || tenant == "organizations" || tenant == "consumers":
		fail(50059, "invalid_request", "No tenant-identifying information found in either the request or implied by any provided credentials.")
		return
	case !guidPattern.MatchString(tenant) && !strings.Contains(tenant, "."):
		fail(900023, "invalid_request", "Specified tenant identifier '%s' is neither a valid DNS name, nor a valid external domain.", tenant)
		return
	case !strings.EqualFold(tenant, s.opts.TenantID) && !strings.EqualFold(tenant, s.world.domain):
		fail(90002, "invalid_request", "Tenant '%s' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud. Check with your subscription administrator, this may happen if there are no active subscriptions for the tenant.", tenant)
		return
	}
	for _, name := range []string{"grant_type", "client_id"} {
		if form.Get(name) == "" {
			fail(900144, "invalid_request", "The request body must contain the following parameter: '%s'.", name)
			return
		}
	}
	client := form.Get("client_id")
	if grant := form.Get("grant_type"); grant != "client_credentials" {
		fail(70003, "unsupported_grant_type", "The app requested an unsupported grant type '%s'.", grant)
		return
	}
	if !strings.EqualFold(client, s.opts.ClientID) {
		fail(700016, "unauthorized_client", "Application with identifier '%s' was not found in the directory '%s'. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. You may have sent your authentication request to the wrong tenant.", client, s.opts.TenantID)
		return
	}
	resource, ok := s.resource(w, form.Get("scope"))
	if !ok || !s.credential(w, r, hit, client, tenant) {
		return
	}
	now := s.now()
	life := s.opts.TokenLifetime
	c := &claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer:    "https://sts.windows.net/" + s.opts.TenantID + "/",
			Subject:   guidText(s.opts.Seed ^ 0x5b9ec7),
			Audience:  jwt.ClaimStrings{resource},
			ExpiresAt: jwt.NewNumericDate(now.Add(life)),
			IssuedAt:  jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now.Add(-5 * time.Minute)),
			ID: string(appendHex(nil, mix(uint64(now.UnixNano())), 16)),
		},
		AppID: client, TenantID: s.opts.TenantID, Identity: "app", Version: "1.0", IssuedNano: now.UnixNano(),
	}
	if !hit.has(NoRoles) {
		c.Roles = s.granted(resource)
	}
	signed, err := jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString(s.signing)
	if err != nil {
		panic(err) // an HMAC over our own claims
	}
	var expires any = int(life / time.Second)
	if s.opts.ExpiresAsString {
		expires = fmt.Sprint(expires)
	}
	s.count("tokens." + s.resourceOf(resource))
	writeJSON(w, 200, map[string]any{"token_type": "Bearer", "access_token": signed, "expires_in": expires, "ext_expires_in": expires})
}

// granted are the tenant's roles that belong to a resource.
func (s *Simulator) granted(resource string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var roles []string
	for _, role := range s.roles {
		of := "graph"
		switch {
		case strings.HasPrefix(role, "ActivityFeed."):
			of = "manage"
		case strings.HasPrefix(role, "Machine."):
			of = "defender"
		}
		if of == s.resourceOf(resource) {
			roles = append(roles, role)
		}
	}
	return roles
}

// resources are the services that tokens are for.
var resources = []string{"manage", "graph", "defender"}

// resourceOf is the service of a resource, "" if there is none.
func (s *Simulator) resourceOf(resource string) string {
	for _, name := range resources {
		if s.base(name) == resource {
			return name
		}
	}
	return ""
}

// resource reads what the token is to be for: exactly one of our services.
func (s *Simulator) resource(w http.ResponseWriter, scope string) (string, bool) {
	wanted, isDefault := strings.CutSuffix(scope, "/.default")
	switch {
	case len(strings.Fields(scope)) != 1:
		s.loginError(w, 400, 70011, "invalid_scope", "The provided request must include a 'scope' input parameter. The provided value for the input parameter 'scope' is not valid. The scope '%s' does not name exactly one resource.", scope)
	case !isDefault:
		s.loginError(w, 400, 1002012, "invalid_scope", "The provided value for scope %s is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier (application ID URI).", scope)
	case s.resourceOf(strings.TrimSuffix(wanted, "/")) == "":
		s.loginError(w, 400, 500011, "invalid_resource", "The resource principal named %s was not found in the tenant named %s. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. You might have sent your authentication request to the wrong tenant.", wanted, s.opts.TenantID)
	default:
		return strings.TrimSuffix(wanted, "/"), true
	}
	return "", false
}

// credential checks the secret or the assertion.
func (s *Simulator) credential(w http.ResponseWriter, r *http.Request, hit faultSet, client, tenant string) bool {
	form := r.PostForm
	fail := func(status, number int, kind, format string, args ...any) bool {
		s.loginError(w, status, number, kind, format, args...)
		return false
	}
	secret, assertion := form.Get("client_secret"), form.Get("client_assertion")
	switch {
	case secret == "" && assertion == "":
		return fail(401, 7000218, "invalid_client", "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.")
	case secret != "":
		if hit.has(SecretExpired) || s.now().After(s.opts.SecretExpires) {
			return fail(401, 7000222, "invalid_client", "The provided client secret keys for app '%s' are expired. Visit the Azure portal to create new keys for your app: https://aka.ms/NewClientSecret, or consider using certificate credentials for added security: https://aka.ms/certCreds.", client)
		}
		if hit.has(SecretWrong) || subtle.ConstantTimeCompare([]byte(secret), []byte(s.opts.ClientSecret)) == 0 {
			return fail(401, 7000215, "invalid_client", "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '%s'.", client)
		}
		return true
	case form.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer":
		return fail(400, 900144, "invalid_request", "The request body must contain the following parameter: 'client_assertion_type'.")
	case s.opts.FederatedToken != "" && assertion == s.opts.FederatedToken:
		return true
	case s.opts.Certificate == nil:
		return fail(401, 700213, "invalid_client", "No matching federated identity record found for presented assertion.")
	}
	return s.assertion(assertion, client, tenant, fail)
}

// assertion checks a client assertion against the registered certificate.
func (s *Simulator) assertion(text, client, tenant string, fail func(int, int, string, string, ...any) bool) bool {
	digest256, digest1 := sha256.Sum256(s.opts.Certificate.Raw), sha1.Sum(s.opts.Certificate.Raw)
	parsed, err := jwt.NewParser(jwt.WithValidMethods([]string{"PS256", "RS256"}), jwt.WithoutClaimsValidation()).
		ParseWithClaims(text, &jwt.RegisteredClaims{}, func(t *jwt.Token) (any, error) {
			b64 := base64.RawURLEncoding
			if t.Header["x5t#S256"] != b64.EncodeToString(digest256[:]) && t.Header["x5t"] != b64.EncodeToString(digest1[:]) {
				return nil, fmt.Errorf("no certificate of that thumbprint is registered")
			}
			return s.opts.Certificate.PublicKey, nil
		})
	if err != nil {
		return fail(401, 700027, "invalid_client", "The certificate with identifier used to sign the client assertion is not registered on application, or the signature is not valid: %v.", err)
	}
	c, now := parsed.Claims.(*jwt.RegisteredClaims), s.now()
	const skew = 5 * time.Minute
	switch {
	case now.After(s.opts.Certificate.NotAfter): // as in https://github.com/microsoft/azure-tools-for-java/issues/2785
		return fail(401, 700027, "invalid_client", "Client assertion contains an invalid signature. [Reason - The key used is expired., Thumbprint of key used by client: '%X', Found key 'Start=%s, End=%s']",
			digest1, s.opts.Certificate.NotBefore.UTC().Format("01/02/2006 15:04:05"), s.opts.Certificate.NotAfter.UTC().Format("01/02/2006 15:04:05"))
	case c.ExpiresAt == nil || now.After(c.ExpiresAt.Add(skew)) || c.NotBefore != nil && now.Add(skew).Before(c.NotBefore.Time):
		return fail(401, 700024, "invalid_client", "Client assertion is not within its valid time range. Current time: %s.", now.UTC().Format(time.RFC3339))
	case !strings.EqualFold(c.Issuer, client) || !strings.EqualFold(c.Subject, client):
		return fail(401, 700021, "invalid_client", "Client assertion application identifier doesn't match 'client_id' parameter.")
	case c.ID == "":
		return fail(401, 700027, "invalid_client", "The client assertion has no 'jti' claim.")
	}
	if slices.Contains(c.Audience, s.LoginBase()+"/"+tenant+"/"+tokenPath) {
		return true
	}
	return fail(401, 700023, "invalid_client", "Client assertion audience claim does not match Realm issuer.")
}

// What is wrong with a token.
type tokenFlaw int

const (
	tokenGood tokenFlaw = iota
	tokenMissing
	tokenInvalid
	tokenExpired
	tokenAudience
)

// checkToken verifies the bearer token of a request to a resource.
func (s *Simulator) checkToken(r *http.Request, resource string) (*claims, tokenFlaw) {
	text, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || text == "" {
		return nil, tokenMissing
	}
	c := &claims{}
	_, err := jwt.NewParser(jwt.WithValidMethods([]string{"HS256"}), jwt.WithoutClaimsValidation()).
		ParseWithClaims(text, c, func(*jwt.Token) (any, error) { return s.signing, nil })
	switch {
	case err != nil || c.TenantID != s.opts.TenantID:
		return nil, tokenInvalid
	case !slices.Contains(c.Audience, resource):
		s.violate("a token for %s was sent to %s", strings.Join(c.Audience, ","), resource)
		return nil, tokenAudience
	case !s.now().Before(c.ExpiresAt.Time) || c.IssuedNano <= s.revoked.Load():
		return nil, tokenExpired
	}
	return c, tokenGood
}
