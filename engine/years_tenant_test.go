package engine

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// part is a part of the world that answers requests.
type part func(*http.Request) (*http.Response, error)

func (p part) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return p(r)
}

var errReset = errors.New("connection reset by peer")

func answer(r *http.Request, status int, body string, header ...string) (*http.Response, error) {
	h := http.Header{"Content-Type": {"application/json"}, "Date": {time.Now().UTC().Format(http.TimeFormat)}}
	for i := 0; i+1 < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return &http.Response{StatusCode: status, Status: http.StatusText(status), Header: h, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)), Request: r, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}, nil
}

// tenant answers as a service does.
func (w *world) tenant(r *http.Request, life int) (*http.Response, error) {
	w.moment(50*time.Millisecond, r.URL)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.requests.Add(1)
	if life != w.age {
		return nil, errReset
	}
	if strings.HasSuffix(r.URL.Path, "/token") {
		return answer(r, 200, `{"access_token":"bearer","token_type":"Bearer","expires_in":3600}`)
	}
	now := time.Now()
	feed, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	fault := w.fault(now, "tenant "+tenantPart(feed), tenantKinds...)
	once := func(n int) int { return w.dice(r.URL.String(), now.UnixNano()).IntN(n) }
	if fault == "half" && once(2) == 0 {
		fault = "500"
	}
	w.note("asked %s %s: %s", r.Method, r.URL, fault)
	if fault != "" && fault != "half" {
		w.tenantFaults++
	}
	switch fault {
	case "500", "503":
		status, _ := strconv.Atoi(fault)
		return answer(r, status, `{"error":{"code":"busy","message":"m"}}`)
	case "429":
		return answer(r, 429, ``, "Retry-After", "30")
	case "401":
		return answer(r, 401, `{"error":{"code":"InvalidAuthenticationToken","message":"m"}}`)
	case "reset":
		return nil, errReset
	case "html":
		return answer(r, 502, `<html>bad gateway</html>`)
	case "empty":
		return answer(r, 200, `{"Message":"An error has occurred."}`)
	case "nothing":
		return answer(r, 200, ``)
	case "gone": // an item, in one round or two: it is there again
		if id, ok := strings.CutPrefix(r.URL.Path, "/item/"); ok && !w.item(id).dead && (now.Unix()/60+int64(w.dice(id).IntN(15)))%15 == 0 {
			return answer(r, 404, `{"error":{"code":"gone","message":"content has expired"}}`)
		}
	case "premium", "flapping": // a licence that is not there, and one of which that is said nine times out of ten
		if (feed == "list" || feed == "state") && (fault == "premium" || once(10) > 0) {
			return answer(r, 403, `{"error":{"code":"premium","message":"the tenant has no premium licence"}}`)
		}
	case "expired":
		if r.URL.Query().Has("since") {
			return answer(r, 410, `{"error":{"code":"syncStateNotFound","message":"m"}}`)
		}
	}
	status, body := w.serve(r, feed, now)
	switch fault {
	case "cut":
		body = body[:len(body)/2]
	case "unheard": // what was asked for is done
		return nil, errReset
	}
	return answer(r, status, body)
}

func (w *world) item(id string) *record {
	n, _ := strconv.Atoi(id[strings.IndexByte(id, '-')+1:])
	return w.byFeed["items"][n]
}

// tenantPart is whose faults a path shares.
func tenantPart(path string) string {
	switch path {
	case "item":
		return "items"
	case "subscriptions", "start":
		return "subs"
	}
	return path
}

