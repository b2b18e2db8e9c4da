package extract

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// issuer is a token endpoint that remembers what it was sent.
type issuer struct {
	*httptest.Server
	transport http.RoundTripper // nil: the client's own
	mu        sync.Mutex
	forms     []url.Values
	answer    func(n int, w http.ResponseWriter)
}

func newIssuer(t testing.TB, answer func(n int, w http.ResponseWriter)) *issuer {
	s := issuerInMemory(t, answer)
	s.Server = httptest.NewServer(s.Config.Handler)
	s.transport = nil
	t.Cleanup(s.Close)
	return s
}

// issuerInMemory is one without a network, see [inMemory].
func issuerInMemory(t testing.TB, answer func(n int, w http.ResponseWriter)) *issuer {
	s := &issuer{answer: answer}
	s.Server, s.transport = serverInMemory(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		s.mu.Lock()
		s.forms = append(s.forms, r.PostForm)
		n := len(s.forms)
		s.mu.Unlock()
		s.answer(n, w)
	}))
	return s
}

func (s *issuer) asked() []url.Values {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.forms
}

func (s *issuer) client(t testing.TB, kind, value string) *Client {
	t.Helper()
	credential, err := NewCredential(kind, value)
	if err != nil {
		t.Fatal(err)
	}
	return NewClient(ClientOptions{
		UserAgent: "s60-test/1", TokenURL: s.URL + "/tenant/oauth2/v2.0/token", ClientID: "client-id", Credential: credential,
		Backoff: time.Millisecond, MaxAttempts: 3, Transport: s.transport,
		TemporaryCodes: func(code int) bool { return code == 90033 },
	})
}

func token(expires string) func(int, http.ResponseWriter) {
	return func(n int, w http.ResponseWriter) {
		fmt.Fprintf(w, `{"token_type":"Bearer","expires_in":%s,"ext_expires_in":3599,"access_token":"t%d"}`, expires, n)
	}
}

func writeFile(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// certificateFile writes a new key and certificate.
func certificateFile(t testing.TB, path string, ends time.Time) (*rsa.PublicKey, string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: ends,
	}, &x509.Certificate{}, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, path, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))+
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	thumbprint := sha256.Sum256(der)
	return &key.PublicKey, base64.RawURLEncoding.EncodeToString(thumbprint[:])
}

