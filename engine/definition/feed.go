// Package definition turns the YAML of feeds and mappings into validated
// values. What it returns is valid: every expression is compiled, every
// reference resolved; what is wrong is returned as a list of [Problem], each
// with its place in the file.
//
// It knows no stage of the engine; the stages read its values.
package definition

import (
	"time"

	"github.com/secure60/s60-m365-connector/engine/expression"
)

// Feed says how to read one endpoint.
type Feed struct {
	Name        string
	File        string // where it was loaded from, for messages
	Description string
	Docs        string
	// Enabled is evaluated over the settings.
	Enabled     *expression.Program
	Scope       *Template // OAuth scope of the token the requests carry
	Permissions []string
	Licence     *Licence // nil: no licence gate
	ForEach     *ForEach // nil: one partition, named ""
	Subscribe   *Subscribe
	Request     Request
	Hosts       []*Template // further hosts (or base URLs) that next links and items may point to
	Paging      Paging
	Records     string // gjson path to the records; "@this" for the body itself
	Expand      *Expand
	Cursor      *Cursor    // nil: no notion of time, every round reads all
	Window      *Window    // nil: every round reads all
	Reconcile   *Reconcile // nil: none
	Key         []string   // gjson paths whose values together name a record
	RateLimit   *RateLimit
	Errors      []ErrorRule
	Mapping     string
}

// Licence is a feed's gate: answers for which Missing holds, Confirm times in
// a row, close it; a closed gate is tried again after Recheck.
type Licence struct {
	Requires string
	Missing  *expression.Program // over an answer: status, error, body, headers
	Confirm  int                 // at least 1
	Recheck  time.Duration
}

// ForEach makes one independent partition of the feed for each value of a list.
type ForEach struct {
	Variable string
	Values   *expression.Program // over the settings; a list of strings
}

// Request is one HTTP request, its texts templates over the settings, the
// window and the for_each value.
type Request struct {
	Method  string // GET unless given
	URL     *Template
	Headers []Field
	Query   []Field // in file order
}

// Field is a named template.
type Field struct {
	Name  string
	Value *Template
}

// Subscribe says how a partition is switched on at the service before its
// first poll.
type Subscribe struct {
	List    Request
	Active  *expression.Program // over each listed record's members, the settings and the for_each value
	Start   Request
	Already *expression.Program // over the answer to Start; nil: none
	Wait    time.Duration       // never a second start within this time
}

// Paging styles.
const (
	PagingNone   = "none"
	PagingOData  = "odata"
	PagingHeader = "header"
	PagingLink   = "link"
	PagingBody   = "body"
	PagingOffset = "offset"
	PagingPage   = "page"
)

// Paging says how the next page is found.
type Paging struct {
	Style     string
	Header    string   // header: the response header that holds the URL
	Path      string   // body: gjson path to a token, or to a URL when Param is empty
	Param     string   // body, offset, page: the query parameter
	SizeParam string   // offset, page: optional
	Size      int      // offset, page: a page of fewer records is the last
	Start     int      // offset, page: the first value of Param
	Keep      []string // query parameters of the first request that a next link must repeat; added where it lacks them
}

// Expand says that each listed item is a document to fetch, which holds the
// records.
type Expand struct {
	URL         string // gjson path to the URL in the item
	Query       []Field
	Key         string // gjson path to what names the item
	Records     string
	Concurrency int // at least 1
}

// Cursor is the time field of what the request lists, and how times are
// written in the request.
type Cursor struct {
	Field  string // gjson path in a listed item
	Format string // a Go time layout, or "rfc3339", "unix", "unix_ms"
}

// Window bounds one read in time. Overlap is smaller than Max.
type Window struct {
	Max       time.Duration // the widest a request may span
	Delay     time.Duration // how far behind now a window ends
	Overlap   time.Duration // how far before the cursor a window starts
	Retention time.Duration // how far back the service keeps data
}

// Reconcile is a second look at what was read: at every Every, the last Depth before
// the cursor is listed again, and what was missed is delivered.
type Reconcile struct {
	Every time.Duration
	Depth time.Duration
}

// RateLimit allows Requests in any span of Per. Feeds that name the same Bucket
// share one budget.
type RateLimit struct {
	Requests int
	Per      time.Duration
	Bucket   string
}

// Bucket names the budget of requests that the feed draws on: the one that it shares with
// others, or its own.
func (f *Feed) Bucket() string {
	if f.RateLimit != nil && f.RateLimit.Bucket != "" {
		return f.RateLimit.Bucket
	}
	return "feed " + f.Name
}

// What an error rule may ask for.
const (
	ThenRetry        = "retry"
	ThenThrottle     = "throttle"
	ThenRefreshToken = "refresh_token"
	ThenSkip         = "skip"
	ThenGate         = "gate"
	ThenFail         = "fail"
	ThenResetWindow  = "reset_window"
	ThenSubscribe    = "subscribe" // run the feed's subscribe step again, respecting its wait
)

// ErrorRule says what an answer means. The first whose When holds wins, before
// the built-in rules.
type ErrorRule struct {
	When *expression.Program // over an answer: status, error, body, headers
	Then string
}
