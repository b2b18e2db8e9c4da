package extract

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/secure60/s60-m365-connector/engine/definition"
)

// This file tells who watches of each attempt at a request.

// Asked is one attempt at a request of a feed, to be shown to a person.
type Asked struct {
	Feed, Partition string
	Method          string
	URL             string // without what a service, an item or a credential may have put into it
	At              time.Time
	Took            time.Duration
	Status          int   // 0: there was no answer
	Bytes           int64 // of the body, as far as it was read
	Problem         string
}

// Watch has see called after each attempt of this reader, instead of [ClientOptions.OnAsked].
func (r *Reader) Watch(see func(Asked)) { r.see = see }

func (r *Reader) tell(q *http.Request, sent time.Time, answered *http.Response, bytes int64, err error) {
	if r.see == nil {
		return
	}
	a := Asked{
		Feed: r.feed.Name, Partition: r.partition, Method: q.Method, URL: shownURL(q.URL, r.feed),
		At: sent, Took: time.Since(sent), Bytes: bytes,
	}
	if answered != nil {
		a.Status = answered.StatusCode
	}
	if err != nil {
		a.Problem = oneLine(err.Error())
	}
	r.see(a)
}

var (
	secretName = regexp.MustCompile(`(?i)token|secret|key|sig|password|code`)
	fewDigits  = regexp.MustCompile(`^[0-9]{1,10}$`)
	unshown    = "…"
)

// shownURL is a URL as a person may see it: of its query the values that the feed's own requests give, and
// small numbers. What a link brings along may stand for a session or be of a record.
func shownURL(u *url.URL, feed *definition.Feed) string {
	requests := feed.Requests()
	own := func(name string) bool {
		return !secretName.MatchString(name) && slices.ContainsFunc(requests, func(r definition.Placed) bool {
			return slices.ContainsFunc(r.Request.Query, func(f definition.Field) bool { return strings.EqualFold(f.Name, name) })
		})
	}
	plain := func(s string) string {
		if text, err := url.QueryUnescape(s); err == nil {
			return text
		}
		return unshown
	}
	var query []string
	for part := range strings.SplitSeq(u.RawQuery, "&") {
		name, value, _ := strings.Cut(part, "=")
		name, value = plain(name), plain(value)
		if value != "" && !own(name) && !fewDigits.MatchString(value) {
			value = unshown
		}
		if name != "" {
			query = append(query, name+"="+value)
		}
	}
	text := place(u)
	if len(query) > 0 {
		text += "?" + strings.Join(query, "&")
	}
	return oneLine(text)
}
