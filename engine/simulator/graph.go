package simulator

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// This file is Microsoft Graph on the wire, and what is like it: routing, permissions,
// licences, limits and errors.

// endpoint is one set of Graph, a row of records/endpoints.yaml, which says what each of this means.
type endpoint struct {
	Service, Method, Path, Entity string
	Roles                         []string
	Denied, Licence, Budget       string
	Top, MaxTop                   int
	NeedsTop                      bool
	OrderBy                       []string
	FilterOps                     string
	Streams                       []string
	Table, Serve                  string
}

// servers are the methods that endpoints name.
var servers = map[string]func(s *Simulator, w http.ResponseWriter, r *http.Request){
	"": (*Simulator).objects, "delta": (*Simulator).delta, "applications": (*Simulator).applications, "runHuntingQuery": (*Simulator).runHuntingQuery,
	"createAuditQuery": (*Simulator).createAuditQuery, "auditQueries": (*Simulator).auditQueries,
}

// graphErrorBody is the error envelope, its members in the order Graph writes
// them.
type graphErrorBody struct {
	Error struct {
		Code    string     `json:"code"`
		Message string     `json:"message"`
		Inner   innerError `json:"innerError"`
	} `json:"error"`
}

type innerError struct {
	Code            string `json:"code,omitempty"`
	Date            string `json:"date"`
	Message         string `json:"message,omitempty"`
	RequestID       string `json:"request-id"`
	ClientRequestID string `json:"client-request-id,omitempty"`
	Status          string `json:"status,omitempty"`
}

func (s *Simulator) graphError(w http.ResponseWriter, status int, code, format string, args ...any) {
	var body graphErrorBody
	body.Error.Code, body.Error.Message = code, fmt.Sprintf(format, args...)
	body.Error.Inner = innerError{Date: s.now().UTC().Format("2006-01-02T15:04:05"), RequestID: header(w, "request-id"), ClientRequestID: header(w, "client-request-id")}
	if status == http.StatusTooManyRequests && code == "TooManyRequests" {
		inner := &body.Error.Inner
		inner.Code, inner.Message, inner.Status, inner.ClientRequestID = "429", "Please retry after", "429", ""
	}
	writeJSON(w, status, body)
}

// header reads back a header that was set in lower case, as Graph writes its own.
func header(w http.ResponseWriter, name string) string {
	if vs := w.Header()[name]; len(vs) > 0 {
		return vs[0]
	}
	return ""
}

func (s *Simulator) serveGraph(w http.ResponseWriter, r *http.Request) {
	s.serveEndpoints(w, r, "graph", "v1.0", "beta")
}

// serveDefender is the API of Defender for Endpoint, which is OData as Graph is.
func (s *Simulator) serveDefender(w http.ResponseWriter, r *http.Request) {
	s.serveEndpoints(w, r, "defender", "api")
}

// serveEndpoints serves the endpoints of a service, whose paths begin with a version.
func (s *Simulator) serveEndpoints(w http.ResponseWriter, r *http.Request, service string, versions ...string) {
	id := guidText(s.opts.Seed ^ uint64(s.requests.Add(1)))
	w.Header()["request-id"] = []string{id}
	if own := r.Header.Get("client-request-id"); own != "" && len(own) < 100 {
		id = own
	}
	w.Header()["client-request-id"] = []string{id}
	w.Header()["x-ms-ags-diagnostic"] = []string{`{"ServerInfo":{"DataCenter":"Simulated","Slice":"E","Ring":"1","ScaleUnit":"001","RoleInstance":"SIM01"}}`}

	version, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if !slices.Contains(versions, version) {
		s.graphError(w, 404, "ResourceNotFound", "Invalid version: %s", version)
		return
	}
	set, key, _ := strings.Cut(rest, "(")
	is := func(e endpoint) bool {
		if e.Service != service {
			return false
		}
		if below, ok := strings.CutSuffix(e.Path, "/"); ok {
			return len(set) > len(below) && strings.EqualFold(set[:len(below)+1], below+"/")
		}
		return strings.EqualFold(e.Path, set)
	}
	i := slices.IndexFunc(endpoints, func(e endpoint) bool { return is(e) && e.Method == r.Method })
	if i < 0 {
		i = slices.IndexFunc(endpoints, is) // which refuses the method
	}
	if i < 0 || key != "" && endpoints[i].Path != "applications" && !strings.HasSuffix(endpoints[i].Path, "/") {
		s.graphError(w, 404, "ResourceNotFound", "Resource not found for the segment '%s'.", set)
		return
	}
	if version == "beta" {
		w.Header().Add("Link", `<https://developer.example/graph/changes>;rel="deprecation";type="text/html"`)
	}
	e := &endpoints[i]
	target := e.target()
	s.guard(w, r, target, func(w http.ResponseWriter, r *http.Request, hit faultSet) {
		s.graph(w, r, e, version == "beta", hit)
	})
}

