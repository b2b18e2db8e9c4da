package author

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/cases"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/definitions"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/extract"
)

// Recording makes a golden case out of what a service answered: cut to the first records, and with
// everything replaced that may identify somebody.
type Recording struct {
	Feed      *definition.Feed
	Partition string
	Settings  *settings.Settings
	Window    extract.Window
	Records   int

	anonymous *anonymizer
	left      int    // records that there is still room for
	next      string // where the last page said that the next is
}

// Case is the case, of that name, in a file.
func (r *Recording) Case(seen *Exchanges, name, file string) (*cases.Case, error) {
	c := &cases.Case{Feed: r.Feed.Name, Name: name, File: file, Description: "Recorded from the service; identifiers are replaced by others"}
	if err := r.partition(c); err != nil {
		return nil, err
	}
	s := r.Settings
	fixed := func(name string) string { return fmt.Sprint(cases.Fixed[name]) }
	r.anonymous = newAnonymizer(r.Feed, map[string]string{
		s.TenantID: fixed("TENANT_ID"), s.ClientID: fixed("CLIENT_ID"), fmt.Sprint(s.Names["PUBLISHER_ID"]): fixed("PUBLISHER_ID"),
	}, []replacement{{s.GraphBase, fixed("MS_GRAPH_BASE")}, {s.ManageBase, fixed("MS_MANAGE_BASE")}, {s.LoginBase, fixed("MS_LOGIN_BASE")}, {s.DefenderBase, fixed("MS_DEFENDER_BASE")}})
	if r.Partition != "" {
		r.anonymous.harmless[r.Partition] = true
	}
	if w := r.Feed.Window; w != nil {
		c.Now = r.Window.To.Add(w.Delay).UTC().Truncate(time.Second)
		c.Lookback = short(w.Max * 20 / 24) // less than a window, so that it is read at once
	}
	r.left = r.Records
	kept, err := r.kept(seen.answered())
	if err != nil {
		return nil, err
	}
	for _, k := range kept {
		x, err := r.exchange(k)
		if err != nil {
			return nil, err
		}
		c.Exchanges = append(c.Exchanges, x)
	}
	if r.Feed.Snapshot != nil && r.Feed.Snapshot.First != definition.FirstEmit {
		r.baseline(c, kept)
	}
	return c, nil
}

// partition keeps the case to the one partition that was read.
func (r *Recording) partition(c *cases.Case) error {
	if r.Feed.ForEach == nil {
		return nil
	}
	name := r.Feed.ForEach.Values.String()
	if !regexp.MustCompile(`^[A-Z][A-Z0-9_]*$`).MatchString(name) {
		return fmt.Errorf("--record takes feeds whose for_each names a setting, so that the case can have the one value that was read; this has %s", name)
	}
	c.Settings = map[string]any{name: []any{r.Partition}}
	return nil
}

// recorded is an exchange with its decoded body, as it will be in the case.
type recorded struct {
	*exchange
	body any // decoded; nil where it is no JSON
	page bool
}

// answered are the exchanges that came to an answer.
func (e *Exchanges) answered() []*exchange {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(e.list), func(x *exchange) bool { return x.code == 0 })
}

// kept are the exchanges of the case: what comes before the records, the pages up to the last record that
// there is room for, and the documents that were fetched as a whole.
func (r *Recording) kept(all []*exchange) ([]*recorded, error) {
	var list []*recorded
	last := -1 // page
	for _, x := range all {
		k := &recorded{exchange: x}
		k.page = r.isPage(x)
		if v, err := decode(x.body.Bytes()); err == nil {
			k.body = v
		} else if x.body.Len() == largestShown {
			return nil, fmt.Errorf("the answer to %s is larger than 4 MiB: that is too much for a case", x.request)
		}
		if k.page && x.code < 300 {
			r.next = r.link(k)
		}
		list = append(list, k)
	}
	if r.Feed.Expand != nil {
		list = r.fetched(list)
	}
	for i, k := range list {
		if k.page && k.code < 300 {
			if last < 0 || r.left > 0 && len(r.listed(k)) > 0 {
				last = i
			}
			r.cut(k)
		}
	}
	if last < 0 {
		return nil, errors.New("no answer with records was seen")
	}
	r.end(list[last])
	var kept []*recorded
	for i, k := range list {
		if !k.page || i <= last {
			kept = append(kept, k)
		}
	}
	return kept, nil
}

var inTemplate = regexp.MustCompile(`\$\{[^}]*\}`)

