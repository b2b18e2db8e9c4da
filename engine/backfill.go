package engine

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// pass says how a read differs from the one that moves the cursor.
type pass struct {
	keepCursor bool // the cursor stays where it is
	refetch    bool // items are fetched even if they were read before: they may have grown
	resend     bool // records are delivered even if they were delivered before
	look       bool // it is a second look

	most time.Duration // the widest window; 0: the feed's
}

// Backfill reads the period [from, to) of one feed, all its partitions, without moving
// cursors. Records delivered before are delivered again only with resend.
// progress, if not nil, hears how much of the period is done (0 to 1) and how
// many events were delivered, from one goroutine. Backfill ends at the first
// error.
func (e *Engine) Backfill(ctx context.Context, feed string, from, to time.Time, resend bool, progress func(done float64, events int64)) error {
	var parts []*partition
	var off bool
	for _, p := range e.partitions {
		if p.feed.Name == feed {
			parts = append(parts, p)
		}
	}
	for _, f := range e.disabled {
		off = off || f.Name == feed
	}
	now := e.Now().UTC()
	switch {
	case off:
		return fmt.Errorf("feed %s is switched off by the settings", feed)
	case len(parts) == 0:
		return fmt.Errorf("there is no feed %q", feed)
	case parts[0].feed.Window == nil:
		return fmt.Errorf("feed %s has no windows: every poll reads all of it", feed)
	case to.After(now):
		to = now
	}
	if oldest := now.Add(edge - parts[0].retention()); from.Before(oldest) {
		e.Log.Warn("the service keeps less than was asked for", "feed", feed, "asked_from", from, "from", oldest.Truncate(time.Second))
		from = oldest
	}
	from, to = from.Truncate(time.Second), to.Truncate(time.Second)
	if !from.Before(to) {
		return fmt.Errorf("feed %s: nothing of that period is left at the service", feed)
	}
	if e.Leases != nil {
		// One partition after the other, each with its own share, would wait at each for the
		// share to be in force: a whole span of the limit.
		e.share(parts[0], true)
	}
	how := pass{keepCursor: true, refetch: true, resend: resend}
	for i, p := range parts {
		err := p.backfill(ctx, from, to, now, how, func(done float64, events int64) {
			if progress != nil {
				progress((float64(i)+done)/float64(len(parts)), events)
			}
		})
		if err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
	}
	return nil
}

// backfill reads the period for one partition. Where several processes share the state, or
// another engine collects, the partition is with who collects, so its account is another; what was delivered
// is known to both.
func (p *partition) backfill(ctx context.Context, from, to, now time.Time, how pass, progress func(done float64, events int64)) error {
	if p.engine.Leases != nil || p.engine.Beside {
		p.account = strings.TrimSpace(p.value + " " + backfilled)
	}
	ctx, release, err := p.lease(ctx, false)
	if err != nil {
		return err
	}
	defer release()
	if err := p.load(ctx, now); err != nil {
		return err
	}
	if err := p.subscribe(ctx); err != nil {
		return err
	}
	before := p.position.Forwarded
	if err := p.resumeJob(ctx, now, how); err != nil {
		return err
	}
	return p.walk(ctx, from, to, now, how, func(at time.Time) {
		progress(float64(at.Sub(from))/float64(to.Sub(from)), p.position.Forwarded-before)
	})
}
