package author

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/secure60/s60-m365-connector/engine/definition"
)

// anonymizer replaces what may identify somebody, the same value always by the same other one. A text
// stays only if it is known to be harmless: a word of the shipped mappings or of the feed's conditions, a time, or a
// short number. What has a form, such as an address or a URL, becomes another of that form, so that mappings still read it.
type anonymizer struct {
	harmless map[string]bool // texts that stay
	words    []string        // of the feed's conditions: what is kept of texts that hold them
	segments map[string]bool // of paths that the feed itself writes
	hosts    map[string]bool // that stay
	bases    []replacement   // of the services, by those of a case
	known    map[string]string
	counts   map[string]int
}

type replacement struct{ from, to string }

// newAnonymizer makes one for the answers to a feed. seeds are values that a case has others for.
func newAnonymizer(feed *definition.Feed, seeds map[string]string, bases []replacement) *anonymizer {
	a := &anonymizer{
		harmless: map[string]bool{}, segments: map[string]bool{}, bases: bases, known: map[string]string{}, counts: map[string]int{},
		hosts: map[string]bool{"graph.microsoft.com": true, "manage.office.com": true, "login.microsoftonline.com": true, "security.microsoft.com": true,
			"api.securitycenter.microsoft.com": true},
	}
	for from, to := range seeds {
		a.known[strings.ToLower(from)] = to
		a.known[strings.ToLower(to)] = to
	}
	a.addShipped()
	a.addFeed(feed)
	for _, word := range commonWords {
		a.harmless[word] = true
	}
	return a
}

var (
	guid       = regexp.MustCompile(`(?i)^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
	email      = regexp.MustCompile(`^[^\s@<>"',;:/\\]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$`)
	hostName   = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.[A-Za-z]{2,}$`)
	withPort   = regexp.MustCompile(`^(\[[0-9A-Fa-f:.]+\]|[0-9.]+)(:\d{1,5})$`)
	aTime      = regexp.MustCompile(`^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:?\d\d)?)?$|^P(\d+[YMWD])*(T(\d+[HMS])+)?$|^\d{1,2}/\d{1,2}/\d{4} \d{1,2}:\d\d:\d\d( [AP]M)?$`)
	digits     = regexp.MustCompile(`^-?\d+$`)
	aType      = regexp.MustCompile(`^#?microsoft\.graph(\.[A-Za-z0-9]+)+$`)
	memberName = regexp.MustCompile(`^[A-Za-z_$][A-Za-z0-9_$]{0,63}$|^[A-Za-z0-9_]{0,64}@odata(\.[A-Za-z]+)+$|^@[A-Za-z]{1,20}$`)
	listMark   = regexp.MustCompile(`[;,]\s*`)
)

// value is a decoded JSON value with everything in it replaced.
func (a *anonymizer) value(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for _, name := range slices.Sorted(maps.Keys(v)) { // so that a value has the same other each time
			out[a.member(name)] = a.value(v[name])
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = a.value(v[i])
		}
		return out
	case json.Number:
		return a.number(v)
	case string:
		return a.text(v)
	}
	return v
}

// member is the name of an object's member: most are those of the API, and stay.
func (a *anonymizer) member(name string) string {
	if memberName.MatchString(name) || a.harmless[name] {
		return name
	}
	return a.text(name)
}

// number keeps what is short: codes, counts and states. Long ones may be telephone numbers, fractions places.
func (a *anonymizer) number(n json.Number) json.Number {
	switch {
	case len(n) <= 7 && digits.MatchString(string(n)):
		return n
	case digits.MatchString(string(n)):
		return json.Number("9" + strings.Repeat("0", max(len(n)-7, 0)) + a.counted("number", string(n), "%06d"))
	}
	whole, fraction, _ := strings.Cut(string(n), ".")
	if len(whole) <= 7 && len(fraction) <= 1 {
		return n
	}
	return "0.5"
}

func (a *anonymizer) text(s string) string {
	if s == "" || a.harmless[s] || aTime.MatchString(s) || aType.MatchString(s) || slices.Contains([]string{"true", "false", "null", "none"}, strings.ToLower(s)) {
		return s
	}
	if to, ok := a.known[strings.ToLower(s)]; ok {
		return to
	}
	if digits.MatchString(s) {
		if len(s) <= 3 {
			return s
		}
		return a.counted("digits", s, "9%0"+fmt.Sprint(len(s)-1)+"d")
	}
	if to, ok := a.shaped(s); ok {
		return to
	}
	if to, ok := a.nested(s); ok {
		return to
	}
	if parts := listMark.Split(s, -1); len(parts) > 1 {
		for i, part := range parts {
			to, ok := a.shaped(part)
			if !ok {
				parts = nil
				break
			}
			parts[i] = to
		}
		if parts != nil {
			return strings.Join(parts, ", ")
		}
	}
	var said []string
	for _, word := range a.words {
		if strings.Contains(s, word) && !slices.Contains(said, word) {
			said = append(said, word)
		}
	}
	if said != nil {
		return "… " + strings.Join(said, " … ") + " …"
	}
	return a.counted("text", s, "text-%d")
}