// isPage reports whether an exchange is about a page of the feed's list.
func (r *Recording) isPage(x *exchange) bool {
	if r.next != "" && r.next == x.url.String() {
		return true
	}
	requests := []*definition.Template{r.Feed.Request.URL}
	if r.Feed.Fallback != nil {
		requests = append(requests, r.Feed.Fallback.Request.URL)
	}
	return slices.ContainsFunc(requests, func(t *definition.Template) bool {
		var pattern strings.Builder
		for i, part := range inTemplate.Split(t.String(), -1) {
			if i > 0 {
				pattern.WriteString(`.*`)
			}
			pattern.WriteString(regexp.QuoteMeta(part))
		}
		return regexp.MustCompile(`^` + pattern.String() + `$`).MatchString(bare(x.url))
	})
}

func bare(u *url.URL) string {
	c := *u
	c.RawQuery, c.Fragment = "", ""
	return c.String()
}

// link is where a page says that the next one is, "" for nowhere.
func (r *Recording) link(k *recorded) string {
	switch r.Feed.Paging.Style {
	case definition.PagingOData:
		return gjson.GetBytes(k.exchange.body.Bytes(), `@odata\.nextLink`).Str
	case definition.PagingBody:
		return gjson.GetBytes(k.exchange.body.Bytes(), r.Feed.Paging.Path).Str
	case definition.PagingHeader:
		return k.header.Get(r.Feed.Paging.Header)
	}
	return ""
}

var inAngles = regexp.MustCompile(`<([^>]*)>`)

// exchange is what the case has of it. Requests are matched without their query, whose times and tokens are not those
// that the case will have.
func (r *Recording) exchange(k *recorded) (x cases.Exchange, err error) {
	address, ok := r.anonymous.url(bare(k.url))
	if !ok {
		return x, fmt.Errorf("%s: no case can have that URL", k.request)
	}
	x.Request.URL = address
	if k.method != http.MethodGet {
		x.Request.Method = k.method
	}
	if k.code != http.StatusOK {
		x.Answer.Status = k.code
	}
	headers := map[string]string{}
	if wait := k.header.Get("Retry-After"); digits.MatchString(wait) {
		headers["Retry-After"] = wait
	}
	if name := r.Feed.Paging.Header; name != "" && k.header.Get(name) != "" {
		headers[name] = r.anonymous.text(k.header.Get(name))
	}
	if link := k.header.Get("Link"); r.Feed.Paging.Style == definition.PagingLink && link != "" {
		headers["Link"] = inAngles.ReplaceAllStringFunc(inAngles.FindString(link), func(s string) string {
			return "<" + r.anonymous.text(s[1:len(s)-1]) + ">"
		}) + `; rel="next"`
	}
	if len(headers) > 0 {
		x.Answer.Headers = headers
	}
	switch {
	case k.body != nil:
		x.Answer.Body, err = encode(r.anonymous.value(k.body), "  ")
	case k.exchange.body.Len() > 0:
		x.Answer.Body = fmt.Sprintf("(%d bytes that are no JSON)", k.exchange.body.Len())
	}
	return x, err
}

// baseline puts a round before the others in which nothing was there: what a feed finds that shows
// a present state, it compares.
func (r *Recording) baseline(c *cases.Case, kept []*recorded) {
	var before []cases.Exchange
	for i, k := range kept {
		x := c.Exchanges[i]
		if k.page && k.code < 300 {
			k.replace(r.Feed.Records, nil)
			r.end(k)
			if text, err := encode(r.anonymous.value(k.body), "  "); err == nil {
				x.Answer.Body = text
			}
			x.Answer.Headers = nil
			before = append(before, x)
			break
		}
		before = append(before, x)
	}
	c.Exchanges = append(before, c.Exchanges...)
	c.Rounds = 2
}

// short is a length of time without what is zero.
func short(d time.Duration) string {
	text := d.Truncate(time.Second).String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// Write writes the case of that name under a golden folder, with what comes of it, and returns the file.
func (r *Recording) Write(seen *Exchanges, defs *definitions.Compiled, golden, name string) (string, error) {
	file := filepath.Join(golden, "feeds", r.Feed.Name, name+".yaml")
	if _, err := os.Stat(file); err == nil {
		return "", fmt.Errorf("%s is there already: remove it, or choose another name", file)
	}
	c, err := r.Case(seen, name, file)
	if err != nil {
		return "", err
	}
	err = c.Create("# Written by try --record. \"test\" runs it; \"test --update\" writes what is expected anew.\n", defs, r.Settings.Names)
	if err != nil {
		return "", fmt.Errorf("no case can be made of these answers: %w", err)
	}
	return file, nil
}
