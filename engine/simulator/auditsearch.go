package simulator

import (
	"bytes"
	"cmp"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// This file is the Purview audit search of Graph: queries that are created, run by themselves, and hold
// the records of all content types by the time at which they happened.

// searchRetention is how far back the audit log is searched, with Audit (Standard).
const searchRetention = 180 * 24 * time.Hour

// auditSearches are the queries of a tenant.
type auditSearches struct {
	mu   sync.Mutex
	byID map[string]*auditQuery
	read []span // by the time of the event: what was served to the last page
}

// auditQuery is one query. Its records are found when it is done.
type auditQuery struct {
	ID      string   `json:"id"`
	Name    string   `json:"displayName"`
	From    string   `json:"filterStartDateTime"`
	To      string   `json:"filterEndDateTime"`
	Types   []string `json:"recordTypeFilters"`
	Status  string   `json:"status"`
	Count   *int     `json:"approximateReturnedRecordCount"`
	Limit   int      `json:"recordCountLimit"`
	Reached bool     `json:"isRecordCountLimitExceeded"`

	from, to, made time.Time
	found          []auditHit
}

// auditHit is a record that a query found.
type auditHit struct {
	of    *contentType
	blob  blob
	index uint64
	at    int64 // unix nanoseconds
}

// createAuditQuery begins a query.
func (s *Simulator) createAuditQuery(w http.ResponseWriter, r *http.Request) {
	q := &auditQuery{Types: []string{}}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(q); err != nil {
		s.graphError(w, 400, "BadRequest", "Unable to read JSON request payload. Please ensure Content-Type header is set and payload is of valid JSON format.")
		return
	}
	var err1, err2 error
	q.from, err1 = time.Parse(time.RFC3339, q.From)
	q.to, err2 = time.Parse(time.RFC3339, q.To)
	if err1 != nil || err2 != nil || !q.from.Before(q.to) {
		s.graphError(w, 400, "BadRequest", "The start time must be before the end time, and both must be valid.")
		return
	}
	a, now := &s.searches, s.now()
	a.mu.Lock()
	defer a.mu.Unlock()
	running := 0
	for _, other := range a.byID {
		if s.advance(other, now); other.Status == "notStarted" || other.Status == "running" {
			running++
		}
	}
	if ok := s.allow("audit searches", 1, 200, 24*time.Hour) && running < 50; !ok && s.opts.Throttle {
		s.count("throttled.search")
		w.Header().Set("Retry-After", "60")
		s.graphError(w, 429, "TooManyRequests", "The tenant has reached its limit of audit log queries.")
		return
	}
	if running > 0 {
		s.count("searches.side-by-side")
	}
	q.ID, q.made, q.Status, q.Limit = guidText(s.opts.Seed^uint64(len(a.byID)+1)<<32^0x5ea7c4), now, "notStarted", s.opts.SearchLimit
	if a.byID == nil {
		a.byID = map[string]*auditQuery{}
	}
	a.byID[q.ID] = q
	s.count("searches")
	s.writeAuditQuery(w, http.StatusCreated, q)
}

// advance brings a query to what it has become by now. The caller holds the lock.
func (s *Simulator) advance(q *auditQuery, now time.Time) {
	if q.Status == "succeeded" || q.Status == "failed" {
		return
	}
	switch took := now.Sub(q.made); {
	case took < s.opts.SearchTakes/4:
		return
	case took < s.opts.SearchTakes:
		q.Status = "running"
		return
	}
	for _, c := range s.types {
		q.found = append(q.found, c.happened(max(q.from.UnixNano(), now.Add(-searchRetention).UnixNano()), q.to.UnixNano(), now)...)
	}
	slices.SortStableFunc(q.found, func(a, b auditHit) int { return cmp.Compare(b.at, a.at) }) // the newest first
	n := len(q.found)
	if n > q.Limit {
		q.found, q.Reached = q.found[:q.Limit], true
	}
	q.Count, q.Status = &n, "succeeded"
}

// auditQueries serves what is below the collection: a query, or its records.
func (s *Simulator) auditQueries(w http.ResponseWriter, r *http.Request) {
	_, rest, _ := strings.Cut(strings.ToLower(r.URL.Path), "/auditlog/queries/")
	id, below, _ := strings.Cut(rest, "/")
	a := &s.searches
	a.mu.Lock()
	defer a.mu.Unlock()
	q := a.byID[id]
	if q == nil {
		s.graphError(w, 404, "NotFound", "The audit log query '%s' was not found.", id)
		return
	}
	s.advance(q, s.now())
	switch {
	case below == "":
		s.writeAuditQuery(w, http.StatusOK, q)
	case below != "records":
		s.graphError(w, 404, "ResourceNotFound", "Resource not found for the segment '%s'.", below)
	case q.Status != "succeeded":
		s.graphError(w, 400, "BadRequest", "The query is not ready.")
	default:
		s.auditRecords(w, r, q)
	}
}

func (s *Simulator) writeAuditQuery(w http.ResponseWriter, status int, q *auditQuery) {
	writeJSON(w, status, struct {
		Type string `json:"@odata.type"`
		*auditQuery
	}{"#microsoft.graph.security.auditLogQuery", q})
}

// auditRecords serves a page of the records of a query.
func (s *Simulator) auditRecords(w http.ResponseWriter, r *http.Request, q *auditQuery) {
	options, _ := url.ParseQuery(r.URL.RawQuery)
	top, first := 150, 0
	if text := option(options, "top"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 1000 {
			s.graphError(w, 400, "BadRequest", "Invalid page size specified: '%s'. Must be between 1 and 1000 inclusive.", text)
			return
		}
		top = n
	}
	if s.opts.PageSize > 0 {
		top = min(top, s.opts.PageSize)
	}
	if token := option(options, "skiptoken"); token != "" {
		n, err := strconv.ParseUint(token, 16, 32)
		if err != nil || int(n) > len(q.found) {
			s.graphError(w, 400, "UnknownError", "Token not found: token is either invalid or expired")
			return
		}
		first = int(n)
	}
	end, next := min(first+top, len(q.found)), ""
	if end < len(q.found) {
		next = s.GraphBase() + r.URL.Path + "?$top=" + strconv.Itoa(top) + "&$skiptoken=" + strconv.FormatInt(int64(end), 16)
	} else if !q.Reached {
		s.searches.read = append(s.searches.read, span{q.from.UnixNano(), q.to.UnixNano()})
	}
	var rows [][]byte
	for _, hit := range q.found[first:end] {
		rows = append(rows, hit.append(nil))
	}
	s.writePage(w, r, s.GraphBase()+"/beta/$metadata#security/auditLog/queries('"+q.ID+"')/records", next, rows)
	s.countN("records.search", int64(len(rows)))
}

// happened are the records that are in blobs by now and happened in [from, to).
func (c *contentType) happened(from, to int64, now time.Time) (hits []auditHit) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.extend(now)
	for _, list := range [][]blob{c.blobs, c.extras} {
		for _, b := range list {
			if b.class == repeated || b.created < from/1e6 || b.visible > now.UnixMilli() {
				continue
			}
			for i := range uint64(b.n) {
				if at := c.happenedAt(b, b.first+i); at >= from && at < to {
					hits = append(hits, auditHit{c, b, b.first + i, at})
				}
			}
		}
	}
	return hits
}

