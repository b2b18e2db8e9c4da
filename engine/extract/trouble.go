package extract

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/secure60/s60-m365-connector/engine/definition"
)

const (
	// troubleAfter is how long a request may fail and be repeated before a person hears of it.
	troubleAfter = 5 * time.Second
	// slowAfter is how long an answer may take to begin before a person hears of it; some
	// listings take half a minute on a good day.
	slowAfter = time.Minute
	// slowToken is that of a token, which nothing has to be searched for.
	slowToken = 15 * time.Second
	// mostNamed bounds how many feeds a line names.
	mostNamed = 5
)

// troubles tell of requests that get no usable answer and are repeated: in one line once that has lasted,
// and in one when it is over, for all feeds that meet the same at the same host. What a round that
// gave up leaves behind goes on until a read ends well, so that the next rounds are silent.
type troubles struct {
	log     *slog.Logger
	explain func(error) string

	mu   sync.Mutex
	all  map[troubled]*trouble
	told map[string]*outage // by host and kind
}

// troubled is who meets trouble, and where. Tokens may come from the host of the service.
type troubled struct {
	feed, partition, host string
	token                 bool
}

type trouble struct {
	troubled
	kind  string
	cause error
	since time.Time
	next  time.Time // when a request is tried again
	waits bool      // the service asks for time, or takes it
	open  int       // requests that are being repeated
	spent bool      // some were given up
	part  *outage   // nil: not told yet
}

// outage is what was told of.
type outage struct {
	key, host string
	since     time.Time
	left      int // troubles that go on
	feeds     []string
}

// fails notes that a request of a reader failed, and when it is tried again. since is when the attempt
// began; the zero next says that it is under way still.
func (t *troubles) fails(q *request, who troubled, kind string, waits bool, cause error, since, next time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if q.over {
		return
	}
	if q.trouble != nil && q.trouble.troubled != who { // it has got further: the token is there, say
		t.leave(q)
	}
	one := t.all[who]
	if one == nil {
		one = &trouble{troubled: who, since: since}
		t.all[who] = one
		time.AfterFunc(time.Until(since.Add(troubleAfter)), func() { t.tell(one) })
	}
	if q.trouble == nil {
		q.trouble = one
		one.open++
	}
	one.kind, one.waits, one.cause, one.next = kind, waits, cause, next
}

// Unanswered is since when, if that is before a time, a feed's partition has had no usable answer, and why; nil where it
// has, where it is asked to wait, or where that is not known.
func (c *Client) Unanswered(feed, partition string, before time.Time) (since time.Time, cause error) {
	t := c.troubles
	t.mu.Lock()
	defer t.mu.Unlock()
	for who, one := range t.all {
		if who.feed == feed && who.partition == partition && !one.waits && one.open > 0 && !one.since.After(before) {
			return one.since, one.cause
		}
	}
	return time.Time{}, nil
}

// tell says what goes on, unless it is said already.
func (t *troubles) tell(one *trouble) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.all[one.troubled] != one || one.part != nil {
		return
	}
	key := one.host + " " + one.kind
	o, known := t.told[key]
	if !known {
		o = &outage{key: key, host: one.host, since: one.since}
		t.told[key] = o
	}
	for _, other := range t.all {
		if other.part == nil && other.host == one.host && other.kind == one.kind {
			other.part = o
			o.left++
			if !slices.Contains(o.feeds, other.feed) {
				o.feeds = append(o.feeds, other.feed)
			}
		}
	}
	if known {
		return
	}
	next := "under way"
	if wait := time.Until(one.next); wait > 0 {
		next = "in " + wait.Round(100*time.Millisecond).String()
	}
	t.log.Warn("no usable answer; it is asked for until there is one, or the round gives up and the next one begins anew",
		"host", o.host, "feeds", named(o.feeds), "cause", t.explain(one.cause), "since", o.since.UTC().Format(time.RFC3339), "next", next)
}

