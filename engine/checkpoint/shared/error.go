package shared

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
)

// Error codes of JetStream that its client does not name;
// https://github.com/nats-io/nats-server/blob/main/server/errors.json.
const (
	codeNoPeers         jetstream.ErrorCode = 10005 // too few servers for so many copies
	codeNoResources     jetstream.ErrorCode = 10023
	codeNoMemory        jetstream.ErrorCode = 10028
	codeNoStorage       jetstream.ErrorCode = 10047
	codeNotClustered    jetstream.ErrorCode = 10074 // copies asked of a single server
	codeStoreFailed     jetstream.ErrorCode = 10077
	codeMaxBytesReached jetstream.ErrorCode = 10110
)

// code is JetStream's own code of an error, 0 if there is none.
func code(err error) jetstream.ErrorCode {
	var e jetstream.JetStreamError
	if errors.As(err, &e) && e.APIError() != nil {
		return e.APIError().ErrorCode
	}
	return 0
}

// failed makes of an error of NATS what the caller gets: what happened, where, and what to
// do.
func (s *Store) failed(what string, err error) error {
	if err == nil {
		return nil
	}
	if over := s.over(); over != nil {
		return over
	}
	if s.nc != nil && !s.nc.IsConnected() && refused(s.nc.LastError()) { // why no answer came
		err = fmt.Errorf("%w (%w)", s.nc.LastError(), err)
	}
	where := fmt.Sprintf("shared state: %s: NATS at %s", what, s.servers)
	switch {
	case refused(err):
		return fmt.Errorf("%s refuses the credentials: %w; check the user and password in STATE_URL, or the credentials file", where, err)
	case errors.Is(err, nats.ErrPermissionViolation):
		return fmt.Errorf("%s does not permit that: %w; give the user of STATE_URL %s", where, err, s.permissions())
	case errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission):
		return fmt.Errorf("shared state: %s: the credentials file cannot be read: %w", what, err)
	case errors.Is(err, nats.ErrSecureConnRequired), errors.Is(err, nats.ErrSecureConnWanted):
		return fmt.Errorf("%s: %w; write tls:// in STATE_URL where the server wants TLS, nats:// where it has none", where, err)
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return fmt.Errorf("%s runs without JetStream: %w; start it with -js and a store directory, or enable JetStream for the account", where, err)
	case errors.Is(err, nats.ErrMaxPayload), errors.Is(err, jetstream.ErrStreamMessageExceedsMaximum):
		return fmt.Errorf("%s refuses a message as too large: %w; raise its max_payload to 1MB or more", where, err)
	case code(err) == codeNotClustered:
		return fmt.Errorf("%s is not a cluster, so it keeps one copy of the state only: %w", where, err)
	case code(err) == codeNoPeers:
		return fmt.Errorf("%s has too few servers for the copies that the state is to have: %w; start all servers of the cluster, three at least", where, err)
	case code(err) == codeNoStorage, code(err) == codeNoResources, code(err) == codeNoMemory, code(err) == codeStoreFailed, code(err) == codeMaxBytesReached:
		return fmt.Errorf("%w: %s has no space for the state: %w; give JetStream (max_file_store) or the account more, or free some", checkpoint.ErrDiskFull, where, err)
	case errors.Is(err, nats.ErrNoServers), errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrDisconnected):
		return fmt.Errorf("%s cannot be reached: %w; check that it runs, and STATE_URL", where, err)
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrNoStreamResponse):
		return fmt.Errorf("%s has no JetStream that answers: %w; start it with -js and a store directory; in a cluster, check that a majority of its servers runs", where, err)
	case errors.Is(err, nats.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s does not answer in time: %w; check that its servers run, a majority of them in a cluster", where, err)
	}
	return fmt.Errorf("%s: %w", where, err)
}

// refused reports whether a server does not take the credentials.
func refused(err error) bool {
	return errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrAuthExpired) || errors.Is(err, nats.ErrAuthRevoked) || errors.Is(err, nats.ErrAccountAuthExpired)
}

// permissions are what the servers must allow.
func (s *Store) permissions() string {
	return fmt.Sprintf("the right to publish to %s.>, $JS.API.> and $KV.%s.>, and to subscribe to _INBOX.>", s.opts.Name, s.bucketName())
}
