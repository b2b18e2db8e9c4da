package engine

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"time"
)

// farewell is how long a heartbeat on its way may take once the engine stops.
const farewell = 2 * time.Second

// settled is how long after the start the first heartbeat, which knows nothing yet, is put right where something fails.
const settled = 30 * time.Second

// beat sends a heartbeat at once and then at every interval, and behind it the account of a
// day, see [Engine.completenessEvent], once that is due.
func (e *Engine) beat(ctx context.Context) {
	if e.Heartbeat <= 0 {
		return
	}
	e.beatOnce(ctx)
	rest := e.Heartbeat
	if rest > settled {
		rest -= settled
		if Sleep(ctx, settled) && !e.Status().Healthy() {
			e.beatOnce(ctx)
		}
	}
	for ; Sleep(ctx, rest); rest = e.Heartbeat {
		e.beatOnce(ctx)
	}
}

// beatOnce sends one heartbeat. One that cannot be delivered before the next is due is given up: only the newest matters.
func (e *Engine) beatOnce(ctx context.Context) {
	if err := e.sendOwn(ctx, e.heartbeatEvent()); err != nil && ctx.Err() == nil {
		e.Log.Log(ctx, e.unsent(), "heartbeat not delivered", "error", err)
	}
	if err := e.sendAccounts(ctx); err != nil && ctx.Err() == nil {
		e.Log.Log(ctx, e.unsent(), "the account of a day could not be sent, trying again with the next heartbeat", "error", err)
	}
}

// unsent is the level at which an event of its own that was not delivered is told: where the destination is in
// trouble, that was told, with the cause.
func (e *Engine) unsent() slog.Level {
	if !e.Destination.State().OK {
		return slog.LevelDebug
	}
	return slog.LevelWarn
}

// heartbeatEvent is the connector's account of itself: a flat event, like those
// of records, whose outcome is failure while any enabled feed is failing.
func (e *Engine) heartbeatEvent() map[string]any {
	status := e.Status()
	event := e.ownEvent("connector-heartbeat", status.Now)
	event["event_uptime_seconds"] = int64(status.Now.Sub(status.Started).Seconds())
	event["event_dead_letters"] = status.DeadLetters
	event["event_delivery_ok"] = status.Delivery.OK
	if status.Delivery.LastError != "" {
		event["event_delivery_last_error"] = status.Delivery.LastError
	}
	if off := status.ClockOff(); off != 0 {
		event["event_service_ahead_seconds"] = int64(off.Seconds())
	}
	if !status.CredentialExpires.IsZero() {
		event["event_credential_days"] = int64(math.Floor(status.CredentialExpires.Sub(status.Now).Hours() / 24))
	}
	count := map[State]int{}
	for _, f := range status.ByFeed() {
		count[f.State]++
		name := "event_feed_" + fieldName(f.Feed)
		event[name+"_state"] = string(f.State)
		event[name+"_lag_seconds"] = int64(f.Lag(status.Now).Seconds())
		event[name+"_forwarded"] = f.Forwarded
		for what, n := range map[string]int64{"listed": f.Ever.Fetched, "delivered": f.Ever.Delivered, "duplicate": f.Ever.Duplicate,
			"filtered": f.Ever.Filtered, "dead_lettered": f.Ever.DeadLettered, "ledger_difference": f.Difference} {
			if n != 0 { // most are nothing, most of the time
				event[name+"_"+what] = n
			}
		}
		for as, by := range f.EverFilters {
			event[name+"_filtered_"+fieldName(as)] = by.Records
			event[name+"_filtered_"+fieldName(as)+"_bytes"] = by.Bytes
		}
		if f.LastError != "" {
			event[name+"_last_error"] = f.LastError
		}
		if f.GateReason != "" {
			event[name+"_gate"] = f.GateReason
		}
	}
	if !status.Healthy() {
		event["outcome"] = "failure"
	}
	if status.Stalled != "" {
		event["event_stalled"] = status.Stalled
	}
	event["event_feeds_ok"] = count[OK]
	event["event_feeds_starting"] = count[Starting]
	event["event_feeds_failing"] = count[Failing]
	event["event_feeds_gated"] = count[Gated]
	event["event_feeds_not_consented"] = count[NotConsented]
	standby := ""
	if e.Leases != nil {
		event["event_feeds_standby"] = count[Standby]
		event["event_replica_joined"] = !status.Apart
		status.replicaFields(event)
		standby = fmt.Sprintf(", %d standby", count[Standby])
	}
	of := ""
	if e.Tenant != "" {
		of = " of tenant " + e.Tenant
	}
	event["message_text"] = fmt.Sprintf("%s %s: %d feeds%s ok, %d starting, %d failing, %d gated%s; delivery to %s %s",
		e.Name, e.Version, count[OK], of, count[Starting], count[Failing], count[Gated], standby, status.Destination,
		map[bool]string{true: "works", false: "fails"}[status.Delivery.OK])
	if cause := cmp.Or(status.Cause(), status.Stalled); cause != "" {
		event["event_cause"] = cause
		event["message_text"] = fmt.Sprintf("%s %s%s: not collecting: %s", e.Name, e.Version, of, cause)
	}
	return event
}

// fieldName turns a name into a part of a field's name.
func fieldName(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, s)
}
