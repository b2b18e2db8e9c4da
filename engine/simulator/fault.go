package simulator

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Fault makes a part of the simulator misbehave.
type Fault struct {
	// Target is the part, a dotted name: it covers everything below it. Targets
	// are login; manage.list, manage.start, manage.stop, manage.content,
	// manage.blob; graph.<feed>, such as graph.signIns, graph.directoryAudits,
	// graph.applications; ingest, collector; and tenant, for switches that are
	// no answer of their own.
	Target string `json:"target"`
	Kind   Kind   `json:"kind"`
	// Match limits the fault to requests whose URI, or at the destination whose
	// body, contains it.
	Match string `json:"match,omitempty"`
	// Skip lets so many requests pass first.
	Skip int `json:"skip,omitempty"`
	// Count ends the fault after so many hits; 0: it lasts.
	Count int `json:"count,omitempty"`
	// Probability is the chance of a hit for each request; 0 means 1.
	Probability float64 `json:"probability,omitempty"`
	// For ends the fault after a time; 0: it lasts.
	For time.Duration `json:"-"`
	// Status of the answer for [Status], and for [HTML] and [Throttle] where it
	// differs from their own.
	Status int `json:"status,omitempty"`
	// Code and Message go into the error body of [Status].
	Code    string `json:"code,omitempty"`
	Message string `json:"message,omitempty"`
	// Delay of [Slow] and [Stall].
	Delay time.Duration `json:"-"`
	// RetryAfter is sent as it stands with [Status] and [Throttle]: seconds, a
	// fraction, a date, or nothing.
	RetryAfter string `json:"retry_after,omitempty"`
}

// Kind is a kind of fault.
type Kind string

// Faults of any answer.
const (
	Reset     Kind = "reset"      // the connection is reset, nothing is answered
	Cut       Kind = "cut"        // the connection is reset half-way through the body
	Truncate  Kind = "truncate"   // a whole answer of status 200, with half of its JSON
	HTML      Kind = "html"       // a page of HTML, status 200 unless given
	Status    Kind = "status"     // an error of the given status
	Throttle  Kind = "throttle"   // 429 in the service's own words
	Redirect  Kind = "redirect"   // 302 to a host that belongs to nobody
	Slow      Kind = "slow"       // the answer comes after Delay
	Stall     Kind = "stall"      // half of the body, and the rest after Delay
	GzipBreak Kind = "gzip-break" // a gzip stream with a broken middle
)

// Faults of the Management Activity API.
const (
	AF429       Kind = "af429"        // 403 with AF429
	SelfLink    Kind = "self-link"    // the next link is the current one; also of Graph
	ForeignNext Kind = "foreign-next" // the next link leads to another host; also of Graph
	ForeignLink Kind = "foreign-link" // contentUri leads to another host
	EmptyPage   Kind = "empty-page"   // an empty page with a next link; also of Graph
	ExpireToken Kind = "expire-token" // the token in the next link is refused; also of Graph
	OddHeader   Kind = "odd-header"   // Nextpageuri for NextPageUri
)

// Faults of Graph.
const (
	Unlicensed Kind = "unlicensed" // the licence check says no, as it does now and then on licensed tenants too
	Forbidden  Kind = "forbidden"  // a permission is missing; also of the Management API
	Expired    Kind = "expired"    // the token has expired, whatever it says; also of the Management API
)

// Faults of the login service.
const (
	SecretExpired Kind = "secret-expired" // AADSTS7000222
	SecretWrong   Kind = "secret-wrong"   // AADSTS7000215
	NoRoles       Kind = "no-roles"       // a token is issued, without any role
	Busy          Kind = "busy"           // AADSTS90033, temporarily_unavailable
)

// Faults of the destination.
const (
	AcceptReset Kind = "accept-reset" // everything is accepted, then the connection is reset
	Poison      Kind = "poison"       // 400
	Refuse      Kind = "refuse"       // 401
	TooLarge    Kind = "too-large"    // 413
)

