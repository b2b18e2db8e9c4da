package simulator

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// This file is the Office 365 Management Activity API on the wire.

var guidPattern = regexp.MustCompile(`^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$`)

// afError answers with the API's error envelope.
func afError(w http.ResponseWriter, status int, code, format string, args ...any) {
	writeJSON(w, status, map[string]any{"error": map[string]any{"code": code, "message": fmt.Sprintf(format, args...)}})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err) // only values built here are written
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	w.Write(body) //nolint:errcheck // the client hung up
}

// query reads a query parameter, its name in any case.
func query(r *http.Request, name string) string {
	for k, vs := range r.URL.Query() {
		if strings.EqualFold(k, name) {
			return vs[0]
		}
	}
	return ""
}

func (s *Simulator) serveManage(w http.ResponseWriter, r *http.Request) {
	rest, ok := strings.CutPrefix(r.URL.Path, "/api/v1.0/")
	if !ok {
		rest, ok = strings.CutPrefix(r.URL.Path, "/api/v1/")
	}
	tenant, operation, found := strings.Cut(rest, "/activity/feed/")
	if !ok || !found {
		http.NotFound(w, r)
		return
	}
	target := "manage"
	switch {
	case strings.HasPrefix(operation, "audit/"):
		target = "manage.blob"
	case strings.HasPrefix(operation, "subscriptions/"):
		target = "manage." + strings.TrimPrefix(operation, "subscriptions/")
	}
	s.guard(w, r, target, func(w http.ResponseWriter, r *http.Request, hit faultSet) {
		token, why := s.checkToken(r, s.ManageBase())
		if why != tokenGood || hit.has(Expired) {
			writeJSON(w, http.StatusUnauthorized, map[string]string{"Message": "Authorization has been denied for this request."})
			return
		}
		if !guidPattern.MatchString(tenant) {
			afError(w, 400, "AF20013", "The tenant ID passed in the URL (%s) is not a valid GUID.", tenant)
			return
		}
		if !strings.EqualFold(tenant, s.opts.TenantID) {
			afError(w, 400, "AF20010", "The tenant ID passed in the URL (%s) does not match the tenant ID passed in the access token (%s).", tenant, s.opts.TenantID)
			return
		}
		publisher := query(r, "PublisherIdentifier")
		if publisher == "" {
			publisher = "00000000-0000-0000-0000-000000000000"
			if target == "manage.blob" || target == "manage.content" && query(r, "nextPage") == "" {
				s.violate("a request to %s without PublisherIdentifier", target)
			}
		}
		if !s.allow("manage", 1, 2000, time.Minute) && s.opts.Throttle {
			s.af429(w, r, publisher)
			return
		}
		if hit.has(AF429) {
			s.af429(w, r, publisher)
			return
		}
		if hit.has(Forbidden) || !token.has("ActivityFeed.Read") && !(token.has("ActivityFeed.ReadDlp") && query(r, "contentType") == DLPAll) {
			afError(w, 401, "AF10001", "The permission set (%s) sent in the request does not include the expected permission.", strings.Join(token.Roles, ","))
			return
		}
		switch {
		case operation == "subscriptions/list" && r.Method == http.MethodGet:
			s.listSubscriptions(w, hit)
		case operation == "subscriptions/start" && r.Method == http.MethodPost:
			s.withContentType(w, r, s.startSubscription)
		case operation == "subscriptions/stop" && r.Method == http.MethodPost:
			s.withContentType(w, r, s.stopSubscription)
		case operation == "subscriptions/content" && r.Method == http.MethodGet:
			s.withContentType(w, r, func(w http.ResponseWriter, r *http.Request, c *contentType) { s.listContent(w, r, c, hit) })
		case operation == "subscriptions/notifications" && r.Method == http.MethodGet:
			s.withContentType(w, r, func(w http.ResponseWriter, r *http.Request, c *contentType) { writeJSON(w, 200, []any{}) })
		case strings.HasPrefix(operation, "audit/") && r.Method == http.MethodGet:
			s.getBlob(w, r, strings.TrimPrefix(operation, "audit/"), token.has("ActivityFeed.ReadDlp"))
		case operation == "resources/dlpSensitiveTypes" && r.Method == http.MethodGet:
			writeJSON(w, 200, []any{map[string]string{"id": "50842eb7-edc8-4019-85dd-5a5c1f2bb085", "name": "Credit Card Number"}})
		default:
			http.NotFound(w, r)
		}
	})
}

func (s *Simulator) af429(w http.ResponseWriter, r *http.Request, publisher string) {
	method := "GetContent"
	if strings.Contains(r.URL.Path, "/audit/") {
		method = "GetBlob"
	}
	s.count("throttled.manage")
	afError(w, 403, "AF429", "Too many requests. Method=%s, PublisherId=%s", method, publisher)
}

