package main

import (
	"os"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
)

// This file reads the settings of a state that replicas share.

// sharedState says where it is; url is empty without one.
type sharedState struct {
	url         string // of the servers
	name        string // of the stream
	credentials string // path of a file, "" for none
	replica     string
	observer    bool // it takes no part in the collecting: set by subcommands
}

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
	stream, err := checkpoint.StreamOf(text)
	if err != nil {
		r.fail("STATE_URL: %v", err)
		return
	}
	if stream != "" {
		s.shared.name = stream
	}
	s.shared.url = text
	if s.shared.credentials != "" {
		r.readable("STATE_CREDENTIALS_FILE", s.shared.credentials)
	}
}
