package extract

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// foreignHostError is a URL that leads to a host that must not see the token.
type foreignHostError struct {
	what, from, to string
}

func (e *foreignHostError) Error() string {
	return fmt.Sprintf("a %s of %s leads to %s, which the feed does not list under hosts; the token goes nowhere else", e.what, e.from, e.to)
}

// origin is the scheme, host and port of a URL, in one spelling.
func origin(u *url.URL) string {
	scheme, host, port := strings.ToLower(u.Scheme), strings.ToLower(u.Hostname()), u.Port()
	if port == "" {
		switch scheme {
		case "https":
			port = "443"
		case "http":
			port = "80"
		}
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return scheme + "://" + strings.TrimSuffix(host, ".") + ":" + port
}

// follow resolves a link found in the answer of current. It may lead to the
// host that answered, or to one of hosts (origins); else the error is a
// *foreignHostError.
func follow(current *url.URL, link, what string, hosts map[string]bool) (*url.URL, error) {
	link = strings.TrimSpace(link)
	u, err := url.Parse(link)
	if err != nil {
		return nil, fmt.Errorf("a %s of %s is no URL", what, place(current))
	}
	if u.Scheme == "" {
		u = current.ResolveReference(u)
	}
	u.Fragment, u.RawFragment = "", ""
	u.RawQuery = escapeQuery(u.RawQuery)
	if err := checkURL(u); err != nil {
		// A foreign host is the more telling finding.
		if u.Host != "" && origin(u) != origin(current) {
			return nil, &foreignHostError{what: what, from: origin(current), to: origin(u)}
		}
		return nil, err
	}
	if o := origin(u); o != origin(current) && !hosts[o] {
		return nil, &foreignHostError{what: what, from: origin(current), to: o}
	}
	return u, nil
}

// parseHost reads an entry of hosts: a base URL, or a bare host, which means https.
func parseHost(s string) (string, error) {
	if !strings.Contains(s, "://") {
		s = "https://" + s
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" {
		return "", errors.New("must be a host name or a base URL")
	}
	if err := checkURL(u); err != nil {
		return "", err
	}
	return origin(u), nil
}

// escapeQuery escapes what may not stand in a request line, and leaves all
// else as it is: a link is opaque.
func escapeQuery(q string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := 0; i < len(q); i++ {
		if c := q[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '<' || c == '>' {
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// param is one parameter of a request: a text in its query, or any value in its body.
type param struct {
	name  string
	value any
}

func (p param) text() string { return fmt.Sprint(p.value) }

// encode writes a parameter. A space becomes %20, which every service
// understands, and "$" in a name stays.
func (p param) encode() string {
	escape := func(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }
	return strings.ReplaceAll(escape(p.name), "%24", "$") + "=" + escape(p.text())
}

// nameOf is the name of a parameter of a query.
func nameOf(part string) string {
	name, _, _ := strings.Cut(part, "=")
	if plain, err := url.QueryUnescape(name); err == nil {
		return plain
	}
	return name
}

// has reports whether the query of u names the parameter. Case does not
// matter: services differ in what they repeat.
func has(u *url.URL, name string) bool {
	for part := range strings.SplitSeq(u.RawQuery, "&") {
		if strings.EqualFold(nameOf(part), name) {
			return true
		}
	}
	return false
}

// add returns u with parameters added at the end of its query, which is
// otherwise left as it is.
func add(u *url.URL, params ...param) *url.URL {
	out := *u
	for _, p := range params {
		if out.RawQuery != "" && !strings.HasSuffix(out.RawQuery, "&") {
			out.RawQuery += "&"
		}
		out.RawQuery += p.encode()
	}
	return &out
}

// set returns u with a parameter replaced, or added.
func set(u *url.URL, p param) *url.URL {
	out := *u
	var parts []string
	done := false
	for part := range strings.SplitSeq(u.RawQuery, "&") {
		if nameOf(part) == p.name {
			if done {
				continue
			}
			part, done = p.encode(), true
		}
		if part != "" {
			parts = append(parts, part)
		}
	}
	if !done {
		parts = append(parts, p.encode())
	}
	out.RawQuery = strings.Join(parts, "&")
	return &out
}
