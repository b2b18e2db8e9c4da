package engine

import (
	"context"
	"time"
)

// looks is into how many windows a second look is divided: so finely is told
// how late a record was.
const looks = 24

// reconcile lists again what was read, once in a while: records that appeared later
// than the overlap reaches, and items that grew after they were read, are
// delivered, counted and reported with the overlap that would have found them.
func (p *partition) reconcile(ctx context.Context) error {
	r := p.feed.Reconcile
	if r == nil || p.feed.Window == nil {
		return nil
	}
	now := p.now()
	switch last := p.position.ReconciledAt; {
	case last.IsZero() || last.After(now): // new, or a clock that was set back
		p.position.ReconciledAt = now
		return nil
	case now.Sub(last) < r.Every:
		return nil
	}
	from, to := p.position.Cursor.Add(-r.Depth), p.position.Cursor
	from = later(later(from, p.position.Start), p.oldest(now))
	var late time.Duration
	before := p.position.Forwarded
	at, seen := from, before
	err := p.walk(ctx, from, to, now, pass{keepCursor: true, refetch: true, look: true, most: max(r.Depth/looks, time.Minute)}, func(end time.Time) {
		if p.position.Forwarded > seen && late == 0 {
			late = now.Sub(at)
		}
		at, seen = end, p.position.Forwarded
	})
	if err != nil {
		return err
	}
	p.position.ReconciledAt = now
	found := p.position.Forwarded - before
	p.observe(func(s *FeedStatus) { s.Late += found })
	if found > 0 {
		p.log.Warn("a second look found records that had appeared late; they are delivered", "records", found,
			"overlap", p.feed.Window.Overlap.String(), "overlap_needed", late.Round(time.Second).String())
	} else {
		p.log.Info("a second look found nothing that was missed", "from", from, "to", to)
	}
	p.remember()
	return nil
}
