package simulator

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

func TestTokenEndpointRefuses(t *testing.T) {
	c := start(t, Options{Records: -1})
	graph := c.sim.GraphBase() + "/.default"
	tests := []struct {
		name   string
		tenant string
		form   map[string]string
		fault  Kind
		status int
		kind   string
		code   float64
	}{
		{name: "wrong secret", form: map[string]string{"scope": graph, "client_secret": "no"}, status: 401, kind: "invalid_client", code: 7000215},
		{name: "no credential", form: map[string]string{"scope": graph, "client_secret": ""}, status: 401, kind: "invalid_client", code: 7000218},
		{name: "expired secret", form: map[string]string{"scope": graph}, fault: SecretExpired, status: 401, kind: "invalid_client", code: 7000222},
		{name: "unknown application", form: map[string]string{"scope": graph, "client_id": "9e714052-0000-4000-8000-000000000005"}, status: 400, kind: "unauthorized_client", code: 700016},
		{name: "unknown tenant", tenant: "9e714052-0000-4000-8000-000000000005", form: map[string]string{"scope": graph}, status: 400, kind: "invalid_request", code: 90002},
		{name: "no tenant name at all", tenant: "nowhere", form: map[string]string{"scope": graph}, status: 400, kind: "invalid_request", code: 900023},
		{name: "common endpoint", tenant: "common", form: map[string]string{"scope": graph}, status: 400, kind: "invalid_request", code: 50059},
		{name: "two resources", form: map[string]string{"scope": graph + " " + c.sim.ManageBase() + "/.default"}, status: 400, kind: "invalid_scope", code: 70011},
		{name: "no scope", form: nil, status: 400, kind: "invalid_scope", code: 70011},
		{name: "scope without default", form: map[string]string{"scope": c.sim.GraphBase() + "/AuditLog.Read.All"}, status: 400, kind: "invalid_scope", code: 1002012},
		{name: "unknown resource", form: map[string]string{"scope": "https://vault.example/.default"}, status: 400, kind: "invalid_resource", code: 500011},
		{name: "wrong grant", form: map[string]string{"scope": graph, "grant_type": "password"}, status: 400, kind: "unsupported_grant_type", code: 70003},
		{name: "busy", form: map[string]string{"scope": graph}, fault: Busy, status: 400, kind: "temporarily_unavailable", code: 90033},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.fault != "" {
				if err := c.sim.Inject(Fault{Target: "login", Kind: tt.fault, Count: 1}); err != nil {
					t.Fatal(err)
				}
			}
			tenant := tt.tenant
			if tenant == "" {
				tenant = c.sim.TenantID()
			}
			resp, body := c.do("POST", c.sim.LoginBase()+"/"+tenant+"/oauth2/v2.0/token",
				map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, c.form(tt.form).Encode())
			var v struct {
				Error       string    `json:"error"`
				Description string    `json:"error_description"`
				Codes       []float64 `json:"error_codes"`
				URI         string    `json:"error_uri"`
				TraceID     string    `json:"trace_id"`
			}
			if err := json.Unmarshal(body, &v); err != nil {
				t.Fatalf("%s: %v", body, err)
			}
			if resp.StatusCode != tt.status || v.Error != tt.kind || len(v.Codes) != 1 || v.Codes[0] != tt.code {
				t.Errorf("got %d %s", resp.StatusCode, body)
			}
			if !strings.HasPrefix(v.Description, "AADSTS") || !strings.Contains(v.Description, "Trace ID: "+v.TraceID) || v.URI == "" {
				t.Errorf("body is not shaped as documented: %s", body)
			}
		})
	}
}

func TestTokenAnswers(t *testing.T) {
	c := start(t, Options{Records: -1, TokenLifetime: 3599 * time.Second})
	resp, v := c.login(map[string]string{"scope": c.sim.GraphBase() + "/.default"})
	if resp.StatusCode != 200 || v["token_type"] != "Bearer" || v["expires_in"] != 3599.0 || v["refresh_token"] != nil {
		t.Errorf("got %d %v", resp.StatusCode, v)
	}
	c.sim.opts.ExpiresAsString = true
	if _, v = c.login(map[string]string{"scope": c.sim.GraphBase() + "/.default"}); v["expires_in"] != "3599" {
		t.Errorf("expires_in as text: %v", v)
	}
}

