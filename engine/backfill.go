package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
)

// pass says how a read differs from the one that moves the cursor.
type pass struct {
	keepCursor bool // the cursor stays where it is
	refetch    bool // items are fetched even if they were read before: they may have grown
	resend     bool // records are delivered even if they were delivered before
	look       bool // it is a second look
	archive    bool // an archive is read: what was is noted, and a job that failed is begun anew

	most time.Duration // the widest window; 0: the feed's
}

// Backfill reads the period [from, to) of one feed, all its partitions, without moving
// cursors. What lies further back than its service keeps, or was never collected, is read from the archive
// that the feed names. Records delivered before are delivered again only with resend.
// progress, if not nil, hears how much of the period is done (0 to 1) and how
// many events were delivered, from one goroutine. Backfill ends at the first
// error; what was read of an archive until then is not read again by another one.
func (e *Engine) Backfill(ctx context.Context, feed string, from, to time.Time, resend bool, progress func(done float64, events int64)) error {
	parts, err := e.backfilled(feed)
	if err != nil {
		return err
	}
	parts[0].askClock(ctx)
	now := parts[0].now()
	to = earlier(to, now)
	archive, err := e.archiveOf(parts[0])
	if err != nil {
		return err
	}
	oldest := parts[0].oldest(now)
	reach, retention := oldest, parts[0].retention()
	if archive != nil {
		reach, retention = archive.oldest(now), archive.retention()
	}
	if from.Before(reach) {
		e.Log.Warn("the service keeps less than was asked for", "feed", feed, "asked_from", from, "from", reach, "keeps", short(retention), "archive", parts[0].feed.Archive)
		from = reach
	}
	from, to = from.Truncate(time.Second), to.Truncate(time.Second)
	if !from.Before(to) {
		beyond := " in its archive"
		if archive == nil {
			beyond = "; the feed names no archive that would reach further back"
		}
		return fmt.Errorf("feed %s: nothing of that period is left at the service, which keeps %s%s", feed, short(retention), beyond)
	}
	own := later(from, oldest)
	var events int64
	whole := float64(to.Sub(from))
	tell := func(read time.Duration, delivered int64) {
		if progress != nil {
			progress(min(float64(read)/whole, 1), events+delivered)
		}
	}
	if own.Before(to) {
		n, err := e.backfillParts(ctx, parts, own, to, now, resend, tell)
		if events += n; err != nil {
			return err
		}
	} else {
		own = to
	}
	if archive == nil {
		return nil
	}
	return archive.backfillRest(ctx, parts, checkpoint.Span{From: from, To: to}, own, oldest, now, resend, tell)
}

// backfilled are the partitions of a feed that can be read again.
func (e *Engine) backfilled(feed string) (parts []*partition, err error) {
	for _, p := range e.partitions {
		if p.feed.Name == feed {
			parts = append(parts, p)
		}
	}
	for _, f := range e.disabled {
		if f.Name != feed {
			continue
		}
		if of := e.standsIn(f); of != nil {
			return nil, fmt.Errorf("%s is the archive of %s, and is read by a backfill of that: --feed %s", feed, of.Name, of.Name)
		}
		return nil, fmt.Errorf("feed %s is switched off by the settings", feed)
	}
	switch {
	case len(parts) == 0:
		return nil, fmt.Errorf("there is no feed %q", feed)
	case parts[0].feed.Window == nil:
		return nil, fmt.Errorf("feed %s has no windows: every poll reads all of it", feed)
	}
	return parts, nil
}

// short writes a length of time in days where it is some.
func short(d time.Duration) string {
	if d >= 2*day && d%day == 0 {
		return fmt.Sprintf("%d days", d/day)
	}
	return d.String()
}

// backfillParts reads the period from the feed itself, one partition after the other. It returns how many
// events were delivered.
func (e *Engine) backfillParts(ctx context.Context, parts []*partition, from, to, now time.Time, resend bool, tell func(time.Duration, int64)) (events int64, err error) {
	if e.Leases != nil && (!e.Beside || e.Client.Idle(parts[0].feed)) { // else it draws on the share of who collects here
		// One partition after the other, each with its own share, would wait at each for the
		// share to be in force: a whole span of the limit.
		e.apportion(parts[0], true, -1)
		defer e.apportion(parts[0], false, 0)
	}
	how := pass{keepCursor: true, refetch: true, resend: resend}
	for i, p := range parts {
		n, err := p.backfill(ctx, from, to, now, how, func(read time.Duration, n int64) {
			tell((time.Duration(i)*to.Sub(from)+read)/time.Duration(len(parts)), events+n)
		})
		if events += n; err != nil {
			return events, fmt.Errorf("%s: %w", p, err)
		}
	}
	return events, nil
}

// backfill reads the period for one partition. Where several processes share the state, or
// another engine collects, the partition is with who collects, so its account is another; what was delivered
// is known to both.
func (p *partition) backfill(ctx context.Context, from, to, now time.Time, how pass, tell func(read time.Duration, events int64)) (events int64, err error) {
	if p.engine.Leases != nil || p.engine.Beside {
		p.account = besides(p.value)
	}
	ctx, release, err := p.lease(ctx, false)
	if err != nil {
		return 0, err
	}
	defer release()
	p.askClock(ctx)
	if err := p.load(ctx, now); err != nil {
		return 0, err
	}
	if err := p.subscribe(ctx); err != nil {
		return 0, err
	}
	before := p.position.Forwarded
	if err := p.resumeJob(ctx, now, how); err != nil {
		return p.position.Forwarded - before, err
	}
	err = p.walk(ctx, from, to, now, how, func(at time.Time) { tell(at.Sub(from), p.position.Forwarded-before) })
	return p.position.Forwarded - before, err
}
