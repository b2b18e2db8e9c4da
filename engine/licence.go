package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/secure60/s60-m365-connector/engine/extract"
)

// licence is what the rounds of one partition learn of its feed's licence.
type licence struct {
	refusals int           // rounds in a row that were told that it is missing; 0 while a gate is closed for another reason
	since    time.Time     // the first of them; of a gate that is closed, the last
	wait     time.Duration // of a gate, between two tries
}

// contradicted is how many times as many rounds confirm that a licence is missing while another feed that requires it is
// served: the service may answer that one without the licence, with less.
const contradicted = 4

// recheckFirst is how soon a gate that has closed is tried again; the wait doubles each time, up to the
// feed's recheck.
const recheckFirst = 5 * time.Minute

var (
	// errUnconfirmed ends a round that was told that the licence is missing, which single
	// answers are known to say where it is not.
	errUnconfirmed = errors.New("the service says that the licence is missing; that is confirmed first")
	errFlapping    = errors.New("the service says that the licence is missing, and serves other feeds that require it")
)

// refusedLicence takes a round that met a closed gate. It returns nil once the gate is known to
// be closed, errUnconfirmed while it is not, and another error where the service contradicts itself.
func (p *partition) refusedLicence(g *extract.Gated) error {
	now, l := p.engine.Now(), &p.licence
	p.mu.Lock()
	closed := p.status.State == Gated
	p.mu.Unlock()
	if !closed && l.wait > 0 { // it was open meanwhile
		*l = licence{}
	}
	if !g.Licence || p.feed.Licence == nil {
		l.refusals = 0
		p.shut(g)
		return nil
	}
	if l.refusals++; l.refusals == 1 {
		l.since = now
	}
	switch {
	case !closed && l.refusals < contradicted*p.feed.Licence.Confirm && p.heldElsewhere(l.since):
		return fmt.Errorf("%w: %w", errFlapping, g)
	case !closed && l.refusals < p.feed.Licence.Confirm:
		return errUnconfirmed
	}
	l.since = now
	p.shut(g)
	return nil
}

// shut closes the gate of the partition.
func (p *partition) shut(g *extract.Gated) {
	now := p.engine.Now()
	recheck := 6 * time.Hour
	if p.feed.Licence != nil && p.feed.Licence.Recheck > 0 {
		recheck = p.feed.Licence.Recheck
	}
	p.licence.wait = min(max(2*p.licence.wait, recheckFirst), recheck)
	until := now.Add(p.licence.wait)
	var changed bool
	p.observe(func(s *FeedStatus) {
		changed = s.become(Gated, now)
		s.Requires, s.GateReason, s.GateUntil = g.Requires, g.Reason, until
		s.LastError = ""
	})
	p.engine.recovers(p, true)
	p.position.GateReason, p.position.GateUntil, p.position.LastError = g.Reason, until, ""
	if changed {
		p.log.Warn("feed gated: the tenant lacks what it requires; it is tried again by itself",
			"requires", g.Requires, "answer", g.Reason, "recheck", p.licence.wait.String(), "recheck_at_most", recheck.String())
	}
	p.remember()
}

// heldElsewhere reports whether another feed was served since, which requires the same licence.
func (p *partition) heldElsewhere(since time.Time) bool {
	if p.feed.Licence == nil {
		return false
	}
	last, _ := p.engine.licensed.Load(p.feed.Licence.Requires)
	at, served := last.(time.Time)
	return served && at.After(since)
}

// rest waits for the next round, and reports whether ctx is still alive. A closed gate is tried before its time
// where another feed shows that the licence is there; that is looked at as often as feeds are polled.
func (p *partition) rest(ctx context.Context, wait time.Duration) bool {
	for step := p.engine.Poll; !p.gateUntil().IsZero() && step > 0 && wait > step; wait -= step {
		if p.licence.refusals > 0 && p.heldElsewhere(p.licence.since) {
			return ctx.Err() == nil
		}
		if !Sleep(ctx, step) {
			return false
		}
	}
	return Sleep(ctx, wait)
}

// gateUntil is when a closed gate is tried again; the zero time where it is open.
func (p *partition) gateUntil() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.status.State != Gated {
		return time.Time{}
	}
	return p.status.GateUntil
}

// notConsented are the permissions that a refused round lacks and never had. One that was
// taken away is a failure.
func (p *partition) notConsented(ctx context.Context, err error) []string {
	refused, ok := errors.AsType[*extract.StatusError](err)
	if !ok || refused.Status != 401 && refused.Status != 403 || !p.position.LastSuccess.IsZero() || len(p.feed.Permissions) == 0 {
		return nil
	}
	scope, err := p.feed.Scope.Expand(p.engine.Settings)
	if err != nil || scope == "" {
		return nil
	}
	claims, err := p.engine.Client.Claims(ctx, scope)
	if err != nil || len(claims.Roles) == 0 && claims.Tenant == "" { // a token that says nothing of itself
		return nil
	}
	return slices.DeleteFunc(slices.Clone(p.feed.Permissions), func(name string) bool { return slices.Contains(claims.Roles, name) })
}

// askConsent shows that the feed's permissions were never granted. That is a choice, no failure.
func (p *partition) askConsent(lacks []string, err error) {
	now := p.engine.Now()
	text := "not granted: " + strings.Join(lacks, ", ") + "; grant that (check says how), or switch the feed off"
	var changed bool
	p.observe(func(s *FeedStatus) {
		changed = s.become(NotConsented, now)
		s.GateReason, s.GateUntil, s.LastError = text, time.Time{}, ""
	})
	p.engine.recovers(p, true)
	p.position.GateReason, p.position.GateUntil, p.position.LastError = text, time.Time{}, ""
	if changed {
		p.log.Warn("feed not consented; it is tried again at each poll", "remedy", text, "answer", p.describe(err))
	}
	p.remember()
}
