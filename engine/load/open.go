package load

import (
	"cmp"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"
)

// The kinds of destination.
const (
	KindIngest    = "ingest"
	KindCollector = "collector"
	KindFile      = "file"
	KindStdout    = "stdout"
	KindNATS      = "nats"
	KindKafka     = "kafka"
)

// How events are laid into the body of a request.
const (
	FormatObject = "object" // one event a request: the documented contract
	FormatArray  = "array"  // a batch a request, as a JSON array
	FormatNDJSON = "ndjson" // a batch a request, one event a line
)

// Defaults of [Config].
const (
	DefaultTimeout  = 2 * time.Minute
	defaultPatience = 20 * time.Second
)

// Config says where events go and how. Only the fields of the kind in hand and
// the common ones count.
type Config struct {
	Kind string

	// URL is the base of the ingest service, or the exact URL of a collector.
	// It is https, or http on a loopback address.
	URL string
	// ProjectID names the project at the ingest service.
	ProjectID string
	// Token gives the bearer token of the ingest service. It is asked before
	// every request, from several goroutines, so that a renewed token file
	// takes effect at once. Its error is logged and must not hold the token.
	Token func() (string, error)

	// Path is the file of the kind "file". It is opened for appending, and made
	// with mode 0600 if need be.
	Path string
	// Output is where the kind "stdout" writes; os.Stdout if nil.
	Output io.Writer

	// Address is the stream of the kinds "nats" and "kafka".
	Address Address
	// CredentialsFile holds user:password on one line, or is a credentials file
	// of NATS. It is read at each connection. Empty: those of the address.
	CredentialsFile string
	// Source says whose events these are among all that go to the same stream.
	// It is a part of ids and keys, which are of one source only.
	Source string

	Format      string        // of ingest and collector; FormatObject if empty
	Gzip        bool          // compress the bodies of requests
	Concurrency int           // most requests in flight, over all calls, to this destination; 0: as many as it takes well, see MaxConcurrency
	UserAgent   string        // names product and version
	Timeout     time.Duration // of one request, all in all; DefaultTimeout if 0
	// Patience is how long a request may stand still, with nothing sent and nothing answered, before
	// it is tried on a new connection; defaultPatience if 0. It grows for a destination that
	// takes longer.
	Patience time.Duration
	Retry    Retry
	// Transport of ingest and collector; nil: one of the destination's own. Destinations of several
	// tenants share one, see [NewTransport]: one pool of connections to one service. Concurrency
	// stays each tenant's own, so that a destination in trouble holds up nobody else.
	Transport http.RoundTripper

	// Logger takes one INFO line for each delivery, one line for each change of
	// the destination's state, and a DEBUG line for each attempt. No line holds
	// the token or anything of an event. Nothing is logged if it is nil.
	Logger *slog.Logger
}

// kinds are all kinds of destination: each stands in the file of its name.
var kinds = map[string]func(Config) (Destination, error){
	KindIngest:    openIngest,
	KindCollector: openCollector,
	KindFile:      openFile,
	KindStdout:    openStdout,
	KindNATS:      openNATS,
	KindKafka:     openKafka,
}

var contentTypes = map[string]string{
	FormatObject: "application/json",
	FormatArray:  "application/json",
	FormatNDJSON: "application/x-ndjson",
}

// Open makes the destination that config describes. It makes no request: a
// destination that is down shows when events are delivered. Of config it checks what keeps a token from a
// network in the open; the rest is for who reads the settings.
func Open(config Config) (Destination, error) {
	config.Format = cmp.Or(config.Format, FormatObject)
	config.Timeout = cmp.Or(config.Timeout, DefaultTimeout)
	config.Patience = min(cmp.Or(config.Patience, defaultPatience), config.Timeout)
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	config.Retry = config.Retry.withDefaults()
	destination, err := kinds[config.Kind](config)
	if err != nil {
		return nil, fmt.Errorf("open destination %s: %w", config.Kind, err)
	}
	return destination, nil
}
