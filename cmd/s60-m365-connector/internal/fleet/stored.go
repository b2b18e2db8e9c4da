package fleet

import (
	"iter"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/definitions"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/engine"
	"github.com/secure60/s60-m365-connector/engine/checkpoint"
)

// This file is what the state alone tells, while no connector runs. A store is nil where there is no state yet.

// ofTenant is the tenant's part of a store.
func ofTenant(store checkpoint.Store, s *settings.Settings) checkpoint.Store {
	if store == nil || s.Tenant == "" {
		return store
	}
	return checkpoint.OfTenant(store, s.Tenant)
}

// StoredLedger is the tenant's ledger.
func StoredLedger(store checkpoint.Store, s *settings.Settings) iter.Seq2[checkpoint.Entry, error] {
	return Ledger(s, ofTenant(store, s))
}

// StoredFeeds are the tenant's feeds.
func StoredFeeds(store checkpoint.Store, defs *definitions.Compiled, s *settings.Settings) (list []engine.FeedStatus, err error) {
	var positions map[[2]string]checkpoint.Position
	if store = ofTenant(store, s); store != nil {
		if positions, err = store.Positions(""); err != nil {
			return nil, err
		}
	}
	stored := func(feed, partition string) (checkpoint.Position, bool) {
		p, ok := positions[[2]string{feed, partition}]
		return p, ok
	}
	for _, feed := range defs.Set.Feeds {
		on, err := feed.Enabled.Bool(s.Names)
		if err != nil || !on {
			list = append(list, engine.FeedStatus{Feed: feed.Name, State: engine.Disabled})
			continue
		}
		values, _ := feed.Partitions(s.Names) // of one that cannot be told nothing is stored
		for i, value := range values {
			p, ok := stored(feed.Name, value)
			status := engine.FeedStatus{Feed: feed.Name, Partition: value, State: engine.Starting}
			if ok {
				status.State = engine.OK
				status.Cursor, status.Forwarded = p.Cursor, p.Forwarded
				status.LastSuccess, status.LastError, status.LastErrorAt = p.LastSuccess, p.LastError, p.LastErrorAt
				status.GateReason, status.GateUntil = p.GateReason, p.GateUntil
				status.FallbackUntil = p.FallbackUntil
				switch {
				case p.GateReason != "" && p.GateUntil.IsZero(): // it is asked for at each poll
					status.State = engine.NotConsented
				case p.GateReason != "":
					status.State = engine.Gated
				case p.LastError != "":
					status.State = engine.Failing
				}
			}
			status.AddBackfills(feed, i == 0, stored)
			list = append(list, status)
		}
	}
	return list, nil
}
