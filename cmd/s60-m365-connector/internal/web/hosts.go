package web

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/secure60/s60-m365-connector/engine/transport"
)

// knownHosts refuses requests whose Host header is not a name of this host. This keeps another site
// from reading the pages by pointing its own name here (DNS rebinding). An address cannot be
// pointed elsewhere, so it is allowed unless the listener is on loopback. extra are further names, or * for any.
func knownHosts(listen string, extra []string, next http.Handler) http.Handler {
	host, _, err := net.SplitHostPort(listen)
	local := err == nil && transport.Loopback(host)
	own, _ := os.Hostname() //nolint:errcheck // then it has no name of its own
	allowed := func(name string) bool {
		if transport.Loopback(name) || slices.ContainsFunc(extra, func(known string) bool { return known == "*" || strings.EqualFold(known, name) }) {
			return true
		}
		if local {
			return false
		}
		_, err := netip.ParseAddr(name)
		return err == nil || own != "" && strings.EqualFold(name, own)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !allowed((&url.URL{Host: r.Host}).Hostname()) {
			http.Error(w, "this host is not known by the name in the request: add it to LISTEN_HOSTS of the connector", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}
