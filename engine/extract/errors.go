package extract

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/secure60/s60-m365-connector/engine/transport"
)

// AuthError is a token that could not be had. Its text holds no secret.
type AuthError struct {
	Status      int    // HTTP status of the answer, 0 if there was none
	OAuthError  string // "error" of RFC 6749: "invalid_client", …
	Code        int    // the first of "error_codes", 0 if none
	Description string // first line of "error_description", or what failed
	Correlation string // "correlation_id", for the service's support
	Temporary   bool   // trying again later can help without any change
	RetryAfter  time.Duration
	Err         error // the cause, where no answer came
}

func (e *AuthError) Error() string {
	var b strings.Builder
	b.WriteString("no access token: ")
	switch {
	case e.Description != "":
		b.WriteString(e.Description)
	case e.Err != nil:
		b.WriteString(oneLine(e.Err.Error()))
	default:
		b.WriteString("the token endpoint refused the request")
	}
	var facts []string
	if e.Status != 0 {
		facts = append(facts, fmt.Sprintf("HTTP %d", e.Status))
	}
	if e.OAuthError != "" {
		facts = append(facts, e.OAuthError)
	}
	if e.Correlation != "" {
		facts = append(facts, "correlation id "+e.Correlation)
	}
	if len(facts) > 0 {
		fmt.Fprintf(&b, " (%s)", strings.Join(facts, ", "))
	}
	return b.String()
}

func (e *AuthError) Unwrap() error { return e.Err }

// Gated says that the service does not offer this feed to the tenant: its
// licence is missing, or a rule of the feed says so.
type Gated struct {
	Requires string // what the feed names as required, empty if nothing
	Reason   string // the service's own words
	// Licence says that it is the feed's licence.missing that holds. It is known to hold
	// for a moment where nothing is missing: only several reads in which it does, as many as
	// licence.confirm says, tell something.
	Licence bool
	Err     error // the last answer, a *StatusError
}

func (e *Gated) Error() string {
	if e.Requires == "" {
		return "the service does not offer this feed: " + e.Reason
	}
	return "the service does not offer this feed, which requires " + e.Requires + ": " + e.Reason
}

func (e *Gated) Unwrap() error { return e.Err }

// ResetWindow says that the walk over the pages is void, by a rule of the
// feed: the window must be read again from its first page.
type ResetWindow struct{ Err error }

func (e *ResetWindow) Error() string {
	return "the window must be read again from its first page: " + e.Err.Error()
}

func (e *ResetWindow) Unwrap() error { return e.Err }

// Narrow says that the service cannot serve this window to its end, however
// often it is asked; a narrower one may succeed.
type Narrow struct {
	Page int  // the page that could not be had
	Rule bool // a rule of the feed says so: it is how the service is read
	Err  error
}

func (e *Narrow) Error() string {
	if e.Rule {
		return "too much for one answer, by a rule of the feed (then: narrow): " + e.Err.Error()
	}
	return "the window cannot be read to its end: " + e.Err.Error()
}

func (e *Narrow) Unwrap() error { return e.Err }

// Incomplete says that the list of items was read to its end, and that all of
// them were taken but a few, which fail for now. The window must be read again for
// them; nothing speaks against reading later windows meanwhile.
type Incomplete struct {
	Items int       // that failed, or were not tried, as most others failed
	At    time.Time // when the service made the earliest of them; zero where that is not known of all
	Err   error     // of the first
}

func (e *Incomplete) Error() string {
	if e.Items == 1 {
		return e.Err.Error()
	}
	return fmt.Sprintf("%v; %d more items are left for later", e.Err, e.Items-1)
}

func (e *Incomplete) Unwrap() error { return e.Err }

// Subscribe says that the partition is not, or no longer, subscribed at the
// service, by a rule of the feed: [Reader.Subscribe] must run again.
type Subscribe struct{ Err error }

func (e *Subscribe) Error() string { return "the subscription must be started: " + e.Err.Error() }

func (e *Subscribe) Unwrap() error { return e.Err }

// TooEarly says that the service does not keep what is asked for: the window begins
// too early.
type TooEarly struct {
	At  time.Time // where what it keeps begins; zero where it does not say
	Err error
}

func (e *TooEarly) Error() string { return "the service does not keep that far back: " + e.Err.Error() }

func (e *TooEarly) Unwrap() error { return e.Err }

// JobFailed says that the job that a read waited for will give nothing: another must be started.
type JobFailed struct {
	ID  string
	Err error
}

func (e *JobFailed) Error() string { return "job " + e.ID + ": " + e.Err.Error() }

func (e *JobFailed) Unwrap() error { return e.Err }

// SubscribeWait says that a subscription is not active and may not be started
// again before Until.
type SubscribeWait struct {
	Until time.Time
	Err   error // of the last start; nil if it succeeded, or is not known any more
	Said  error // what the service answered since, where it has
}

func (e *SubscribeWait) Error() string {
	at := e.Until.UTC().Format(time.RFC3339)
	if e.Err != nil {
		return "the subscription is not active, and its start was refused; it is tried again by itself at " + at + ": " + e.Err.Error()
	}
	text := "the subscription is not active though it was started a short while ago: somebody stopped it, or the service does not know of it everywhere yet; it is started again by itself at " + at
	if e.Said != nil {
		text += ": " + e.Said.Error()
	}
	return text
}

func (e *SubscribeWait) Unwrap() error { return e.Err }

// StatusError is an answer that ends a read.
type StatusError struct {
	Method  string
	URL     string // without its query
	Status  int
	Code    string // error.code of the body
	Message string // error.message of the body, or the start of a text body; one line
	Hint    string // what may mend it, where that is known
}

func (e *StatusError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s: HTTP %d", e.Method, e.URL, e.Status)
	if e.Code != "" {
		b.WriteString(" " + e.Code)
	}
	if e.Message != "" {
		b.WriteString(": " + e.Message)
	}
	if e.Hint == "" {
		return b.String()
	}
	return strings.TrimSuffix(b.String(), ".") + "; " + e.Hint
}

// sinkError carries an error of the sink through the reader, which returns it
// unchanged.
type sinkError struct{ err error }

func (e *sinkError) Error() string { return e.err.Error() }
func (e *sinkError) Unwrap() error { return e.err }

// brokenError is a body that is not what it claims to be: cut off, no JSON,
// damaged in transit. Reading it again may help.
type brokenError struct {
	err error
	// at is where it breaks off, counted in records from 1; 0 where that tells nothing: in a
	// body that breaks off at its beginning, the network may be at fault each time.
	at int
}

func (e *brokenError) Error() string { return "broken body: " + oneLine(e.err.Error()) }
func (e *brokenError) Unwrap() error { return e.err }

// shapeError is a body that is good JSON of a shape that the feed does not
// describe. Reading it again does not help.
type shapeError struct{ text string }

func (e *shapeError) Error() string { return e.text }

// oddError is a body that is good JSON and not an answer to what was asked: as services
// have it at times instead of an error, or for good where the feed is wrong about them.
type oddError struct{ text string }

func (e *oddError) Error() string { return e.text }

// place is a URL as it may stand in an error: without query and user.
func place(u *url.URL) string {
	return u.Scheme + "://" + u.Host + literalInPath.ReplaceAllString(u.EscapedPath(), "'…'")
}

// literalInPath is a text between apostrophes, which OData has in paths: an address of a record, say.
var literalInPath = regexp.MustCompile(`(?:'|%27)[^/]*(?:'|%27)`)

// oneLine makes a text from outside fit for an error: one line, with an end.
func oneLine(s string) string { return transport.OneLine(s, 500) }
