package extract

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/secure60/s60-m365-connector/engine/transport"
)

// ManagedIdentity is an identity that the platform gives to the host it runs on: there is no secret, and
// the platform itself gives the tokens. On a virtual machine that is its instance
// metadata, in a container service an endpoint that the environment names.
type ManagedIdentity struct {
	ClientID string // of one that a user assigned; "": the host's own
	// Endpoint and Header are IDENTITY_ENDPOINT and IDENTITY_HEADER of a container service; "": instance metadata.
	Endpoint, Header string
	// Metadata is the base URL of instance metadata; "": the one of all platforms, which is link-local.
	Metadata string
}

const (
	instanceMetadata = "http://169.254.169.254"
	// Versions of the two interfaces, as their documentation gives them.
	metadataVersion = "2018-02-01"
	endpointVersion = "2019-08-01"
)

// managed is a credential that is not shown to the token endpoint: it gives tokens itself.
// It has a client of its own: what is link-local is reached through no proxy.
type managed struct {
	identity ManagedIdentity
	client   *http.Client
}

// NewManagedIdentity makes the credential of a managed identity.
func NewManagedIdentity(identity ManagedIdentity) Credential {
	return &managed{identity, &http.Client{
		Transport: &http.Transport{DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext, DisableKeepAlives: true},
		Timeout:   30 * time.Second,
		// The header is a secret of the host: it goes nowhere else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Parameters implements [Credential]: there are none.
func (m *managed) Parameters(string, string, time.Time) (url.Values, error) {
	return nil, errors.New("a managed identity gives tokens itself")
}

// Expires: the platform renews what is behind it.
func (m *managed) Expires() (time.Time, error) { return time.Time{}, nil }

// These keep the header out of whatever prints the value.
func (m *managed) String() string               { return "managed identity" }
func (m *managed) GoString() string             { return "managed identity" }
func (m *managed) MarshalText() ([]byte, error) { return []byte("managed identity"), nil }

// token asks the platform. The error is an *AuthError.
func (m *managed) token(ctx context.Context, scope string) (string, time.Time, error) {
	query := url.Values{"resource": {strings.TrimSuffix(scope, "/.default")}, "api-version": {metadataVersion}}
	if m.identity.ClientID != "" {
		query.Set("client_id", m.identity.ClientID)
	}
	where := "instance metadata"
	address := strings.TrimSuffix(cmp.Or(m.identity.Metadata, instanceMetadata), "/") + "/metadata/identity/oauth2/token"
	header := http.Header{"Metadata": {"true"}}
	if m.identity.Endpoint != "" {
		where, address = "IDENTITY_ENDPOINT", m.identity.Endpoint
		query.Set("api-version", endpointVersion)
		header = http.Header{"X-Identity-Header": {m.identity.Header}}
	}
	u, err := url.Parse(address)
	if err != nil || !onHost(u) {
		return "", time.Time{}, &AuthError{Description: where + " must be a URL of this host: http to a loopback or link-local address, or https"}
	}
	u.RawQuery = query.Encode()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return "", time.Time{}, &AuthError{Description: oneLine(err.Error()), Err: err}
	}
	r.Header = header
	answered, err := m.client.Do(r)
	if err != nil {
		if cause, ok := errors.AsType[*url.Error](err); ok {
			err = cause.Err
		}
		return "", time.Time{}, &AuthError{Temporary: true, Err: err, Description: where + ": " + oneLine(err.Error()) + "; a managed identity is there on a host of the platform to which one is assigned"}
	}
	defer answered.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answered.Body, largestToken))
	var answer struct {
		Token       string          `json:"access_token"`
		ExpiresOn   json.RawMessage `json:"expires_on"`
		ExpiresIn   json.RawMessage `json:"expires_in"`
		Error       json.RawMessage `json:"error"`
		Description string          `json:"error_description"`
		Message     string          `json:"message"`
	}
	if err == nil {
		err = json.Unmarshal(body, &answer)
	}
	status := answered.StatusCode
	if status == http.StatusOK && err == nil && answer.Token != "" {
		return answer.Token, expiry(answer.ExpiresOn, answer.ExpiresIn, time.Now()), nil
	}
	refused := &AuthError{Status: status, Err: err, OAuthError: oneLine(strings.Trim(string(answer.Error), `"`))}
	refused.Description = where + ": " + description(cmp.Or(answer.Description, answer.Message, "it gives no token"))
	// 404 and 410: the platform is about to renew itself.
	refused.Temporary = status == http.StatusOK || status == http.StatusNotFound || status == http.StatusGone ||
		status == http.StatusRequestTimeout || status == http.StatusTooManyRequests || status >= 500
	refused.RetryAfter, _ = transport.RetryAfter(answered.Header, time.Now())
	return "", time.Time{}, refused
}

// onHost reports whether what is sent to a URL stays on this host, or is encrypted.
func onHost(u *url.URL) bool {
	if u.Scheme == "https" && u.Host != "" {
		return true
	}
	address, err := netip.ParseAddr(u.Hostname())
	return u.Scheme == "http" && (transport.Loopback(u.Hostname()) || err == nil && address.IsLinkLocalUnicast())
}

// expiry is when a token ends: in seconds since 1970, or from now, as a number or as a text.
func expiry(on, in json.RawMessage, now time.Time) time.Time {
	number := func(raw json.RawMessage) int64 {
		n, _ := strconv.ParseInt(strings.Trim(string(raw), `"`), 10, 64)
		return n
	}
	if at := number(on); at > 0 {
		return time.Unix(at, 0)
	}
	if seconds := number(in); seconds > 0 {
		return now.Add(time.Duration(seconds) * time.Second)
	}
	return now.Add(unknownLifetime)
}
