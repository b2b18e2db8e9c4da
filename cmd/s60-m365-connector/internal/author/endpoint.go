package author

import (
	"cmp"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tidwall/gjson"
)

var (
	contextPath = regexp.MustCompile(`^https://([^/]+)(/[^$]*)\$metadata#(.+)$`)
	selection   = regexp.MustCompile(`\([^()']*\)$`)
	graphHost   = regexp.MustCompile(`^(dod-)?graph\.microsoft\.(com|us)$|^microsoftgraph\.chinacloudapi\.cn$`)
	manageHost  = regexp.MustCompile(`^manage(-gcc)?\.office\.com$|^manage\.office365\.us$|^manage\.protection\.apps\.mil$`)
)

func (a *Answer) endpoint(root gjson.Result, address string, bases Bases) {
	if address == "" {
		address = root.Get(`@odata\.nextLink`).Str
	}
	if address == "" {
		if m := contextPath.FindStringSubmatch(root.Get(`@odata\.context`).Str); m != nil && !strings.HasPrefix(m[3], "Collection(") {
			path := strings.TrimSuffix(m[3], "/$entity")
			path = selection.ReplaceAllString(path, "")
			path = strings.ReplaceAll(strings.ReplaceAll(path, "('", "/"), "')", "")
			a.URL = "${MS_GRAPH_BASE}" + m[2] + path
			if !graphHost.MatchString(m[1]) {
				a.URL = "https://" + m[1] + m[2] + path
			}
		}
		return
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return
	}
	a.Query = a.kept(u.RawQuery)
	u.RawQuery, u.Fragment = "", ""
	for _, name := range slices.Sorted(maps.Keys(bases)) {
		if base := bases[name]; base != "" && strings.HasPrefix(u.String(), base+"/") {
			a.URL = "${" + name + "}" + strings.TrimPrefix(u.String(), base)
			return
		}
	}
	switch {
	case graphHost.MatchString(u.Host):
		a.URL = "${MS_GRAPH_BASE}" + u.EscapedPath()
	case manageHost.MatchString(u.Host):
		a.URL = "${MS_MANAGE_BASE}" + u.EscapedPath()
	default:
		a.URL = u.String()
	}
}

var (
	ofPage = regexp.MustCompile(`(?i)^(\$top|\$skip|\$skiptoken|\$deltatoken|page|offset|cursor|next_?token|page_?token)$`)
	begins = regexp.MustCompile(`(?i)^(from|since|after|begin|start)`)
	ends   = regexp.MustCompile(`(?i)^(to|until|before|end)`)
)

// kept is what a feed keeps of a query: not which page was looked at, and of times what they
// stand for.
func (a *Answer) kept(query string) []Parameter {
	var list []Parameter
	for part := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(part, "=")
		name, err := url.QueryUnescape(name)
		if err != nil || name == "" || ofPage.MatchString(name) {
			continue
		}
		if value, err = url.QueryUnescape(value); err != nil {
			continue
		}
		if _, err := time.Parse(time.RFC3339, value); err == nil && a.Time != "" {
			switch {
			case begins.MatchString(name):
				value = "${window.from}"
			case ends.MatchString(name):
				value = "${window.to}"
			}
		}
		list = append(list, Parameter{name, value})
	}
	return list
}

func (a *Answer) address(name string) string { return cmp.Or(a.URL, "${MS_GRAPH_BASE}/v1.0/"+name) }

// filter is the $filter that the URL had, as far as it is not about the time of records.
func (a *Answer) filter() (kept, byTime string) {
	for _, p := range a.Query {
		switch {
		case p.Name != "$filter":
		case a.Time != "" && regexp.MustCompile(`\b`+regexp.QuoteMeta(a.Time)+`\b`).MatchString(p.Value):
			byTime = p.Value
		default:
			kept = p.Value
		}
	}
	return kept, byTime
}

// Scope is what a token for a URL is asked for: the host's own, or that of the setting that holds it.
func Scope(address string, bases Bases) string {
	for _, name := range slices.Sorted(maps.Keys(bases)) {
		if strings.HasPrefix(address, "${"+name+"}") {
			return "${" + name + "}/.default"
		}
		if base := bases[name]; base != "" && strings.HasPrefix(address, base+"/") {
			return base + "/.default"
		}
	}
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return cmp.Or(u.Scheme, "https") + "://" + u.Host + "/.default"
}
