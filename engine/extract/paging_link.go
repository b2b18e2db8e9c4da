package extract

import (
	"strings"

	"github.com/secure60/s60-m365-connector/engine/definition"
)

// pagingLink finds the URL in the Link header of RFC 8288.
var pagingLink = style{
	next: func(_ definition.Paging, at page) (string, []param, error) {
		for _, value := range at.header.Values("Link") {
			if link := nextLink(value); link != "" {
				return link, nil, nil
			}
		}
		return "", nil, nil
	},
}

// nextLink is the target of the first link of relation "next" in a Link header:
//
//	<https://api.example/records?page=2>; rel="next", <…>; rel="last"
//
// A link with an anchor speaks of another resource, and does not count.
func nextLink(value string) string {
	rest := value
	for {
		rest = strings.TrimLeft(rest, " \t,")
		if !strings.HasPrefix(rest, "<") {
			return ""
		}
		end := strings.IndexByte(rest, '>')
		if end < 0 {
			return ""
		}
		target := rest[1:end]
		rest = rest[end+1:]
		next, relSeen, anchored := false, false, false
		for {
			rest = strings.TrimLeft(rest, " \t")
			if !strings.HasPrefix(rest, ";") {
				break
			}
			var name, content string
			name, content, rest = linkParameter(rest[1:])
			switch {
			case strings.EqualFold(name, "anchor"):
				anchored = true
			case strings.EqualFold(name, "rel") && !relSeen: // the first counts
				relSeen = true
				for relation := range strings.FieldsSeq(content) {
					next = next || strings.EqualFold(relation, "next")
				}
			}
		}
		if next && !anchored {
			return target
		}
		if rest != "" && rest[0] != ',' { // not a list of links
			return ""
		}
	}
}

// linkParameter reads `name=token`, `name="quoted"` or `name`.
func linkParameter(s string) (name, value, rest string) {
	end := strings.IndexAny(s, "=;,")
	if end < 0 {
		return strings.TrimSpace(s), "", ""
	}
	name, rest = strings.TrimSpace(s[:end]), s[end:]
	if rest[0] != '=' {
		return name, "", rest
	}
	rest = strings.TrimLeft(rest[1:], " \t")
	if !strings.HasPrefix(rest, `"`) {
		end := strings.IndexAny(rest, ";,")
		if end < 0 {
			return name, strings.TrimSpace(rest), ""
		}
		return name, strings.TrimSpace(rest[:end]), rest[end:]
	}
	var b strings.Builder
	for i := 1; i < len(rest); i++ {
		switch c := rest[i]; {
		case c == '"':
			return name, b.String(), rest[i+1:]
		case c == '\\' && i+1 < len(rest):
			i++
			b.WriteByte(rest[i])
		default:
			b.WriteByte(c)
		}
	}
	return name, b.String(), ""
}
