package simulator

import (
	"crypto/tls"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
)

// This file says where the services listen, and with which settings a connector reads them.

// listen opens a listener for each service, in the order of their names.
func (s *Simulator) listen() error {
	address, first, err := net.SplitHostPort(s.opts.Listen)
	if err != nil {
		return fmt.Errorf("listen on %q: %w", s.opts.Listen, err)
	}
	port, err := strconv.Atoi(first)
	if err != nil {
		return fmt.Errorf("listen on %q: the port is no number", s.opts.Listen)
	}
	for _, name := range slices.Sorted(maps.Keys(services)) {
		l, err := net.Listen("tcp", net.JoinHostPort(address, strconv.Itoa(port)))
		if err != nil {
			return fmt.Errorf("listen for %s: %w", name, err)
		}
		if s.opts.TLS != nil {
			l = tls.NewListener(l, s.opts.TLS)
		}
		s.listeners[name] = l
		if port != 0 {
			port++
		}
	}
	return nil
}

// base is the base URL of a service.
func (s *Simulator) base(name string) string {
	scheme, address := "http", s.listeners[name].Addr().String()
	if s.opts.TLS != nil {
		scheme = "https"
	}
	if s.opts.Host != "" {
		_, port, _ := net.SplitHostPort(address) // as the listener gives it
		address = net.JoinHostPort(s.opts.Host, port)
	}
	return scheme + "://" + address
}

// LoginBase is the base URL of the login service.
func (s *Simulator) LoginBase() string { return s.base("login") }

// ManageBase is the base URL of the Management Activity API, and the resource
// its tokens are for.
func (s *Simulator) ManageBase() string { return s.base("manage") }

// GraphBase is the base URL of Graph, and the resource its tokens are for.
func (s *Simulator) GraphBase() string { return s.base("graph") }

// DefenderBase is the base URL of the API of Defender for Endpoint, and the resource
// its tokens are for.
func (s *Simulator) DefenderBase() string { return s.base("defender") }

// IngestBase is the base URL of the Secure60 ingest endpoint.
func (s *Simulator) IngestBase() string { return s.base("ingest") }

// CollectorBase is the URL of a Secure60 collector. Of several tenants, each has a path
// of its own.
func (s *Simulator) CollectorBase() string {
	if s.opts.Tenants > 1 {
		return s.base("collector") + "/" + s.opts.ProjectID
	}
	return s.base("collector")
}

// ForeignBase is the base URL of a host that belongs to nobody: whatever
// arrives there with a token is a leak.
func (s *Simulator) ForeignBase() string { return s.base("foreign") }

// TenantID is the tenant's GUID.
func (s *Simulator) TenantID() string { return s.opts.TenantID }

// Env is the connector's configuration for this tenant, with ingest as its
// destination, as NAME=value. The secret and token are the simulator's own.
func (s *Simulator) Env() []string {
	return []string{
		"TENANT_ID=" + s.opts.TenantID,
		"CLIENT_ID=" + s.opts.ClientID,
		"CLIENT_SECRET=" + s.opts.ClientSecret,
		"MS_LOGIN_BASE=" + s.LoginBase(),
		"MS_MANAGE_BASE=" + s.ManageBase(),
		"MS_GRAPH_BASE=" + s.GraphBase(),
		"MS_DEFENDER_BASE=" + s.DefenderBase(),
		"S60_INGEST_BASE=" + s.IngestBase(),
		"PROJECT_ID=" + s.opts.ProjectID,
		"TOKEN=" + s.opts.Token,
	}
}

// EnvMap is Env as a map.
func (s *Simulator) EnvMap() map[string]string {
	m := map[string]string{}
	for _, line := range s.Env() {
		name, value, _ := strings.Cut(line, "=")
		m[name] = value
	}
	return m
}

// CollectorEnv is Env with the collector as the destination.
func (s *Simulator) CollectorEnv() []string {
	var env []string
	for _, line := range s.Env() {
		name, _, _ := strings.Cut(line, "=")
		switch name {
		case "S60_INGEST_BASE", "PROJECT_ID", "TOKEN":
		default:
			env = append(env, line)
		}
	}
	return append(env, "S60_COLLECTOR_BASE="+s.CollectorBase())
}
