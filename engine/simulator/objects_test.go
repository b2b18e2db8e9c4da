package simulator

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// TestObjects: every list of records/objects.yaml is JSON at all times and has an endpoint, and
// objects come, change and go.
func TestObjects(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	s := newTenant(Options{Seed: 5, Now: func() time.Time { return at }}.withDefaults(), at)
	s.world = newWorld(5, s.opts.TenantID)
	started := at
	for path := range objects {
		served := false
		for _, e := range endpoints {
			below, under := strings.CutSuffix(e.path, "/")
			served = served || e.path == strings.TrimSuffix(path, "=") || under && strings.HasPrefix(path, below+"/*/")
		}
		if !served {
			t.Errorf("no endpoint serves %s", path)
		}
		for at = started; at.Before(started.Add(12 * time.Hour)); at = at.Add(30 * time.Minute) {
			for _, row := range s.standing(path) {
				if !json.Valid(row) {
					t.Fatalf("%s: %s", path, row)
				}
			}
		}
	}
	states := map[string]bool{}
	counts := map[int]bool{}
	for at = started; at.Before(started.Add(5 * time.Hour)); at = at.Add(time.Hour) {
		rows := s.standing("identity/conditionalAccess/policies")
		counts[len(rows)] = true
		states[string(rows[0])] = true
	}
	if len(states) != 2 || !counts[1] || !counts[2] {
		t.Errorf("%d states of one policy, counts %v", len(states), counts)
	}
}

// TestObjectLists asks for them as the feeds do.
func TestObjectLists(t *testing.T) {
	s := start(t, Options{Seed: 6, Records: -1})
	from := s.sim.start.Add(-time.Hour).UTC().Format(time.RFC3339)
	for path, want := range map[string]string{
		"/v1.0/domains": `"authenticationType":"Federated"`,
		"/v1.0/domains/kauri.example/federationConfiguration":                                         "issuerUri",
		"/v1.0/policies/crossTenantAccessPolicy/default":                                              "isServiceDefault",
		"/v1.0/servicePrincipals?$select=id,displayName":                                              "Travel portal",
		"/v1.0/applications?$top=999":                                                                 "Payroll export",
		"/beta/auditLogs/signUps?$filter=" + strings.ReplaceAll("createdDateTime ge "+from, " ", "+"): "userCreation",
		"/beta/identityProtection/riskyAgents":                                                        "Booking agent",
		"/v1.0/identityProtection/riskyUsers/1b1c2d3e-0000-4000-8000-00000000a001/history":            "riskyUserHistoryItem",
	} {
		s.wantGraph(path, 200, want)
		time.Sleep(time.Millisecond)
	}
}
