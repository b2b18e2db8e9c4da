package load

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/secure60/s60-m365-connector/engine/transport"
)

const (
	// reasonBytes bounds what is kept of the text of an answer that refuses an event.
	reasonBytes = 4 << 10
	// drainBytes is how much of an answer is read to keep its connection.
	drainBytes = 64 << 10
)

// reply is what came of one request.
type reply struct {
	failure
	status int    // 0: no answer
	reason string // for refused and tooLarge: the answer's own words, made printable
}

func (a reply) retry() bool {
	return a.class == transient || a.class == throttled || a.class == denied
}

// post sends the payload once, and says what the answer means.
func (w *web) post(ctx context.Context, p *payload) reply {
	header, token, err := w.authorize()
	if err != nil {
		return reply{failure: failure{class: denied, cause: err.Error(), advice: w.deniedAdvice}}
	}
	attempt, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	start, patience := time.Now(), w.patience.get()
	c := startClock(patience, start.Add(w.timeout), stop)
	defer c.timer.Stop()
	body := func() (io.ReadCloser, error) { return p.reader(func() { c.moves(patience) }), nil }
	request := w.template.WithContext(p.followed(attempt))
	request.Header = header
	request.ContentLength = int64(p.size())
	request.Body, _ = body()
	request.GetBody = body

	// The transport itself, not a client: no redirect is followed, and no
	// Authorization is made up.
	response, err := w.transport.RoundTrip(request)
	if err != nil {
		if context.Cause(attempt) == errStill {
			// Perhaps the connection has died in silence, perhaps the destination takes its time.
			if t, ok := w.transport.(interface{ Renew() }); ok {
				t.Renew()
			}
			w.patience.lost(patience)
			return reply{failure: failure{class: transient, cause: fmt.Sprintf("no answer from %s within %s; it is tried on a new connection", w.target.Host, patience)}}
		}
		return reply{failure: w.describe(attempt, err)}
	}
	defer response.Body.Close()
	c.moves(w.timeout) // an answer that has begun may take the rest of the time
	w.patience.learn(time.Since(start))
	return w.judge(response, token)
}

// patience is how long a request may stand still, see [Config.Patience].
type patience struct {
	least, most time.Duration

	mu   sync.Mutex
	now  time.Duration
	slow time.Time // when an answer last took so long that now is more than least
}

// patienceKept is for how long a slow answer counts: the next one after quick ones would be given up, and its event come twice.
const patienceKept = time.Hour

func (p *patience) get() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now
}

// learn takes into account how long an answer took.
func (p *patience) learn(took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch need := min(max(2*took, p.least), p.most); {
	case need > p.least && need >= p.now:
		p.now, p.slow = need, time.Now()
	case time.Since(p.slow) > patienceKept:
		p.now = need
	}
}

// lost is for a request that had so much, and stood still: perhaps its connection has died.
func (p *patience) lost(had time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = max(p.now, min(2*had, p.most))
}

var errStill = errors.New("the request stood still")

// authorize gives the header of a request, and the token in it.
func (w *web) authorize() (http.Header, string, error) {
	if w.token == nil {
		return w.template.Header, "", nil
	}
	token, err := w.token()
	if err != nil {
		return nil, "", fmt.Errorf("there is no token to send: %w", err)
	}
	token = strings.TrimSpace(token)
	if known := w.header.Load(); known != nil && known.token == token {
		return known.header, token, nil
	}
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, "", errors.New("the token is empty or holds blanks or characters that no token has")
	}
	header := maps.Clone(w.template.Header)
	header["Authorization"] = []string{"Bearer " + token}
	w.header.Store(&authorized{token: token, header: header})
	return header, token, nil
}

// describe says why no answer came.
func (w *web) describe(attempt context.Context, err error) failure {
	f := describe(err)
	if context.Cause(attempt) == context.DeadlineExceeded {
		f.cause = fmt.Sprintf("no answer from %s within %s", w.target.Host, w.timeout)
	} else {
		f.cause = fmt.Sprintf("no answer from %s: %s", w.target.Host, f.cause)
	}
	return f
}

