package settings

import (
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/secure60/s60-m365-connector/engine/load"
)

// This file reads where events go.

// IngestToken is the token of the ingest service; a token file is read each
// time, so that a renewed token takes effect without a restart.
func (s *Settings) IngestToken() (string, error) {
	if s.TokenFile == "" {
		return s.Token, nil
	}
	data, err := os.ReadFile(s.TokenFile)
	if err != nil {
		return "", fmt.Errorf("TOKEN_FILE: %w", err)
	}
	token := strings.TrimSpace(string(data))
	if token == "" || strings.ContainsAny(token, "\r\n") {
		return "", fmt.Errorf("TOKEN_FILE %s holds no token on a single line", s.TokenFile)
	}
	return token, nil
}

func (s *Settings) DestinationText() string {
	switch {
	case s.Stream != nil:
		return s.Stream.String()
	case s.Output == "-":
		return "stdout"
	case s.Output != "":
		return "file " + s.Output
	case s.CollectorBase != "":
		return "collector " + printable(s.CollectorBase)
	}
	return "ingest " + s.IngestBase + " project " + s.ProjectID
}

func (r *environment) destination(s *Settings) {
	s.ProjectID, s.Token, s.TokenFile = r.text("PROJECT_ID"), r.text("TOKEN"), r.text("TOKEN_FILE")
	s.CollectorBase = r.base("S60_COLLECTOR_BASE", "")
	s.IngestBase = r.base("S60_INGEST_BASE", "https://ingest.secure60.io")
	r.stream(s)
	ingest := s.ProjectID != "" || s.Token != "" || s.TokenFile != ""
	if s.Output != "" || s.Stream != nil {
		for _, name := range []string{"PROJECT_ID", "TOKEN", "TOKEN_FILE", "S60_COLLECTOR_BASE"} {
			if r.text(name) != "" {
				s.Shadowed = append(s.Shadowed, name)
			}
		}
		return
	}
	switch {
	case ingest && s.CollectorBase != "":
		r.fail("PROJECT_ID and TOKEN (ingest mode) and S60_COLLECTOR_BASE (collector mode) are set together: keep one of the two")
	case !ingest && s.CollectorBase == "":
		r.fail("no destination is set: write PROJECT_ID and TOKEN (ingest mode), or S60_COLLECTOR_BASE (collector mode)")
	case ingest:
		if s.ProjectID == "" {
			r.fail("PROJECT_ID is missing: write the number of your Secure60 project")
		} else if !projectForm.MatchString(s.ProjectID) && !placeholder(s.ProjectID) {
			r.fail("PROJECT_ID is %q: write the number of your Secure60 project, such as 301", s.ProjectID)
		}
		switch {
		case s.Token == "" && s.TokenFile == "":
			r.fail("TOKEN is missing: write the ingest token of your Secure60 project, or set TOKEN_FILE instead")
		case s.Token != "" && s.TokenFile != "":
			r.fail("TOKEN and TOKEN_FILE are set together: keep one of them")
		case s.TokenFile != "":
			r.readable("TOKEN_FILE", s.TokenFile)
		case strings.ContainsAny(s.Token, "\r\n"):
			r.fail("TOKEN holds a line break: write the token on one line")
		}
	}
}

var projectForm = regexp.MustCompile(`^[0-9]{1,19}$`)

// nearlyAddress is a text that was hardly meant for the path of a file.
var nearlyAddress = regexp.MustCompile(`(?i)^[^./][^/]*(://|@|:?//)|^(nats|kafka|tls)[^/]*:|://`)

// stream reads the address of a stream platform, if OUTPUT is one.
func (r *environment) stream(s *Settings) {
	s.StreamFile = r.text("OUTPUT_CREDENTIALS_FILE")
	if !load.IsAddress(s.Output) && nearlyAddress.MatchString(s.Output) {
		// It may hold a password.
		r.fail("OUTPUT looks like an address, and is none: write nats://host:4222/subject, tls://…, kafka://host:9092/topic or kafka+tls://…, or a path that begins with ./ or /")
		s.Output = ""
		return
	}
	if !load.IsAddress(s.Output) {
		if s.StreamFile != "" {
			r.fail("OUTPUT_CREDENTIALS_FILE is set, and OUTPUT is no address of NATS or Kafka: remove it, or write an address such as nats://host:4222/subject into OUTPUT")
		}
		return
	}
	address, err := load.ParseAddress(s.Output)
	s.Output, s.Stream = "", &address
	switch {
	case err != nil:
		r.fail("OUTPUT %v", err)
	case s.StreamFile != "" && address.User != "":
		r.fail("OUTPUT holds a user and OUTPUT_CREDENTIALS_FILE is set: keep one of the two")
	case s.StreamFile != "":
		r.readable("OUTPUT_CREDENTIALS_FILE", s.StreamFile)
	}
}
