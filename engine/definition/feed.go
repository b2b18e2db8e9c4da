// Package definition turns the YAML of feeds and mappings into validated
// values. What it returns is valid: every expression is compiled, every
// reference resolved; what is wrong is returned as a list of [Problem], each
// with its place in the file.
//
// It knows no stage of the engine; the stages read its values.
//
// How it works: a file becomes a tree with its places (tree.go), what extends another is put over that
// (overlay.go), and the tree is validated against its JSON Schema, of which each violation becomes a
// problem (violation.go). decode.go fills the values, with the schema's defaults, and compiles
// expressions and templates over the names that they may use (namespace.go). What a schema cannot say is checked
// afterwards: within a file (check_feed.go, check_mapping.go), and across files (across.go).
package definition

import (
	"fmt"
	"time"

	"github.com/secure60/s60-m365-connector/engine/expression"
)

// Feed says how to read one endpoint.
type Feed struct {
	Name        string `key:"name"`
	File        string // where it was loaded from, for messages
	Description string `key:"description"`
	Docs        string `key:"docs"`
	// Enabled is evaluated over the settings.
	Enabled *expression.Program `key:"enabled" over:"settings"`
	// Interval is how often the feed is polled; 0: as the settings say.
	Interval    time.Duration `key:"interval"`
	Scope       *Template     `key:"auth.scope" over:"partition"` // OAuth scope of the token the requests carry
	Permissions []string      `key:"permissions"`
	Licence     *Licence      `key:"licence"`                  // nil: no licence gate
	ForEach     *ForEach      `key:"for_each" over:"settings"` // nil: one partition, named ""
	Subscribe   *Subscribe    `key:"subscribe" over:"partition"`
	Job         *Job          `key:"job" over:"window"` // nil: the request reads its result at once
	Request     Request       `key:"request" over:"request"`
	Fallback    *Fallback     `key:"fallback" over:"answer,bool"` // nil: there is only Request
	Hosts       []*Template   `key:"hosts" over:"partition"`      // further hosts (or base URLs) that next links and items may point to
	Paging      Paging        `key:"paging"`
	Records     string        `key:"records"` // gjson path to the records; "@this" for the body itself
	// RecordsOptional says that a body may lack the records ("value?"): it then
	// has none.
	RecordsOptional bool
	// Unwrap are gjson paths in an element of the records, of which the first that leads to an
	// object is the record itself; none: the element is.
	Unwrap    []string    `key:"unwrap"`
	Expand    *Expand     `key:"expand" over:"item"`
	Cursor    *Cursor     `key:"cursor"`    // nil: no notion of time, every round reads all
	Window    *Window     `key:"window"`    // nil: every round reads all
	Reconcile *Reconcile  `key:"reconcile"` // nil: none
	Snapshot  *Snapshot   `key:"snapshot"`  // nil: what is listed is a history
	Key       []string    `key:"key"`       // gjson paths whose values together name a record; none with Snapshot
	RateLimit *RateLimit  `key:"rate_limit"`
	Errors    []ErrorRule `key:"errors" over:"answer,bool"`
	// Archive names a feed that reads the same records further back, "" if there
	// is none. That feed has a Job and a Window, and is never enabled.
	Archive string `key:"archive"`
	Mapping string `key:"mapping"`
}

// Licence is a feed's gate: answers for which Missing holds, Confirm times in
// a row, close it; a closed gate is tried again after Recheck.
type Licence struct {
	Requires string              `key:"requires"`
	Missing  *expression.Program `key:"missing" over:"answer,bool"` // over an answer: status, error, body, headers
	Confirm  int                 `key:"confirm"`                    // at least 1
	Recheck  time.Duration       `key:"recheck"`
}

// ForEach makes one independent partition of the feed for each value of a list.
type ForEach struct {
	Variable string
	Values   *expression.Program // over the settings; a list of strings
}

// Request is one HTTP request, its texts templates over the settings, the
// window and the for_each value.
type Request struct {
	Method  string    `key:"method"` // GET unless given
	URL     *Template `key:"url"`
	Headers []Field   `key:"headers"`
	Query   []Field   `key:"query"` // in file order
	Body    *Body     `key:"body"`  // sent as JSON; nil: none
	Form    []Field   `key:"form"`  // sent URL-encoded; at most one of Body and Form is given
}

// Fallback is another request for the same records, or another job, for clouds and tenants that
// lack the first. It is used from the answer for which When holds, until Recheck
// has passed and the first request is tried again. Keys and cursor are the same.
type Fallback struct {
	When    *expression.Program `key:"when"` // over an answer to the feed's own request, or job; before every other rule
	Request Request             // whole: what the file does not give is that of the feed's own request
	Job     *Job                // likewise; nil of a feed without one
	Recheck time.Duration       `key:"recheck"`
}

// Job is a query that the service runs by itself: started, asked for until it
// is done, and then read by the feed's request, which sees job.id and job.result.
type Job struct {
	Create Request             `key:"create"`                    // sees what the feed's request sees, without job
	ID     string              `key:"id"`                        // gjson path to the id in the answer to Create
	Poll   Request             `key:"poll" over:"poll"`          // sees job.id, too
	Done   *expression.Program `key:"done" over:"answer,bool"`   // over an answer to Poll
	Failed *expression.Program `key:"failed" over:"answer,bool"` // over an answer to Poll; nil: no answer means that
	Result string              `key:"result"`                    // gjson path to what says where the result is, in the answer to Poll that is done; "": nothing does
	Every  time.Duration       `key:"every"`                     // between two polls
	Most   time.Duration       `key:"most"`                      // a job that is not done by then has failed
}

