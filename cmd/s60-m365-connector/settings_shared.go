package main

import (
	"net/url"
	"os"
	"regexp"
	"strings"
)

// This file reads the settings of a state that replicas share.

// sharedState says where it is; url is empty without one.
type sharedState struct {
	url         string // of the servers, comma-separated, without the name of the stream
	name        string // of the stream
	credentials string // path of a file, "" for none
	replica     string
	observer    bool // it takes no part in the collecting: set by subcommands
}

var streamName = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// sharedState reads STATE_URL and what belongs to it.
func (r *reader) sharedState(s *settings) {
	host, _ := os.Hostname() //nolint:errcheck // then it has no name of its own
	name := "s60-m365-" + s.tenantID
	if s.tenantsDir != "" {
		name = "s60-m365-tenants"
	}
	s.shared = sharedState{name: name, credentials: r.text("STATE_CREDENTIALS_FILE"), replica: r.textOr("REPLICA_NAME", host)}
	text := r.text("STATE_URL")
	if text == "" {
		if s.shared.credentials != "" {
			r.fail("STATE_CREDENTIALS_FILE is set without STATE_URL: write the NATS servers into STATE_URL, or remove it")
		}
		return
	}
	var servers []string
	for part := range strings.SplitSeq(text, ",") {
		u, err := url.Parse(strings.TrimSpace(part))
		// A part that does not parse is not repeated: it may hold a password.
		if err != nil || u.Hostname() == "" || u.Scheme != "nats" && u.Scheme != "tls" || u.RawQuery != "" || u.Fragment != "" {
			r.fail("STATE_URL has a part that is not of the form nats://host:4222 or tls://host:4222: write it so, with commas between several servers")
			return
		}
		if name := strings.Trim(u.Path, "/"); name != "" {
			if !streamName.MatchString(name) {
				r.fail("STATE_URL names the stream %q: write letters, digits, - and _", name)
				return
			}
			s.shared.name = name
		}
		u.Path = ""
		servers = append(servers, u.String())
	}
	s.shared.url = strings.Join(servers, ",")
	if s.shared.credentials != "" {
		r.readable("STATE_CREDENTIALS_FILE", s.shared.credentials)
	}
}
