package definition

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// feedCheck checks what the schema of feeds cannot say.
type feedCheck struct {
	*tree
	feed     *Feed
	settings map[string]any // nil: not known
}

func (c *feedCheck) all() {
	c.evaluated()
	c.scope()
	c.times()
	c.rules()
	c.needed()
	c.paging("paging", c.feed.Paging, &c.feed.Request)
	if e := c.feed.Expand; e != nil {
		c.paging("expand.paging", e.Paging, &e.Request)
	}
	for _, r := range c.feed.Requests() {
		c.request(r)
	}
}

// evaluated runs the expressions over the settings at hand.
func (c *feedCheck) evaluated() {
	f := c.feed
	if _, node := c.get("enabled"); node != nil && c.settings != nil && f.Enabled != nil {
		if _, err := f.Enabled.Bool(c.settings); err != nil {
			c.report(node, "%q is neither true nor false: %v", "enabled", err)
		}
	}
	if f.ForEach == nil {
		return
	}
	name, values := c.get("for_each." + f.ForEach.Variable)
	switch {
	case name == nil: // it is no name, which is reported
	case slices.Contains(append([]string{"window", "job", "item"}, answerNames...), name.Value):
		c.report(name, "%q has a meaning of its own in a feed: choose another name", name.Value)
	case c.settings != nil:
		if _, ok := c.settings[name.Value]; ok {
			c.report(name, "%q is the name of a setting: choose another name", name.Value)
			return
		}
		if _, err := f.Partitions(c.settings); err != nil {
			c.report(values, "%v", err)
		}
	}
}

// scope checks that a token can be had: an application's is for all that it was granted.
func (c *feedCheck) scope() {
	_, node := c.get("auth.scope")
	if node == nil || c.feed.Scope == nil {
		return
	}
	if text, err := c.feed.Scope.Expand(c.settings); err == nil && !strings.HasSuffix(text, "/.default") {
		c.report(node, "the scope of an application's token is a service and /.default, such as https://api.example.com/.default: permissions are granted to the app registration, and listed under permissions")
	}
}

// times checks the cursor's format, and durations against each other.
func (c *feedCheck) times() {
	f := c.feed
	if _, node := c.get("cursor.format"); node != nil && !timeLayout(node.Value) {
		c.report(node, `%q is neither rfc3339, unix, unix_ms nor a Go time layout down to the second: write it as 2006-01-02T15:04:05 would be`, node.Value)
	}
	if key, _ := c.get("cursor"); key != nil && f.Cursor != nil && f.Snapshot == nil && !f.Paging.Delta && !c.asksFrom() {
		c.warn(key, "no request asks for a ${window.from}, so each would list everything, window after window: put it into the query, or remove cursor and window")
	}
	w := f.Window
	if w == nil || w.Max == 0 { // 0: it is no duration
		return
	}
	if w.Overlap >= w.Max {
		_, at := c.get("window.overlap")
		if at == nil {
			at, _ = c.get("window")
		}
		if at != nil {
			c.report(at, `"overlap" (%s) must be smaller than "max" (%s): else a window would never reach beyond what was read before`, short(w.Overlap), short(w.Max))
		}
	}
	for _, d := range []struct {
		path string
		is   time.Duration
	}{{"window.max", w.Max}, {"window.overlap", w.Overlap}, {"window.delay", w.Delay}, {"reconcile.depth", c.duration("reconcile.depth")}} {
		if key, node := c.get(d.path); node != nil && d.is > w.Retention {
			c.report(node, "%q (%s) must not be longer than \"retention\" (%s), how far back the service keeps data", key.Value, short(d.is), short(w.Retention))
		}
	}
	if f.Job != nil && f.Job.Every >= f.Job.Most {
		if _, node := c.get("job.every"); node != nil {
			c.report(node, `"every" (%s) must be shorter than "most" (%s)`, short(f.Job.Every), short(f.Job.Most))
		}
	}
}

// asksFrom reports whether any request names where the window begins. With its end alone each
// would walk back to the beginning of all.
func (c *feedCheck) asksFrom() bool {
	var names func(*yaml.Node) bool
	names = func(node *yaml.Node) bool {
		return node != nil && (node.Kind == yaml.ScalarNode && strings.Count(node.Value, "window") > strings.Count(node.Value, "window.to") || slices.ContainsFunc(node.Content, names))
	}
	return slices.ContainsFunc([]string{"request", "fallback", "expand", "job"}, func(path string) bool {
		_, node := c.get(path)
		return names(node)
	})
}

// needed checks what keys ask for that stand elsewhere.
func (c *feedCheck) needed() {
	if key, _ := c.get("expand.settle"); key != nil && c.feed.Cursor == nil {
		c.report(key, `"settle" needs the key "cursor": it counts from the cursor time of an item`)
	}
	if key, _ := c.get("fallback.job"); key != nil && c.feed.Job == nil {
		c.report(key, `"job" of a fallback needs the key "job", over which it goes`)
	}
}

// duration is the one at a path, 0 where there is none.
func (c *feedCheck) duration(path string) time.Duration {
	if _, node := c.get(path); node != nil {
		d, _ := ParseDuration(node.Value)
		return d
	}
	return 0
}

// timeLayout reports whether a format says a time of UTC down to the second. A window
// is in whole seconds: a layout that loses any of that would ask for another window than
// the one that is accounted for.
func timeLayout(format string) bool {
	if slices.Contains([]string{"rfc3339", "unix", "unix_ms"}, format) {
		return true
	}
	moment := time.Date(2031, 7, 24, 19, 48, 53, 0, time.UTC)
	back, err := time.Parse(format, moment.Format(format))
	return err == nil && back.Equal(moment)
}