// Switches of the tenant, with Target "tenant".
const (
	AuditLogOff  Kind = "audit-log-off" // start answers that the tenant does not exist
	Disable      Kind = "disable"       // an administrator disables the subscription named by Match, at once
	Unsubscribe  Kind = "unsubscribe"   // the subscription named by Match is gone, at once
	RevokeTokens Kind = "revoke-tokens" // tokens issued so far are refused, at once
)

var kinds = []Kind{Reset, Cut, Truncate, HTML, Status, Throttle, Redirect, Slow, Stall, GzipBreak, AF429, SelfLink, ForeignNext, ForeignLink,
	EmptyPage, ExpireToken, OddHeader, Unlicensed, Forbidden, Expired, SecretExpired, SecretWrong,
	NoRoles, Busy, AcceptReset, Poison, Refuse, TooLarge, AuditLogOff, Disable, Unsubscribe, RevokeTokens}

// faultTargets are all targets of faults.
func faultTargets() []string {
	all := []string{"login", "manage", "manage.list", "manage.start", "manage.content", "manage.blob",
		"ingest", "collector", "tenant", "graph", "defender"}
	for i := range endpoints {
		all = append(all, endpoints[i].target())
	}
	return all
}

// Inject adds a fault. It fails for a kind or a target that it does not know.
func (s *Simulator) Inject(f Fault) error {
	if !slices.Contains(kinds, f.Kind) {
		return fmt.Errorf("simulator: unknown kind of fault %q; the kinds are %v", f.Kind, kinds)
	}
	if all := faultTargets(); !slices.Contains(all, f.Target) {
		return fmt.Errorf("simulator: unknown target of a fault %q; the targets are %v", f.Target, all)
	}
	if f.Kind == Status && (f.Status < 200 || f.Status > 599) {
		return fmt.Errorf("simulator: a fault of kind status needs a status, got %d", f.Status)
	}
	switch f.Kind {
	case Disable, Unsubscribe:
		return s.dropSubscription(f)
	case RevokeTokens:
		s.revoked.Store(s.now().UnixNano())
		return nil
	}
	s.faults.add(f, s.now())
	return nil
}

// Clear ends the faults of a target and of everything below it; "" ends all.
func (s *Simulator) Clear(target string) {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.list = slices.DeleteFunc(s.faults.list, func(a *activeFault) bool { return covers(target, a.Target) })
}

func (s *Simulator) dropSubscription(f Fault) error {
	now, found := s.now(), false
	for _, c := range s.types {
		if f.Match != "" && f.Match != c.name {
			continue
		}
		c.mu.Lock()
		if c.known {
			found = true
			c.disable(now)
			if f.Kind == Unsubscribe {
				c.known = false
			}
		}
		c.mu.Unlock()
	}
	if !found {
		return fmt.Errorf("simulator: no subscription to %q to %s", f.Match, f.Kind)
	}
	s.count("fault." + string(f.Kind))
	return nil
}

func covers(target, name string) bool {
	return target == "" || target == name || strings.HasPrefix(name, target+".")
}

type faults struct {
	mu   sync.Mutex
	seed uint64
	list []*activeFault
	hits map[Kind]int64
}

type activeFault struct {
	Fault
	until time.Time // zero: open
	seen  uint64
	hits  int
}

