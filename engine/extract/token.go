package extract

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/secure60/s60-m365-connector/engine/transport"
)

// tokens holds one token for each scope, and renews it before it ends.
type tokens struct {
	client *Client
	http   *http.Client

	succeeded sync.Once // for the log: people look for it after the first start

	mu     sync.Mutex
	scopes map[string]*scopeToken
}

// scopeToken is the token of one scope. Whoever holds turn may ask for a new one;
// the others wait for its outcome, so that there is one request at a time.
type scopeToken struct {
	turn chan struct{}

	mu       sync.Mutex
	token    string
	renew    time.Time // when to ask for the next one
	expires  time.Time
	err      error // of the last request
	asked    time.Time
	requests int // that have ended
}

const (
	renewEarly      = 5 * time.Minute
	refusalHolds    = 5 * time.Second  // so that many feeds ask a refusing endpoint once
	unknownLifetime = 10 * time.Minute // of a token whose answer does not say
	largestToken    = 64 << 10         // of an answer of the token endpoint
)

func (t *tokens) scope(name string) *scopeToken {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.scopes[name]
	if s == nil {
		s = &scopeToken{turn: make(chan struct{}, 1)}
		t.scopes[name] = s
	}
	return s
}

// get gives a token of the scope that is good for some time yet. The error is
// that of ctx or an *AuthError.
func (t *tokens) get(ctx context.Context, name string) (string, error) {
	s := t.scope(name)
	token, asked, ok := s.fresh()
	if ok {
		return token, nil
	}
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	// Another goroutine may have asked while this one waited.
	token, ended, ok := s.fresh()
	if ok {
		return token, nil
	}
	s.mu.Lock()
	err := s.err
	recent := time.Since(s.asked) < refusalHolds
	s.mu.Unlock()
	if err != nil && (ended != asked || recent && refusal(err)) {
		return "", err
	}
	token, expires, err := t.request(ctx, name)
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	s.err, s.asked = err, now
	if err != nil {
		if s.token != "" && now.Before(s.expires) {
			// Early renewal failed and there is time left to try again.
			s.renew = now.Add(min(30*time.Second, s.expires.Sub(now)/2))
			t.client.log.Debug("token could not be renewed early", "scope", name, "error", err, "expires", s.expires)
			return s.token, nil
		}
		return "", err
	}
	t.succeeded.Do(func() { t.client.log.Info("authentication succeeded", "scope", name) })
	lifetime := expires.Sub(now)
	s.token, s.expires = token, expires
	s.renew = expires.Add(-min(renewEarly, lifetime/4))
	return token, nil
}

// refusal reports whether the endpoint answered, and asking again would get the
// same answer.
func refusal(err error) bool {
	auth, ok := errors.AsType[*AuthError](err)
	return ok && !auth.Temporary && auth.Status != 0
}

// fresh gives the token if it need not be renewed yet, and how many requests
// have ended.
func (s *scopeToken) fresh() (token string, requests int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.token, s.requests, s.token != "" && time.Now().Before(s.renew)
}