func (w *world) serve(r *http.Request, feed string, now time.Time) (status int, body string) {
	switch feed {
	case "item":
		rec := w.item(strings.TrimPrefix(r.URL.Path, "/item/"))
		if rec.dead {
			return 500, `{"error":{"code":"InternalError","message":"m"}}`
		}
		if rec.damaged {
			return 200, fmt.Sprintf(`[{"id":"%s","at":"%s","x":"a`+"\x01"+`b"}]`, rec.id, rec.at.Format(time.RFC3339))
		}
		return 200, fmt.Sprintf(`[{"id":%q,"at":%q}]`, rec.id, rec.at.Format(time.RFC3339))
	case "subscriptions":
		enabled := w.subscribed(now) || w.fault(now, "subscriptions", "lies") != ""
		return 200, fmt.Sprintf(`[{"status":%q}]`, map[bool]string{true: "enabled", false: "disabled"}[enabled])
	case "start":
		if w.subscribed(now) {
			return 400, `{"error":{"code":"on","message":"The subscription is already enabled."}}`
		}
		if n := len(w.off); n > 0 && w.off[n-1].to.IsZero() && !w.subscribed(now) {
			w.off[n-1].to = now
		}
		w.started = true
		return 200, `{"status":"enabled"}`
	case "state":
		var rows []string
		for _, o := range w.objects[feed] {
			if n, there := o.version(now); there {
				rows = append(rows, fmt.Sprintf(`{"id":%q,"n":%d}`, o.id, n))
			}
		}
		return 200, `{"value":[` + strings.Join(rows, ",") + `]}`
	case "delta":
		since, _ := time.Parse(time.RFC3339Nano, r.URL.Query().Get("since"))
		var rows []string
		for _, o := range w.objects[feed] {
			before, _ := o.version(since)
			n, there := o.version(now)
			switch {
			case n == before && !since.IsZero():
			case there:
				rows = append(rows, fmt.Sprintf(`{"id":%q,"n":%d}`, o.id, n))
			case !since.IsZero():
				rows = append(rows, fmt.Sprintf(`{"id":%q,"n":%d,"@removed":{"reason":"deleted"}}`, o.id, n))
			}
		}
		return 200, `{"value":[` + strings.Join(rows, ",") + `],"@odata.deltaLink":"https://service.example/delta?since=` + now.UTC().Format(time.RFC3339Nano) + `"}`
	case "subs":
		if !w.subscribed(now) {
			return 400, `{"error":{"code":"unsubscribed","message":"The subscription was disabled"}}`
		}
	}
	return w.list(r, feed, now)
}

// subscribed reports whether the service collects. Somebody switches it off on some days, until it is started.
func (w *world) subscribed(now time.Time) bool {
	day := now.Truncate(24 * time.Hour)
	at := day.Add(time.Duration(w.dice("off", day.Unix()).Int64N(int64(24 * time.Hour))))
	if w.started && w.dice("off at all", day.Unix()).IntN(12) == 0 && !at.After(now) && at.Before(w.calm) {
		if n := len(w.off); n == 0 || !w.off[n-1].from.Equal(at) {
			w.off = append(w.off, stretch{from: at})
		}
	}
	n := len(w.off)
	return w.started && (n == 0 || !w.off[n-1].to.IsZero())
}

// collected reports whether the service has a record of the feed "subs": not one that came while it was off.
func (w *world) collected(rec *record) bool {
	return !slices.ContainsFunc(w.off, func(s stretch) bool {
		return !rec.seen.Before(s.from) && (s.to.IsZero() || rec.seen.Before(s.to))
	})
}

// list is a page.
func (w *world) list(r *http.Request, feed string, now time.Time) (status int, body string) {
	from, _ := time.Parse(time.RFC3339, r.URL.Query().Get("from"))
	to, _ := time.Parse(time.RFC3339, r.URL.Query().Get("to"))
	if from.Before(now.Add(-w.keeps(now))) {
		w.tooEarly++
		return 400, `{"error":{"code":"early","message":"the start is too far back"}}`
	}
	all := w.byFeed[feed]
	i, _ := slices.BinarySearchFunc(all, from, func(r *record, at time.Time) int { return r.at.Compare(at) })
	var b strings.Builder
	b.WriteString(`{"value":[`)
	n, skip := 0, 0
	fmt.Sscan(r.URL.Query().Get("skip"), &skip) //nolint:errcheck // 0 without
	for ; i < len(all) && all[i].at.Before(to); i++ {
		rec := all[i]
		if rec.seen.After(now) || feed == "subs" && !w.collected(rec) {
			continue
		}
		if n++; n <= skip {
			continue
		}
		if n > skip+100 {
			query := r.URL.Query()
			query.Set("skip", strconv.Itoa(skip+100))
			fmt.Fprintf(&b, `],"@odata.nextLink":"https://service.example/%s?%s"}`, feed, query.Encode())
			return 200, b.String()
		}
		if n > skip+1 {
			b.WriteByte(',')
		}
		if rec.bad { // as a service does that cannot write a record
			b.WriteString(`{"id":"` + rec.id + `"{"error":{"code":"BadRequest","message":"Value cannot be null"}}}`)
			return 200, b.String()
		}
		fmt.Fprintf(&b, `{"id":%q,"at":%q,"url":"https://service.example/item/%s"}`, rec.id, rec.at.Format(time.RFC3339), rec.id)
	}
	b.WriteString(`]}`)
	return 200, b.String()
}
