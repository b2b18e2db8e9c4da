package simulator

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// This file is the content of the Management Activity API: its lists and blobs.

// contentTime reads the formats the API accepts; all are UTC.
func contentTime(text string) (time.Time, bool) {
	for _, layout := range []string{"2006-01-02T15:04:05", "2006-01-02", "2006-01-02T15:04", time.RFC3339} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}

// contentRule is what the API says of any window it refuses.
const contentRule = "Start time and end time must both be specified (or both omitted) and must be less than or equal to 24 hours apart, with the start time no more than 7 days in the past."

// contentWindow reads the window of a listing; code is the error of a window
// that is refused.
func (s *Simulator) contentWindow(start, end string, now time.Time) (from, to time.Time, code, message string) {
	from, ok1 := contentTime(start)
	to, ok2 := contentTime(end)
	switch {
	case !ok1 || !ok2:
		return from, to, "AF20030", contentRule
	case !from.Before(to):
		return from, to, "AF20055", contentRule + " The start time must be before the end time."
	case now.Sub(from) > retention:
		return from, to, "AF20055", contentRule
	case to.Sub(from) <= 24*time.Hour:
		return from, to, "", ""
	}
	return from, to, "AF20030", contentRule
}

func (s *Simulator) listContent(w http.ResponseWriter, r *http.Request, c *contentType, hit faultSet) {
	now := s.now()
	c.mu.Lock()
	known, enabled := c.known, c.enabled
	c.mu.Unlock()
	switch {
	case !known:
		afError(w, 400, "AF20022", "No subscription found for the specified content type.")
		return
	case !enabled:
		afError(w, 400, "AF20023", "The subscription was disabled.")
		return
	}
	start, end := query(r, "startTime"), query(r, "endTime")
	if start == "" && end == "" { // the last 24 hours
		start, end = now.UTC().Add(-24*time.Hour).Format("2006-01-02T15:04:05"), now.UTC().Format("2006-01-02T15:04:05")
	}
	from, to, code, message := s.contentWindow(start, end, now)
	if code != "" {
		afError(w, 400, code, "%s", message)
		return
	}
	token := query(r, "nextPage")
	page, more, ok := c.list(from, to, now, token, s.opts.ListPage)
	if !ok || token != "" && hit.has(ExpireToken) {
		afError(w, 400, "AF20031", "Invalid nextPage Input: %s.", token)
		return
	}
	next := ""
	switch {
	case token == "" && hit.has(EmptyPage): // nothing yet, but a link that leads to everything
		page, next = nil, s.contentLink(s.ManageBase(), c, start, end, blob{class: beforeAll})
	case more && hit.has(SelfLink):
		next = s.ManageBase() + r.URL.RequestURI()
	case more && hit.has(ForeignNext):
		next = s.contentLink(s.ForeignBase(), c, start, end, page[len(page)-1])
	case more:
		next = s.contentLink(s.ManageBase(), c, start, end, page[len(page)-1])
	}
	switch {
	case next == "":
	case hit.has(OddHeader):
		w.Header()["Nextpageuri"] = []string{next}
	default:
		w.Header()["NextPageUri"] = []string{next}
	}
	base := s.ManageBase()
	if hit.has(ForeignLink) {
		base = s.ForeignBase()
	}
	items := make([]contentItem, 0, len(page))
	for _, b := range page {
		items = append(items, c.item(b, base+"/api/v1.0/"+s.opts.TenantID+"/activity/feed/audit/"))
	}
	writeJSON(w, 200, items)
}

// contentItem is a blob as it is listed.
type contentItem struct {
	ContentType       string `json:"contentType"`
	ContentID         string `json:"contentId"`
	ContentURI        string `json:"contentUri"`
	ContentCreated    string `json:"contentCreated"`
	ContentExpiration string `json:"contentExpiration"`
}

func (c *contentType) item(b blob, root string) contentItem {
	const layout = "2006-01-02T15:04:05.000Z"
	id, created := c.contentID(b), time.UnixMilli(b.created).UTC()
	return contentItem{c.name, id, root + id, created.Format(layout), created.Add(retention).Format(layout)}
}

// list is one page of the blobs of a window; ok is false for a token that names
// no place.
func (c *contentType) list(from, to, now time.Time, token string, size int) (page []blob, more, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.extend(now)
	var after *blob
	if token != "" {
		b, known := c.parseToken(token)
		if !known {
			return nil, false, false
		}
		if b.class != beforeAll {
			after = &b
		}
	}
	page, more = c.within(from.UnixMilli(), to.UnixMilli(), now.UnixMilli(), after, size)
	return page, more, true
}

// beforeAll is the class of the place before the first blob.
const beforeAll = 9

// contentLink leads to the page after a blob. Its path says v1, not v1.0, as
// Microsoft's example does.
func (s *Simulator) contentLink(base string, c *contentType, start, end string, last blob) string {
	return fmt.Sprintf("%s/api/v1/%s/activity/feed/subscriptions/content?contentType=%s&startTime=%s&endTime=%s&nextPage=%s",
		base, s.opts.TenantID, c.name, start, end, c.pageToken(last))
}

// pageToken names the blob after which a listing goes on.
func (c *contentType) pageToken(b blob) string {
	n := uint64(b.number)*10 + uint64(b.class)
	return fmt.Sprintf("%sR%012d", time.UnixMilli(b.created).UTC().Format("2006010215"), n*97+c.salt(n)%97)
}

func (c *contentType) parseToken(token string) (blob, bool) {
	_, digits, ok := strings.Cut(token, "R")
	v, err := strconv.ParseUint(digits, 10, 64)
	if !ok || err != nil {
		return blob{}, false
	}
	n := v / 97
	if v%97 != c.salt(n)%97 {
		return blob{}, false
	}
	if class := uint8(n % 10); class != beforeAll {
		return c.blob(uint32(n/10), class)
	}
	return blob{class: beforeAll}, true
}

func (s *Simulator) getBlob(w http.ResponseWriter, r *http.Request, id string, sensitive bool) {
	now := s.now()
	var c *contentType
	var b blob
	found := false
	for _, candidate := range s.types {
		if !strings.Contains(id, "$"+strings.ReplaceAll(candidate.name, ".", "_")+"$") {
			continue
		}
		c = candidate
		c.mu.Lock()
		c.extend(now)
		b, found = c.find(id)
		found = found && b.visible <= now.UnixMilli()
		c.mu.Unlock()
	}
	switch {
	case c == nil:
		afError(w, 400, "AF20052", "Content ID %s in the URL is invalid.", id)
		return
	case !found:
		afError(w, 404, "AF20050", "The specified content (%s) does not exist.", id)
		return
	case now.UnixMilli()-b.created >= retention.Milliseconds():
		afError(w, 400, "AF20051", "Content requested with the key %s has already expired. Content older than 7 days cannot be retrieved.", id)
		return
	}
	n := b.n
	if s.opts.PartialFor > 0 && now.UnixMilli()-b.created < s.opts.PartialFor.Milliseconds() {
		n /= 2
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	out, done := s.compressed(w, r)
	c.write(out, b, n, sensitive) //nolint:errcheck // the client hung up
	done()
	s.countN("records.manage", int64(n))
}

// compressed is where a large body goes: gzip when the client asked for it.
func (s *Simulator) compressed(w http.ResponseWriter, r *http.Request) (io.Writer, func()) {
	if s.opts.NoGzip || !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		return w, func() {}
	}
	w.Header().Set("Content-Encoding", "gzip")
	z, _ := gzip.NewWriterLevel(w, gzip.BestSpeed)
	return z, func() { z.Close() } //nolint:errcheck // the client hung up
}
