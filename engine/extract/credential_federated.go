package extract

import (
	"fmt"
	"net/url"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// federated is the path of a file that holds a token of another issuer, which
// renews the file as it likes.
type federated string

func (f federated) Parameters(string, string, time.Time) (url.Values, error) {
	text, err := readSecret(string(f))
	if err != nil {
		return nil, fmt.Errorf("federated token file: %w", err)
	}
	return url.Values{"client_assertion_type": {assertionType}, "client_assertion": {string(text)}}, nil
}

// Expires is nothing to warn of: the token in the file is short-lived by
// design. One that has ended means that whoever renews the file has stopped.
func (f federated) Expires() (time.Time, error) {
	text, err := readSecret(string(f))
	if err != nil {
		return time.Time{}, fmt.Errorf("federated token file: %w", err)
	}
	var claims jwt.RegisteredClaims
	if _, _, err := jwt.NewParser().ParseUnverified(string(text), &claims); err != nil || claims.ExpiresAt == nil {
		return time.Time{}, nil
	}
	if claims.ExpiresAt.Before(time.Now()) {
		return claims.ExpiresAt.Time, nil
	}
	return time.Time{}, nil
}
