package extract

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Credential proves to the token endpoint who the client is. Each kind is one
// file and one entry in the table of kinds. Its methods may be called from
// several goroutines.
type Credential interface {
	// Parameters are what the token request says beyond grant, client and
	// scope. What is read from a file is read anew, so that replacing the file
	// is enough to replace the credential.
	Parameters(tokenURL, clientID string, now time.Time) (url.Values, error)
	// Expires is when the credential ends, the zero time where it cannot tell.
	Expires() (time.Time, error)
}

// Kinds of credential.
const (
	ClientSecret       = "client_secret"        // the secret itself
	ClientSecretFile   = "client_secret_file"   // a file that holds it
	ClientCertificate  = "client_certificate"   // a PEM file of key and certificate
	FederatedTokenFile = "federated_token_file" // a file that holds a token of another issuer
)

var credentials = map[string]func(value string) Credential{
	ClientSecret:       func(v string) Credential { return secret(v) },
	ClientSecretFile:   func(v string) Credential { return secretFile(v) },
	ClientCertificate:  func(v string) Credential { return certificate(v) },
	FederatedTokenFile: func(v string) Credential { return federated(v) },
}

// NewCredential makes a credential of a kind. value is the secret itself for
// [ClientSecret], else the path of a file. The file need not exist yet: what
// is wrong with it is told by each token request.
func NewCredential(kind, value string) (Credential, error) {
	make, ok := credentials[kind]
	if !ok {
		return nil, fmt.Errorf("unknown kind of credential %q; known are %s",
			kind, strings.Join(slices.Sorted(maps.Keys(credentials)), ", "))
	}
	return make(value), nil
}

// assertionType is that of RFC 7523, for a client that proves itself by a JWT.
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
