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
	Enabled *expression.Program
	// Interval is how often the feed is polled; 0: as the settings say.
	Interval    time.Duration
	Scope       *Template // OAuth scope of the token the requests carry
	Permissions []string
	Licence     *Licence // nil: no licence gate
	ForEach     *ForEach // nil: one partition, named ""
	Subscribe   *Subscribe
	Job         *Job // nil: the request reads its result at once
	Request     Request
	Fallback    *Fallback   // nil: there is only Request
	Hosts       []*Template // further hosts (or base URLs) that next links and items may point to
	Paging      Paging
	Records     string // gjson path to the records; "@this" for the body itself
	// RecordsOptional says that a body may lack the records ("value?"): it then
	// has none.
	RecordsOptional bool
	Expand          *Expand
	Cursor          *Cursor    // nil: no notion of time, every round reads all
	Window          *Window    // nil: every round reads all
	Reconcile       *Reconcile // nil: none
	Snapshot        *Snapshot  // nil: what is listed is a history
	Key             []string   // gjson paths whose values together name a record; none with Snapshot
	RateLimit       *RateLimit
	Errors          []ErrorRule
	// Archive names a feed that reads the same records further back, "" if there
	// is none. That feed has a Job and a Window.
	Archive string
	Mapping string
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
	Body    *Body   // sent as JSON; nil: none
	Form    []Field // sent URL-encoded; at most one of Body and Form is given
}

// Fallback is another request for the same records, for clouds and tenants that
// lack the first. It is used from the answer for which When holds, until Recheck
// has passed and the first request is tried again. Keys and cursor are the same.
type Fallback struct {
	When    *expression.Program // over an answer to the feed's own request; before every other rule
	Request Request             // whole: what the file does not give is that of the feed's own request
	Recheck time.Duration
}

// Job is a query that the service runs by itself: started, asked for until it
// is done, and then read by the feed's request, which sees job.id.
type Job struct {
	Create Request             // sees what the feed's request sees, without job
	ID     string              // gjson path to the id in the answer to Create
	Poll   Request             // sees job.id, too
	Done   *expression.Program // over an answer to Poll
	Failed *expression.Program // over an answer to Poll; nil: no answer means that
	Every  time.Duration       // between two polls
	Most   time.Duration       // a job that is not done by then has failed
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

// Where the parameters of paging go.
const (
	InQuery = "query"
	InBody  = "body"
)

// Paging says how the next page is found.
type Paging struct {
	Style     string
	Header    string   // header: the response header that holds the URL
	Path      string   // body: gjson path to a token, or to a URL when Param is empty
	Param     string   // body, offset, page: the query parameter
	SizeParam string   // offset, page: optional
	In        string   // body, offset, page: InQuery, or InBody: Param and SizeParam are paths in the request's body
	Delta     bool     // odata: the last page's @odata.deltaLink is the feed's position
	Size      int      // offset, page: a page of fewer records is the last
	Start     int      // offset, page: the first value of Param
	Keep      []string // query parameters of the first request that a next link must repeat; added where it lacks them
}

// Expand says that each listed item is a document to fetch, which holds the
// records.
type Expand struct {
	// URL is the gjson path to the document's URL in the item, "" where
	// Request.URL makes it.
	URL string
	// Request is how the document is asked for: its templates see the item, too.
	// Its Query is added to the URL, whichever it comes from. Its URL is nil where
	// the item holds it.
	Request Request
	Paging  Paging       // of the document
	Add     []Assignment // fields put into each record, over the item
	// Key is the gjson path to what names the item; "": every item is fetched in
	// every round.
	Key             string
	Records         string
	RecordsOptional bool
	Concurrency     int // at least 1
	// Settle is how long after its cursor time an item may be incomplete: one that
	// was fetched sooner is fetched again later. 0: never.
	Settle time.Duration
	// Gone is how many rounds must find an item gone before it is given up, as
	// long as it is listed; at least 1.
	Gone int
}

// Assignment is a named expression.
type Assignment struct {
	Name  string
	Value *expression.Program
}

// Snapshot says that what is listed is a present state: each round is compared
// with the last, and what differs makes events.
type Snapshot struct {
	ID     []string // gjson paths whose values together name an object
	Ignore []string // paths, joined with dots, of what is not compared; what is below them neither
	First  string   // FirstBaseline or FirstEmit
}

// What the first round of a snapshot does.
const (
	FirstBaseline = "baseline" // it is remembered, and nothing is sent
	FirstEmit     = "emit"     // every object is sent as created
)

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
	ThenNarrow       = "narrow"    // the answer is truncated: halve the window
	ThenTooEarly     = "too_early" // the service does not keep that far: the start moves forward
)

// ErrorRule says what an answer means. The first whose When holds wins, before
// the built-in rules.
type ErrorRule struct {
	When *expression.Program // over an answer: status, error, body, headers
	Then string
	// At gives, over the answer, the time from which the service keeps data; for
	// ThenTooEarly only, and nil where the answer does not say.
	At *expression.Program
}
