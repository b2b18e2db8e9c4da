package settings

import (
	"os"

	"github.com/secure60/s60-m365-connector/engine/checkpoint/shared"
)

// This file reads the settings of a state that replicas share.

// sharedState says where it is; url is empty without one.
type sharedState struct {
	URL         string // of the servers
	Name        string // of the stream
	Credentials string // path of a file, "" for none
	Replica     string
	Observer    bool // it takes no part in the collecting: set by subcommands
}

func (r *environment) sharedState(s *Settings) {
	host, _ := os.Hostname() //nolint:errcheck // then it has no name of its own
	name := "s60-m365-" + s.TenantID
	if s.TenantsDir != "" {
		name = "s60-m365-tenants"
	}
	s.Shared = sharedState{Name: name, Credentials: r.text("STATE_CREDENTIALS_FILE"), Replica: r.textOr("REPLICA_NAME", host)}
	text := r.text("STATE_URL")
	if text == "" {
		if s.Shared.Credentials != "" {
			r.fail("STATE_CREDENTIALS_FILE is set without STATE_URL: write the NATS servers into STATE_URL, or remove it")
		}
		return
	}
	stream, err := shared.StreamOf(text)
	if err != nil {
		r.fail("STATE_URL: %v", err)
		return
	}
	if stream != "" {
		s.Shared.Name = stream
	}
	s.Shared.URL = text
	if s.Shared.Credentials != "" {
		r.readable("STATE_CREDENTIALS_FILE", s.Shared.Credentials)
	}
}
