package extract

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net/url"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// certificate is the path of a PEM file that holds an RSA key and its
// certificate, in any order; further certificates of the chain may follow the
// certificate.
type certificate string

// assertionLife is short, as an assertion is used at once; a clock that is
// behind by less is still understood.
const assertionLife = 10 * time.Minute

func (f certificate) Parameters(tokenURL, clientID string, now time.Time) (url.Values, error) {
	key, leaf, err := f.load()
	if err != nil {
		return nil, err
	}
	thumbprint := sha256.Sum256(leaf.Raw)
	// The audience is a plain text: not every service takes the list that
	// jwt.RegisteredClaims would write.
	token := jwt.NewWithClaims(jwt.SigningMethodPS256, jwt.MapClaims{
		"aud": tokenURL,
		"iss": clientID,
		"sub": clientID,
		"jti": rand.Text(),
		"nbf": now.Unix(),
		"iat": now.Unix(),
		"exp": now.Add(assertionLife).Unix(),
	})
	token.Header["x5t#S256"] = base64.RawURLEncoding.EncodeToString(thumbprint[:])
	signed, err := token.SignedString(key)
	if err != nil {
		return nil, fmt.Errorf("client certificate file %s: signing: %w", string(f), err)
	}
	return url.Values{"client_assertion_type": {assertionType}, "client_assertion": {signed}}, nil
}

// Expires is the end of the certificate.
func (f certificate) Expires() (time.Time, error) {
	_, leaf, err := f.load()
	if err != nil {
		return time.Time{}, err
	}
	return leaf.NotAfter, nil
}

func (f certificate) load() (*rsa.PrivateKey, *x509.Certificate, error) {
	text, err := readSmall(string(f))
	if err != nil {
		return nil, nil, fmt.Errorf("client certificate file: %w", err)
	}
	pair, err := tls.X509KeyPair(text, text)
	if err != nil {
		// The library's errors speak of PEM blocks and keys, and quote nothing of them.
		return nil, nil, fmt.Errorf("client certificate file %s must hold an unencrypted private key and its certificate, both PEM: %w", string(f), err)
	}
	key, ok := pair.PrivateKey.(*rsa.PrivateKey)
	if !ok {
		return nil, nil, fmt.Errorf("client certificate file %s: the key must be RSA", string(f))
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return nil, nil, fmt.Errorf("client certificate file %s: %w", string(f), err)
	}
	return key, leaf, nil
}
