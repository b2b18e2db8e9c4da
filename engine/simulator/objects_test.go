package simulator

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestObjects: every list of records/objects.yaml is JSON at all times and has an endpoint, and
// objects come, change and go.
func TestObjects(t *testing.T) {
	readFiles()
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	s := newTenant(Options{Seed: 5, Now: func() time.Time { return at }}.withDefaults(), at)
	s.world = newWorld(5, s.opts.TenantID)
	started := at
	for path := range objects {
		served := false
		for _, e := range endpoints {
			below, under := strings.CutSuffix(e.Path, "/")
			served = served || e.Path == strings.TrimSuffix(path, "=") || under && strings.HasPrefix(path, below+"/*/") ||
				e.Path+"/" == huntingTables && strings.HasPrefix(path, huntingTables)
		}
		if !served {
			t.Errorf("no endpoint serves %s", path)
		}
		for at = started; at.Before(started.Add(12 * time.Hour)); at = at.Add(30 * time.Minute) {
			for _, row := range s.standing(path, "x", at) {
				if !json.Valid(row) {
					t.Fatalf("%s: %s", path, row)
				}
			}
		}
	}
	states := map[string]bool{}
	counts := map[int]bool{}
	for at = started; at.Before(started.Add(5 * time.Hour)); at = at.Add(time.Hour) {
		rows := s.standing("identity/conditionalAccess/policies", "", at)
		counts[len(rows)] = true
		states[string(rows[0])] = true
	}
	if len(states) != 2 || !counts[1] || !counts[2] {
		t.Errorf("%d states of one policy, counts %v", len(states), counts)
	}
}

// TestObjectPages walks a list by pages, of Defender with a token of its own.
func TestObjectPages(t *testing.T) {
	s := start(t, Options{Seed: 6, Records: -1})
	filter := "$filter=" + strings.ReplaceAll("creationDateTimeUtc ge "+s.sim.start.Add(-time.Hour).UTC().Format(time.RFC3339), " ", "+")
	var page struct {
		Next  string `json:"@odata.nextLink"`
		Value []struct{ Type string }
	}
	var types []string
	for address := s.sim.DefenderBase() + "/api/machineactions?$top=1&" + filter; address != ""; address = page.Next {
		resp, body := s.do("GET", address, map[string]string{"Authorization": "Bearer " + s.token(s.sim.DefenderBase())}, "")
		page.Next, page.Value = "", nil
		if err := json.Unmarshal(body, &page); err != nil || resp.StatusCode != 200 {
			t.Fatalf("%d %s: %v", resp.StatusCode, body, err)
		}
		for _, row := range page.Value {
			types = append(types, row.Type)
		}
	}
	if got := strings.Join(types, " "); got != "Isolate LiveResponse" {
		t.Errorf("the pages hold %s", got)
	}
	for _, base := range []string{s.sim.GraphBase(), s.sim.ManageBase()} {
		resp, _ := s.do("GET", s.sim.DefenderBase()+"/api/machineactions", map[string]string{"Authorization": "Bearer " + s.token(base)}, "")
		if resp.StatusCode != 401 {
			t.Errorf("a token of %s gets %d", base, resp.StatusCode)
		}
	}
}

// TestHunting asks queries of advanced hunting.
func TestHunting(t *testing.T) {
	s := start(t, Options{Seed: 6, Records: -1})
	from, to := s.sim.start.Add(-time.Hour).UTC().Format(time.RFC3339), s.sim.start.UTC().Format(time.RFC3339)
	during := "where Timestamp >= datetime(" + from + ") and Timestamp < datetime(" + to + ")"
	for query, want := range map[string]string{
		"EmailEvents | " + during: "2 of sender@partner.example",
		"EmailEvents | " + during + ` | where DeliveryAction == "Delivered" | extend TableName = "EmailEvents"`: "1 of sender@partner.example in EmailEvents",
		"EmailEvents | where Timestamp >= datetime(" + to + ")":                                                 "0",
		"EmailUrlInfo | " + during: "2",
		"EmailUrlInfo | " + during + ` | where NetworkMessageId in ((EmailEvents | ` + during + ` and DeliveryAction == "Delivered" | distinct NetworkMessageId))`: "1",
		"CloudAppEvents | project-away RawEventData":                  "1",
		"Nothing | " + during:                                         "400 Failed to resolve table or column expression named 'Nothing'",
		"EmailEvents | summarize count()":                             "400 The simulator does not evaluate 'summarize'.",
		"EmailEvents | where Timestamp >= ago(1h)":                    "400 The simulator does not evaluate 'ago'.",
		"EmailEvents | where NetworkMessageId in ((EmailEvents) | x ": "400 Syntax error: ')' expected, got '|'.",
		"EmailEvents )": "400 Syntax error: unexpected end of the query.",
	} {
		text, _ := json.Marshal(map[string]string{"Query": query})
		resp, body := s.do("POST", s.sim.GraphBase()+"/v1.0/security/runHuntingQuery", map[string]string{"Authorization": "Bearer " + s.token(s.sim.GraphBase())}, string(text))
		var answer struct {
			Results []struct{ SenderFromAddress, TableName string }
			Error   struct{ Message string }
		}
		if err := json.Unmarshal(body, &answer); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		got := strconv.Itoa(len(answer.Results))
		if resp.StatusCode != 200 {
			got = strconv.Itoa(resp.StatusCode) + " " + answer.Error.Message
		} else if len(answer.Results) > 0 {
			if of := answer.Results[0].SenderFromAddress; of != "" {
				got += " of " + of
			}
			if of := answer.Results[0].TableName; of != "" {
				got += " in " + of
			}
		}
		if got != want {
			t.Errorf("%s\n gives %s, want %s", query, got, want)
		}
	}
}

// TestDelta goes on from a link: what is other by then is told, and what is gone.
func TestDelta(t *testing.T) {
	now := time.Now()
	s := start(t, Options{Seed: 6, Records: -1, TokenLifetime: 1000 * time.Hour, Now: func() time.Time { return now }})
	address := s.sim.GraphBase() + "/v1.0/users/delta"
	for _, c := range []struct {
		after time.Duration
		want  string
	}{{0, "2 rows, 0 gone"}, {time.Minute, "0 rows, 0 gone"}, {time.Hour, "3 rows, 1 gone"}, {time.Minute, "0 rows, 0 gone"}, {8 * 24 * time.Hour, "410"}} {
		now = now.Add(c.after)
		resp, body := s.do("GET", address, map[string]string{"Authorization": "Bearer " + s.token(s.sim.GraphBase())}, "")
		var page struct {
			Link  string           `json:"@odata.deltaLink"`
			Value []map[string]any `json:"value"`
		}
		if err := json.Unmarshal(body, &page); err != nil {
			t.Fatal(err)
		}
		gone := 0
		for _, row := range page.Value {
			if row["@removed"] != nil {
				gone++
			}
		}
		got := fmt.Sprintf("%d rows, %d gone", len(page.Value), gone)
		if resp.StatusCode != 200 {
			got = strconv.Itoa(resp.StatusCode)
		}
		if got != c.want {
			t.Errorf("after %v: %s, want %s", c.after, got, c.want)
		}
		address = page.Link
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
