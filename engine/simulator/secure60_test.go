package simulator

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
)

func (c *client) post(url, body string, change func(header map[string]string)) (int, string) {
	c.t.Helper()
	header := map[string]string{"Authorization": "Bearer " + c.sim.opts.Token, "Content-Type": "application/json"}
	if change != nil {
		change(header)
	}
	resp, answer := c.do("POST", url, header, body)
	return resp.StatusCode, string(answer)
}

func TestIngestAdmission(t *testing.T) {
	c := start(t, Options{Records: -1, MaxBody: 200})
	good := c.sim.IngestBase() + "/ingest/1.0/http/project/301"
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	fmt.Fprint(w, `{"operation":"zipped"}`)
	w.Close()
	var bomb bytes.Buffer
	w = gzip.NewWriter(&bomb)
	fmt.Fprint(w, strings.Repeat(" ", 10_000)+`{"operation":"x"}`)
	w.Close()
	set := func(name, value string) func(map[string]string) {
		return func(h map[string]string) { h[name] = value }
	}
	tests := []struct {
		name, url, body string
		change          func(map[string]string)
		status          int
	}{
		{"object", good, `{"operation":"one"}`, nil, 200},
		{"object over lines", good, "{\n \"operation\": \"one\"\n}\n", nil, 200},
		{"array", good, ` [ {"operation":"two"} , {"operation":"two"} ] `, nil, 200},
		{"empty array", good, `[]`, nil, 200},
		{"array that breaks off", good, `[{"operation":"one"},`, nil, 400},
		{"array without a comma", good, `[{"operation":"one"}{"operation":"one"}]`, nil, 400},
		{"array with a comma too many", good, `[{"operation":"one"},]`, nil, 400},
		{"array of scalars", good, `[1]`, nil, 400},
		{"text after the array", good, `[{"operation":"one"}] x`, nil, 400},
		{"lines", good, "{\"operation\":\"three\"}\n{\"operation\":\"three\"}\n{\"operation\":\"three\"}\n", set("Content-Type", "application/x-ndjson"), 200},
		{"gzip", good, z.String(), set("Content-Encoding", "gzip"), 200},
		{"content type with charset", good, `{"operation":"one"}`, set("Content-Type", "application/json; charset=utf-8"), 200},
		{"wrong token", good, `{}`, set("Authorization", "Bearer no"), 401},
		{"no token", good, `{}`, set("Authorization", ""), 401},
		{"another project", c.sim.IngestBase() + "/ingest/1.0/http/project/302", `{}`, nil, 403},
		{"another path", c.sim.IngestBase() + "/", `{}`, nil, 404},
		{"content type", good, `{}`, set("Content-Type", "text/plain"), 415},
		{"content encoding", good, `{}`, set("Content-Encoding", "br"), 400},
		{"not gzip", good, `{}`, set("Content-Encoding", "gzip"), 400},
		{"empty", good, " \n", nil, 400},
		{"half an object", good, `{"operation":"on`, nil, 400},
		{"text after the object", good, `{"operation":"one"} x`, nil, 400},
		{"a scalar", good, `7`, nil, 400},
		{"one bad line of two", good, "{\"operation\":\"one\"}\nnope", nil, 400},
		{"too large", good, `{"operation":"` + strings.Repeat("x", 300) + `"}`, nil, 413},
		{"too large when unpacked", good, bomb.String(), set("Content-Encoding", "gzip"), 413},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if status, body := c.post(tt.url, tt.body, tt.change); status != tt.status {
				t.Errorf("got %d %s, want %d", status, body, tt.status)
			}
		})
	}
	if resp, _ := c.do("GET", good, map[string]string{"Authorization": "Bearer " + c.sim.opts.Token}, ""); resp.StatusCode != 405 {
		t.Errorf("GET: %d", resp.StatusCode)
	}
	r := c.sim.Report()
	if r.Other["one"] != 3 || r.Other["two"] != 2 || r.Other["three"] != 3 || r.Other["zipped"] != 1 || r.Counts["events"] != 9 {
		t.Errorf("counted %v, %d events", r.Other, r.Counts["events"])
	}
}