func TestCredentials(t *testing.T) {
	directory := t.TempDir()
	tests := map[string]func(t *testing.T, s *issuer){
		ClientSecret: func(t *testing.T, s *issuer) {
			const value = `p~8Q~a+b/c=d&e %"é`
			if _, err := s.client(t, ClientSecret, value).tokens.get(t.Context(), "https://host.example/.default"); err != nil {
				t.Fatal(err)
			}
			want := url.Values{
				"grant_type": {"client_credentials"}, "client_id": {"client-id"}, "scope": {"https://host.example/.default"}, "client_secret": {value},
			}
			if got := s.asked()[0]; got.Encode() != want.Encode() {
				t.Errorf("form is %v, want %v", got, want)
			}
		},
		ClientSecretFile: func(t *testing.T, s *issuer) {
			path := filepath.Join(directory, "secret")
			c := s.client(t, ClientSecretFile, path)
			_, err := c.tokens.get(t.Context(), "x")
			if auth, ok := errors.AsType[*AuthError](err); !ok || auth.Temporary || !strings.Contains(err.Error(), path) {
				t.Errorf("a file that is missing gives %v", err)
			}
			writeFile(t, path, " \n")
			if _, err := c.tokens.get(t.Context(), "x"); err == nil || !strings.Contains(err.Error(), "empty") {
				t.Errorf("an empty file gives %v", err)
			}
			for i, secret := range []string{"old\n", "\ufeffnew\r\n"} {
				writeFile(t, path, secret)
				if _, err := c.tokens.get(t.Context(), fmt.Sprint(i)); err != nil {
					t.Fatal(err)
				}
			}
			if got := s.asked(); got[0].Get("client_secret") != "old" || got[1].Get("client_secret") != "new" {
				t.Errorf("secrets sent are %q and %q", got[0].Get("client_secret"), got[1].Get("client_secret"))
			}
		},
		FederatedTokenFile: func(t *testing.T, s *issuer) {
			path := filepath.Join(directory, "federated")
			c := s.client(t, FederatedTokenFile, path)
			for i, text := range []string{"a.b.c\n", "d.e.f"} {
				writeFile(t, path, text)
				if _, err := c.tokens.get(t.Context(), fmt.Sprint(i)); err != nil {
					t.Fatal(err)
				}
				form := s.asked()[i]
				if form.Get("client_assertion") != strings.TrimSpace(text) || form.Get("client_assertion_type") != assertionType || form.Has("client_secret") {
					t.Errorf("form is %v", form)
				}
			}
		},
		ClientCertificate: func(t *testing.T, s *issuer) {
			path := filepath.Join(directory, "certificate.pem")
			ends := time.Now().Add(30 * 24 * time.Hour).Truncate(time.Second)
			public, thumbprint := certificateFile(t, path, ends)
			c := s.client(t, ClientCertificate, path)
			ids := map[string]bool{}
			for i := range 2 {
				if _, err := c.tokens.get(t.Context(), fmt.Sprint(i)); err != nil {
					t.Fatal(err)
				}
				form := s.asked()[i]
				if form.Get("client_assertion_type") != assertionType || form.Get("client_id") != "client-id" {
					t.Errorf("form is %v", form)
				}
				claims := jwt.MapClaims{}
				parsed, err := jwt.ParseWithClaims(form.Get("client_assertion"), claims, func(*jwt.Token) (any, error) { return public, nil },
					jwt.WithValidMethods([]string{"PS256"}), jwt.WithAudience(s.URL+"/tenant/oauth2/v2.0/token"), jwt.WithIssuer("client-id"),
					jwt.WithSubject("client-id"), jwt.WithExpirationRequired(), jwt.WithIssuedAt())
				if err != nil {
					t.Fatal(err)
				}
				if parsed.Header["x5t#S256"] != thumbprint || parsed.Header["typ"] != "JWT" {
					t.Errorf("header is %v", parsed.Header)
				}
				if _, ok := claims["aud"].(string); !ok {
					t.Errorf("aud is a %T", claims["aud"])
				}
				expires, _ := claims.GetExpirationTime()
				begins, err := claims.GetNotBefore()
				if err != nil || begins == nil || expires.Sub(begins.Time) > 10*time.Minute {
					t.Errorf("good from %v to %v", begins, expires)
				}
				ids[fmt.Sprint(claims["jti"])] = true
			}
			if len(ids) != 2 || ids["<nil>"] {
				t.Errorf("ids are %v, want two", ids)
			}
			if got, err := c.options.Credential.Expires(); err != nil || !got.Equal(ends) {
				t.Errorf("expires %v, %v; want %v", got, err, ends)
			}
			// Replaced: the next assertion is signed with the new key.
			public, _ = certificateFile(t, path, ends)
			if _, err := c.tokens.get(t.Context(), "after"); err != nil {
				t.Fatal(err)
			}
			if _, err := jwt.Parse(s.asked()[2].Get("client_assertion"), func(*jwt.Token) (any, error) { return public, nil }); err != nil {
				t.Error(err)
			}
			writeFile(t, path, "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n")
			if _, err := c.tokens.get(t.Context(), "bad"); err == nil || strings.Contains(err.Error(), "c2VjcmV0") {
				t.Errorf("a bad file gives %v", err)
			}
		},
	}
	for kind := range credentials {
		t.Run(kind, func(t *testing.T) {
			test := tests[kind]
			if test == nil {
				t.Fatal("this kind has no case here")
			}
			test(t, newIssuer(t, token("3599")))
		})
	}
	if _, err := NewCredential("password", "x"); err == nil || !strings.Contains(err.Error(), ClientSecretFile) {
		t.Errorf("an unknown kind gives %v", err)
	}
}