// rules checks that a feed has what its error rules ask for.
func (c *feedCheck) rules() {
	needs := map[string]string{ThenSubscribe: "subscribe", ThenResetWindow: "window", ThenNarrow: "window", ThenTooEarly: "window"}
	for i, rule := range c.feed.Errors {
		_, node := c.get(fmt.Sprintf("errors.%d.then", i))
		switch key := needs[rule.Then]; {
		case node == nil || c.of(node) != c.doc: // a base's rules need not fit every feed
		case rule.Then == ThenResetWindow && c.feed.Paging.Delta: // it begins anew
		case key == "subscribe" && c.feed.Subscribe == nil:
			c.report(node, `then %q needs the key "subscribe", which says how`, rule.Then)
		case key == "window" && c.feed.Window == nil:
			c.report(node, `then %q needs the key "window"`, rule.Then)
		}
	}
}

// paging checks paging against the request that it pages.
func (c *feedCheck) paging(path string, p Paging, r *Request) {
	if key, _ := c.get(path + ".in"); key != nil && p.In == InBody && r.Body == nil && r.Form == nil {
		c.report(key, `"in: body" needs a body or a form in the request`)
	}
	if key, _ := c.get(path + ".delta"); key != nil && p.Delta && c.feed.Cursor != nil {
		c.report(key, `"delta" needs no cursor: the delta link is the feed's position; remove cursor and window`)
	}
	_, keep := c.get(path + ".keep")
	if keep == nil || p.Param != "" || p.Header == "" && p.Path == "" && p.Style != PagingOData && p.Style != PagingLink {
		return // it follows no link, which is reported
	}
	for _, item := range items(keep) {
		if !slices.ContainsFunc(r.Query, func(q Field) bool { return q.Name == item.Value }) {
			c.report(item, "the request has no query parameter %q to keep", item.Value)
		}
	}
}

// request checks one request.
func (c *feedCheck) request(r Placed) {
	if r.Request.URL != nil {
		if key, node := c.get(r.Path + ".url"); key != nil {
			c.url(node, r.Request.URL)
		}
	}
	for _, h := range r.Request.Headers {
		if name, _ := c.get(r.Path + ".headers"); name != nil && h.Value.holds("\r\n\x00") {
			_, headers := c.get(r.Path + ".headers")
			at, _ := child(headers, h.Name)
			if at != nil {
				c.report(at, "the value of a header may not hold line ends")
			}
		}
	}
	key, _ := c.get(r.Path + ".method")
	switch {
	case key == nil || r.Request.Body != nil || r.Request.Form != nil || c.has(r.Path+".body"):
	case r.Path != "subscribe.start" && r.Path != "expand" && slices.Contains([]string{"POST", "PUT", "PATCH"}, r.Request.Method):
		c.report(key, "%s without a body asks for nothing: add body or form, or remove method", r.Request.Method)
	}
}

// url refuses what cannot become the URL of a request, and what would send the feed's token
// to a host that it is not for.
func (c *feedCheck) url(node *yaml.Node, t *Template) {
	if first := t.parts[:min(1, len(t.parts))]; len(first) > 0 && first[0].program == nil {
		if text := first[0].text; !strings.HasPrefix(text, "https://") && !strings.HasPrefix(text, "http://") {
			c.report(node, "a URL begins with https:// or with a setting that holds the base, such as ${API_BASE}/…")
			return
		}
	}
	if t.holds("# \n\r\t\x00") {
		c.report(node, "a URL may not hold #, spaces, tabs or line ends")
		return
	}
	to := c.host(t)
	switch {
	case to == nil:
	case to.Scheme == "http" && !loopback(to.Hostname()) && t.parts[0].program == nil:
		c.report(node, "plain http shows the token and the records to everybody on the way: write https")
	case c.feed.Scope != nil && !loopback(to.Hostname()):
		if of := c.host(c.feed.Scope); of != nil && !strings.EqualFold(of.Host, to.Host) && !c.listed(to) {
			c.report(node, "the token of auth.scope is for %s, and this would send it to %s: write the scope of that host, or list the host under hosts", of.Host, to.Host)
		}
	}
}

// host is the scheme and host that a template begins with, nil where that cannot be
// told: of no URL, or of settings that are not at hand.
func (c *feedCheck) host(t *Template) *url.URL {
	var text strings.Builder
	for _, p := range t.parts {
		switch {
		case p.program == nil:
			text.WriteString(p.text)
		case c.settings == nil || strings.Count(text.String(), "/") > 2:
			text.WriteString("_")
		default:
			value, err := p.program.Eval(c.settings)
			s, ok := value.(string)
			if err != nil || !ok {
				return nil
			}
			text.WriteString(s)
		}
	}
	u, err := url.Parse(text.String())
	if err != nil || u.Host == "" || strings.Contains(u.Host, "_") || u.Scheme != "https" && u.Scheme != "http" {
		return nil
	}
	return u
}

// listed reports whether the feed lists a host under hosts.
func (c *feedCheck) listed(to *url.URL) bool {
	for _, h := range c.feed.Hosts {
		if u := c.host(h); u != nil && strings.EqualFold(u.Host, to.Host) {
			return true
		}
		if strings.EqualFold(h.source, to.Host) {
			return true
		}
	}
	return false
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