// ends notes how a request ended.
func (t *troubles) ends(q *request, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if q.over = true; q.trouble == nil {
		return
	}
	stopped := errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) // nobody has answered
	q.trouble.spent = q.trouble.spent || q.spent && err != nil || stopped
	t.leave(q)
}

// tokenCame notes that a request has got its token, and goes on.
func (t *troubles) tokenCame(q *request) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if q.trouble != nil && q.trouble.token {
		t.leave(q)
	}
}

func (t *troubles) leave(q *request) {
	one := q.trouble
	q.trouble = nil
	if one.open--; one.open == 0 && !one.spent {
		t.over(one, true)
	}
}

// done ends all that a partition met: a read of it was answered, or it is read here no longer.
func (t *troubles) done(feed, partition string, answered bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for who, one := range t.all {
		if who.feed == feed && who.partition == partition && one.open == 0 {
			t.over(one, answered)
		}
	}
}

// over ends a trouble. Where nobody was answered, nothing is said of the end.
func (t *troubles) over(one *trouble, answered bool) {
	if t.all[one.troubled] != one {
		return
	}
	delete(t.all, one.troubled)
	o := one.part
	if o == nil {
		return
	}
	if o.left--; o.left > 0 {
		return
	}
	delete(t.told, o.key)
	if answered {
		t.log.Info("answers again", "host", o.host, "feeds", named(o.feeds), "after", time.Since(o.since).Round(time.Second).String())
	}
}

func named(feeds []string) string {
	slices.Sort(feeds)
	if len(feeds) > mostNamed {
		return fmt.Sprintf("%s and %d more", strings.Join(feeds[:mostNamed], ", "), len(feeds)-mostNamed)
	}
	return strings.Join(feeds, ", ")
}

// trouble notes that an attempt failed and is repeated at next.
func (r *Reader) trouble(q *request, v outcome, since, next time.Time) {
	host, kind := "", "unanswered"
	if q.url != nil {
		host = q.url.Host
	}
	if v.answer != nil {
		kind = fmt.Sprintf("HTTP %d %s", v.answer.status, v.answer.code())
	}
	auth, token := errors.AsType[*AuthError](v.err)
	if token {
		host = r.client.tokenHost()
	}
	if token && auth.Status != 0 {
		kind = fmt.Sprintf("HTTP %d %s", auth.Status, auth.OAuthError)
	}
	r.client.troubles.fails(q, troubled{r.feed.Name, r.partition, host, token}, kind, v.then == definition.ThenThrottle, v.err, since, next)
}

// watch tells of an answer that takes long to begin, until the func that it gives is called. Who waits
// for a token is served by nobody, and who waits for a listing only slowly.
func (r *Reader) watch(q *request, token bool) (stop func() bool) {
	since, host, after := time.Now(), r.client.tokenHost(), slowToken
	if !token {
		host, after = q.url.Host, slowAfter
	}
	return time.AfterFunc(after, func() {
		r.client.troubles.fails(q, troubled{r.feed.Name, r.partition, host, token}, "slow", !token, fmt.Errorf("%s: no answer after %v", host, after), since, time.Time{})
	}).Stop
}

// tokenHost is where tokens come from.
func (c *Client) tokenHost() string {
	if c.issuer != nil && c.issuer.Host != "" {
		return c.issuer.Host
	}
	return "the issuer of tokens"
}

// settled ends what was told of a read that was answered: it ended well, or with what the service says and no
// repetition changes, a licence that is missing, say.
func (r *Reader) settled(ctx context.Context, err error) {
	answered := err == nil || is[*StatusError](err) && !is[*spentError](err) && !is[*Incomplete](err)
	if answered && ctx.Err() == nil {
		r.client.troubles.done(r.feed.Name, r.partition, true)
	}
}

// Left says that a feed's partition is read by this client no longer: another process does.
func (c *Client) Left(feed, partition string) { c.troubles.done(feed, partition, false) }