// target is the name that faults know an endpoint by.
func (e *endpoint) target() string {
	path := strings.TrimSuffix(e.Path, "/")
	return e.Service + "." + path[strings.LastIndexByte(path, '/')+1:]
}

func (s *Simulator) graph(w http.ResponseWriter, r *http.Request, e *endpoint, beta bool, hit faultSet) {
	c, flaw := s.checkToken(r, s.base(e.Service))
	if hit.has(Expired) {
		flaw = tokenExpired
	}
	switch flaw {
	case tokenMissing:
		s.graphError(w, 401, "InvalidAuthenticationToken", "Access token is empty.")
		return
	case tokenInvalid:
		s.graphError(w, 401, "InvalidAuthenticationToken", "IDX14100: JWT is not well formed.")
		return
	case tokenAudience:
		s.graphError(w, 401, "InvalidAuthenticationToken", "Access token validation failure. Invalid audience.")
		return
	case tokenExpired:
		s.graphError(w, 401, "InvalidAuthenticationToken", "Lifetime validation failed, the token is expired.")
		return
	}
	if !s.graphBudget(w, r, e.Budget) {
		return
	}
	if r.Method != e.Method {
		s.graphError(w, 405, "Request_BadRequest", "Specified HTTP method is not allowed for the request target.")
		return
	}
	if !slices.ContainsFunc(e.Roles, c.has) || hit.has(Forbidden) {
		switch e.Denied {
		case "audit":
			s.graphError(w, 403, "Authentication_MSGraphPermissionMissing", "The principal does not have required Microsoft Graph permission(s): %s", e.Roles[0])
		case "protection":
			s.graphError(w, 403, "Forbidden", "You cannot perform the requested operation, required scopes are missing in the token.")
		case "defender":
			s.graphError(w, 403, "Forbidden", "The application does not have any of the required application permissions (%s) to access the resource.", strings.Join(e.Roles, ", "))
		default:
			s.graphError(w, 403, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.")
		}
		return
	}
	if !covered(e.Licence, s.licence()) || hit.has(Unlicensed) {
		if e.Denied == "audit" {
			s.graphError(w, 403, "Authentication_RequestFromNonPremiumTenantOrB2CTenant", "Neither tenant is B2C or tenant doesn't have premium license")
		} else {
			s.graphError(w, 403, "Forbidden", "Your tenant is not licensed for this feature.")
		}
		return
	}
	if e.Table != "" || len(e.Streams) > 0 {
		s.listRows(w, r, e, beta, hit, c)
		return
	}
	servers[e.Serve](s, w, r)
}

func covered(needs, has string) bool {
	return plans[has] >= plans[needs]
}

// graphBudget enforces the documented limits; it notes a client that goes over
// them even when they are not enforced.
func (s *Simulator) graphBudget(w http.ResponseWriter, r *http.Request, budget string) bool {
	ok, retry := true, ""
	switch budget {
	case "reports":
		ok, retry = s.allow("reports", 1, 5, 10*time.Second), []string{"10", "4.128", "7"}[s.requests.Load()%3]
	case "protection":
		ok = s.allow("protection", 1, 1, time.Second) // no Retry-After, as documented
	case "trace":
		ok, retry = s.allow("trace", 1, 100, 5*time.Minute), "60"
	case "hunting":
		ok, retry = s.allow("hunting", 1, 45, time.Minute), "20"
	case "defender":
		ok, retry = s.allow("defender", 1, 100, time.Minute), "20"
	case "security":
		ok, retry = s.allow("security", 1, 150, time.Minute), "12"
	case "directory":
		cost := 3
		if strings.Contains(r.URL.Path, "applications") {
			cost = 2
		}
		ok, retry = s.allow("directory", cost, 3500, 10*time.Second), "5"
	}
	if ok || !s.opts.Throttle {
		return true
	}
	s.count("throttled." + budget)
	if retry != "" {
		w.Header().Set("Retry-After", retry)
	}
	if budget == "reports" {
		s.graphError(w, 429, "UnknownError", "This request is throttled. Please try again after the value specified in the Retry-After header. CorrelationId: %s", header(w, "request-id"))
	} else {
		s.graphError(w, 429, "TooManyRequests", "Please retry again later.")
	}
	return false
}
