package fleet

import (
	"testing"

	"github.com/secure60/s60-m365-connector/engine"
	"github.com/secure60/s60-m365-connector/engine/load"
)

// What keeps events from the destination is told once, with its remedy: what stands still while the destination refuses is no second cause.
func TestUndelivered(t *testing.T) {
	for _, c := range []struct {
		delivery load.State
		stalled  string
		want     string
	}{
		{load.State{OK: true}, "", ""},
		{load.State{OK: true}, "the state cannot be written", "the state cannot be written"},
		{load.State{}, "", ""}, // it has not been tried yet
		{load.State{LastError: "HTTP 500"}, "it has accepted nothing: HTTP 500", "ingest: HTTP 500"},
		{load.State{LastError: "HTTP 401", Advice: "check TOKEN"}, "", "ingest: HTTP 401. Check TOKEN"},
	} {
		if got := Undelivered(engine.Status{Destination: "ingest", Delivery: c.delivery, Stalled: c.stalled}); got != c.want {
			t.Errorf("%+v, stalled %q: got %q, want %q", c.delivery, c.stalled, got, c.want)
		}
	}
}

func TestGate(t *testing.T) {
	for want, f := range map[string]engine.FeedStatus{
		"-":                              {State: engine.OK, Requires: "Entra ID P2"},
		"needs Entra ID P2: no licence":  {State: engine.Gated, Requires: "Entra ID P2", GateReason: "no licence"},
		"the cloud lacks it":             {State: engine.Gated, GateReason: "the cloud lacks it"},
		"AuditLog.Read.All is not there": {State: engine.NotConsented, Requires: "Entra ID P2", GateReason: "AuditLog.Read.All is not there"},
	} {
		if got := Gate(f); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