// Field is a named template.
type Field struct {
	Name  string
	Value *Template
}

// Subscribe says how a partition is switched on at the service before its
// first poll.
type Subscribe struct {
	List    Request             `key:"list"`
	Active  *expression.Program `key:"active" over:"listed"` // over each listed record's members, the settings and the for_each value
	Start   Request             `key:"start"`
	Already *expression.Program `key:"already" over:"answer,bool"` // over the answer to Start; nil: none
	Wait    time.Duration       `key:"wait"`                       // never a second start within this time
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
	Style     string   `key:"style"`
	Unsaid    bool     // the feed does not speak of paging: that there is one page is taken for granted, and not asked for
	Header    string   `key:"header"`     // header: the response header that holds a token, or a URL when Param is empty
	Path      string   `key:"path"`       // body: gjson path to a token, or to a URL when Param is empty
	Param     string   `key:"param"`      // header, body, offset, page: the query parameter
	SizeParam string   `key:"size_param"` // offset, page: optional
	In        string   `key:"in"`         // header, body, offset, page: InQuery, or InBody: Param and SizeParam are paths in the request's body, or names in its form
	Delta     bool     `key:"delta"`      // odata: the last page's @odata.deltaLink is the feed's position
	Size      int      `key:"size"`       // offset, page: a page of fewer records is the last
	Start     int      `key:"start"`      // offset, page: the first value of Param
	Keep      []string `key:"keep"`       // query parameters of the first request that a next link must repeat; added where it lacks them
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
	Request Request      `key:"."`
	Paging  Paging       `key:"paging"` // of the document
	Add     []Assignment `key:"add"`    // fields put into each record, over the item
	// Key is the gjson path to what names the item; "": every item is fetched in
	// every round.
	Key             string `key:"key"`
	Records         string `key:"records"`
	RecordsOptional bool
	Concurrency     int `key:"concurrency"` // at least 1
	// Settle is how long after its cursor time an item may be incomplete: one that
	// was fetched sooner is fetched again later. 0: never.
	Settle time.Duration `key:"settle"`
	// Gone is how many rounds must find an item gone before it is given up, as
	// long as it is listed; at least 1.
	Gone int `key:"gone"`
}

// Assignment is a named expression.
type Assignment struct {
	Name  string
	Value *expression.Program
}

// Snapshot says that what is listed is a present state: each round is compared
// with the last, and what differs makes events.
type Snapshot struct {
	ID     []string `key:"id"`     // gjson paths whose values together name an object
	Ignore []string `key:"ignore"` // paths, joined with dots, of what is not compared; what is below them neither
	First  string   `key:"first"`  // FirstBaseline or FirstEmit
}

// What the first round of a snapshot does.
const (
	FirstBaseline = "baseline" // it is remembered, and nothing is sent
	FirstEmit     = "emit"     // every object is sent as created
)

// Cursor is the time field of what the request lists, and how times are
// written in the request.
type Cursor struct {
	Field  string `key:"field"`  // gjson path in a listed item
	Format string `key:"format"` // a Go time layout, or "rfc3339", "unix", "unix_ms"
}

// Window bounds one read in time. Overlap is smaller than Max.
type Window struct {
	Max       time.Duration `key:"max"`       // the widest a request may span
	Delay     time.Duration `key:"delay"`     // how far behind now a window ends
	Overlap   time.Duration `key:"overlap"`   // how far before the cursor a window starts
	Retention time.Duration `key:"retention"` // how far back the service keeps data
}

// Reconcile is a second look at what was read: at every Every, the last Depth before
// the cursor is listed again, and what was missed is delivered.
type Reconcile struct {
	Every time.Duration `key:"every"`
	Depth time.Duration `key:"depth"`
}

// RateLimit allows Requests in any span of Per. Feeds that name the same Bucket
// share one budget.
type RateLimit struct {
	Requests int           `key:"requests"`
	Per      time.Duration `key:"per"`
	Bucket   string        `key:"bucket"`
}

// Bucket names the budget of requests that the feed draws on: the one that it shares with
// others, or its own.
func (f *Feed) Bucket() string {
	if f.RateLimit != nil && f.RateLimit.Bucket != "" {
		return f.RateLimit.Bucket
	}
	return "feed " + f.Name
}

// Partitions are the values of the feed's for_each over the settings; of a feed without one, "" alone.
func (f *Feed) Partitions(settings map[string]any) ([]string, error) {
	if f.ForEach == nil {
		return []string{""}, nil
	}
	v, err := f.ForEach.Values.Eval(settings)
	if err != nil {
		return nil, fmt.Errorf(`"for_each": %w`, err)
	}
	list, ok := v.([]any)
	if !ok {
		return nil, fmt.Errorf(`"for_each" needs a list of texts: %s gives a %T`, f.ForEach.Values, v)
	}
	values := make([]string, len(list))
	for i, v := range list {
		if values[i], ok = v.(string); !ok {
			return nil, fmt.Errorf(`"for_each" needs a list of texts: %s gives a list that holds a %T`, f.ForEach.Values, v)
		}
	}
	return values, nil
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
	When *expression.Program `key:"when"` // over an answer: status, error, body, headers
	Then string              `key:"then"`
	// At gives, over the answer, the time from which the service keeps data; for
	// ThenTooEarly only, and nil where the answer does not say.
	At *expression.Program `key:"at" over:"answer"`
}