// describe puts an error of a connection into words, with what to do.
func describe(err error) failure {
	f := failure{class: transient, cause: transport.OneLine(err.Error(), 0)}
	if transport.OutOfDate(err) {
		f.advice = "Renew its certificate; if that has not ended, set the clock of this host"
	} else if _, is := errors.AsType[*tls.CertificateVerificationError](err); is {
		f.advice = "For a private certificate authority, set SSL_CERT_FILE"
	}
	return f
}

// judge says what an answer means, and reads so much of it that its connection
// can serve again.
func (w *web) judge(response *http.Response, token string) reply {
	status := response.StatusCode
	a := reply{status: status}
	switch {
	case status >= 200 && status < 300 && isPage(response):
		a.class, a.reason = misplaced, "an HTML page instead of an answer"
	case status == http.StatusNotFound || status == http.StatusMethodNotAllowed || status == http.StatusGone:
		a.class = misplaced
	case status >= 200 && status < 300:
		a.class = accepted
	case status >= 300 && status < 400:
		a.class = denied
		a.cause = fmt.Sprintf("it answers HTTP %d, a redirect%s, and redirects are not followed", status, elsewhere(response))
		a.advice = w.movedAdvice
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		a.class = denied
		a.cause = "it refuses access, HTTP " + describeStatus(status)
		a.advice = w.deniedAdvice
	case status == http.StatusTooManyRequests:
		a.class = throttled
	case status == http.StatusRequestTimeout || status >= 500:
		a.class = transient
	case status == http.StatusRequestEntityTooLarge:
		a.class = tooLarge
	default:
		a.class = refused
	}
	if a.retry() {
		a.after, _ = transport.RetryAfter(response.Header, time.Now())
		if a.after > 0 && status == http.StatusServiceUnavailable {
			a.class = throttled
		}
		if a.cause == "" {
			a.cause = "it answers HTTP " + describeStatus(status)
		}
	}
	if a.class == tooLarge || a.class == refused || a.class == misplaced {
		a.reason = cmp.Or(a.reason, reason(response.Body, token), http.StatusText(status), "no reason given")
	}
	io.Copy(io.Discard, io.LimitReader(response.Body, drainBytes)) // a failure costs the connection, no more
	return a
}

// wrongAddress is the answer of a destination that is not there.
func (w *web) wrongAddress(a reply) reply {
	what := "HTTP " + describeStatus(a.status)
	if a.status < 300 {
		what = fmt.Sprintf("HTTP %d and a page for people", a.status)
	}
	a.failure = failure{
		class: denied, advice: w.addressAdvice, took: a.took,
		cause: "nothing takes events at its address: it answers " + what,
	}
	return a
}

// isPage reports whether an answer is an HTML page, for people; it reads its beginning.
func isPage(response *http.Response) bool {
	if response.ContentLength == 0 {
		return false
	}
	start := make([]byte, 64)
	n, _ := io.ReadFull(response.Body, start)
	text := strings.ToLower(strings.TrimLeft(strings.TrimPrefix(string(start[:n]), "\ufeff"), " \t\r\n"))
	return strings.HasPrefix(text, "<!doctype html") || strings.HasPrefix(text, "<html") ||
		strings.HasPrefix(text, "<") && strings.Contains(strings.ToLower(response.Header.Get("Content-Type")), "html")
}

// reason is the beginning of an answer's text, made printable and without the
// token, should the answer quote it.
func reason(body io.Reader, token string) string {
	// Read so far that a token that begins within the bound is whole.
	data, _ := io.ReadAll(io.LimitReader(body, int64(reasonBytes+len(token)))) // what came is what is told
	text := string(data)
	if token != "" {
		text = strings.ReplaceAll(text, token, "[token]")
	}
	return transport.OneLine(text[:min(len(text), reasonBytes)], 0)
}

func describeStatus(status int) string {
	return strings.TrimSpace(fmt.Sprintf("%d %s", status, http.StatusText(status)))
}

// elsewhere names the host a redirect leads to. The rest of its URL may hold
// what is not for logs.
func elsewhere(response *http.Response) string {
	location, err := response.Location()
	if err != nil || location.Host == "" {
		return ""
	}
	return " to " + transport.OneLine(location.Scheme+"://"+location.Host, 0)
}
