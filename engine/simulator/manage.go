package simulator

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
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
		case operation == "subscriptions/content" && r.Method == http.MethodGet:
			s.withContentType(w, r, func(w http.ResponseWriter, r *http.Request, c *contentType) { s.listContent(w, r, c, hit) })
		case strings.HasPrefix(operation, "audit/") && r.Method == http.MethodGet:
			s.getBlob(w, r, strings.TrimPrefix(operation, "audit/"), token.has("ActivityFeed.ReadDlp"))
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
		list = append(list, item)
	}
	writeJSON(w, 200, list)
}

func (s *Simulator) startSubscription(w http.ResponseWriter, r *http.Request, c *contentType) {
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
	c.enable(now, backfill)
	c.mu.Unlock()
	writeJSON(w, 200, subscription{ContentType: c.name, Status: "enabled"})
}