// happenedAt is when a record of a blob happened, in unix nanoseconds.
func (c *contentType) happenedAt(b blob, index uint64) int64 {
	var r record
	c.record(&r, b, index)
	return r.at.Truncate(time.Second).UnixNano()
}

// append writes the record in its envelope.
func (h auditHit) append(dst []byte) []byte {
	h.of.mu.Lock()
	defer h.of.mu.Unlock()
	var r record
	h.of.record(&r, h.blob, h.index)
	r.sensitive = true
	inner := h.of.kinds.append(nil, &r, 0)
	var common struct {
		Operation, UserId, ObjectId, ClientIP, Workload, OrganizationId any
	}
	if err := json.Unmarshal(inner, &common); err != nil {
		panic("simulator: a record is not JSON: " + err.Error())
	}
	envelope, err := json.Marshal(map[string]any{
		"@odata.type": "#microsoft.graph.security.auditLogRecord", "id": string(r.guid[:]), "createdDateTime": r.at.Format(time.RFC3339),
		"operation": common.Operation, "organizationId": common.OrganizationId, "userId": common.UserId, "service": common.Workload,
		"objectId": common.ObjectId, "userPrincipalName": common.UserId, "clientIp": common.ClientIP, "administrativeUnits": []string{""},
	})
	if err != nil {
		panic(err) // made of values that were just decoded
	}
	dst = append(dst, bytes.TrimSuffix(envelope, []byte("}"))...)
	dst = append(dst, `,"auditData":{"@odata.type":"#microsoft.graph.security.defaultAuditData",`...)
	return append(append(dst, inner[1:]...), '}')
}
