package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// ReplicaStatus is one of the processes that share the work, and what it holds.
type ReplicaStatus struct {
	Name string   `json:"name"`
	Here bool     `json:"here,omitempty"` // this one
	Held []string `json:"held"`           // feeds and partitions
}

// HandOver is when a partition went to the process that has it.
type HandOver struct {
	Feed      string    `json:"feed"`
	Partition string    `json:"partition,omitempty"`
	To        string    `json:"to,omitempty"`
	At        time.Time `json:"at"`
}

// replicas fills in who shares the work, and who holds what.
func (e *Engine) replicas(s *Status) {
	if e.Leases == nil {
		return
	}
	all, here := e.Leases.Replicas()
	s.Replica = here
	for _, name := range slices.Compact(all) {
		s.Replicas = append(s.Replicas, ReplicaStatus{Name: name, Here: name == here})
	}
	for i, p := range e.partitions {
		holder, since := e.Leases.Holder(e.leased(p.kept), p.account)
		if s.Feeds[i].State != Standby {
			holder = here
		}
		if holder != "" && since.After(s.HandOver.At) {
			s.HandOver = HandOver{Feed: p.feed.Name, Partition: p.value, To: holder, At: since}
		}
		for j := range s.Replicas {
			if s.Replicas[j].Name == holder {
				s.Replicas[j].Held = append(s.Replicas[j].Held, strings.TrimSpace(p.feed.Name+" "+p.value))
			}
		}
	}
}

// replicaFields are what the heartbeat says of them.
func (s *Status) replicaFields(event map[string]any) {
	if s.Replica == "" {
		return
	}
	event["event_replica_name"] = s.Replica
	if len(s.Replicas) > 0 { // else nobody was seen yet
		event["event_replicas"] = len(s.Replicas)
	}
	for _, r := range s.Replicas {
		if event["event_replica_"+fieldName(r.Name)+"_partitions"] = len(r.Held); r.Here {
			event["event_replica_partitions"] = len(r.Held)
		}
	}
	if h := s.HandOver; !h.At.IsZero() {
		event["event_hand_over_at"] = h.At.UTC().Format(time.RFC3339)
		event["event_hand_over"] = strings.TrimSpace(h.Feed+" "+h.Partition) + " to " + h.To
	}
}

// tellState tells the destination that the state was lost, and what was done about it, or that it is new, until
// that was accepted.
func (e *Engine) tellState(ctx context.Context) {
	if e.Restored == "" && !e.New || e.Heartbeat <= 0 {
		return
	}
	event, cause := e.ownEvent("connector-state-restored", e.Now()), e.Restored
	event["outcome"] = "failure"
	event["source_severity"] = "medium"
	if cause == "" {
		begin := e.Now().Add(-e.Lookback).UTC().Format(time.RFC3339)
		cause = "the shared state is new, and feeds begin at " + begin + "; if there was one before, it is lost with every copy of it, and records from before that time which had not been delivered are missing, from when on is not known: backfill reads what the services still keep of them, and again what had been delivered"
		e.Log.Warn(cause)
		event["operation"], event["outcome"] = "connector-state-new", "success"
		event["event_gap_to"] = begin
	}
	event["event_state_cause"] = cause
	event["message_text"] = fmt.Sprintf("%s: %s", e.Name, cause)
	for wait := time.Second; ; wait = min(2*wait, time.Minute) {
		err := e.sendOwn(ctx, event)
		if err == nil || !Sleep(ctx, wait) {
			return
		}
		e.Log.Log(ctx, e.unsent(), "what became of the state could not be told to the destination, trying again", "error", err)
	}
}