// shaped replaces what has a shape by something of that shape.
func (a *anonymizer) shaped(s string) (string, bool) {
	if to, ok := a.known[strings.ToLower(s)]; ok {
		return to, true
	}
	bare, port := s, ""
	if m := withPort.FindStringSubmatch(s); m != nil {
		bare, port = m[1], m[2]
	}
	if ip, err := netip.ParseAddr(strings.Trim(bare, "[]")); err == nil {
		switch to := a.address(ip); {
		case strings.HasPrefix(bare, "["):
			return "[" + to + "]" + port, true
		default:
			return to + port, true
		}
	}
	lower := strings.ToLower(s)
	switch {
	case guid.MatchString(s):
		return a.counted("guid", lower, "00000000-0000-4000-9000-%012x"), true
	case email.MatchString(s):
		at := strings.LastIndexByte(lower, '@')
		domain := a.host(lower[at+1:])
		form := "user-%d@"
		if strings.Contains(lower, "#ext#") { // a guest, by which mappings go
			form = "user-%d_elsewhere.example#EXT#@"
		}
		return a.counted("user", lower, form) + domain, true
	case strings.Contains(s, "://"):
		return a.url(s)
	case hostName.MatchString(s) && !strings.HasPrefix(lower, "text-"):
		return a.host(lower), true
	}
	return "", false
}

// address is one of the ranges for documentation.
func (a *anonymizer) address(ip netip.Addr) string {
	if ip.IsUnspecified() || ip.IsLoopback() {
		return ip.String()
	}
	ip = ip.Unmap().WithZone("")
	n := a.count("address", ip.String())
	switch {
	case ip.Is6():
		return fmt.Sprintf("2001:db8::%x:%x", n>>16, n&0xffff)
	case n < 255:
		return fmt.Sprintf("192.0.2.%d", n)
	}
	return fmt.Sprintf("10.%d.%d.%d", n>>16&0xff, n>>8&0xff, n&0xff)
}

func (a *anonymizer) host(name string) string {
	if a.hosts[name] {
		return name
	}
	return a.counted("host", name, "host-%d.example")
}

// nested replaces within a text that is JSON itself.
func (a *anonymizer) nested(s string) (string, bool) {
	trimmed := strings.TrimSpace(s)
	if trimmed == "" || trimmed[0] != '{' && trimmed[0] != '[' {
		return "", false
	}
	v, err := decode([]byte(trimmed))
	if err != nil {
		return "", false
	}
	text, err := encode(a.value(v), "")
	return strings.TrimSpace(text), err == nil
}

// url is a URL whose host, path and query are replaced part by part. What stands behind # is left out.
func (a *anonymizer) url(s string) (string, bool) {
	for _, base := range a.bases {
		if base.from != "" && (s == base.from || strings.HasPrefix(s, base.from+"/")) {
			s = base.to + strings.TrimPrefix(s, base.from)
			break
		}
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" {
		return "", false
	}
	host := strings.ToLower(u.Hostname())
	if a.hosts[strings.ToLower(u.Host)] {
		host = u.Host
	} else if ip, err := netip.ParseAddr(host); err == nil {
		if host = a.address(ip); ip.Is6() {
			host = "[" + host + "]"
		}
	} else {
		host = a.host(host)
	}
	scheme := "https"
	if u.Scheme == "http" {
		scheme = "http"
	}
	var b strings.Builder
	b.WriteString(scheme + "://" + host)
	if path := u.EscapedPath(); path != "" {
		for part := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
			decoded, err := url.PathUnescape(part)
			if err != nil || !a.segments[decoded] {
				decoded = a.text(decoded)
			}
			b.WriteString("/" + url.PathEscape(decoded))
		}
	}
	var query []string
	for part := range strings.SplitSeq(u.RawQuery, "&") {
		name, value, _ := strings.Cut(part, "=")
		if name, err = url.QueryUnescape(name); err != nil || name == "" {
			continue
		}
		if value, err = url.QueryUnescape(value); err != nil {
			value = part
		}
		query = append(query, url.QueryEscape(a.member(name))+"="+url.QueryEscape(a.text(value)))
	}
	if query != nil {
		b.WriteString("?" + strings.Join(query, "&"))
	}
	return b.String(), true
}

// counted is what stands for a value, of which there are so many before it.
func (a *anonymizer) counted(kind, value, form string) string {
	return fmt.Sprintf(form, a.count(kind, value))
}

func (a *anonymizer) count(kind, value string) int {
	key := kind + "\x00" + value
	n, ok := a.counts[key]
	if !ok {
		a.counts[kind]++
		n = a.counts[kind]
		a.counts[key] = n
	}
	return n
}

// decode reads JSON without losing a digit.
func decode(body []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var v any
	err := d.Decode(&v)
	if err == nil && d.More() {
		err = fmt.Errorf("there is more behind it")
	}
	return v, err
}

// encode writes JSON, with the members of objects by name.
func encode(v any, indent string) (string, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", indent)
	err := e.Encode(v)
	return b.String(), err
}