func TestCollectorTakesNoToken(t *testing.T) {
	c := start(t, Options{Records: -1})
	if status, body := c.post(c.sim.CollectorBase(), `{"operation":"one"}`, func(h map[string]string) { delete(h, "Authorization") }); status != 200 {
		t.Errorf("got %d %s", status, body)
	}
	if r := c.sim.Report(); len(r.Violations) != 0 {
		t.Errorf("violations %q", r.Violations)
	}
	c.post(c.sim.CollectorBase()+"/", `{"operation":"one"}`, nil)
	if r := c.sim.Report(); len(r.Violations) != 1 || r.Other["one"] != 2 {
		t.Errorf("report %+v", r)
	}
}

func TestEventsMustBeFlat(t *testing.T) {
	c := start(t, Options{Records: -1, KeepEvents: 2})
	c.send(map[string]any{"operation": "a", "event_x": map[string]any{"y": 1}}, map[string]any{"operation": "b", "_x": 1}, map[string]any{"operation": "c"})
	if r := c.sim.Report(); len(r.Violations) != 2 {
		t.Errorf("violations %q", r.Violations)
	}
	if kept := c.sim.Events(); len(kept) != 2 || !strings.Contains(string(kept[0]), `"b"`) || !strings.Contains(string(kept[1]), `"c"`) {
		t.Errorf("kept %q", kept)
	}
}

func TestReportArithmetic(t *testing.T) {
	var seen atomic.Int64
	c := start(t, Options{Seed: 20, Records: -1, Volumes: map[string]Volume{DirectoryAudits: {History: 50}, SignInsInteractive: {History: 10}}, OnEvent: func([]byte) { seen.Add(1) }})
	rows, _ := c.rows("/v1.0/auditLogs/directoryAudits")
	for _, r := range rows[:40] {
		c.send(event(r))
	}
	for _, r := range rows[:3] {
		c.send(event(r), event(r))
	}
	c.send(map[string]any{"operation": "test", "event_id": "nobody-knows"}, map[string]any{"operation": "connector-heartbeat"})
	r := c.sim.Report()
	if r.Offered != 50 || r.Received != 40 || r.Lost != 10 || r.Duplicated != 6 || r.Unexpected != 1 || r.Other["connector-heartbeat"] != 1 {
		t.Errorf("report %+v", r)
	}
	f := feedReport(t, c.sim, DirectoryAudits)
	if len(f.LostIDs) != 10 || len(f.TwiceIDs) != 3 {
		t.Errorf("ids %q, %q", f.LostIDs, f.TwiceIDs)
	}
	if f := feedReport(t, c.sim, SignInsInteractive); f.Asked || f.Offered != 10 {
		t.Errorf("a feed nobody asked for: %+v", f)
	}
	if seen.Load() != 48 {
		t.Errorf("OnEvent saw %d events", seen.Load())
	}
	half := rows[25]["activityDateTime"].(string)
	var early Report
	_, body := c.do("GET", c.sim.LoginBase()+"/_simulator/report?to="+half, nil, "")
	if err := json.Unmarshal(body, &early); err != nil {
		t.Fatal(err)
	}
	if early.Offered != 24 || early.Lost != 10 || early.Outside != 26 {
		t.Errorf("before %s: offered %d, lost %d, outside %d", half, early.Offered, early.Lost, early.Outside)
	}
}

func TestWhatIsReadOfAnEvent(t *testing.T) {
	for text, want := range map[string]struct {
		id        string
		flaw, bad bool
	}{
		` { "event_Id" : "a" , "x" : -1.5e+3 } `:      {id: "a"},
		`{"x":"\"event_Id\":\"b\"","event_Id":"a\\"}`: {id: `a\`},
		`{"event_Id":7}`:                        {id: "7"},
		`{"x":{"event_Id":"b"},"event_Id":"a"}`: {id: "a", flaw: true},
		`{"x":[1,2],"event_Id":"a"}`:            {id: "a", flaw: true},
		`{"_x":1}`:                              {flaw: true},
		`{"":1}`:                                {flaw: true},
		`{}`:                                    {},
		`{"a":1,}`:                              {bad: true},
		`{"a":01}`:                              {bad: true},
		`{"a":1}{"a":2}`:                        {bad: true},
		`["a"]`:                                 {bad: true},
	} {
		events, err := split([]byte(text))
		if (err != nil) != want.bad {
			t.Errorf("%s: %v", text, err)
		} else if err == nil && (events[0].ids[0] != want.id || (events[0].flaw != "") != want.flaw) {
			t.Errorf("%s: id %q, flaw %q", text, events[0].ids[0], events[0].flaw)
		}
	}
}
