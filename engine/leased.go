package engine

import (
	"context"
	"time"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
)

// This file is for several processes that share the partitions of a tenant.

// outlast is how long a partition that this process is to leave still has to commit what
// was delivered.
const outlast = time.Minute

// lease waits until this process runs the partition; see [Leases]. What the
// partition knew of its state is read again: another process may have changed it.
func (p *partition) lease(ctx context.Context, wait bool) (_ context.Context, release func(), err error) {
	leases := p.engine.Leases
	if leases == nil {
		return ctx, func() {}, nil
	}
	p.observe(func(s *FeedStatus) { s.become(Standby, p.engine.Now()) })
	held, rest, giveBack, err := leases.Hold(ctx, p.engine.leased(p.kept), p.account, wait)
	if err != nil {
		return nil, nil, err
	}
	p.loaded, p.subscribed = false, false
	var over context.CancelFunc
	p.run, over = context.WithCancel(ctx)
	context.AfterFunc(held, func() { time.AfterFunc(outlast, over) })
	p.observe(func(s *FeedStatus) { s.become(Starting, p.engine.Now()) })
	if p.account == p.value { // the share of a backfill stays the same, see Engine.Backfill
		p.engine.apportion(p, true, rest)
	}
	return held, func() {
		defer over()
		rest := time.Duration(-1)
		if p.account == p.value {
			rest = p.engine.apportion(p, false, 0)
			p.engine.Client.Left(p.feed.Name, p.value)
		}
		p.observe(func(s *FeedStatus) {
			s.become(Standby, p.engine.Now())
			s.LastError, s.GateReason = "", ""
		})
		p.engine.recovers(p, true)
		giveBack(rest)
	}, nil
}

// leased is what the leases call a feed: its name in the store of all tenants.
func (e *Engine) leased(feed string) string {
	if e.Tenant == "" {
		return feed
	}
	return checkpoint.TenantFeed(e.Tenant, feed)
}

// elsewhere tells of a partition that another process runs what the shared state does.
func (p *partition) elsewhere(s *FeedStatus) {
	s.Holder, _ = p.engine.Leases.Holder(p.engine.leased(p.kept), p.account)
	p.stored(s)
}

// stored tells what the state says of the partition.
func (p *partition) stored(s *FeedStatus) {
	// A state that cannot be read is reported by those who work with it.
	if position, ok, err := p.engine.Store.Position(p.kept, p.account); err == nil && ok {
		s.Cursor, s.LastSuccess = position.Cursor, position.LastSuccess
		s.take(&position)
	}
}

// apportion gives the budgets of requests their new shares: of a budget that several
// partitions draw on, this process has the part that belongs to the partitions that it
// holds. So all processes together stay within it, whoever holds what. rest is, of a partition
// that comes, for how long its part is still in use, and given back of one that leaves.
func (e *Engine) apportion(p *partition, held bool, rest time.Duration) time.Duration {
	e.holding.Lock()
	defer e.holding.Unlock()
	p.held = held
	var all, here float64
	for _, other := range e.partitions {
		if other.feed.Bucket() != p.feed.Bucket() {
			continue
		}
		all++
		if other.held {
			here++
		}
	}
	return e.Client.Share(p.feed, here/all, rest)
}
