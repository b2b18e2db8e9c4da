package simulator

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestListen serves https under another name, at ports that are known before.
func TestListen(t *testing.T) {
	authority := httptest.NewTLSServer(http.NotFoundHandler()) // for its certificate, of example.com
	defer authority.Close()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	sim, err := Start(Options{Records: -1, Listen: address, Host: "example.com", TLS: &tls.Config{Certificates: authority.TLS.Certificates}})
	if err != nil {
		t.Skip(err) // somebody else took one of the ports meanwhile
	}
	defer sim.Close()
	_, port, _ := net.SplitHostPort(address)
	if got, want := sim.CollectorBase(), "https://example.com:"+port; got != want {
		t.Errorf("the first service is at %s, want %s", got, want)
	}
	client := authority.Client()
	client.Transport.(*http.Transport).DialContext = nil // which leads to the authority
	response, err := client.Get(strings.Replace(sim.LoginBase(), "example.com", "127.0.0.1", 1) + "/_simulator/env")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != 200 {
		t.Errorf("status %d", response.StatusCode)
	}

	for _, listen := range []string{"127.0.0.1", "127.0.0.1:http"} {
		if sim, err := Start(Options{Records: -1, Listen: listen}); err == nil {
			sim.Close()
			t.Errorf("%q is no address to listen on", listen)
		}
	}
}
