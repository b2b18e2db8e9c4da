package load

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/secure60/s60-m365-connector/engine/transport"
)

// How much one call to Deliver should hold. An object batch keeps every
// connection busy for a few rounds; the others are a body that any server
// takes by default.
const (
	objectBatchEvents = 200
	batchEvents       = 1000
	batchBytes        = 512 << 10
)

// web delivers by HTTP POST.
//
// The events of a call are cut into spans, each the body of one request: one
// event in the format object, as many as a body should hold in the others.
// A span that is refused is halved until the refused events are found, so that they
// alone are refused: k of n events cost about 2·k·log n requests, and never
// more than 2·n.
type web struct {
	counts
	kind         string
	target       *url.URL
	token        func() (string, error) // nil: no Authorization
	format       string
	gzip         bool
	timeout      time.Duration
	log          *slog.Logger
	deniedAdvice string // what to do about 401 and 403
	movedAdvice  string // what to do about 3xx
	// what to do about an address where nothing takes events
	addressAdvice string

	patience patience

	transport    http.RoundTripper
	ownTransport bool // of this destination alone
	template     *http.Request
	header       atomic.Pointer[authorized]
	breaker      *breaker
	limiter      *limiter
	payloads     sync.Pool

	// bodyBytes is the most a body should hold. It shrinks when the destination
	// finds a body too large, so that the next calls need not find out again.
	bodyBytes atomic.Int64

	// proven says that the destination is where it is looked for: it has accepted an event, and
	// refused no whole batch since as nobody does who takes events.
	proven atomic.Bool
}

// authorized is the header of all requests that carry one token.
type authorized struct {
	token  string
	header http.Header
}

func newWeb(config Config, target *url.URL) *web {
	w := &web{
		kind:      config.Kind,
		target:    target,
		token:     config.Token,
		format:    config.Format,
		gzip:      config.Gzip,
		timeout:   config.Timeout,
		log:       config.Logger,
		breaker:   newBreaker(config),
		limiter:   newLimiter(config.Concurrency),
		transport: config.Transport,
	}
	if w.transport == nil {
		w.transport, w.ownTransport = NewTransport(w.limiter.most), true
	}
	header := http.Header{"Content-Type": {contentTypes[config.Format]}}
	if config.UserAgent != "" {
		header.Set("User-Agent", config.UserAgent)
	}
	if config.Gzip {
		header.Set("Content-Encoding", "gzip")
	}
	w.template = &http.Request{
		Method: http.MethodPost,
		URL:    target,
		Host:   target.Host,
		Proto:  "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: header,
	}
	w.payloads.New = func() any { return &payload{} }
	w.bodyBytes.Store(batchBytes)
	w.patience.least, w.patience.most, w.patience.now = config.Patience, config.Timeout, config.Patience
	return w
}

// NewTransport makes a transport for destinations of the kinds that deliver by HTTP; those of several tenants
// may share one. So many idle connections are kept to one host.
func NewTransport(connections int) *transport.Transport {
	return transport.New(transport.Options{Idle: connections, Connections: lanes, Uncompressed: true})
}

// lanes are enough that the windows of HTTP/2, over a network with a long way, hold nothing up.
const lanes = 16

// parseURL checks the URL of a destination. It quotes nothing of it, which may hold a password.
func parseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.User != nil || u.Scheme != "https" && (u.Scheme != "http" || !transport.Loopback(u.Hostname())) {
		return nil, errors.New("the URL must be like https://host.example.com, without user and password; plain http is for loopback addresses only")
	}
	return u, nil
}

func (w *web) Name() string { return w.kind }

func (w *web) BatchEvents() int {
	if w.format == FormatObject {
		return objectBatchEvents
	}
	return batchEvents
}

// BatchBytes follows what the destination was found to take.
func (w *web) BatchBytes() int { return int(w.bodyBytes.Load()) }

// Batches is a batch for each request that may be in flight, or in the format
// object enough for one to end while others keep all requests in flight; and a little
// more, so that the limit is felt and may grow.
func (w *web) Batches() int {
	if w.format == FormatObject {
		return 2 + w.limiter.allowed()/objectBatchEvents
	}
	return 2 + w.limiter.allowed()
}

func (w *web) State() State {
	state := w.state(w.breaker)
	state.Concurrency, state.Answer = w.limiter.allowed(), w.limiter.usual()
	return state
}

// Close gives idle connections back, unless other destinations use them. Calls to Deliver that are under way are
// ended by their context.
func (w *web) Close() error {
	if t, ok := w.transport.(interface{ CloseIdleConnections() }); ok && w.ownTransport {
		t.CloseIdleConnections()
	}
	return nil
}

// call is one call to Deliver, shared by the goroutines that work on it.
type call struct {
	events [][]byte
	spans  []span
	next   atomic.Int64 // the span to work on next

	mu        sync.Mutex
	accepted  int
	status    int // of the last accepted request
	refused   []Refused
	misplaced int // of the refused: in a way that may be the address's fault
	err       error
}

// span is a run of events that travel together.
type span struct{ from, to int }

func (w *web) Deliver(ctx context.Context, batch Batch) ([]Refused, error) {
	events := batch.Events
	if len(events) == 0 {
		return nil, ctx.Err()
	}
	var c *call
	for {
		before := w.events.Load()
		c = w.run(ctx, events)
		if c.err != nil || c.misplaced < len(events) || w.events.Load() != before {
			break
		}
		// All of them, as if nobody were there, and nothing else was accepted meanwhile: it is
		// the address's fault, not theirs.
		w.proven.Store(false)
	}
	if c.err != nil {
		return nil, c.err
	}
	w.settle(len(c.refused), true)
	slices.SortFunc(c.refused, func(a, b Refused) int { return cmp.Compare(a.Index, b.Index) })
	if c.accepted > 0 {
		w.log.Info(fmt.Sprintf("Forwarded %d events -> %s (HTTP %d)", c.accepted, w.kind, c.status), batch.from()...)
	}
	return c.refused, nil
}

