package extract

import (
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
