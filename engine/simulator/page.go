package simulator

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// This file is a page of one of Graph's logs.

// page is one page of rows in the making.
type page struct {
	sim        *Simulator
	endpoint   *endpoint
	beta       bool
	now        time.Time
	walk       *walkState
	after      *place
	filter     filter
	order      string
	descending bool
	top        int
	claims     *claims

	rows [][]byte
	more bool
}

// kindWanted is the kind of sign-ins that a filter asks for. The service can also tell the two
// kinds of users together, which takes an 'or'.
func (p *page) kindWanted() string {
	for _, c := range p.filter {
		value, _ := c.value.(string)
		if name := "signIns/" + value; p.beta && c.any && c.path[0] == "signInEventTypes" && slices.Contains(p.endpoint.Streams, name) {
			return name
		}
	}
	return p.endpoint.Streams[0]
}

// graphRetention is how far back Graph keeps a log.
func (s *Simulator) graphRetention() time.Duration {
	if s.licence() == Free {
		return 7 * 24 * time.Hour
	}
	return 30 * 24 * time.Hour
}

// policyReaders are the roles that show which policies a sign-in met.
var policyReaders = []string{"Policy.Read.All", "Policy.Read.ConditionalAccess", "Policy.ReadWrite.ConditionalAccess"}

func (p *page) fromStream() {
	now := p.now.UnixNano()
	policies := slices.ContainsFunc(policyReaders, p.claims.has)
	st := p.sim.streamOf(p.kindWanted())
	st.mu.Lock()
	st.asked = true
	st.mu.Unlock()
	from, to := p.filter.bounds(st.clock)
	from, to = max(from, now-int64(p.sim.graphRetention())), min(to, now+1)
	kind := []any{strings.TrimPrefix(st.name, "signIns/")}
	n := 0
	st.walk(from, to, now, p.descending, p.after, func(at place) bool {
		render := func() []byte { return st.append(nil, at, now, p.beta, policies) }
		row := decoded(st.clock, at.at, render)
		if !p.filter.holds(func(path []string) any {
			if path[0] == "signInEventTypes" {
				return kind
			}
			return row(path)
		}) {
			return true
		}
		if n++; n > p.top {
			p.more = true
			return false
		}
		p.rows = append(p.rows, render())
		if share := p.sim.opts.Repeated; share > 0 && unit(mix(p.sim.opts.Seed^at.index^uint64(at.feed)<<40^0x2e9)) < share {
			p.rows = append(p.rows, p.rows[len(p.rows)-1]) // reports do list a row twice
		}
		p.walk.last = at
		return true
	})
}

func (p *page) fromTable() {
	t := p.sim.tableOf(p.endpoint.Table)
	t.mu.Lock()
	t.asked = true
	t.mu.Unlock()
	order := p.order
	if order == "" {
		order = t.clock
		if t.name == Alerts || t.name == Incidents {
			order = "createdDateTime"
		}
	}
	retention := p.sim.graphRetention()
	if t.perUser || t.perRobot {
		retention = 0
	}
	rows := t.snapshot(p.now, order, retention)
	if p.descending {
		slices.Reverse(rows)
	}
	var served []*tableVersion
	for i := range rows {
		row, at := &rows[i].tableRow, rows[i].place
		if p.after != nil {
			passed := at < p.walk.last.at || at == p.walk.last.at && row.id <= p.walk.lastID
			if p.descending {
				passed = at > p.walk.last.at || at == p.walk.last.at && row.id >= p.walk.lastID
			}
			if passed {
				continue
			}
		}
		if !p.filter.holds(decoded(t.clock, row.at.UnixNano(), func() []byte { return t.append(nil, row) })) {
			continue
		}
		if len(p.rows) == p.top {
			p.more = true
			break
		}
		p.rows = append(p.rows, t.append(nil, row))
		served = append(served, row.standing)
		// The walk of this page may still need the old position.
		p.walk.last, p.walk.lastID = place{at: at}, row.id
		p.after = nil
	}
	t.mu.Lock()
	for _, v := range served {
		v.served = true
		t.versions[v.key] = v
	}
	t.mu.Unlock()
}

func (p *page) write(w http.ResponseWriter, r *http.Request, q url.Values, hit faultSet) {
	s, version, link := p.sim, "v1.0", ""
	if p.beta {
		version = "beta"
	}
	p.walk.served += len(p.rows)
	switch {
	case p.more && hit.has(SelfLink):
		link = s.GraphBase() + r.URL.RequestURI()
	case p.more:
		base := s.GraphBase()
		if hit.has(ForeignNext) {
			base = s.ForeignBase()
		}
		maps.DeleteFunc(q, func(name string, _ []string) bool { return strings.TrimPrefix(name, "$") == "skiptoken" })
		link = strings.ReplaceAll(base+r.URL.Path+"?"+q.Encode(), "%24", "$") + "&$skiptoken=" + s.tokens.put(s.opts.Seed, *p.walk)
	}
	for i, row := range p.rows {
		p.rows[i] = shaped(row, p.walk.selected)
	}
	s.writePage(w, r, s.GraphBase()+"/"+version+"/$metadata#"+p.endpoint.Path, link, p.rows)
	s.countN("records.graph", int64(len(p.rows)))
}

// writePage answers with a page of rows.
func (s *Simulator) writePage(w http.ResponseWriter, r *http.Request, context, next string, rows [][]byte) {
	body := strconv.AppendQuote(append(make([]byte, 0, 64<<10), `{"@odata.context":`...), context)
	if next != "" {
		link, _ := json.Marshal(next)
		body = append(append(body, `,"@odata.nextLink":`...), link...)
	}
	body = append(append(body, `,"value":[`...), bytes.Join(rows, []byte(","))...)
	w.Header().Set("Content-Type", "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8")
	out, done := s.compressed(w, r)
	out.Write(append(body, "]}"...)) //nolint:errcheck // the client hung up
	done()
}

// shaped is a row as the caller may see it and asked for it.
func shaped(row []byte, selected string) []byte {
	if selected == "" {
		return row
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(row, &object); err != nil {
		panic("simulator: a row is not JSON: " + err.Error())
	}
	kept := map[string]json.RawMessage{}
	for _, name := range strings.Split(selected, ",") {
		if v, ok := object[strings.TrimSpace(name)]; ok {
			kept[strings.TrimSpace(name)] = v
		}
	}
	out, err := json.Marshal(kept)
	if err != nil {
		panic(err) // raw JSON that was just decoded
	}
	return out
}
