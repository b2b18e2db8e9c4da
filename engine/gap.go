package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/load"
)

// Why records of a span of time cannot be had any more.
const (
	gapRetention    = "the service no longer keeps them: the connector did not run, or could not read, for longer than the retention"
	gapLate         = "the service no longer keeps them: what appeared there only after it had been read could not be read within the retention"
	gapSubscription = "the subscription was off: what became available meanwhile was not collected by the service"
)

// gap tells the operator and the destination that the records of [from, to)
// are lost, with the exact bounds. It returns once the destination has accepted
// the event: only then may the cursor pass the gap.
func (p *partition) gap(ctx context.Context, from, to time.Time, reason string) error {
	p.log.Error("records were lost", "from", from, "to", to, "reason", reason)
	p.observe(func(s *FeedStatus) {
		s.Gaps++
		s.LastGap = Gap{From: from, To: to, Reason: reason}
	})
	event := p.engine.ownEvent("connector-gap", p.engine.Now())
	event["outcome"] = "failure"
	event["source_name"] = p.feed.Name
	event["source_severity"] = "high"
	event["event_gap_from"], event["event_gap_to"] = from.UTC().Format(time.RFC3339), to.UTC().Format(time.RFC3339)
	event["event_gap_seconds"] = int64(to.Sub(from).Seconds())
	event["event_gap_reason"] = reason
	if p.value != "" {
		event["event_partition"] = p.value
	}
	event["message_text"] = fmt.Sprintf("Records of %s from %s to %s are lost: %s", p,
		from.UTC().Format(time.RFC3339), to.UTC().Format(time.RFC3339), reason)
	return p.tell(ctx, event)
}

// lose tells that the records of [from, to) are lost, if that is a span, and passes them: none of it is told again.
func (p *partition) lose(ctx context.Context, from, to time.Time, reason string) error {
	if !from.Before(to) {
		return nil
	}
	if err := p.gap(ctx, from, to, reason); err != nil {
		return err
	}
	p.position.Cursor = later(p.position.Cursor, to)
	if p.position.ReadAt.IsZero() {
		p.position.Start = to // it begins there
	}
	p.position.Gaps = joined(append(slices.Clip(p.position.Gaps), checkpoint.Span{From: from, To: to}))
	position := p.position
	return p.commit(ctx, &checkpoint.Commit{Position: &position})
}

// tell sends an event about the partition, in the order of those of its records.
func (p *partition) tell(ctx context.Context, event map[string]any) error {
	text, err := json.Marshal(event)
	if err != nil {
		return err
	}
	_, err = p.engine.Destination.Deliver(ctx, load.Batch{Events: [][]byte{text}, Key: p.key})
	return err
}