func TestClientAssertion(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "collector"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}, &x509.Certificate{SerialNumber: big.NewInt(1)}, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := start(t, Options{Records: -1, Certificate: certificate, FederatedToken: "from-the-cluster"})
	digest := sha256.Sum256(der)
	endpoint := c.sim.LoginBase() + "/" + c.sim.TenantID() + "/oauth2/v2.0/token"
	good := func() (jwt.MapClaims, map[string]any) {
		return jwt.MapClaims{"aud": endpoint, "iss": c.sim.opts.ClientID, "sub": c.sim.opts.ClientID, "jti": "1",
			"nbf": time.Now().Unix(), "exp": time.Now().Add(5 * time.Minute).Unix()}, map[string]any{"x5t#S256": base64.RawURLEncoding.EncodeToString(digest[:])}
	}
	tests := []struct {
		name   string
		method jwt.SigningMethod
		key    any
		change func(claims jwt.MapClaims, header map[string]any)
		text   string
		code   float64 // 0: accepted
	}{
		{name: "PS256", method: jwt.SigningMethodPS256, key: key},
		{name: "RS256", method: jwt.SigningMethodRS256, key: key},
		{name: "federated", text: "from-the-cluster"},
		{name: "another algorithm", method: jwt.SigningMethodES256, key: other, code: 700027},
		{name: "no thumbprint", method: jwt.SigningMethodPS256, key: key, change: func(_ jwt.MapClaims, h map[string]any) { delete(h, "x5t#S256") }, code: 700027},
		{name: "expired", method: jwt.SigningMethodPS256, key: key, change: func(c jwt.MapClaims, _ map[string]any) { c["exp"] = time.Now().Add(-time.Hour).Unix() }, code: 700024},
		{name: "for another endpoint", method: jwt.SigningMethodPS256, key: key, change: func(c jwt.MapClaims, _ map[string]any) { c["aud"] = "https://login.example/token" }, code: 700023},
		{name: "of another client", method: jwt.SigningMethodPS256, key: key, change: func(c jwt.MapClaims, _ map[string]any) { c["iss"] = "somebody" }, code: 700021},
		{name: "not a token", text: "garbage", code: 700027},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			text := tt.text
			if tt.method != nil {
				claims, header := good()
				if tt.change != nil {
					tt.change(claims, header)
				}
				token := jwt.NewWithClaims(tt.method, claims)
				for k, v := range header {
					token.Header[k] = v
				}
				if text, err = token.SignedString(tt.key); err != nil {
					t.Fatal(err)
				}
			}
			resp, v := c.login(map[string]string{"scope": c.sim.GraphBase() + "/.default", "client_secret": "", "client_assertion": text,
				"client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"})
			if tt.code == 0 {
				if resp.StatusCode != 200 || v["access_token"] == "" {
					t.Errorf("got %d %v", resp.StatusCode, v)
				}
				return
			}
			if codes, _ := v["error_codes"].([]any); resp.StatusCode != 401 || len(codes) != 1 || codes[0] != tt.code {
				t.Errorf("got %d %v, want code %v", resp.StatusCode, v, tt.code)
			}
		})
	}
}

func TestResourcesCheckTokens(t *testing.T) {
	now := time.Now()
	c := start(t, Options{Records: -1, TokenLifetime: time.Minute, Now: func() time.Time { return now }})
	graphToken, manageToken := c.token(c.sim.GraphBase()), c.token(c.sim.ManageBase())
	const refused = `{"Message":"Authorization has been denied for this request."}`
	list := c.sim.ManageBase() + "/api/v1.0/" + c.sim.TenantID() + "/activity/feed/subscriptions/list?PublisherIdentifier=" + c.sim.TenantID()
	applications := c.sim.GraphBase() + "/v1.0/applications"
	try := func(url, token string) (int, string) {
		header := map[string]string{}
		if token != "" {
			header["Authorization"] = "Bearer " + token
		}
		resp, body := c.do("GET", url, header, "")
		return resp.StatusCode, string(body)
	}
	if status, body := try(list, manageToken); status != 200 || body != "[]" {
		t.Errorf("good token: %d %s", status, body)
	}
	for name, token := range map[string]string{"none": "", "garbage": "abc", "of another resource": graphToken} {
		if status, body := try(list, token); status != 401 || body != refused {
			t.Errorf("management API, token %s: %d %s", name, status, body)
		}
	}
	for name, token := range map[string]string{"none": "", "garbage": "abc", "of another resource": manageToken} {
		if status, body := try(applications, token); status != 401 || !strings.Contains(body, `"code":"InvalidAuthenticationToken"`) {
			t.Errorf("graph, token %s: %d %s", name, status, body)
		}
	}
	if r := c.sim.Report(); len(r.Violations) != 2 {
		t.Errorf("tokens at the wrong host are violations, got %q", r.Violations)
	}
	now = now.Add(2 * time.Minute)
	if status, body := try(list, manageToken); status != 401 || body != refused {
		t.Errorf("expired token: %d %s", status, body)
	}
	if status, body := try(applications, graphToken); status != 401 || !strings.Contains(body, "Lifetime validation failed, the token is expired.") {
		t.Errorf("expired token: %d %s", status, body)
	}
	c.tok = map[string]string{}
	fresh := c.token(c.sim.GraphBase())
	if err := c.sim.Inject(Fault{Target: "tenant", Kind: RevokeTokens}); err != nil {
		t.Fatal(err)
	}
	if status, _ := try(applications, fresh); status != 401 {
		t.Errorf("revoked token: %d", status)
	}
}

func TestTokenWithoutRoles(t *testing.T) {
	c := start(t, Options{Records: -1})
	if err := c.sim.Inject(Fault{Target: "login", Kind: NoRoles}); err != nil {
		t.Fatal(err)
	}
	resp, body := c.manage("GET", "subscriptions/content", url.Values{"contentType": {AuditEntra}})
	if resp.StatusCode != 401 || string(body) != `{"error":{"code":"AF10001","message":"The permission set () sent in the request does not include the expected permission."}}` {
		t.Errorf("management API: %d %s", resp.StatusCode, body)
	}
	for path, code := range map[string]string{
		"/v1.0/auditLogs/signIns":                 "Authentication_MSGraphPermissionMissing",
		"/v1.0/identityProtection/riskDetections": "Forbidden",
		"/v1.0/applications":                      "Authorization_RequestDenied",
	} {
		resp, body := c.get(c.sim.GraphBase(), path)
		if resp.StatusCode != 403 || !strings.Contains(string(body), `"code":"`+code+`"`) {
			t.Errorf("%s: %d %s", path, resp.StatusCode, body)
		}
	}
}
