package extract

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/transport"
)

// ClientOptions are what all feeds have in common. Zero values of the numbers
// and durations mean the defaults named.
type ClientOptions struct {
	UserAgent string // product/version
	Log       *slog.Logger
	// Explain is an error in a person's words, for the log; the error's own text unless given.
	Explain func(error) string

	TokenURL   string // the token endpoint of the tenant
	ClientID   string
	Credential Credential
	// TemporaryCodes reports which error codes of the token endpoint pass by
	// themselves. nil means none; faults of the network, 408, 429, 5xx and
	// "temporarily_unavailable" always do.
	TemporaryCodes func(code int) bool

	// MaxAttempts and MaxElapsed bound the attempts at one request that fail;
	// 8 and 5 minutes. MaxThrottled bounds what one request waits because the service
	// throttles; 30 minutes.
	MaxAttempts  int
	MaxElapsed   time.Duration
	MaxThrottled time.Duration
	// Backoff is the first wait after a failure, which doubles with each
	// further one; 500 ms. Throttling without Retry-After begins with twice as much.
	Backoff time.Duration
	// HeaderTimeout is how long an answer may take to begin, 5 minutes;
	// StallTimeout how long a body may then stand still, 2 minutes.
	HeaderTimeout time.Duration
	StallTimeout  time.Duration

	// Budget is what the application may send over all tenants, shared by the
	// clients of all; Tenant what it may send to this one. nil: no limit but those of
	// the feeds' buckets, which are each tenant's own.
	Budget *Budget
	Tenant *Budget

	// Buckets are those of the tenant, where it may have several clients; nil: this one's own.
	Buckets *Buckets
	// UsageDir is a folder where what was sent of each bucket's limit is kept, so that the
	// next process counts it; "": nowhere. See [Budget.Keep], too.
	UsageDir string
	// May reports whether requests may be sent now, where that may change while one waits: not
	// by a process that was paused for so long that others have its work. nil: always.
	May func() bool
	// Now is the clock of this host, as wrong as it is; time.Now unless given.
	Now func() time.Time

	// OnAsked sees each attempt at a request of a feed, from several goroutines; may be nil.
	OnAsked func(Asked)

	// Transport carries the requests; nil: one of the client's own. Clients of several
	// tenants share one, see [NewTransport]; what it holds of HeaderTimeout is in force.
	Transport http.RoundTripper
}

// defaultHeaderTimeout is how long an answer may take to begin.
const defaultHeaderTimeout = 5 * time.Minute

// Client holds what all feeds share: connections, tokens, and the budgets of
// requests. Its methods may be called from several goroutines.
type Client struct {
	options ClientOptions
	log     *slog.Logger
	http    *http.Client
	tokens  *tokens

	troubles *troubles
	issuer   *url.URL // of tokens; nil: TokenURL is no URL

	above []*limit // of every bucket, the nearest first

	skew  atomic.Pointer[time.Duration]
	skews sync.Map // of string, the origin, to clockReading
}

// NewTransport makes a transport that the clients of several tenants may share. An answer
// may take headerTimeout to begin; 0: [defaultHeaderTimeout]. So many idle connections
// are kept to one host; 0: 64.
func NewTransport(headerTimeout time.Duration, connections int) *transport.Transport {
	return transport.New(transport.Options{HeaderTimeout: cmp.Or(headerTimeout, defaultHeaderTimeout), Idle: connections})
}