func TestFederatedExpiry(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	credential, _ := NewCredential(FederatedTokenFile, path)
	if _, err := credential.Expires(); err == nil {
		t.Error("a missing file gives no error")
	}
	for _, test := range []struct {
		ends time.Time
		told bool
	}{{time.Now().Add(time.Hour), false}, {time.Now().Add(-time.Hour), true}} {
		signed, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"exp": test.ends.Unix()}).SignedString([]byte("k"))
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, path, signed)
		if got, err := credential.Expires(); err != nil || got.IsZero() == test.told {
			t.Errorf("ends %v: got %v, %v", test.ends, got, err)
		}
	}
}

func TestTokensAreShared(t *testing.T) {
	for _, expires := range []string{"3599", `"3599"`} {
		s := newIssuer(t, token(expires))
		c := s.client(t, ClientSecret, "s")
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if got, err := c.tokens.get(t.Context(), "one"); err != nil || got != "t1" {
					t.Errorf("got %q, %v", got, err)
				}
			})
		}
		wg.Wait()
		if got := len(s.asked()); got != 1 {
			t.Errorf("%d requests for one scope", got)
		}
		if _, err := c.tokens.get(t.Context(), "two"); err != nil || len(s.asked()) != 2 {
			t.Errorf("another scope: %v, %d requests", err, len(s.asked()))
		}
		claims, err := c.Claims(t.Context(), "one")
		if err != nil || time.Until(claims.Expires) < 59*time.Minute || claims.Roles != nil {
			t.Errorf("claims of a token that is no JWT: %+v, %v", claims, err)
		}
	}
}

// TestTokenIsRenewedEarly: a token of one second is renewed when a quarter of it is left.
func TestTokenIsRenewedEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := issuerInMemory(t, token("1"))
		c := s.client(t, ClientSecret, "s")
		get := func() string {
			t.Helper()
			got, err := c.tokens.get(t.Context(), "x")
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
		first := get()
		time.Sleep(700 * time.Millisecond)
		if again := get(); again != first {
			t.Errorf("renewed before three quarters of its time: %s", again)
		}
		time.Sleep(100 * time.Millisecond)
		s.answer = func(_ int, w http.ResponseWriter) { w.WriteHeader(503) }
		if got := get(); got != first {
			t.Errorf("got %s though renewing failed and %s is still good", got, first)
		}
		asked := len(s.asked())
		if asked != 2 {
			t.Errorf("%d requests by the last quarter of its time", asked)
		}
		get()
		if got := len(s.asked()); got != asked {
			t.Error("asked again at once after a failed early renewal")
		}
		time.Sleep(300 * time.Millisecond)
		if got, err := c.tokens.get(t.Context(), "x"); err == nil {
			t.Errorf("got %s after its end", got)
		}
		s.answer = token("3599")
		if got := get(); got == first {
			t.Error("not renewed")
		}
	})
}

// TestTokenExpiresInMidWalk: no page is lost when the service refuses the
// token that the pages before were read with, and each page refreshes once.
func TestTokenExpiresInMidWalk(t *testing.T) {
	s := newService(t)
	var pages atomic.Int64
	s.mux.HandleFunc("/r", func(w http.ResponseWriter, r *http.Request) {
		// Each token is good for two pages.
		if want := fmt.Sprintf("Bearer token-%d", 1+pages.Load()/2); r.Header.Get("Authorization") != want {
			w.WriteHeader(401)
			fmt.Fprint(w, `{"error":{"code":"InvalidAuthenticationToken","message":"Lifetime validation failed, the token is expired."}}`)
			return
		}
		n := pages.Add(1)
		if n == 6 {
			fmt.Fprint(w, `{"value":[{"id":6}]}`)
			return
		}
		fmt.Fprintf(w, `{"value":[{"id":%d}],"@odata.nextLink":"/r?p=%d"}`, n, n+1)
	})
	to := newSink()
	if _, err := read(t, s.options(), s.feed(t, "/r"), to); err != nil {
		t.Fatal(err)
	}
	if got := to.ids(""); got != "1 2 3 4 5 6" {
		t.Errorf("got %q", got)
	}
	if got := s.tokens.Load(); got != 3 {
		t.Errorf("%d tokens, want 3", got)
	}
}

