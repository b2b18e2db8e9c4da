package extract

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// platform stands in for both ways in which a host is told its tokens.
func platform(t *testing.T, answer func(w http.ResponseWriter, query url.Values, asked *http.Request)) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		switch {
		case r.URL.Path == "/metadata/identity/oauth2/token" && r.Header.Get("Metadata") == "true" && query.Get("api-version") == "2018-02-01" && r.Header.Get("X-Forwarded-For") == "":
		case r.URL.Path == "/msi/token" && r.Header.Get("X-IDENTITY-HEADER") == "open sesame" && query.Get("api-version") == "2019-08-01":
		default:
			w.WriteHeader(400)
			io.WriteString(w, `{"error":"invalid_request","error_description":"Required metadata header not specified"}`)
			return
		}
		answer(w, query, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// TestManagedIdentity: the host's own and an assigned one, from instance metadata and from a container
// service's endpoint, down to the request that bears the token.
func TestManagedIdentity(t *testing.T) {
	const assigned = "11111111-2222-3333-4444-555555555555"
	for _, container := range []bool{false, true} {
		for _, id := range []string{"", assigned} {
			t.Run(fmt.Sprintf("container=%t/%s", container, id), func(t *testing.T) {
				given := 0
				p := platform(t, func(w http.ResponseWriter, query url.Values, _ *http.Request) {
					given++
					if query.Get("resource") != "https://api.example" || query.Get("client_id") != id || query.Has("client_id") != (id != "") {
						t.Errorf("asked with %v", query)
					}
					fmt.Fprintf(w, `{"access_token":"of the platform","expires_on":"%d","resource":"x","token_type":"Bearer"}`, time.Now().Add(time.Hour).Unix())
				})
				identity := ManagedIdentity{ClientID: id, Metadata: p.URL}
				if container {
					identity = ManagedIdentity{ClientID: id, Endpoint: p.URL + "/msi/token", Header: "open sesame"}
				}
				s := newService(t)
				s.answers("/r", `{"value":[{"id":"a"}]}`)
				f := s.feed(t, "/r")
				f.Scope = template(t, "https://api.example/.default")
				o := s.options()
				o.Credential = NewManagedIdentity(identity)
				to := newSink()
				if _, err := read(t, o, f, to); err != nil || to.ids("") != "a" || s.bearer["Bearer of the platform"] != 1 || given != 1 || s.tokens.Load() != 0 {
					t.Errorf("%q, %v, bearers %v, %d tokens of the platform and %d of the endpoint", to.ids(""), err, s.bearer, given, s.tokens.Load())
				}
				if text := fmt.Sprintf("%v %+v %#v", o.Credential, o, o.Credential); strings.Contains(text, "sesame") {
					t.Errorf("printed: %s", text)
				}
			})
		}
	}
}

func TestManagedIdentityRefusals(t *testing.T) {
	for _, test := range []struct {
		status    int
		body      string
		temporary bool
		says      string
	}{
		{400, `{"error":"invalid_request","error_description":"Identity not found"}`, false, "Identity not found"},
		{410, ``, true, "instance metadata"},
		{429, `{"error":"too_many"}`, true, "no token"},
		{500, `{"statusCode":500,"message":"An unexpected error occured"}`, true, "unexpected"},
		{200, `<html>`, true, "instance metadata"},
	} {
		p := platform(t, func(w http.ResponseWriter, _ url.Values, _ *http.Request) {
			w.Header().Set("Retry-After", "3")
			w.WriteHeader(test.status)
			io.WriteString(w, test.body)
		})
		_, _, err := NewManagedIdentity(ManagedIdentity{Metadata: p.URL}).(*managed).token(t.Context(), "x/.default")
		var refused *AuthError
		if !errors.As(err, &refused) || refused.Temporary != test.temporary || refused.Status != test.status || !strings.Contains(err.Error(), test.says) || refused.RetryAfter != 3*time.Second {
			t.Errorf("%d: %+v", test.status, err)
		}
	}
	for address, ok := range map[string]bool{"http://127.0.0.1:1/msi/token": true, "http://169.254.129.4:1/msi/token": true, "http://10.0.0.1/x": false, "http://example.com/x": false, "https://example.com/x": true, "x": false} {
		u, _ := url.Parse(address)
		if onHost(u) != ok {
			t.Errorf("%s: %t", address, !ok)
		}
	}
}