// NewClient makes a client. Nothing is sent before it is used.
func NewClient(options ClientOptions) *Client {
	options.MaxAttempts = cmp.Or(options.MaxAttempts, 8)
	options.MaxElapsed = cmp.Or(options.MaxElapsed, 5*time.Minute)
	options.MaxThrottled = cmp.Or(options.MaxThrottled, 30*time.Minute)
	options.Backoff = cmp.Or(options.Backoff, 500*time.Millisecond)
	options.StallTimeout = cmp.Or(options.StallTimeout, 2*time.Minute)
	if options.Log == nil {
		options.Log = slog.New(slog.DiscardHandler)
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.Explain == nil {
		options.Explain = error.Error
	}
	if options.Buckets == nil {
		options.Buckets = &Buckets{}
	}
	if options.Transport == nil {
		options.Transport = NewTransport(options.HeaderTimeout, 0)
	}
	c := &Client{options: options, log: options.Log}
	c.troubles = &troubles{log: options.Log, explain: options.Explain, all: map[troubled]*trouble{}, told: map[string]*outage{}}
	c.issuer, _ = url.Parse(options.TokenURL)
	for _, b := range []*Budget{options.Tenant, options.Budget} {
		if b != nil {
			c.above = append(c.above, &b.limit)
		}
	}
	c.http = &http.Client{Transport: options.Transport, CheckRedirect: checkRedirect}
	c.tokens = &tokens{
		client: c,
		// The token endpoint is never redirected: the request holds the credential.
		http: &http.Client{
			Transport:     tokenTransport{options.Transport, options.UserAgent, c.observe},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Timeout:       time.Minute,
		},
		scopes: map[string]*scopeToken{},
	}
	return c
}

// Close gives up the client's part of what it shares with others. Nothing may be sent any more.
func (c *Client) Close() {
	b := c.options.Buckets
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, pot := range b.pots {
		pot.limit.leave(time.Now(), c)
	}
}

// checkRedirect follows a redirect on the same host only: whatever another
// host may say, it is not who was asked, and must not see the token.
func checkRedirect(next *http.Request, via []*http.Request) error {
	if len(via) >= 5 {
		return errors.New("more than 5 redirects in a row")
	}
	if from := via[0].URL; origin(from) != origin(next.URL) {
		return &foreignHostError{what: "redirect", from: origin(from), to: origin(next.URL)}
	}
	return nil
}

// Skew is how far the services' clocks were ahead of this host's at the last
// answer, to about a second; ok is false before the first answer.
func (c *Client) Skew() (ahead time.Duration, ok bool) {
	if d := c.skew.Load(); d != nil {
		return *d, true
	}
	return 0, false
}

// Get asks for one small JSON document, at most 1 MB, which is no feed's: the
// state of the tenant, say. A refusal is a *StatusError.
func (c *Client) Get(ctx context.Context, scope, address string) ([]byte, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("%q is no URL", address)
	}
	r := &Reader{client: c, feed: &definition.Feed{Name: "the connector itself"}, scope: scope, bucket: newBucket("check", c.above...)}
	r.Pace(func(context.Context) error { return nil }, func() {})
	d, err := r.document(ctx, "document", prepared{method: http.MethodGet, url: u}, false)
	if err != nil {
		return nil, err
	}
	return d.raw, nil
}

// observe notes the clock of the service at u by an answer that took from sent to now.
func (c *Client) observe(u *url.URL, header http.Header, sent time.Time) {
	date, err := http.ParseTime(header.Get("Date"))
	if err != nil || header.Get("Age") != "" { // a cache's Date is that of an earlier answer
		return
	}
	now := c.options.Now()
	middle := now.Add(-time.Since(sent) / 2)
	// Date counts whole seconds; the middle of the second is the best guess.
	ahead := date.Add(500 * time.Millisecond).Sub(middle)
	c.skew.Store(&ahead)
	c.skews.Store(origin(u), clockReading{ahead, time.Since(sent) / 2})
}

// clockReading is how far a service's clock was ahead of this host's, and how far off that may be: nobody
// knows when, between request and answer, the service looked at its clock.
type clockReading struct{ ahead, unsure time.Duration }

// clockOff is from when on clocks are told apart: an answer's Date says no more.
const clockOff = 5 * time.Second

// Clock is how far the clock of the feed's service is ahead of this host's. Less than five seconds, or than its last answer
// can tell, is none. known is false while neither the service nor the issuer of tokens has answered.
func (r *Reader) Clock(ctx context.Context) (ahead time.Duration, known bool) {
	clock := func() (any, bool) {
		p, err := r.prepare(r.asks().request, r.env(Window{From: time.Now(), To: time.Now()}), nil)
		if err != nil {
			return nil, false
		}
		return r.client.skews.Load(origin(p.url))
	}
	v, known := clock()
	if !known && r.scope != "" {
		// The token's endpoint belongs to the same service: its clock is a good guess, even where it refuses.
		r.askToken(ctx)
		if u := r.client.issuer; u != nil {
			v, _ = r.client.skews.Load(origin(u))
		}
	}
	reading, known := v.(clockReading)
	if reading.ahead.Abs() < clockOff+reading.unsure {
		return 0, known
	}
	return reading.ahead, known
}

// askToken sees to it that there is a token of the reader's scope, if one is to be had.
func (r *Reader) askToken(ctx context.Context) {
	if r.begin(ctx) != nil {
		return
	}
	defer r.end()
	q, since := &request{}, time.Now()
	stop := r.watch(q, true)
	defer stop()
	_, err := r.client.tokens.get(ctx, r.scope)
	if auth, ok := errors.AsType[*AuthError](err); ok && auth.Temporary {
		r.trouble(q, outcome{err: err}, since, time.Time{})
		q.spent = true
	}
	r.client.troubles.ends(q, err)
}

// checkURL refuses what must not carry a token: anything but https, save for
// loopback hosts.
func checkURL(u *url.URL) error {
	switch {
	case u.Host == "":
		return fmt.Errorf("%q is not an absolute URL", u.Redacted())
	case u.User != nil:
		return fmt.Errorf("%s: a URL with a user name in it is refused", place(u))
	case u.Scheme == "https":
		return nil
	case u.Scheme == "http" && transport.Loopback(u.Hostname()):
		return nil
	}
	return fmt.Errorf("%s is refused: only https is allowed, and plain http to loopback addresses", place(u))
}
