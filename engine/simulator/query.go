package simulator

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// This file is the query options of Graph's log endpoints: $filter, $orderby,
// $top, $select, and the walk from page to page.

// walkState is what a skip token stands for.
type walkState struct {
	filter, orderBy, selected string
	top                       int
	served                    int // rows of the pages before
	last                      place
	lastID                    string // of a table's row
	path                      string
	made                      time.Time
}

// skipTokens remembers the walks under way.
type skipTokens struct {
	mu    sync.Mutex
	known map[string]walkState
	n     uint64
}

// skipTokenLives is how long a token can be used.
const skipTokenLives = 10 * time.Minute

// maxWalks bounds the memory; the oldest walks are forgotten, as a service
// does.
const maxWalks = 10_000

func (t *skipTokens) put(seed uint64, w walkState) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.known) >= maxWalks {
		for token, old := range t.known {
			if len(t.known) >= maxWalks/2 || w.made.Sub(old.made) > skipTokenLives {
				delete(t.known, token)
			}
		}
	}
	t.n++
	token := string(appendHex(appendHex(nil, mix(seed^t.n), 16), mix(seed^t.n^1<<40), 16)) + "_" + strconv.FormatUint(t.n%7+1, 10)
	t.known[token] = w
	return token
}

func (t *skipTokens) get(token string) (walkState, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	w, ok := t.known[token]
	return w, ok
}

// option reads a query option, with or without its dollar sign.
func option(q url.Values, name string) string {
	if v := q.Get("$" + name); v != "" {
		return v
	}
	return q.Get(name)
}

func (s *Simulator) listRows(w http.ResponseWriter, r *http.Request, e *endpoint, beta bool, hit faultSet, c *claims) {
	now := s.now()
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		s.graphError(w, 400, "BadRequest", "The query string is not valid: %v", err)
		return
	}
	for name := range q {
		bare := strings.TrimPrefix(name, "$")
		if !slices.Contains([]string{"filter", "orderby", "top", "select", "skiptoken", "count", "expand", "skip"}, bare) {
			s.graphError(w, 400, "BadRequest", "The query parameter '%s' is not supported.", name)
			return
		}
	}
	walk := walkState{filter: option(q, "filter"), orderBy: option(q, "orderby"), selected: option(q, "select"), path: r.URL.Path, made: now}
	var after *place
	if option(q, "skiptoken") != "" || q.Has("$skiptoken") {
		known, ok := s.tokens.get(option(q, "skiptoken"))
		switch {
		case option(q, "skiptoken") == "":
			s.graphError(w, 400, "BadRequest", "Invalid Skip Token, skip token is null")
			return
		case !ok || known.path != r.URL.Path || now.Sub(known.made) > skipTokenLives || hit.has(ExpireToken):
			s.graphError(w, 400, "UnknownError", "Token not found: token is either invalid or expired")
			return
		}
		walk = known
		walk.made = now
		if known.last != (place{}) || known.lastID != "" {
			after = &walk.last
		}
	} else if text := option(q, "top"); text != "" {
		walk.top, err = strconv.Atoi(text)
		if err != nil || walk.top < 1 || walk.top > e.MaxTop {
			s.graphError(w, 400, "BadRequest", "Invalid page size specified: '%s'. Must be between 1 and %d inclusive.", text, e.MaxTop)
			return
		}
	}
	if s.opts.MaxWalk > 0 && walk.served >= s.opts.MaxWalk {
		s.graphError(w, 504, "UnknownError", "")
		return
	}
	order, descending, ok := e.order(walk.orderBy)
	if !ok {
		s.graphError(w, 400, "BadRequest", "The $orderby expression '%s' is not supported for this resource.", walk.orderBy)
		return
	}
	var where filter
	if walk.filter != "" {
		if where, err = parseFilter(walk.filter, s.properties(e, beta)); err == nil {
			err = e.checkFilter(where)
		}
		if err != nil {
			s.graphError(w, 400, "BadRequest", "%s", err.Error())
			return
		}
	}
	top := e.Top
	if walk.top > 0 {
		top = walk.top
	}
	if s.opts.PageSize > 0 {
		top = min(top, s.opts.PageSize)
	}
	pg := &page{sim: s, endpoint: e, beta: beta, now: now, walk: &walk, after: after, filter: where, order: order, descending: descending, top: top, claims: c}
	if hit.has(EmptyPage) && after == nil {
		pg.more = true
	} else if e.Table != "" {
		pg.fromTable()
	} else {
		pg.fromStream()
	}
	if e.NeedsTop && walk.top == 0 {
		pg.more = false
	}
	pg.write(w, r, q, hit)
}

// order reads $orderby; without it the newest rows come first.
func (e *endpoint) order(text string) (property string, descending, ok bool) {
	if text == "" {
		return "", true, true
	}
	name, direction, _ := strings.Cut(strings.TrimSpace(text), " ")
	switch strings.TrimSpace(direction) {
	case "", "asc":
	case "desc":
		descending = true
	default:
		return "", false, false
	}
	return name, descending, slices.Contains(e.OrderBy, name)
}

// checkFilter refuses operators that the endpoint documents as unsupported.
func (e *endpoint) checkFilter(f filter) error {
	for _, c := range f {
		if e.FilterOps != "" && strings.HasSuffix(c.path[0], "DateTime") && !strings.Contains(e.FilterOps, c.op) {
			return badFilter("Invalid filter clause: the operator '%s' is not supported for the property '%s'.", c.op, c.path[0])
		}
	}
	return nil
}

// properties tells the names that a filter may use: those that rows have.
func (s *Simulator) properties(e *endpoint, beta bool) func(path []string) error {
	key := e.Path
	if beta {
		key += " beta"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	names := s.known[key]
	if names == nil {
		names = map[string]bool{}
		for _, body := range s.sampleRows(e, beta) {
			var object map[string]json.RawMessage
			if err := json.Unmarshal(body, &object); err != nil {
				panic("simulator: a row is not JSON: " + err.Error())
			}
			for name := range object {
				names[name] = true
			}
		}
		s.known[key] = names
	}
	return func(path []string) error {
		if !names[path[0]] {
			return badFilter("Could not find a property named '%s' on type 'microsoft.graph.%s'.", path[0], e.Entity)
		}
		return nil
	}
}

func (s *Simulator) sampleRows(e *endpoint, beta bool) (rows [][]byte) {
	if e.Table != "" {
		t := s.tableOf(e.Table)
		var r record
		s.world.begin(&r, recordID{feed: t.feed}, [36]byte{}, s.start)
		return [][]byte{t.row.append(nil, &r, 0)}
	}
	for _, name := range e.Streams {
		if !beta && name != e.Streams[0] {
			break
		}
		st := s.streamOf(name)
		rows = append(rows, st.sample(beta))
	}
	return rows
}