// run sends the events once, each until it is accepted or refused.
func (w *web) run(ctx context.Context, events [][]byte) *call {
	c := &call{events: events, spans: w.cut(events)}
	var others sync.WaitGroup
	for range min(len(c.spans), 2*w.limiter.allowed(), w.limiter.most) - 1 {
		others.Go(func() { w.work(ctx, c) })
	}
	w.work(ctx, c)
	others.Wait()
	return c
}

// cut divides events into the bodies of requests.
func (w *web) cut(events [][]byte) []span {
	if w.format == FormatObject {
		spans := make([]span, len(events))
		for i := range spans {
			spans[i] = span{i, i + 1}
		}
		return spans
	}
	var spans []span
	limit := int(w.bodyBytes.Load())
	from, size := 0, 0
	for i, event := range events {
		if i > from && (size+len(event) > limit || i-from == batchEvents) {
			spans = append(spans, span{from, i})
			from, size = i, 0
		}
		size += len(event) + 1
	}
	return append(spans, span{from, len(events)})
}

// work delivers spans until there are none left, or one cannot be.
func (w *web) work(ctx context.Context, c *call) {
	p := w.payloads.Get().(*payload)
	defer w.payloads.Put(p)
	for {
		i := int(c.next.Add(1)) - 1
		if i >= len(c.spans) {
			return
		}
		if err := w.deliver(ctx, c, p, c.spans[i]); err != nil {
			c.mu.Lock()
			c.err = err
			c.mu.Unlock()
			return
		}
	}
}

// deliver sends a span, and its halves when it is refused. The error is that
// of ctx.
func (w *web) deliver(ctx context.Context, c *call, p *payload, s span) error {
	if err := p.fill(w.format, w.gzip, c.events[s.from:s.to]); err != nil {
		return err
	}
	a, err := w.send(ctx, p)
	if err != nil {
		return err
	}
	n := s.to - s.from
	switch {
	case a.class == accepted:
		w.settle(n, false)
		w.proven.Store(true)
		c.mu.Lock()
		c.accepted += n
		c.status = a.status
		c.mu.Unlock()
		return nil
	case n == 1:
		c.mu.Lock()
		c.refused = append(c.refused, Refused{Index: s.from, Status: a.status, Reason: a.reason})
		if a.class == misplaced {
			c.misplaced++
		}
		c.mu.Unlock()
		return nil
	}
	if a.class == tooLarge {
		w.shrink(c.events[s.from:s.to])
	}
	middle := s.from + n/2
	if err := w.deliver(ctx, c, p, span{s.from, middle}); err != nil {
		return err
	}
	return w.deliver(ctx, c, p, span{middle, s.to})
}

// shrink remembers that these events together are too large. Half of a size that
// was too large is never less than half of what the destination takes.
func (w *web) shrink(events [][]byte) {
	size := int64(0)
	for _, event := range events {
		size += int64(len(event)) + 1
	}
	for {
		current := w.bodyBytes.Load()
		if size/2 >= current || w.bodyBytes.CompareAndSwap(current, size/2) {
			return
		}
	}
}

// send makes attempts until the destination accepts the payload or refuses it
// for good. The error is that of ctx.
func (w *web) send(ctx context.Context, p *payload) (reply, error) {
	var own *transport.Delays
	for {
		a, wait, err := w.attempt(ctx, p, &own)
		if err != nil || !a.retry() {
			return a, err
		}
		w.retries.Add(1)
		if wait > 0 {
			if err := transport.Sleep(ctx, wait); err != nil {
				return reply{}, err
			}
		}
	}
}

// attempt makes one request, when one may be made. A request in flight holds a
// slot; one that waits on its own for its next attempt holds none.
func (w *web) attempt(ctx context.Context, p *payload, own **transport.Delays) (a reply, wait time.Duration, err error) {
	if err := w.limiter.acquire(ctx); err != nil {
		return reply{}, 0, err
	}
	told := untold
	defer func() { w.limiter.release(p.size(), a.took, told) }()
	probe, err := w.breaker.enter(ctx)
	if err != nil {
		return reply{}, 0, err
	}
	w.requests.Add(1)
	w.inFlight.Add(1)
	start := time.Now()
	a = w.post(ctx, p)
	a.took = time.Since(start)
	w.inFlight.Add(-1)
	if ctx.Err() != nil && a.status == 0 {
		w.breaker.leave(probe)
		return reply{}, 0, ctx.Err()
	}
	if w.log.Enabled(ctx, slog.LevelDebug) {
		w.log.Debug("Delivery attempt", "destination", w.kind, "bytes", p.size(), "status", a.status,
			"cause", a.cause, "duration", a.took.Round(time.Millisecond))
	}
	// A body of several events is a batch of its own.
	if a.class == misplaced && (p.events > 1 || !w.proven.Load()) {
		a = w.wrongAddress(a)
	}
	switch a.class {
	case transient, throttled:
		told = overload
	case denied: // tells nothing of how much it takes
	default:
		told = answered
	}
	if a.retry() {
		if *own == nil {
			*own = transport.NewDelays(w.breaker.retry.Initial, w.breaker.retry.Max, 0.5)
		}
		return a, w.breaker.fail(probe, a.failure, *own), nil
	}
	w.breaker.pass(probe)
	return a, 0, nil
}