func (fs *faults) add(f Fault, now time.Time) {
	a := &activeFault{Fault: f}
	if f.For > 0 {
		a.until = now.Add(f.For)
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.list = append(fs.list, a)
}

// active reports whether a switch is on; it counts no hit.
func (fs *faults) active(target string, kind Kind) bool {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return slices.ContainsFunc(fs.list, func(a *activeFault) bool { return a.Target == target && a.Kind == kind })
}

// faultSet are the faults that hit one request.
type faultSet []Fault

func (fs faultSet) has(kind Kind) bool {
	return slices.ContainsFunc(fs, func(f Fault) bool { return f.Kind == kind })
}

func (fs faultSet) of(kinds ...Kind) (Fault, bool) {
	for _, f := range fs {
		if slices.Contains(kinds, f.Kind) {
			return f, true
		}
	}
	return Fault{}, false
}

// draw decides which faults hit a request.
func (fs *faults) draw(target string, now time.Time, matches func(string) bool) faultSet {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if len(fs.list) == 0 {
		return nil
	}
	var hit faultSet
	fs.list = slices.DeleteFunc(fs.list, func(a *activeFault) bool {
		if !a.until.IsZero() && now.After(a.until) {
			return true
		}
		if !covers(a.Target, target) || a.Match != "" && !matches(a.Match) {
			return false
		}
		a.seen++
		if a.seen <= uint64(a.Skip) {
			return false
		}
		if p := a.Probability; p > 0 && unit(mix(fs.seed^textHash(a.Target+string(a.Kind))^a.seen)) >= p {
			return false
		}
		a.hits++
		fs.hits[a.Kind]++
		hit = append(hit, a.Fault)
		return a.Count > 0 && a.hits >= a.Count
	})
	return hit
}

type handler func(http.ResponseWriter, *http.Request, faultSet)

// guard counts a request, applies the faults that are the same for every
// service, and leaves the others to the handler.
func (s *Simulator) guard(w http.ResponseWriter, r *http.Request, target string, next handler) {
	s.count("requests." + target)
	hit := s.faults.draw(target, s.now(), func(text string) bool { return strings.Contains(r.URL.RequestURI(), text) })
	s.apply(w, r, target, hit, next)
}

func (s *Simulator) apply(w http.ResponseWriter, r *http.Request, target string, hit faultSet, next handler) {
	if f, ok := hit.of(Slow); ok && !s.wait(r, f.Delay) {
		return
	}
	if hit.has(Reset) {
		reset(w)
		return
	}
	if f, ok := hit.of(HTML); ok {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(max(f.Status, 200))
		io.WriteString(w, "<!DOCTYPE html><html><head><title>Service unavailable</title></head><body><h2>Our services aren't available right now</h2></body></html>") //nolint:errcheck // the client hung up
		return
	}
	if hit.has(Redirect) {
		http.Redirect(w, r, s.ForeignBase()+r.URL.RequestURI(), http.StatusFound)
		return
	}
	if f, ok := hit.of(Status, Throttle); ok {
		s.answerStatus(w, r, target, f)
		return
	}
	if f, ok := hit.of(Cut, Truncate, Stall, GzipBreak); ok {
		s.damage(w, r, f, func(w http.ResponseWriter) { next(w, r, hit) })
		return
	}
	next(w, r, hit)
}

// wireFault is a fault as JSON: its durations are text such as "30s".
type wireFault struct {
	*bareFault
	For   string `json:"for,omitempty"`
	Delay string `json:"delay,omitempty"`
}

type bareFault Fault

// MarshalJSON writes a fault as the control endpoint takes it.
func (f Fault) MarshalJSON() ([]byte, error) {
	v := wireFault{bareFault: (*bareFault)(&f)}
	if f.For != 0 {
		v.For = f.For.String()
	}
	if f.Delay != 0 {
		v.Delay = f.Delay.String()
	}
	return json.Marshal(v)
}

// UnmarshalJSON reads a fault, and refuses members it does not know.
func (f *Fault) UnmarshalJSON(data []byte) (err error) {
	v := wireFault{bareFault: (*bareFault)(f)}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&v); err != nil {
		return err
	}
	if v.For != "" {
		if f.For, err = time.ParseDuration(v.For); err != nil {
			return fmt.Errorf("for: %w", err)
		}
	}
	if v.Delay != "" {
		if f.Delay, err = time.ParseDuration(v.Delay); err != nil {
			return fmt.Errorf("delay: %w", err)
		}
	}
	return nil
}
