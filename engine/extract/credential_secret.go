package extract

import (
	"net/url"
	"time"
)

// secret is a client secret.
type secret string

func (s secret) Parameters(string, string, time.Time) (url.Values, error) {
	return url.Values{"client_secret": {string(s)}}, nil
}

// Expires: a secret does not say.
func (s secret) Expires() (time.Time, error) { return time.Time{}, nil }

// These keep the secret out of whatever prints or encodes the value.
func (s secret) String() string               { return "client secret" }
func (s secret) GoString() string             { return "client secret" }
func (s secret) MarshalText() ([]byte, error) { return []byte("client secret"), nil }