// reject says that the service refused this token. One that was replaced
// meanwhile is of no interest.
func (t *tokens) reject(name, token string) {
	s := t.scope(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token == token {
		s.token = ""
	}
}

func (t *tokens) request(ctx context.Context, name string) (token string, expires time.Time, err error) {
	o := &t.client.options
	if own, ok := o.Credential.(*managed); ok {
		started := time.Now()
		token, expires, err = own.token(ctx, name)
		t.client.log.Debug("token request", "scope", name, "duration", time.Since(started).Round(time.Millisecond), "expires", expires, "error", err)
		return token, expires, err
	}
	u, err := url.Parse(o.TokenURL)
	if err == nil {
		err = checkURL(u)
	}
	if err != nil {
		return "", time.Time{}, &AuthError{Description: "token endpoint: " + oneLine(err.Error()), Err: err}
	}
	if o.Credential == nil {
		return "", time.Time{}, &AuthError{Description: "no credential is set"}
	}
	parameters, err := o.Credential.Parameters(o.TokenURL, o.ClientID, time.Now())
	if err != nil {
		return "", time.Time{}, &AuthError{Description: oneLine(err.Error()), Err: err}
	}
	config := clientcredentials.Config{
		ClientID:       o.ClientID,
		TokenURL:       o.TokenURL,
		Scopes:         []string{name},
		EndpointParams: parameters,
		AuthStyle:      oauth2.AuthStyleInParams,
	}
	started := time.Now()
	answer, err := config.Token(context.WithValue(ctx, oauth2.HTTPClient, t.http))
	if err != nil {
		err = t.authError(err, parameters)
		t.client.log.Debug("token request", "scope", name, "duration", time.Since(started).Round(time.Millisecond), "error", err)
		return "", time.Time{}, err
	}
	t.client.log.Debug("token request", "scope", name, "duration", time.Since(started).Round(time.Millisecond), "expires", answer.Expiry)
	expires = answer.Expiry
	if expires.IsZero() {
		expires = time.Now().Add(unknownLifetime)
	}
	return answer.AccessToken, expires, nil
}

// authError turns what the library says into an *AuthError.
func (t *tokens) authError(err error, parameters url.Values) *AuthError {
	refused, ok := errors.AsType[*oauth2.RetrieveError](err)
	if !ok {
		// No answer, or one that is no token: a fault on the way, which passes.
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err // without the URL, which the settings know
		}
		return &AuthError{Description: "token endpoint: " + oneLine(err.Error()), Temporary: true, Err: err}
	}
	// An endpoint that repeats what it was sent must not bring it into a log.
	clean := func(s string) string {
		for name, values := range parameters {
			if name == "client_secret" || name == "client_assertion" {
				s = strings.ReplaceAll(s, values[0], "[removed]")
				s = strings.ReplaceAll(s, url.QueryEscape(values[0]), "[removed]")
			}
		}
		return s
	}
	e := &AuthError{
		Status:      refused.Response.StatusCode,
		OAuthError:  oneLine(clean(refused.ErrorCode)),
		Description: description(clean(refused.ErrorDescription)),
	}
	var body struct {
		Codes       []int  `json:"error_codes"`
		Correlation string `json:"correlation_id"`
	}
	// Members of another type leave the rest as it is.
	_ = json.Unmarshal(refused.Body, &body)
	if len(body.Codes) > 0 {
		e.Code = body.Codes[0]
	}
	e.Correlation = oneLine(clean(body.Correlation))
	if after, ok := transport.RetryAfter(refused.Response.Header, time.Now()); ok {
		e.RetryAfter = after
	}
	e.Temporary = e.Status == http.StatusRequestTimeout || e.Status == http.StatusTooManyRequests || e.Status >= 500 ||
		e.OAuthError == "temporarily_unavailable" ||
		t.client.options.TemporaryCodes != nil && e.Code != 0 && t.client.options.TemporaryCodes(e.Code)
	return e
}

// description is the part of an error_description that is for a person: its
// first line, without the ids that some services append to it.
func description(s string) string {
	s = strings.TrimSpace(s)
	if i := strings.IndexAny(s, "\r\n"); i >= 0 {
		s = s[:i]
	}
	if i := strings.Index(s, " Trace ID: "); i >= 0 {
		s = s[:i]
	}
	return oneLine(s)
}

// tokenTransport bounds the answers of the token endpoint, and says who asks.
type tokenTransport struct {
	next      http.RoundTripper
	userAgent string
	observe   func(*url.URL, http.Header, time.Time)
}

func (t tokenTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	if t.userAgent != "" {
		r.Header.Set("User-Agent", t.userAgent)
	}
	r.Header.Set("Accept", "application/json")
	sent := time.Now()
	answer, err := t.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	t.observe(r.URL, answer.Header, sent)
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, largestToken+1))
	if err != nil {
		return nil, err
	}
	if len(body) > largestToken {
		return nil, fmt.Errorf("the answer is larger than %d KB", largestToken>>10)
	}
	body = bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))
	if bytes.HasPrefix(bytes.TrimSpace(body), []byte("{")) {
		// JSON under any name; the library would take text/plain for a form.
		answer.Header.Set("Content-Type", "application/json")
	}
	answer.Body = io.NopCloser(bytes.NewReader(body))
	return answer, nil
}

// Claims are what a token says about itself.
type Claims struct {
	Roles   []string // what the client is permitted
	Tenant  string   // "tid"
	Expires time.Time
}

// Claims gives the claims of the scope's token, asking for one if need be.
// They are read, not verified: they serve to explain, never to decide. A token
// that is not a JWT has no claims but its end.
func (c *Client) Claims(ctx context.Context, scope string) (Claims, error) {
	token, err := c.tokens.get(ctx, scope)
	if err != nil {
		return Claims{}, err
	}
	s := c.tokens.scope(scope)
	s.mu.Lock()
	out := Claims{Expires: s.expires}
	s.mu.Unlock()
	claims := jwt.MapClaims{}
	if _, _, err := jwt.NewParser().ParseUnverified(token, claims); err != nil {
		return out, nil
	}
	out.Tenant, _ = claims["tid"].(string)
	if roles, ok := claims["roles"].([]any); ok {
		for _, r := range roles {
			if r, ok := r.(string); ok {
				out.Roles = append(out.Roles, r)
			}
		}
	}
	return out, nil
}
