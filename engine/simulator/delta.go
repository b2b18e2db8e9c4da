package simulator

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// This file is delta queries: the rows of a list of records/objects.yaml that are other than at the time
// that the link names, and those that are gone.

// deltaLives is how long a delta link can be used. Graph says seven days of directory objects.
const deltaLives = 7 * 24 * time.Hour

// delta serves the list of its path, and what changed in it.
func (s *Simulator) delta(w http.ResponseWriter, r *http.Request) {
	_, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	now := s.now().UTC()
	before := map[string]json.RawMessage{}
	if token := option(r.URL.Query(), "deltatoken"); token != "" {
		ns, err := strconv.ParseInt(token, 36, 64)
		since := time.Unix(0, ns).UTC()
		if err != nil || since.After(now) || now.Sub(since) > deltaLives {
			s.graphError(w, http.StatusGone, "SyncStateNotFound", "The sync state generation is not found.")
			return
		}
		for _, row := range s.standing(path, "", since) {
			before[s.rowID(row)] = row
		}
	}
	changed := []json.RawMessage{}
	for _, row := range s.standing(path, "", now) {
		id := s.rowID(row)
		if !bytes.Equal(before[id], row) {
			changed = append(changed, row)
		}
		delete(before, id)
	}
	for id := range before {
		gone, _ := json.Marshal(map[string]any{"id": id, "@removed": map[string]string{"reason": "deleted"}})
		changed = append(changed, gone)
	}
	slices.SortFunc(changed, func(a, b json.RawMessage) int { return bytes.Compare(a, b) })
	base := s.GraphBase() + r.URL.Path
	writeJSON(w, 200, map[string]any{
		"@odata.context": s.GraphBase() + "/v1.0/$metadata#" + strings.TrimSuffix(path, "/delta"), "value": changed,
		"@odata.deltaLink": base + "?$deltatoken=" + strconv.FormatInt(now.UnixNano(), 36),
	})
}

// rowID is the id of a row, which is offered by it.
func (s *Simulator) rowID(row json.RawMessage) string {
	var members map[string]any
	if err := json.Unmarshal(row, &members); err != nil {
		panic("simulator: an object is not JSON: " + err.Error())
	}
	s.offer(members)
	id, _ := members["id"].(string)
	return id
}