func TestAuthErrors(t *testing.T) {
	const expired = `{"error":"invalid_client","error_description":"AADSTS7000222: The provided client secret keys for app 'x' are expired.%sTrace ID: 00-e001%sCorrelation ID: 00-e002","error_codes":[7000222],"correlation_id":"00-e002"}`
	answer := func(status int, body string) func(int, http.ResponseWriter) {
		return func(_ int, w http.ResponseWriter) {
			w.WriteHeader(status)
			fmt.Fprint(w, body)
		}
	}
	tests := []struct {
		name     string
		answer   func(int, http.ResponseWriter)
		want     AuthError
		requests int
	}{
		{"expired, lines", answer(401, fmt.Sprintf(expired, `\r\n`, `\r\n`)),
			AuthError{Status: 401, OAuthError: "invalid_client", Code: 7000222, Description: "AADSTS7000222: The provided client secret keys for app 'x' are expired.", Correlation: "00-e002"}, 1},
		{"expired, spaces", answer(401, fmt.Sprintf(expired, ` `, ` `)),
			AuthError{Status: 401, OAuthError: "invalid_client", Code: 7000222, Description: "AADSTS7000222: The provided client secret keys for app 'x' are expired.", Correlation: "00-e002"}, 1},
		{"repeats the secret", answer(400, `{"error":"invalid_request","error_description":"bad form client_secret=s%26cret, or s&cret"}`),
			AuthError{Status: 400, OAuthError: "invalid_request", Description: "bad form client_secret=[removed], or [removed]"}, 1},
		{"a code that passes", answer(400, `{"error":"invalid_grant","error_codes":[90033]}`),
			AuthError{Status: 400, OAuthError: "invalid_grant", Code: 90033, Temporary: true}, 3},
		{"temporarily unavailable", answer(400, `{"error":"temporarily_unavailable"}`), AuthError{Status: 400, OAuthError: "temporarily_unavailable", Temporary: true}, 3},
		{"503 with HTML", answer(503, `<html>`), AuthError{Status: 503, Temporary: true}, 3},
		{"429", func(_ int, w http.ResponseWriter) { w.Header().Set("Retry-After", "0.01"); w.WriteHeader(429) },
			AuthError{Status: 429, Temporary: true, RetryAfter: 10 * time.Millisecond}, 3},
		{"404", answer(404, ``), AuthError{Status: 404}, 1},
		{"an error under 200", answer(200, `{"error":"unauthorized_client","error_codes":[700016]}`), AuthError{Status: 200, OAuthError: "unauthorized_client", Code: 700016}, 1},
		{"200 without a token", answer(200, `{}`), AuthError{Temporary: true}, 3},
		{"200 with HTML", answer(200, `<html>`), AuthError{Temporary: true}, 3},
		{"a flood", answer(200, strings.Repeat(" ", 1<<20)), AuthError{Temporary: true}, 3},
		{"a redirect with the secret", func(_ int, w http.ResponseWriter) {
			w.Header().Set("Location", "http://127.0.0.1:1/")
			w.WriteHeader(307)
		}, AuthError{Status: 307}, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newIssuer(t, test.answer)
			service := newService(t)
			r, err := NewReader(s.client(t, ClientSecret, "s&cret"), service.feed(t, "/r"), "", nil)
			if err != nil {
				t.Fatal(err)
			}
			err = r.Read(t.Context(), hour, newSink())
			got, ok := errors.AsType[*AuthError](err)
			if !ok {
				t.Fatalf("error is %T %v", err, err)
			}
			if _, narrow := errors.AsType[*Narrow](err); narrow {
				t.Error("a token that cannot be had is no reason for a narrower window")
			}
			compare := *got
			compare.Err = nil
			if test.want.Description == "" {
				compare.Description = ""
			}
			if compare != test.want {
				t.Errorf("got %+v, want %+v", compare, test.want)
			}
			if strings.Contains(err.Error(), "cret") && !strings.Contains(err.Error(), "client_secret=[removed]") && !strings.Contains(err.Error(), "secret keys") {
				t.Errorf("the error tells the secret: %v", err)
			}
			if got := len(s.asked()); got != test.requests {
				t.Errorf("%d token requests, want %d", got, test.requests)
			}
			if len(service.asked()) != 0 {
				t.Error("the service was asked without a token")
			}
		})
	}
	t.Run("waiting for the same failure", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			release := make(chan struct{})
			s := issuerInMemory(t, func(_ int, w http.ResponseWriter) { <-release; w.WriteHeader(400) })
			c := s.client(t, ClientSecret, "s")
			var wg sync.WaitGroup
			for range 20 {
				wg.Go(func() {
					if _, err := c.tokens.get(t.Context(), "x"); err == nil {
						t.Error("no error")
					}
				})
			}
			synctest.Wait()
			close(release)
			wg.Wait()
			if got := len(s.asked()); got != 1 {
				t.Errorf("%d requests, want 1", got)
			}
		})
	})
	t.Run("a refusal holds for a moment", func(t *testing.T) {
		s := newIssuer(t, func(n int, w http.ResponseWriter) { w.WriteHeader(map[bool]int{true: 401, false: 503}[n == 1]) })
		c := s.client(t, ClientSecret, "s")
		for range 3 {
			if _, err := c.tokens.get(t.Context(), "x"); err == nil {
				t.Error("no error")
			}
		}
		if got := len(s.asked()); got != 1 {
			t.Errorf("%d requests, want 1", got)
		}
		scope := c.tokens.scope("x")
		scope.asked = scope.asked.Add(-refusalHolds)
		for range 2 {
			if _, err := c.tokens.get(t.Context(), "x"); err == nil {
				t.Error("no error")
			}
		}
		if got := len(s.asked()); got != 3 {
			t.Errorf("%d requests, want 3: what passes is asked again at once", got)
		}
	})
	t.Run("cancelled while another asks", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			release := make(chan struct{})
			s := issuerInMemory(t, func(_ int, w http.ResponseWriter) { <-release })
			defer close(release)
			c := s.client(t, ClientSecret, "s")
			ctx, stop := context.WithCancel(t.Context())
			go c.tokens.get(ctx, "x")
			synctest.Wait()
			time.AfterFunc(time.Second, stop)
			if _, err := c.tokens.get(ctx, "x"); err != context.Canceled {
				t.Errorf("error is %v", err)
			}
		})
	})
}