func (s *Simulator) withContentType(w http.ResponseWriter, r *http.Request, next func(http.ResponseWriter, *http.Request, *contentType)) {
	name := query(r, "contentType")
	if name == "" {
		afError(w, 400, "AF20001", "Missing parameter: contentType.")
		return
	}
	for _, c := range s.types {
		if strings.EqualFold(c.name, name) {
			c.mu.Lock()
			c.asked = true
			c.mu.Unlock()
			next(w, r, c)
			return
		}
	}
	afError(w, 400, "AF20020", "The specified content type is not valid.")
}

type subscription struct {
	ContentType string `json:"contentType"`
	Status      string `json:"status,omitempty"`
	Webhook     any    `json:"webhook"`
}

func (s *Simulator) listSubscriptions(w http.ResponseWriter, hit faultSet) {
	list := []subscription{}
	for _, c := range s.types {
		c.mu.Lock()
		known, enabled := c.known, c.enabled
		c.mu.Unlock()
		if !known {
			continue
		}
		item := subscription{ContentType: c.name, Status: "disabled"}
		if enabled {
			item.Status = "enabled"
		}
		if hit.has(NoStatus) { // as in an element of Microsoft's own sample
			item.Status = ""
		}
		list = append(list, item)
	}
	writeJSON(w, 200, list)
}

func (s *Simulator) startSubscription(w http.ResponseWriter, r *http.Request, c *contentType) {
	if body, _ := io.ReadAll(io.LimitReader(r.Body, 64<<10)); len(body) > 0 {
		var hook struct {
			Webhook struct{ Address, Expiration string }
		}
		if err := json.Unmarshal(body, &hook); err != nil || !strings.HasPrefix(hook.Webhook.Address, "https://") {
			afError(w, 400, "AF20002", "Invalid parameter type: webhook. Expected type: object with an https address")
			return
		}
		if t, err := time.Parse(time.RFC3339, hook.Webhook.Expiration); err == nil && t.Before(s.now()) {
			afError(w, 400, "AF20003", "Expiration %s provided is set to past date and time.", hook.Webhook.Expiration)
			return
		}
		afError(w, 400, "AF20021", "The webhook endpoint (%s) could not be validated. The simulated service calls nobody.", hook.Webhook.Address)
		return
	}
	now := s.now()
	c.mu.Lock()
	if !c.lastStart.IsZero() && now.Sub(c.lastStart) < 15*time.Minute {
		s.violate("%s started again %s after the last start; Microsoft asks for 15 minutes", c.name, now.Sub(c.lastStart).Round(time.Second))
	}
	c.lastStart = now
	if s.faults.active("tenant", AuditLogOff) {
		c.mu.Unlock()
		afError(w, 400, fmt.Sprintf("StartSubscription [CorrelationId=%s][TenantId=%s,ContentType=%s,ApplicationId=%s,PublisherId=%s][AppId", guidText(uint64(now.UnixNano())), s.opts.TenantID, c.name, s.opts.ClientID, query(r, "PublisherIdentifier")),
			"%s] failed. Exception: Microsoft.Office.Compliance.Audit.DataServiceException: Tenant %s does not exist.\r\n   at Microsoft.Office.Compliance.Audit.API.StartSubscription", s.opts.ClientID, s.opts.TenantID)
		return
	}
	if c.enabled {
		c.mu.Unlock()
		afError(w, 400, "AF20024", "The subscription is already enabled. No property change.")
		return
	}
	c.enable(now, s.opts.Backfill)
	c.mu.Unlock()
	writeJSON(w, 200, subscription{ContentType: c.name, Status: "enabled"})
}

func (s *Simulator) stopSubscription(w http.ResponseWriter, r *http.Request, c *contentType) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.known {
		afError(w, 400, "AF20022", "No subscription found for the specified content type.")
		return
	}
	c.disable(s.now())
	w.WriteHeader(http.StatusOK)
}

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
	case s.faults.active("tenant", WidePartial):
		return from, from.Add(24 * time.Hour), "", "" // an answer that silently misses the rest
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
	number, class := uint32(n/10), uint8(n%10)
	switch {
	case class == beforeAll:
		return blob{class: beforeAll}, true
	case class == scheduled && int(number) < len(c.blobs):
		return c.blobs[number], true
	case class == scheduled:
		return blob{}, false
	}
	for _, e := range c.extras {
		if e.number == number && e.class == class {
			return e, true
		}
	}
	return blob{}, false
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

func writeGzip(w io.Writer, body []byte) {
	z, _ := gzip.NewWriterLevel(w, gzip.BestSpeed)
	z.Write(body) //nolint:errcheck // into memory
	z.Close()     //nolint:errcheck // into memory
}
