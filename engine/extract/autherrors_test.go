package extract

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

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
	if err != nil || strings.Join(got.Roles, " ") != "A.Read B.Read" || got.Tenant != "tenant" || got.Expires.Sub(ends).Abs() > 5*time.Second {
		t.Errorf("got %+v, %v", got, err)
	}
	if skew, ok := c.Skew(); !ok || skew < 10*time.Minute-2*time.Second || skew > 10*time.Minute+2*time.Second {
		t.Errorf("skew is %v", skew)
	}
}