func TestClaims(t *testing.T) { synctest.Test(t, testClaims) }

func testClaims(t *testing.T) {
	ends := time.Now().Add(time.Hour).Truncate(time.Second)
	signed, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"aud": "https://host.example", "tid": "tenant", "roles": []string{"A.Read", "B.Read"}, "exp": ends.Unix(),
	}).SignedString([]byte("k"))
	if err != nil {
		t.Fatal(err)
	}
	s := issuerInMemory(t, func(_ int, w http.ResponseWriter) {
		w.Header().Set("Date", time.Now().Add(10*time.Minute).UTC().Format(http.TimeFormat))
		fmt.Fprintf(w, `{"expires_in":3600,"access_token":%q}`, signed)
	})
	c := s.client(t, ClientSecret, "s")
	if _, ok := c.Skew(); ok {
		t.Error("the skew is known before any answer")
	}
	got, err := c.Claims(t.Context(), "x")
	if err != nil || strings.Join(got.Roles, " ") != "A.Read B.Read" || got.Tenant != "tenant" || got.Audience != "https://host.example" || got.Expires.Sub(ends).Abs() > 5*time.Second {
		t.Errorf("got %+v, %v", got, err)
	}
	if skew, ok := c.Skew(); !ok || skew < 10*time.Minute-2*time.Second || skew > 10*time.Minute+2*time.Second {
		t.Errorf("skew is %v", skew)
	}
}
