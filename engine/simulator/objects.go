package simulator

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// This file is the lists of Graph and of Defender that are data alone: present states, such as policies
// and role assignments, and short logs. records/objects.yaml has what they hold, by their paths.

// object is one of a list: there from some time after the start until another.
type object struct {
	Record      string
	From, Until time.Duration
	row         *template
}

// standing are the objects of a path as they are at a time; parent is what "*" stands for.
func (s *Simulator) standing(path, parent string, at time.Time) (rows []json.RawMessage) {
	for i, o := range objects[path] {
		if since := at.Sub(s.start); since < o.From || o.Until > 0 && since >= o.Until {
			continue
		}
		var r record
		s.world.begin(&r, recordID{feed: 0xff, index: textHash(path+parent) ^ uint64(i)}, [36]byte{}, at)
		r.rowID = parent
		r.activity = s.start.UTC() // what slots of time count from
		rows = append(rows, o.row.append(nil, &r, 0))
	}
	return rows
}

// objects serves a list of records/objects.yaml, or the one object of a path that ends in "=".
func (s *Simulator) objects(w http.ResponseWriter, r *http.Request) {
	version, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	path, _, _ = strings.Cut(path, "(")
	base := s.GraphBase()
	if version == "api" {
		base = s.DefenderBase()
	}
	context, _ := json.Marshal(base + "/" + version + "/$metadata#" + path)
	now, id := s.now().UTC(), ""
	if one := s.standing(path+"=", "", now); len(one) > 0 {
		writeJSON(w, 200, json.RawMessage(slices.Concat([]byte(`{"@odata.context":`), context, []byte(","), bytes.TrimPrefix(one[0], []byte("{")))))
		return
	}
	if objects[path] == nil { // below a path: the same of each
		i := strings.LastIndexByte(path, '/')
		parent, last := path[:i], path[i+1:]
		if j := strings.LastIndexByte(parent, '/'); j > 0 {
			parent, id = parent[:j], parent[j+1:]
		}
		path = parent + "/*/" + last
	}
	q, err := options(r)
	if err != nil {
		s.graphError(w, 400, "BadRequest", "The body is neither a form nor JSON: %v", err)
		return
	}
	kept := []json.RawMessage{}
	for _, row := range s.standing(path, id, now) {
		var members map[string]any
		if err := json.Unmarshal(row, &members); err != nil {
			panic("simulator: an object of " + path + " is not JSON: " + err.Error())
		}
		if text := option(q, "filter"); text != "" {
			where, err := parseFilter(text, func(path []string) error {
				if _, ok := members[path[0]]; !ok {
					return badFilter("Could not find a property named '%s'.", path[0])
				}
				return nil
			})
			if err != nil {
				s.graphError(w, 400, "BadRequest", "%s", err.Error())
				return
			}
			if !where.holds(func(path []string) any { return property(members, path) }) {
				continue
			}
		}
		s.offer(members)
		kept = append(kept, shaped(row, option(q, "select")))
	}
	first, _ := strconv.Atoi(cmp.Or(option(q, "skiptoken"), option(q, "skip"))) //nolint:errcheck // the first page has none
	first = max(first, 0)
	top, err := strconv.Atoi(option(q, "top"))
	if s.opts.PageSize > 0 && (err != nil || top > s.opts.PageSize) {
		top = s.opts.PageSize
	}
	page := map[string]any{"@odata.context": json.RawMessage(context), "value": kept[min(first, len(kept)):]}
	switch end := first + top; {
	case top <= 0 || end >= len(kept):
	case r.Method == http.MethodPost:
		page["value"], page["next"] = kept[first:end], strconv.Itoa(end)
	default:
		page["value"] = kept[first:end]
		q.Set("$skiptoken", strconv.Itoa(end))
		page["@odata.nextLink"] = base + r.URL.EscapedPath() + "?" + q.Encode()
	}
	writeJSON(w, 200, page)
}

// options are those of a request: its query, or the fields of a form, or the members of a JSON body at any depth.
func options(r *http.Request) (url.Values, error) {
	if r.Method != http.MethodPost {
		return r.URL.Query(), nil
	}
	if r.Header.Get("Content-Type") == "application/x-www-form-urlencoded" {
		err := r.ParseForm()
		return r.PostForm, err
	}
	var body any
	err := json.NewDecoder(r.Body).Decode(&body)
	q := url.Values{}
	var add func(name string, v any)
	add = func(name string, v any) {
		if members, ok := v.(map[string]any); ok {
			for name, v := range members {
				add(name, v)
			}
			return
		}
		q.Set(name, fmt.Sprint(v))
	}
	add("", body)
	return q, err
}

// offer remembers an object that was served: an event of it is no stranger.
func (s *Simulator) offer(members map[string]any) {
	if id, ok := members["id"].(string); ok {
		s.mu.Lock()
		s.objectIDs[id] = true
		s.mu.Unlock()
	}
}
